"""ROUND_ROBIN: each in turn; with weights, in turn by earliest deadline (semantics 9.1, 9.17)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any, TypeVar, cast

from gatewayd.upstream.balancers.base import BalancedEndpoint, FlatBalancer, weights_of
from gatewayd.upstream.balancers.deadline_order import deadline_order
from gatewayd.upstream.balancers.warm_order import anybody_warms, warm_order

E = TypeVar("E", bound=BalancedEndpoint)


class RoundRobin(FlatBalancer[E]):
    """An exact rotation that begins anywhere."""

    __slots__ = ()

    def _choice(self, ready: tuple[E, ...], random: Callable[[], float]) -> Callable[[], E]:
        warm_up, warming = self._slow_start, cast(Any, ready)
        if warm_up is not None and anybody_warms(warming, warm_up, self._clock()):
            return cast(Callable[[], E], warm_order(warming, random, warm_up, self._clock))
        if len(set(weights_of(ready))) > 1:
            return deadline_order(ready, random)
        first = int(random() * len(ready))
        return cycle(ready[first:] + ready[:first]).__next__
