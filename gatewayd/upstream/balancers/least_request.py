"""LEAST_REQUEST, the default: the less busy of two endpoints drawn at random (semantics 9.1).

With unequal weights, as in Envoy, a rotation by earliest deadline in which a pick of a busy endpoint
costs more: weight / (active + 1) is its share at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from gatewayd.upstream.balancers.base import BalancedEndpoint, FlatBalancer, weights_of
from gatewayd.upstream.balancers.deadline_order import deadline_order
from gatewayd.upstream.balancers.warm_order import anybody_warms, warm_order

E = TypeVar("E", bound=BalancedEndpoint)


class LeastRequest(FlatBalancer[E]):
    """Power of two choices on ``active``."""

    __slots__ = ()

    def _choice(self, ready: tuple[E, ...], random: Callable[[], float]) -> Callable[[], E]:
        warm_up, warming = self._slow_start, cast(Any, ready)
        if warm_up is not None and anybody_warms(warming, warm_up, self._clock()):
            return cast(Callable[[], E], warm_order(warming, random, warm_up, self._clock, cost=_busy))
        if len(set(weights_of(ready))) > 1:
            return deadline_order(ready, random, cost=_busy)
        count = len(ready)

        def pick() -> E:
            # Drawn with replacement, as Envoy does: a host that fails fast, and so is never busy, does
            # not attract every request.
            one = ready[int(random() * count)]
            other = ready[int(random() * count)]
            return other if other.active < one.active else one

        return pick


def _busy(endpoint: BalancedEndpoint) -> int:
    return endpoint.active + 1
