"""What the cells of the traffic come to, for whoever looks: by Istio's labels, cluster, endpoint, chain and rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Final, NamedTuple

from gatewayd.observe.exposition import BUCKETS
from gatewayd.observe.traffic import DURATION, GONE, OVERFLOW, CellKey, Traffic

#: Series of Istio's HTTP metrics; requests of further ones are only counted.
MAX_SERIES: Final = 1000
#: Cells added in one go.
_STEP: Final = 100


class SeriesKey(NamedTuple):
    """What tells Istio's HTTP series apart (semantics 18.2)."""

    cluster: str
    status: int
    flags: str
    grpc_status: str | None


class Reached:
    """What the requests to one endpoint came to."""

    __slots__ = ("errors", "timeouts", "total")

    def __init__(self) -> None:
        self.total = 0
        #: 5xx, and those without an answer
        self.errors = 0
        self.timeouts = 0


class Sums:
    """Cells added up; statuses are counted as they are, and -10 to -1 stand for a class of which no more is known."""

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self._max = max_series
        #: cells by Istio's labels, laid out as they are
        self.series: dict[SeriesKey, list[float]] = {}
        #: requests that no series was left for
        self.overflow = 0
        #: statuses by cluster, and by filter chain
        self.clusters: dict[str, Counter[int]] = {}
        self.chains: dict[str, Counter[int]] = {}
        self.endpoints: dict[tuple[str, str], Reached] = {}
        #: requests and errors by filter chain and rule
        self.rules: dict[tuple[str, str], list[int]] = {}

    def add(self, key: CellKey, cell: list[float]) -> None:
        """One more cell."""
        count = int(sum(cell[DURATION : DURATION + BUCKETS]))
        self._add_series(key, cell, count)
        self.chains.setdefault(key.chain, Counter())[key.status] += count
        failed = count if is_error(key.status) else 0
        # What a fault or CORS answered never came so far.
        if key.cluster and (key.endpoint or "UH" in key.flags):
            self.clusters.setdefault(key.cluster, Counter())[key.status] += count
        if key.endpoint not in ("", GONE):
            reached = self.endpoints.setdefault((key.cluster, key.endpoint), Reached())
            reached.total += count
            reached.errors += failed
            if "UT" in key.flags:
                reached.timeouts += count
        if key.rule:
            hits = self.rules.setdefault((key.chain, key.rule), [0, 0])
            hits[0] += count
            hits[1] += failed

    def _add_series(self, key: CellKey, cell: list[float], count: int) -> None:
        name = SeriesKey(key.cluster, key.status, key.flags, key.grpc_status)
        known = self.series.get(name)
        if known is not None:
            self.series[name] = [a + b for a, b in zip(known, cell, strict=True)]
        elif key.status < 0 or len(self.series) >= self._max:
            self.overflow += count
        else:
            self.series[name] = list(cell)


def is_error(status: int) -> bool:
    """Whether a status of a cell counts as an error: 5xx, or no answer at all."""
    return status >= 500 or status == 0 or status in (OVERFLOW, OVERFLOW + 5)


def class_of(status: int) -> int:
    """2 for 2xx; 0 for no answer."""
    return status // 100 if status >= 0 else status - OVERFLOW


def summed(traffic: Traffic, max_series: int = MAX_SERIES) -> Generator[None, None, Sums]:
    """Add up all cells, with a pause now and then."""
    sums = Sums(max_series)
    for count, (key, cell) in enumerate(list(traffic.cells.items()), 1):
        sums.add(key, cell)
        if not count % _STEP:
            yield
    return sums
