"""RING_HASH: each endpoint has many places on a ring of 64-bit numbers; a hash goes to the next one (9.2).

The places are Envoy's: xxHash64 of ``<address>:<port>_<n>``, as many for each endpoint as its share says.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from math import ceil
from typing import TypeVar

from xxhash import xxh64_intdigest

from gatewayd.upstream.balancers.base import BalancedEndpoint
from gatewayd.upstream.balancers.hash_balancer import HashBalancer, HashOptions

E = TypeVar("E", bound=BalancedEndpoint)


class RingHash(HashBalancer[E]):
    """A sorted ring."""

    __slots__ = ()

    def _table(
        self, ready: tuple[E, ...], keys: tuple[bytes, ...], shares: tuple[float, ...], options: HashOptions
    ) -> tuple[Callable[[int], E], Callable[[int, int], E]]:
        places, owners = ring(keys, shares, options.minimum_ring_size, options.maximum_ring_size)
        size = len(places)
        # One more at the end: behind the last place comes the first.
        around = [ready[owner] for owner in (*owners, owners[0])]

        def at(request_hash: int, attempt: int) -> E:
            return around[(bisect_left(places, request_hash) % size + attempt) % size]

        return lambda request_hash: around[bisect_left(places, request_hash)], at


@lru_cache(maxsize=32)
def ring(
    keys: tuple[bytes, ...], shares: tuple[float, ...], minimum: int, maximum: int
) -> tuple[list[int], list[int]]:
    """The places of a ring in ascending order, and whose each is, as an index into ``keys``.

    The least share gets a whole number of places, at least ``minimum`` of them are in all; the other
    shares need not come out whole, so that places are dealt out along a running sum. Kept, because health
    switches between few sets of endpoints.
    """
    least = min(shares)
    scale = min(ceil(least * minimum) / least, float(maximum))
    dealt, due = 0, 0.0
    found: list[tuple[int, int]] = []
    for owner, (key, share) in enumerate(zip(keys, shares, strict=True)):
        due += scale * share
        number = 0
        while dealt < due:
            found.append((xxh64_intdigest(b"%b_%d" % (key, number)), owner))
            number += 1
            dealt += 1
    found.sort()
    return [place for place, _ in found], [owner for _, owner in found]
