"""HOT: what all balancers share. ``pick`` runs once per request and upstream attempt.

``pick`` is an attribute rather than a method: each balancer builds the one function its endpoints call
for, so that no endpoint and one endpoint cost a single call into C (25 ns) and no test of how many.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from itertools import repeat
from random import random as random_float
from time import monotonic
from typing import Final, Generic, Protocol, TypeVar

from gatewayd.upstream.balancers.slow_start import SlowStart

#: How often a retry picks again to get a host not tried before (semantics 6.7.6).
RE_PICKS: Final = 5


class BalancedEndpoint(Protocol):
    """What a balancer reads of an endpoint.

    One that other workers send to as well has also ``everywhere``, requests in progress there by worker, and
    ``column``, which of those is this worker's to write.
    """

    @property
    def active(self) -> int:
        """Requests in progress there, counted by whoever sends them."""

    @property
    def ready(self) -> bool:
        """False: known but never selected (semantics 9.13). Read once, when the balancer is made."""

    @property
    def weight(self) -> int:
        """Share of the selection; 0 counts as 1 (semantics 9.17). Read when the balancer is made."""


E = TypeVar("E", bound=BalancedEndpoint)


class Balancer(Generic[E]):
    """Selects endpoints. Whoever makes one sets the three attributes."""

    __slots__ = ("pick", "pick_for", "ready")

    #: HOT. The endpoint for the next attempt; None if none is ready.
    pick: Callable[[], E | None]
    #: HOT. The endpoint for a request whose hash (64 bits) is known; policies that do not hash ignore it.
    pick_for: Callable[[int], E | None]
    #: all that may be selected, the preferred ones first
    ready: tuple[E, ...]

    def pick_other(self, tried: Collection[E]) -> E | None:
        """The endpoint for a retry: one that is not among ``tried`` if there is any (semantics 6.7.6).

        Five re-picks keep the policy's distribution. Should all of them meet hosts already tried (a dead
        host has no active requests, so least request loves it), the first untried one is taken.
        """
        endpoint = self.pick()
        for _ in range(RE_PICKS):
            if endpoint not in tried:
                return endpoint
            endpoint = self.pick()
        if endpoint not in tried:
            return endpoint
        return next((other for other in self.ready if other not in tried), endpoint)

    def pick_other_for(self, request_hash: int, tried: Collection[E]) -> E | None:
        """``pick_other`` for a request whose hash is known."""
        return self.pick_other(tried)


class FlatBalancer(Balancer[E], ABC):
    """Selects among the ready ones of ``endpoints``; ``random`` yields floats in [0, 1).

    panic: among all of them, ready or not (semantics 9.12). slow_start: new endpoints get less (9.7), by
    ``clock`` in monotonic seconds; policies that have no use for it ignore it.
    """

    __slots__ = ("_clock", "_slow_start")

    def __init__(
        self,
        endpoints: Sequence[E],
        random: Callable[[], float] = random_float,
        *,
        panic: bool = False,
        slow_start: SlowStart | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._slow_start = slow_start
        self._clock = clock
        self.ready = tuple(endpoint for endpoint in endpoints if panic or endpoint.ready)
        if len(self.ready) > 1:
            self.pick = self._choice(self.ready, random)
        else:
            self.pick = repeat(self.ready[0] if self.ready else None).__next__
        pick = self.pick
        self.pick_for = lambda request_hash: pick()

    @abstractmethod
    def _choice(self, ready: tuple[E, ...], random: Callable[[], float]) -> Callable[[], E]:
        """The picking function for two or more endpoints."""


def weights_of(endpoints: Sequence[BalancedEndpoint]) -> list[int]:
    """Their weights, at least 1 each (semantics 9.17)."""
    return [max(1, endpoint.weight) for endpoint in endpoints]
