"""Statistics of the routes that have a ``statPrefix``, under the names Istio's Envoy gives them (semantics 18.7)."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gatewayd.observe.exposition import BOUNDS, BUCKETS, COUNTER, HISTOGRAM, Family, labels
from gatewayd.observe.stream_info import StreamInfo

#: So many routes, those of earlier configurations included; further ones are not counted.
MAX_ROUTES: Final = 1000
_NOT_IN_NAMES: Final = re.compile(r"\W", re.ASCII)
_ANSWERED: Final = "via_upstream"
_TIMED_OUT: Final = "response_timeout"

_COUNTERS: Final = (
    ("completed", "Requests answered by it, or by the proxy in its place."),
    ("retry", "Further attempts."),
    ("retry_limit_exceeded", "Requests that failed after all their attempts."),
    ("retry_overflow", "Retries that a limit did not allow."),
    ("retry_success", "Requests that a further attempt answered."),
    ("timeout", "Requests that took longer than the route allows."),
    ("total", "Attempts that reached an endpoint."),
)


class _Route:
    """The counters of one route."""

    __slots__ = ("counts", "statuses", "times", "times_sum_ms")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        #: of requests that the upstream answered, from their beginning to their end
        self.times = [0] * BUCKETS
        self.times_sum_ms = 0.0

    def take(self, info: StreamInfo) -> None:
        """Count a finished exchange."""
        counts, flags, status = self.counts, info.flags, info.status
        attempts, answered = info.attempts, info.details.startswith(_ANSWERED)
        if not attempts and "UH" not in flags:
            return  # it never came to the cluster: aborted, or there is no such thing
        # Where the last attempt reached nobody, mostly none did.
        if "UF" not in flags and not ("UO" in flags and not answered):
            counts["total"] += attempts
        if status:
            counts["completed"] += 1
            self.statuses[status] += 1
        if attempts > 1:
            counts["retry"] += attempts - 1
        if "URX" in flags:
            counts["retry_limit_exceeded"] += 1
        elif answered and "UO" in flags:
            counts["retry_overflow"] += 1
        elif answered and attempts > 1:
            counts["retry_success"] += 1
        if info.details == _TIMED_OUT:
            counts["timeout"] += 1
        if answered and status:
            took_ms = (info.finished_at - info.started_at) * 1000.0
            self.times[bisect_left(BOUNDS, took_ms)] += 1
            self.times_sum_ms += took_ms


class RouteMetrics:
    """The statistics of a worker's routes. ``wanted``: whether any route has some."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted
        self._routes: dict[str, _Route] = {}

    def take(self, batch: Sequence[StreamInfo]) -> None:
        """Count finished exchanges."""
        if not self._wanted():
            return
        for info in batch:
            if info.route is None or not info.route.statistics:
                continue
            name = _NOT_IN_NAMES.sub("_", info.route.statistics)
            route = self._routes.get(name)
            if route is None:
                if len(self._routes) >= MAX_ROUTES:
                    continue
                route = self._routes[name] = _Route()
            route.take(info)

    def families(self) -> Iterator[Family]:
        """The families of each route."""
        for name, route in list(self._routes.items()):
            before = f"envoy_{name}_upstream_rq"
            yield Family(before, COUNTER, "Requests by status, and by class of it.", _statuses(route))
            for what, help in _COUNTERS:
                yield Family(f"{before}_{what}", COUNTER, help, [("", route.counts[what])])
            times = ("", list(route.times), route.times_sum_ms)
            yield Family(
                f"{before}_time", HISTOGRAM, "From a request's beginning to its end, milliseconds.", [times]
            )


def _statuses(route: _Route) -> Iterator[tuple[str, float]]:
    classes: Counter[str] = Counter()
    for status, count in sorted(route.statuses.items()):
        classes[f"{status // 100}xx"] += count
        yield labels(response_code=str(status)), count
    for each, count in classes.items():
        yield labels(response_code_class=each), count
