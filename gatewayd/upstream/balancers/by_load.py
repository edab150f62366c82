"""Each in turn, more often the more it can take, by its own load reports: ``backendUtilization`` (semantics 9.19).

As Envoy's client_side_weighted_round_robin. The weight of an endpoint is its rate of requests by its utilization: how
many it would serve when it is fully used. One whose reports are too fresh, too old or missing counts as the median of
the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import random as random_float
from statistics import median
from time import monotonic
from typing import Any, Final, TypeVar

from gatewayd.upstream.balancers.base import BalancedEndpoint, FlatBalancer
from gatewayd.upstream.balancers.deadline_order import deadline_order

E = TypeVar("E", bound=BalancedEndpoint)

_LARGEST: Final = 4_294_967_295


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """``backendUtilization``, with Envoy's defaults."""

    #: looked at where there is no ``application_utilization``; the largest counts, else ``cpu_utilization``
    metrics: tuple[str, ...] = ()
    #: what is added to the utilization if every request fails
    error_penalty: float = 0.0
    #: how long an endpoint reports before it is believed
    blackout_s: float = 10.0
    #: how long after its last report
    expiration_s: float = 180.0
    #: how often weights are worked out
    update_s: float = 1.0


class Load:
    """What an endpoint said of its load."""

    __slots__ = ("complained", "heard_at", "readable", "since", "weight", "written")

    def __init__(self) -> None:
        self.weight = 1
        #: when it last said so, and since when it does (monotonic); None: it does not
        self.heard_at = 0.0
        self.since: float | None = None
        #: the last report as it came, whether it was of use, and whether anybody was told of one that was not
        self.written = b""
        self.readable = False
        self.complained = False

    def tell(self, weight: int, now: float) -> None:
        """It says that its weight is ``weight``."""
        self.weight = weight
        self.heard_at = now
        if self.since is None:
            self.since = now

    def at(self, now: float, options: LoadOptions) -> int | None:
        """The weight to believe, None: there is none."""
        if self.since is None or self.since > now - options.blackout_s:
            return None
        if self.heard_at < now - options.expiration_s:
            self.since = None
            return None
        return self.weight


def weight_of(report: Mapping[str, float], options: LoadOptions) -> int | None:
    """What a report comes to; None: it says too little."""
    rate = report.get("rps_fractional", 0.0)
    if not rate > 0:
        return None
    used = report.get("application_utilization", 0.0)
    if not used > 0:
        used = max((_metric(report, name) for name in options.metrics), default=0.0)
    if not used > 0:
        used = report.get("cpu_utilization", 0.0)
    used += options.error_penalty * report.get("eps", 0.0) / rate
    if not used > 0:
        return None
    weight = rate / used
    return int(min(weight, _LARGEST)) if weight >= 0 else None


def _metric(report: Mapping[str, float], name: str) -> float:
    if name.endswith(".*"):
        family = name[:-1]
        return max((value for metric, value in report.items() if metric.startswith(family)), default=0.0)
    return report.get(name, 0.0)


class ByLoad(FlatBalancer[E]):
    """A weighted rotation whose weights follow what the endpoints say."""

    __slots__ = ("_options",)

    def __init__(
        self,
        endpoints: Sequence[E],
        random: Callable[[], float] = random_float,
        *,
        panic: bool = False,
        options: LoadOptions = LoadOptions(),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._options = options
        super().__init__(endpoints, random, panic=panic, clock=clock)

    def _choice(self, ready: tuple[E, ...], random: Callable[[], float]) -> Callable[[], E]:
        clock, options = self._clock, self._options
        now = clock()
        weights = _weights(ready, options, now)
        order = deadline_order(ready, random, weights=weights)
        due = now + options.update_s

        def pick() -> E:
            nonlocal weights, order, due
            now = clock()
            if now >= due:
                due = now + options.update_s
                fresh = _weights(ready, options, now)
                if fresh != weights:
                    weights = fresh
                    order = deadline_order(ready, random, weights=weights)
            return order()

        return pick


def _weights(endpoints: Sequence[Any], options: LoadOptions, now: float) -> list[int]:
    believed = [
        endpoint.load.at(now, options) if endpoint.load is not None else None for endpoint in endpoints
    ]
    known = [weight for weight in believed if weight is not None]
    usual = int(median(known)) if known else 1
    return [max(1, usual if weight is None else weight) for weight in believed]
