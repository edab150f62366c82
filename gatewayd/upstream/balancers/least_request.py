"""LEAST_REQUEST, the default: the less busy of two endpoints drawn at random (semantics 9.1).

With unequal weights, as in Envoy, a rotation by earliest deadline in which a pick of a busy endpoint
costs more: weight / (active + 1) is its share at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        shared = hasattr(ready[0], "everywhere")
        busy = _busy_everywhere if shared else _busy
        if warm_up is not None and anybody_warms(warming, warm_up, self._clock()):
            return cast(Callable[[], E], warm_order(warming, random, warm_up, self._clock, cost=busy))
        if len(set(weights_of(ready))) > 1:
            return deadline_order(ready, random, cost=busy)
        count = len(ready)

        def pick() -> E:
            # Drawn with replacement, as Envoy does: a host that fails fast, and so is never busy, does
            # not attract every request.
            one = ready[int(random() * count)]
            other = ready[int(random() * count)]
            return other if other.active < one.active else one

        return _pick_shared(warming, random) if shared else pick


def _pick_shared(ready: Sequence[Any], random: Callable[[], float]) -> Callable[[], Any]:
    """The same, where other workers send to these endpoints too: each look also tells what is in progress here."""
    count = len(ready)

    def pick() -> Any:
        one = ready[int(random() * count)]
        other = ready[int(random() * count)]
        if one is not other:
            of_one, of_other, column = one.everywhere, other.everywhere, one.column
            one_here, other_here = one.active, other.active
            of_one[column] = one_here + 1
            of_other[column] = other_here + 1
            if sum(of_other) < sum(of_one):
                of_one[column] = one_here
                return other
            of_other[column] = other_here
        return one

    return pick


def _busy(endpoint: BalancedEndpoint) -> int:
    return endpoint.active + 1


def _busy_everywhere(endpoint: Any) -> int:
    by_worker: Any = endpoint.everywhere
    by_worker[endpoint.column] = endpoint.active + 1
    return sum(by_worker)
