"""HOT: Istio's standard metrics (semantics 18.1 to 18.5), counted from batches of finished exchanges.

A series is a flat list of numbers with one writer (the layout is below), found by what tells it from the others: one
dictionary lookup per exchange. Strings are made when somebody scrapes, once per series. Which series there are is
bounded by ``MAX_SERIES``: what would need one more is counted as overflow and nothing else.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from gatewayd.grpc_status import GRPC_STATUSES
from gatewayd.observe.exposition import BOUNDS, BUCKETS, COUNTER, Family, escaped, histogram, labels, render
from gatewayd.observe.grpc import asks_grpc, grpc_status_of
from gatewayd.observe.stream_info import StreamInfo

#: Series kept of each of HTTP and TCP.
MAX_SERIES: Final = 1000
UNKNOWN: Final = "unknown"

# The layout of an HTTP series: three histograms by bucket, then their sums.
DURATION: Final = 0
RECEIVED: Final = BUCKETS
SENT: Final = 2 * BUCKETS
DURATION_SUM: Final = 3 * BUCKETS  # milliseconds
RECEIVED_SUM: Final = DURATION_SUM + 1
SENT_SUM: Final = DURATION_SUM + 2
#: of gRPC; other series have none of them
REQUEST_MESSAGES: Final = DURATION_SUM + 3
RESPONSE_MESSAGES: Final = DURATION_SUM + 4
_HTTP_LENGTH: Final = DURATION_SUM + 5
# The layout of a TCP series.
CLOSED: Final = 0
TCP_RECEIVED: Final = 1
TCP_SENT: Final = 2

#: (cluster, status, flags, whether gRPC, grpc-status)
HttpKey = tuple[str, int, str, bool, str]
#: (cluster, flags)
TcpKey = tuple[str, str]


class Source:
    """What is said of this proxy itself in every series (18.2)."""

    def __init__(self, proxy_labels: Mapping[str, str] | None, namespace: str) -> None:
        own = proxy_labels or {}
        app = own.get("app") or own.get("app.kubernetes.io/name") or UNKNOWN
        version = own.get("version") or own.get("app.kubernetes.io/version") or UNKNOWN
        name = own.get("service.istio.io/canonical-name") or app
        self.text = labels(
            reporter="source",
            source_workload=name,
            source_canonical_service=name,
            source_canonical_revision=own.get("service.istio.io/canonical-revision") or "latest",
            source_workload_namespace=namespace or UNKNOWN,
            source_principal=UNKNOWN,
            source_app=app,
            source_version=version,
            source_cluster=UNKNOWN,
        )


class Traffic:
    """The counters of one worker."""

    def __init__(self, source: Source, max_series: int = MAX_SERIES) -> None:
        self._source = source
        self._max = max_series
        self.http: dict[HttpKey, list[float]] = {}
        self.tcp: dict[TcpKey, list[float]] = {}
        #: attempts beyond the first, by cluster
        self.retries: dict[str, int] = {}
        #: exchanges that would have needed one series more than there may be
        self.overflow_http = 0
        self.overflow_tcp = 0
        self._texts: dict[Any, str] = {}

    def take(self, batch: Sequence[StreamInfo]) -> None:
        """Count finished exchanges and connections."""
        groups: dict[HttpKey, list[StreamInfo]] = {}
        for info in batch:
            status = info.status
            if not status and info.request is None:
                self._take_tcp(info)
                continue
            # gRPC is POST; the others' fields need not be looked at.
            if info.method == b"POST" and asks_grpc(info):
                key = (info.upstream_cluster, status, info.flags, True, _grpc_status(info))
            else:
                key = (info.upstream_cluster, status, info.flags, False, "")
            if info.attempts > 1:
                self._retried(info)
            if key in groups:
                groups[key].append(info)
            else:
                groups[key] = [info]
        series = self.http
        for key, infos in groups.items():
            cell = series.get(key)
            if cell is None:
                if len(series) >= self._max:
                    self.overflow_http += len(infos)
                    continue
                cell = series[key] = [0] * _HTTP_LENGTH
            _add(cell, DURATION, DURATION_SUM, [(i.finished_at - i.started_at) * 1000.0 for i in infos])
            _add(cell, RECEIVED, RECEIVED_SUM, [i.bytes_received for i in infos])
            _add(cell, SENT, SENT_SUM, [i.bytes_sent for i in infos])
            if key[3]:
                for messages, at in (
                    ("request_messages", REQUEST_MESSAGES),
                    ("response_messages", RESPONSE_MESSAGES),
                ):
                    counters = (getattr(info, messages, None) for info in infos)
                    cell[at] += sum(counter.count for counter in counters if counter is not None)

    def _retried(self, info: StreamInfo) -> None:
        cluster, retries = info.upstream_cluster, self.retries
        if cluster in retries or len(retries) < self._max:
            retries[cluster] = retries.get(cluster, 0) + info.attempts - 1

    def _take_tcp(self, info: StreamInfo) -> None:
        if not info.upstream_cluster and not info.flags.startswith("NC"):
            return  # refused before it was anybody's; its listener counts it
        key = (info.upstream_cluster, info.flags)
        cell = self.tcp.get(key)
        if cell is None:
            if len(self.tcp) >= self._max:
                self.overflow_tcp += 1
                return
            cell = self.tcp[key] = [0] * 3
        cell[CLOSED] += 1
        cell[TCP_RECEIVED] += info.bytes_received
        cell[TCP_SENT] += info.bytes_sent

    # Scraping

    def render(self, open_connections: Mapping[str, int]) -> Iterator[bytes]:
        """The text in small pieces; ``open_connections``: TCP connections under way, by cluster."""
        opened = dict(open_connections)
        for (cluster, _), cell in self.tcp.items():
            opened[cluster] = opened.get(cluster, 0) + int(cell[CLOSED])
        # Counters may move between pieces: which series there are may not.
        http = list(self.http.items())
        tcp = list(self.tcp.items())
        yield from render(
            [
                Family(
                    "istio_requests_total",
                    COUNTER,
                    "Requests that ended.",
                    (
                        (f'{self._http(key)},grpc_response_status="{key[4]}"', sum(cell[:BUCKETS]))
                        for key, cell in http
                    ),
                )
            ]
        )
        for name, help, first, total in _HISTOGRAMS:
            yield from histogram(
                name,
                help,
                ((self._http(key), cell[first : first + BUCKETS], cell[total]) for key, cell in http),
            )
        yield from render(
            [
                *(
                    Family(name, COUNTER, help, [(self._http(key), cell[at]) for key, cell in http if key[3]])
                    for name, help, at in _MESSAGES
                ),
                Family(
                    "istio_tcp_connections_opened_total",
                    COUNTER,
                    "TCP connections that began.",
                    ((self._tcp((cluster, "")), count) for cluster, count in opened.items()),
                ),
                *(
                    Family(name, COUNTER, help, self._tcp_samples(tcp, at))
                    for name, help, at in (
                        ("istio_tcp_connections_closed_total", "TCP connections that ended.", CLOSED),
                        ("istio_tcp_sent_bytes_total", "Bytes sent to clients, once they left.", TCP_SENT),
                        (
                            "istio_tcp_received_bytes_total",
                            "Bytes from clients, once they left.",
                            TCP_RECEIVED,
                        ),
                    )
                ),
                Family(
                    "gatewayd_metrics_overflow_total",
                    COUNTER,
                    "Requests and connections that no series was left for.",
                    ((labels(metric="http"), self.overflow_http), (labels(metric="tcp"), self.overflow_tcp)),
                ),
            ]
        )

    def _tcp_samples(
        self, series: Iterable[tuple[TcpKey, list[float]]], at: int
    ) -> Iterator[tuple[str, float]]:
        return ((self._tcp(key), cell[at]) for key, cell in series)

    def _http(self, key: HttpKey) -> str:
        text = self._texts.get(key)
        if text is None:
            cluster, status, flags, grpc, _ = key
            text = self._texts[key] = ",".join(
                (
                    self._source.text,
                    destination(cluster),
                    labels(
                        request_protocol="grpc" if grpc else "http",
                        response_code=str(status),
                        response_flags=flags or "-",
                        connection_security_policy=UNKNOWN,
                    ),
                )
            )
        return text

    def _tcp(self, key: TcpKey) -> str:
        text = self._texts.get(key)
        if text is None:
            cluster, flags = key
            rest = labels(
                request_protocol="tcp", response_flags=flags or "-", connection_security_policy=UNKNOWN
            )
            text = f"{self._source.text},{destination(cluster)},{rest}"
            if len(self._texts) <= 4 * self._max:
                self._texts[key] = text
        return text


#: From so many values on they are sorted, and the bounds looked up in them instead of they in the bounds.
_MANY: Final = 16


def _add(cell: list[float], first: int, total: int, values: list[float]) -> None:
    """Put ``values`` into the histogram that begins at ``first``, whose sum is at ``total``."""
    cell[total] += sum(values)
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


_HISTOGRAMS: Final = (
    ("istio_request_duration_milliseconds", "From a request's beginning to its end.", DURATION, DURATION_SUM),
    ("istio_request_bytes", "Sizes of request bodies.", RECEIVED, RECEIVED_SUM),
    ("istio_response_bytes", "Sizes of response bodies.", SENT, SENT_SUM),
)


_MESSAGES: Final = (
    ("istio_request_messages_total", "Messages of gRPC from clients.", REQUEST_MESSAGES),
    ("istio_response_messages_total", "Messages of gRPC to clients.", RESPONSE_MESSAGES),
)


def destination(cluster: str) -> str:
    """The labels of where requests went, by ``outbound|port|subset|host`` (18.4)."""
    host = cluster.rpartition("|")[2]
    first, _, rest = host.partition(".")
    namespace, dot, domain = rest.partition(".")
    in_mesh = bool(dot) and domain.startswith("svc.")
    return (
        'destination_workload="unknown",destination_workload_namespace="unknown",destination_principal="unknown",'
        'destination_app="unknown",destination_version="unknown",'
        f'destination_service="{escaped(host or UNKNOWN)}",'
        f'destination_service_name="{escaped((first if in_mesh else host) or UNKNOWN)}",'
        f'destination_service_namespace="{escaped(namespace if in_mesh else UNKNOWN)}",'
        'destination_cluster="unknown",destination_canonical_service="unknown",'
        'destination_canonical_revision="unknown"'
    )


def _grpc_status(info: StreamInfo) -> str:
    """A status nobody defined is ``2``, unknown: there may not be a series for each number."""
    status = grpc_status_of(info)
    if status is None:
        return ""
    return str(status) if 0 <= status < len(GRPC_STATUSES) else "2"
