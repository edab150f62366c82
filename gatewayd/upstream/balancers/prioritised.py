"""Endpoints in priorities and localities: which priority, then which locality, then which endpoint (9.12 to 9.15).

It is made of flat balancers, one for each priority or each of its localities; hash balancers have one
table per priority, in which the weights of localities are shares.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from random import random as random_float
from typing import Any, Generic, Protocol, TypeVar

from gatewayd.upstream.balancers.base import BalancedEndpoint, Balancer, weights_of
from gatewayd.upstream.balancers.hash_balancer import random_hash
from gatewayd.upstream.balancers.locality_order import locality_order
from gatewayd.upstream.balancers.priority_load import priority_loads

E = TypeVar("E", bound=BalancedEndpoint)


@dataclass(frozen=True, slots=True)
class Locality(Generic[E]):
    """The endpoints of one locality in one priority, ready or not, and what it gets: 0 is nothing."""

    endpoints: tuple[E, ...]
    weight: int = 1


class MakeFlat(Protocol):
    """Makes a balancer of one policy for some endpoints."""

    def __call__(
        self, endpoints: Sequence[Any], *, panic: bool, shares: Sequence[float] | None = None
    ) -> Balancer[Any]:
        """See FlatBalancer and HashBalancer."""


class Prioritised(Balancer[E]):
    """Balances over ``priorities``, the preferred one first; each is a sequence of localities.

    flat: makes the balancers within. hashes: they place by hash, and so is the priority chosen.
    weighted: the weights of the localities count; otherwise a priority is one set. panic_threshold: per cent
    (semantics 9.12), 0 = never. ``random`` yields floats in [0, 1).
    """

    __slots__ = ()

    def __init__(
        self,
        priorities: Sequence[Sequence[Locality[E]]],
        flat: MakeFlat,
        *,
        hashes: bool = False,
        weighted: bool = True,
        panic_threshold: int = 0,
        random: Callable[[], float] = random_float,
    ) -> None:
        levels = [(sum(e.ready for e in everybody(level)), len(everybody(level))) for level in priorities]
        loads, panic = priority_loads(levels, panic_threshold) if levels else ([100], [False])
        make = _hashing_level if hashes else _level
        made = [
            make(level, flat, panic=panics, weighted=weighted)
            for level, panics in zip(priorities, panic, strict=False)
        ]
        self.ready = tuple(endpoint for level in made for endpoint in level.ready)
        ends = list(accumulate(loads))
        if not made:
            self.pick = repeat(None).__next__
            self.pick_for = lambda request_hash: None
        elif 100 in loads:
            chosen = made[loads.index(100)]
            self.pick, self.pick_for = chosen.pick, chosen.pick_for
        elif hashes:
            by_hash = [level.pick_for for level in made]
            pick_for = self.pick_for = lambda request_hash: by_hash[
                bisect_left(ends, request_hash % 100 + 1)
            ](request_hash)
            self.pick = lambda: pick_for(random_hash(random))
        else:
            picks = [level.pick for level in made]
            pick = self.pick = lambda: picks[bisect_left(ends, int(random() * 100) + 1)]()
            self.pick_for = lambda request_hash: pick()


class _Localities(Balancer[E]):
    """One priority whose localities share the load by weight and by how much of each is ready."""

    __slots__ = ()

    def __init__(self, children: Sequence[Balancer[E]], weights: Sequence[float]) -> None:
        self.ready = tuple(endpoint for child in children for endpoint in child.ready)
        turn = locality_order([child.pick for child in children], weights)
        pick = self.pick = lambda: turn()()
        self.pick_for = lambda request_hash: pick()


def everybody(level: Sequence[Locality[E]]) -> list[E]:
    """All endpoints of a priority."""
    return [endpoint for locality in level for endpoint in locality.endpoints]


def effective_weight(locality: Locality[Any]) -> float:
    """The weight of a locality, less when fewer than 100/140 of its endpoints are ready (semantics 9.14)."""
    if not locality.endpoints:
        return 0.0
    ready = sum(bool(endpoint.ready) for endpoint in locality.endpoints)
    return locality.weight * min(1.0, 1.4 * (ready / len(locality.endpoints)))


def _level(level: Sequence[Locality[E]], flat: MakeFlat, *, panic: bool, weighted: bool) -> Balancer[E]:
    if not panic and weighted:
        weights = [effective_weight(locality) for locality in level]
        in_use = [(locality, weight) for locality, weight in zip(level, weights, strict=True) if weight > 0]
        if len(in_use) == 1:
            return flat(in_use[0][0].endpoints, panic=False)
        if in_use:
            children = [flat(locality.endpoints, panic=False) for locality, _ in in_use]
            return _Localities(children, [weight for _, weight in in_use])
    return flat(everybody(level), panic=panic)


def _hashing_level(
    level: Sequence[Locality[E]], flat: MakeFlat, *, panic: bool, weighted: bool
) -> Balancer[E]:
    if not weighted:
        return flat(everybody(level), panic=panic)
    total = sum(locality.weight for locality in level)
    endpoints: list[E] = []
    shares: list[float] = []
    for locality in level:
        members = [endpoint for endpoint in locality.endpoints if panic or endpoint.ready]
        if locality.weight and members:
            weights = weights_of(members)
            of_locality = locality.weight / total
            endpoints += members
            shares += [weight * of_locality / sum(weights) for weight in weights]
    return flat(endpoints, panic=panic, shares=shares)
