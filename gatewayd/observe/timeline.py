"""HOT: the last ten minutes, second by second, of all traffic and of the busiest clusters and routes.

A series is a ring of ``SECONDS`` rows in two flat arrays: its size never changes, and writing into it allocates
nothing. Latencies are counted in ``BUCKETS`` buckets that grow by a quarter each, so that quantiles of many rows, or
of many workers, come from sums. Who reads works out the rest.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

#: How far back a series goes.
SECONDS: Final = 600
_FIRST_MS: Final = 0.1
_GROWTH: Final = 1.25
#: Latency buckets; the last holds all above two minutes.
BUCKETS: Final = 64
#: Their upper bounds but for the last one's, milliseconds.
BOUNDS_MS: Final = tuple(_FIRST_MS * _GROWTH**at for at in range(BUCKETS - 1))

# The columns of a row before its buckets, in one array each.
REQUESTS, ERRORS, REJECTED = range(3)
_COUNTS: Final = 3
RECEIVED, SENT, CONNECTIONS = range(3)
_SIZES: Final = 3
_ROW: Final = _COUNTS + BUCKETS
_NO_COUNTS: Final = array("I", bytes(4 * _ROW))
_NO_SIZES: Final = array("Q", bytes(8 * _SIZES))

#: Series kept beside that of all traffic: some 150 KiB each.
MAX_CLUSTERS: Final = 24
MAX_ROUTES: Final = 40

#: Latencies by bucket: (bucket, how many), in order, empty buckets left out.
Spread = list[tuple[int, int]]


def spread_of(durations_ms: Sequence[float]) -> Spread:
    """``durations_ms``, sorted, by bucket."""
    if len(durations_ms) == 1:
        return [(bisect_left(BOUNDS_MS, durations_ms[0]), 1)]
    found: Spread = []
    below, count = 0, len(durations_ms)
    while below < count:
        bucket = bisect_left(BOUNDS_MS, durations_ms[below])
        upto = bisect_right(durations_ms, BOUNDS_MS[bucket], below) if bucket < BUCKETS - 1 else count
        found.append((bucket, upto - below))
        below = upto
    return found


class Series:
    """One ring. A row belongs to the second that its stamp says; any other row is empty."""

    __slots__ = ("_counts", "_sizes", "_stamps", "last")

    def __init__(self) -> None:
        self._counts = array("I", bytes(4 * _ROW * SECONDS))
        self._sizes = array("Q", bytes(8 * _SIZES * SECONDS))
        self._stamps = array("Q", bytes(8 * SECONDS))
        #: the second last written
        self.last = 0

    def _row(self, second: int) -> int:
        at = second % SECONDS
        if self._stamps[at] != second:
            self._stamps[at] = second
            self._counts[at * _ROW : (at + 1) * _ROW] = _NO_COUNTS
            self._sizes[at * _SIZES : (at + 1) * _SIZES] = _NO_SIZES
            self.last = max(self.last, second)
        return at

    def add(
        self, second: int, count: int, errors: int, rejected: int, received: int, sent: int, spread: Spread
    ) -> None:
        """Count requests that ended in ``second``."""
        at = self._row(second)
        counts, sizes, first = self._counts, self._sizes, at * _ROW
        counts[first + REQUESTS] += count
        counts[first + ERRORS] += errors
        counts[first + REJECTED] += rejected
        sizes[at * _SIZES + RECEIVED] += received
        sizes[at * _SIZES + SENT] += sent
        first += _COUNTS
        for bucket, number in spread:
            counts[first + bucket] += number

    def sample(self, second: int, connections: int) -> None:
        """Note how many connections there are in ``second``."""
        self._sizes[self._row(second) * _SIZES + CONNECTIONS] = connections

    def read(self, first: int, last: int) -> dict[str, Any]:
        """The rows of seconds ``first`` to ``last`` by column; latencies as (bucket, count) pairs per second."""
        columns: dict[str, Any] = {name: [] for name in COLUMNS}
        latencies: list[list[tuple[int, int]]] = []
        for second in range(first, last + 1):
            at = second % SECONDS
            known = self._stamps[at] == second
            counts = self._counts[at * _ROW : (at + 1) * _ROW] if known else _NO_COUNTS
            sizes = self._sizes[at * _SIZES : (at + 1) * _SIZES] if known else _NO_SIZES
            for name, value in zip(COLUMNS, (*counts[:_COUNTS], *sizes), strict=True):
                columns[name].append(value)
            latencies.append(
                [(bucket, count) for bucket, count in enumerate(counts[_COUNTS:]) if count]
                if counts[REQUESTS]
                else []
            )
        columns["latencies"] = latencies
        return columns


#: What :meth:`Series.read` gives, beside ``latencies``.
COLUMNS: Final = (
    "requests",
    "errors",  # 5xx, and requests that got no answer
    "rejected",  # 4xx
    "bytes_received",
    "bytes_sent",
    "connections",
)


class Ranks:
    """Series by what they are about, ``limit`` of them: who came first stays while its ring holds any traffic."""

    __slots__ = ("_full_at", "_limit", "series")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.series: dict[str, Series] = {}
        self._full_at = 0

    def of(self, key: str, second: int) -> Series | None:
        """The series of ``key``; None if there is no room for it."""
        found = self.series.get(key)
        if found is None and self._full_at != second:
            if len(self.series) >= self._limit and not self._make_room(second):
                self._full_at = second
                return None
            found = self.series[key] = Series()
        return found

    def _make_room(self, second: int) -> bool:
        idle = [key for key, own in self.series.items() if second - own.last >= SECONDS]
        for key in idle:
            del self.series[key]
        return bool(idle)


class Timeline:
    """All series of a worker. Seconds are of the wall clock: those of several workers can be laid on each other."""

    def __init__(self, wall_offset_s: float) -> None:
        """``wall_offset_s``: what is added to the monotonic clock to get the time of day."""
        self._offset = wall_offset_s
        self.total = Series()
        self.clusters = Ranks(MAX_CLUSTERS)
        self.routes = Ranks(MAX_ROUTES)

    def second(self, monotonic_s: float) -> int:
        """The second of the day's clock, since 1970."""
        return int(monotonic_s + self._offset)

    def add(
        self,
        second: int,
        cluster: str,
        rule: str,
        status: int,
        received: int,
        sent: int,
        durations_ms: Sequence[float],
    ) -> None:
        """Count requests alike; ``durations_ms`` is sorted, one for each."""
        count = len(durations_ms)
        errors = count if status >= 500 or not status else 0
        rejected = count if 400 <= status < 500 else 0
        spread = spread_of(durations_ms)
        self.total.add(second, count, errors, rejected, received, sent, spread)
        if cluster:
            series = self.clusters.of(cluster, second)
            if series is not None:
                series.add(second, count, errors, rejected, received, sent, spread)
        if rule:
            series = self.routes.of(rule, second)
            if series is not None:
                series.add(second, count, errors, rejected, received, sent, spread)


def quantiles(latencies: Iterable[Iterable[Sequence[int]]], wanted: Sequence[float]) -> list[float | None]:
    """The quantiles ``wanted`` (0 to 1) in milliseconds of all rows together; None without a request.

    Within a bucket requests are taken to be spread evenly.
    """
    counts = [0] * BUCKETS
    for row in latencies:
        for bucket, count in row:
            counts[bucket] += count
    total = sum(counts)
    return [_quantile(counts, total * each) if total else None for each in wanted]


def _quantile(counts: Sequence[int], rank: float) -> float:
    seen = 0
    for bucket, count in enumerate(counts):
        if count and seen + count >= rank:
            low = BOUNDS_MS[bucket - 1] if bucket else 0.0
            high = BOUNDS_MS[bucket] if bucket < BUCKETS - 1 else low
            return round(low + (high - low) * max(0.0, rank - seen) / count, 3)
        seen += count
    return BOUNDS_MS[-1]


def seconds_of(batch: Sequence[Any], timeline: Timeline | None) -> Iterator[tuple[int, Sequence[Any]]]:
    """``batch`` of finished exchanges, in their order, cut where a new second begins; (second, part)."""
    if timeline is None:
        yield 0, batch
        return
    second = timeline.second
    begin, now, last = 0, second(batch[0].finished_at), second(batch[-1].finished_at)
    if now != last:
        for at, info in enumerate(batch):
            own = second(info.finished_at)
            if own != now:
                yield now, batch[begin:at]
                begin, now = at, own
        batch = batch[begin:]
    yield now, batch
