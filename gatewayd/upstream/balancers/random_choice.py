"""RANDOM: any endpoint, in proportion to its weight (semantics 9.1, 9.17)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import TypeVar

from gatewayd.upstream.balancers.base import BalancedEndpoint, Balancer, weights_of

E = TypeVar("E", bound=BalancedEndpoint)


class RandomChoice(Balancer[E]):
    """No memory, no look at how busy an endpoint is."""

    __slots__ = ()

    def _choice(self, ready: tuple[E, ...], random: Callable[[], float]) -> Callable[[], E]:
        weights = weights_of(ready)
        if len(set(weights)) > 1:
            ends = list(accumulate(weights))
            total = ends[-1]
            return lambda: ready[bisect_right(ends, random() * total)]
        count = len(ready)
        return lambda: ready[int(random() * count)]
