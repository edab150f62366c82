"""From what a DestinationRule asks for to a balancer (semantics 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import random as random_float
from time import monotonic
from typing import Any, Final, TypeVar

from gatewayd.upstream.balancers.base import BalancedEndpoint, Balancer, FlatBalancer
from gatewayd.upstream.balancers.by_load import ByLoad, LoadOptions
from gatewayd.upstream.balancers.hash_balancer import DEFAULT_OPTIONS, HashBalancer, HashOptions
from gatewayd.upstream.balancers.least_request import LeastRequest
from gatewayd.upstream.balancers.maglev import Maglev
from gatewayd.upstream.balancers.prioritised import Locality, Prioritised
from gatewayd.upstream.balancers.random_choice import RandomChoice
from gatewayd.upstream.balancers.ring_hash import RingHash
from gatewayd.upstream.balancers.round_robin import RoundRobin
from gatewayd.upstream.balancers.slow_start import SlowStart

E = TypeVar("E", bound=BalancedEndpoint)

#: ``BalancerOptions.policy`` to its policy (semantics 9.1, 9.2, 9.19).
BALANCERS: Final[dict[str, type[FlatBalancer[Any] | HashBalancer[Any]]]] = {
    "LEAST_REQUEST": LeastRequest,
    "LOAD": ByLoad,
    "MAGLEV": Maglev,
    "RANDOM": RandomChoice,
    "RING_HASH": RingHash,
    "ROUND_ROBIN": RoundRobin,
}


@dataclass(frozen=True, slots=True)
class BalancerOptions:
    """``loadBalancer`` of a traffic policy, as balancers need it."""

    policy: str = "LEAST_REQUEST"  # row of BALANCERS
    hashing: HashOptions = DEFAULT_OPTIONS
    #: 9.7; None: new endpoints get all of their share at once
    slow_start: SlowStart | None = None
    #: minHealthPercent (9.12): below it endpoints are used ready or not; 0 = never
    panic_threshold: int = 0
    #: of the policy LOAD, which none but that has
    load: LoadOptions | None = None

    @property
    def hashes(self) -> bool:
        """Whether the policy places by hash."""
        return issubclass(BALANCERS[self.policy], HashBalancer)


def make_balancer(
    options: BalancerOptions,
    endpoints: Sequence[E],
    *,
    random: Callable[[], float] = random_float,
    clock: Callable[[], float] = monotonic,
) -> Balancer[E]:
    """The balancer of a cluster without localities."""
    if options.panic_threshold:
        return make_prioritised(
            options, [[Locality(tuple(endpoints))]], weighted=False, random=random, clock=clock
        )
    made: Balancer[E] = _flat(options, random, clock)(endpoints, panic=False)
    return made


def make_prioritised(
    options: BalancerOptions,
    priorities: Sequence[Sequence[Locality[E]]],
    *,
    weighted: bool = True,
    random: Callable[[], float] = random_float,
    clock: Callable[[], float] = monotonic,
) -> Balancer[E]:
    """The balancer of a cluster whose endpoints are ranked by locality; see :class:`Prioritised`."""
    return Prioritised(
        priorities,
        _flat(options, random, clock),
        hashes=options.hashes,
        weighted=weighted,
        panic_threshold=options.panic_threshold,
        random=random,
    )


def _flat(options: BalancerOptions, random: Callable[[], float], clock: Callable[[], float]) -> Any:
    policy: Any = BALANCERS[options.policy]

    def make(
        endpoints: Sequence[Any], *, panic: bool, shares: Sequence[float] | None = None
    ) -> Balancer[Any]:
        if options.hashes:
            made = policy(endpoints, random, panic=panic, options=options.hashing, shares=shares)
        elif options.load is not None:
            made = policy(endpoints, random, panic=panic, options=options.load, clock=clock)
        else:
            made = policy(endpoints, random, panic=panic, slow_start=options.slow_start, clock=clock)
        assert isinstance(made, Balancer)
        return made

    return make
