"""RANDOM: any endpoint, all alike (semantics 9.1). As in Envoy, weights of endpoints have no say in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gatewayd.upstream.balancers.base import BalancedEndpoint, FlatBalancer

E = TypeVar("E", bound=BalancedEndpoint)


class RandomChoice(FlatBalancer[E]):
    """No memory, no look at how busy an endpoint is."""

    __slots__ = ()

    def _choice(self, ready: tuple[E, ...], random: Callable[[], float]) -> Callable[[], E]:
        count = len(ready)
        return lambda: ready[int(random() * count)]
