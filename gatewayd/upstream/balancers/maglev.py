"""MAGLEV: a table of fixed, prime size; a hash goes to the entry of its remainder (semantics 9.2).

Every endpoint has a permutation of the entries, made from xxHash64 of ``<address>:<port>``; in turn each
takes the next free entry of its own, those with smaller shares sit out some turns. The order of turns is
that of the keys, as in Envoy, so that the order of the endpoints does not matter.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from xxhash import xxh64_intdigest

from gatewayd.upstream.balancers.base import BalancedEndpoint
from gatewayd.upstream.balancers.hash_balancer import LARGEST_HASH, HashBalancer, HashOptions

E = TypeVar("E", bound=BalancedEndpoint)


class Maglev(HashBalancer[E]):
    """A full table."""

    __slots__ = ()

    def _table(
        self, ready: tuple[E, ...], keys: tuple[bytes, ...], shares: tuple[float, ...], options: HashOptions
    ) -> tuple[Callable[[int], E], Callable[[int, int], E]]:
        order = sorted(range(len(keys)), key=keys.__getitem__)
        sorted_keys, sorted_shares = tuple(keys[at] for at in order), tuple(shares[at] for at in order)
        size = options.table_size
        owners = table(sorted_keys, sorted_shares, size)
        hosts = [ready[at] for at in order]

        def at(request_hash: int, attempt: int) -> E:
            if attempt:  # a number with most bits set, so that the next entry is far away
                request_hash ^= LARGEST_HASH - attempt + 1
            return hosts[owners[request_hash % size]]

        return lambda request_hash: hosts[owners[request_hash % size]], at


@lru_cache(maxsize=32)
def table(keys: tuple[bytes, ...], shares: tuple[float, ...], size: int) -> array[int]:
    """Whose each of ``size`` entries is, as an index into ``keys``. Kept, because it takes some 50 ms."""
    owners = array("H" if len(keys) < 1 << 16 else "L", [0]) * size
    taken = bytearray(size)
    most = max(shares)
    skips = [xxh64_intdigest(key, 1) % (size - 1) + 1 for key in keys]
    nexts = [xxh64_intdigest(key) % size for key in keys]
    targets = [0.0] * len(keys)
    free, turn = size, 0
    while True:
        turn += 1
        for owner, share in enumerate(shares):
            # The largest share is there in every turn, a third of it in every third one.
            if turn * share < targets[owner]:
                continue
            targets[owner] += most
            entry, skip = nexts[owner], skips[owner]
            while taken[entry]:
                entry += skip
                if entry >= size:
                    entry -= size
            taken[entry] = 1
            owners[entry] = owner
            nexts[owner] = (entry + skip) % size
            free -= 1
            if not free:
                return owners
