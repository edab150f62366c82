"""ROUND_ROBIN: each in turn; with weights, in turn by earliest deadline (semantics 9.1, 9.17)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import TypeVar

from gatewayd.upstream.balancers.base import BalancedEndpoint, Balancer, weights_of
from gatewayd.upstream.balancers.deadline_order import deadline_order

E = TypeVar("E", bound=BalancedEndpoint)


class RoundRobin(Balancer[E]):
    """An exact rotation that begins anywhere."""

    __slots__ = ()

    def _choice(self, ready: tuple[E, ...], random: Callable[[], float]) -> Callable[[], E]:
        if len(set(weights_of(ready))) > 1:
            return deadline_order(ready, random)
        first = int(random() * len(ready))
        return cycle(ready[first:] + ready[:first]).__next__
