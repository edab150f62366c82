"""HOT: finished exchanges, counted in batches.

A cell is a flat list of numbers with one writer (the layout is below), found by all that tells its exchanges from
others: filter chain, rule, cluster, endpoint, status, flags. One dictionary look-up per exchange, a few sums per cell
and second; whatever is shown, Istio's series or Envoy's or a rule's hits, is a sum of cells made when somebody asks
(:mod:`gatewayd.observe.sums`). How many cells there are is bounded by ``MAX_CELLS``: what would need one more is
counted by chain and class of status alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple

from gatewayd.grpc_status import GRPC_STATUSES
from gatewayd.observe.exposition import BOUNDS, BUCKETS
from gatewayd.observe.grpc import asks_grpc, grpc_status_of
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.observe.timeline import Timeline, seconds_of

MAX_CELLS: Final = 10_000
#: Exchanges, and groups of them, that may wait to be added to their cells: that takes a millisecond or two.
_MAX_WAITING: Final = 4096
_MAX_GROUPS: Final = 256
#: Of TCP.
MAX_TCP: Final = 1000
#: The endpoint of cells whose own is gone.
GONE: Final = "-"
#: The status of cells that count what had no room, below a class: ``OVERFLOW + 2`` for 2xx.
OVERFLOW: Final = -10

# The layout of a cell: three histograms by bucket, then their sums.
DURATION: Final = 0
RECEIVED: Final = BUCKETS
SENT: Final = 2 * BUCKETS
DURATION_SUM: Final = 3 * BUCKETS  # milliseconds
RECEIVED_SUM: Final = DURATION_SUM + 1
SENT_SUM: Final = DURATION_SUM + 2
#: of gRPC, where they are counted; else 0
REQUEST_MESSAGES: Final = DURATION_SUM + 3
RESPONSE_MESSAGES: Final = DURATION_SUM + 4
LENGTH: Final = DURATION_SUM + 5
# The layout of a TCP cell.
CLOSED: Final = 0
TCP_RECEIVED: Final = 1
TCP_SENT: Final = 2


class CellKey(NamedTuple):
    """What exchanges of a cell have in common."""

    #: name of the filter chain that the request came by
    chain: str
    #: where the rule was written (the title of a gatewayd.routing.route.RouteSource), or ""
    rule: str
    cluster: str
    #: ``ip:port``
    endpoint: str
    status: int
    flags: str
    #: grpc-status of a gRPC exchange, "" if not known; None for any other
    grpc_status: str | None


#: (cluster, flags)
TcpKey = tuple[str, str]
#: Exchanges alike that are not in their cell yet: durations in milliseconds, sizes of bodies received and sent but for
#: empty ones.
_Group = tuple[list[float], list[int], list[int]]
#: The facts that put the last exchange with an endpoint into its group, but for gRPC: route, cluster, chain, status,
#: flags; and the group.
_Latest = tuple[Any, str, str, int, str, _Group]


class Attempts:
    """What retries and timeouts came to, of one cluster."""

    __slots__ = ("exhausted", "per_try_timeouts", "rescued", "retries", "timeouts")

    def __init__(self) -> None:
        #: attempts beyond the first
        self.retries = 0
        #: requests that a retry brought an answer below 500
        self.rescued = 0
        #: requests whose last allowed retry failed too
        self.exhausted = 0
        self.timeouts = 0
        self.per_try_timeouts = 0


class Traffic:
    """The counters of one worker; ``timeline``: where each second is written down as well.

    Read after :meth:`settle` only.
    """

    def __init__(self, timeline: Timeline | None = None, max_cells: int = MAX_CELLS) -> None:
        self.timeline = timeline
        self._max = max_cells
        self.cells: dict[CellKey, list[float]] = {}
        self.tcp: dict[TcpKey, list[float]] = {}
        #: by cluster
        self.attempts: dict[str, Attempts] = {}
        #: TCP connections that would have needed one cell more than there may be
        self.overflow_tcp = 0
        #: what ended in this second and is not in its cells yet: many exchanges are cheaper to add than one
        self._second = 0
        self._groups: dict[Any, _Group] = {}
        #: by endpoint; bounded as the groups are
        self._latest: dict[str, _Latest] = {}
        #: messages of some of them, both ways
        self._messages: dict[Any, list[int]] = {}
        self._waiting = 0

    def take(self, batch: Sequence[StreamInfo]) -> None:
        """Count finished exchanges and connections."""
        for second, part in seconds_of(batch, self.timeline):
            if second != self._second or self._waiting > _MAX_WAITING or len(self._groups) > _MAX_GROUPS:
                self.settle()
                self._second = second
            self._take(part)

    def _take(self, batch: Sequence[StreamInfo]) -> None:
        latest = self._latest
        self._waiting += len(batch)
        for info in batch:
            # Most exchanges are like the last one with their endpoint: to see that costs half of what a key does.
            group: _Group | None
            try:
                route, cluster, chain, status, flags, group = latest[info.upstream_host]
            except KeyError:
                group = self._group(info)
            else:
                if (
                    info.status != status
                    or info.route is not route
                    or info.upstream_cluster is not cluster
                    or info.connection.chain is not chain
                    or info.flags is not flags
                    or info.method == b"POST"
                ):
                    group = self._group(info)
            if group is None:
                self._take_tcp(info)
                continue
            durations_ms, received, sent = group
            # One append each is cheaper than to keep exchanges and to read them again.
            durations_ms.append((info.finished_at - info.started_at) * 1000.0)
            size = info.bytes_sent
            if size:
                sent.append(size)
            size = info.bytes_received
            if size:
                received.append(size)
            if info.attempts > 1:
                self._retried(info)

    def _group(self, info: StreamInfo) -> _Group | None:
        """That of an exchange; None of a TCP connection."""
        grpc = None
        status, flags = info.status, info.flags
        if info.method == b"POST":  # gRPC is; the others' fields need not be looked at
            grpc = _grpc_status(info)
        elif not status and info.request is None:
            return None
        route, endpoint, cluster = info.route, info.upstream_host, info.upstream_cluster
        chain = info.connection.chain
        key = route, endpoint, status, flags, cluster, chain, grpc
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = ([], [], [])
        if grpc is not None:
            self._count_messages(key, info)
        if "UT" in flags:
            self._timed_out(info)
        elif grpc is None and status:
            self._latest[endpoint] = route, cluster, chain, status, flags, group
        return group

    def _count_messages(self, key: Any, info: StreamInfo) -> None:
        asked = getattr(info, "request_messages", None)
        if asked is not None:
            counted = self._messages.setdefault(key, [0, 0])
            counted[0] += asked.count
            counted[1] += info.response_messages.count

    def settle(self) -> None:
        """Put everything in its cell."""
        groups, self._groups, self._latest, self._waiting = self._groups, {}, {}, 0
        messages, self._messages = self._messages, {}
        for group, (durations_ms, received, sent) in groups.items():
            route, endpoint, status, flags, cluster, chain, grpc = group
            rule = route.source.title if route is not None and route.source is not None else ""
            cell = self._cell(CellKey(chain, rule, cluster, endpoint, status, flags, grpc))
            durations_ms.sort()
            count, bytes_received, bytes_sent = len(durations_ms), sum(received), sum(sent)
            _add(cell, DURATION, durations_ms)
            cell[RECEIVED] += count - len(received)
            _add(cell, RECEIVED, received)
            cell[SENT] += count - len(sent)
            _add(cell, SENT, sent)
            cell[DURATION_SUM] += sum(durations_ms)
            cell[RECEIVED_SUM] += bytes_received
            cell[SENT_SUM] += bytes_sent
            if group in messages:
                asked, answered = messages[group]
                cell[REQUEST_MESSAGES] += asked
                cell[RESPONSE_MESSAGES] += answered
            if self.timeline is not None:
                self.timeline.add(
                    self._second, cluster, rule, status, bytes_received, bytes_sent, durations_ms
                )

    def _cell(self, key: CellKey) -> list[float]:
        cells = self.cells
        cell = cells.get(key)
        if cell is None:
            if len(cells) >= self._max:
                key = _coarse(key)
                cell = cells.get(key)
            if cell is None:
                cell = cells[key] = [0] * LENGTH
        return cell

    def _of(self, cluster: str) -> Attempts:
        found = self.attempts.get(cluster)
        if found is None:
            if len(self.attempts) >= self._max:
                return Attempts()  # counted nowhere
            found = self.attempts[cluster] = Attempts()
        return found

    def _retried(self, info: StreamInfo) -> None:
        attempts = self._of(info.upstream_cluster)
        attempts.retries += info.attempts - 1
        if "URX" in info.flags:
            attempts.exhausted += 1
        elif 0 < info.status < 500:
            attempts.rescued += 1

    def _timed_out(self, info: StreamInfo) -> None:
        attempts = self._of(info.upstream_cluster)
        if info.details == "upstream_per_try_timeout":
            attempts.per_try_timeouts += 1
        else:
            attempts.timeouts += 1

    def _take_tcp(self, info: StreamInfo) -> None:
        if not info.upstream_cluster and not info.flags.startswith("NC"):
            return  # refused before it was anybody's; its listener counts it
        key = (info.upstream_cluster, info.flags)
        cell = self.tcp.get(key)
        if cell is None:
            if len(self.tcp) >= MAX_TCP:
                self.overflow_tcp += 1
                return
            cell = self.tcp[key] = [0] * 3
        cell[CLOSED] += 1
        cell[TCP_RECEIVED] += info.bytes_received
        cell[TCP_SENT] += info.bytes_sent

    @property
    def crowded(self) -> bool:
        """Whether it is worth while to :meth:`retain`."""
        return len(self.cells) > self._max // 2

    def retain(self, rules: Collection[str], has_endpoint: Callable[[str, str], bool]) -> None:
        """Make room: cells of rules and endpoints that are gone become one for each of the rest.

        Counters never fall by it. ``has_endpoint``: whether a cluster has an address.
        """
        cells: dict[CellKey, list[float]] = {}
        for key, cell in self.cells.items():
            if key.rule and key.rule not in rules:
                key = key._replace(rule="")
            if key.endpoint not in ("", GONE) and not has_endpoint(key.cluster, key.endpoint):
                key = key._replace(endpoint=GONE)
            known = cells.get(key)
            cells[key] = cell if known is None else [a + b for a, b in zip(known, cell, strict=True)]
        self.cells = cells


#: From so many values on they are sorted, and the bounds looked up in them instead of they in the bounds.
_MANY: Final = 16


def _add(cell: list[float], first: int, values: list[Any]) -> None:
    """Put ``values`` into the histogram that begins at ``first``."""
    if not values:
        return
    if len(values) < _MANY:
        for value in values:
            cell[first + bisect_left(BOUNDS, value)] += 1
        return
    values.sort()
    last, count = values[-1], len(values)
    below = 0
    for at, bound in enumerate(BOUNDS, first):
        if last <= bound:
            cell[at] += count - below
            return
        upto = bisect_right(values, bound, below)
        cell[at] += upto - below
        below = upto
    cell[first + BUCKETS - 1] += count - below


def _coarse(key: CellKey) -> CellKey:
    return CellKey(key.chain, "", "", "", OVERFLOW + key.status // 100, "", None)


_GRPC: Final = {status: str(status) for status in range(len(GRPC_STATUSES))}


def _grpc_status(info: StreamInfo) -> str | None:
    """Of a gRPC exchange; a status nobody defined is ``2``, unknown: there may not be a cell for each number."""
    if not asks_grpc(info):
        return None
    status = grpc_status_of(info)
    return "" if status is None else _GRPC.get(status, "2")
