"""HOT: consistent hashing: equal hashes get the same endpoint for as long as it is there (semantics 9.2).

What each policy builds is a table from hashes to endpoints that depends on their addresses and shares
alone, so that all gateways, and Envoy, place alike.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import repeat
from random import random as random_float
from typing import Any, Final, Protocol, TypeVar, cast

from gatewayd.upstream.balancers.base import RE_PICKS, BalancedEndpoint, Balancer, weights_of

E = TypeVar("E", bound=BalancedEndpoint)

#: The largest hash.
LARGEST_HASH: Final = (1 << 64) - 1
_UNIX: Final = "unix:"


class AddressedEndpoint(Protocol):
    """What hashing reads of an endpoint besides what every balancer reads."""

    @property
    def address(self) -> str:
        """An IP address, or ``unix:/path``."""

    @property
    def port(self) -> int:
        """Its port; 0 for a UNIX socket."""


@dataclass(frozen=True, slots=True)
class HashOptions:
    """Sizes of the tables; the defaults are those in force when a DestinationRule names none (semantics 9.2)."""

    minimum_ring_size: int = 1024
    maximum_ring_size: int = 8 * 1024 * 1024
    table_size: int = 65537


DEFAULT_OPTIONS: Final = HashOptions()


class HashBalancer(Balancer[E], ABC):
    """A table over the ready ones of ``endpoints``, or over all of them (``panic``).

    ``random`` yields floats in [0, 1): a request without hash goes anywhere (semantics 9.3). shares: what
    each of ``endpoints`` gets of the whole; None: by its weight.
    """

    __slots__ = ("_at",)

    def __init__(
        self,
        endpoints: Sequence[E],
        random: Callable[[], float] = random_float,
        *,
        panic: bool = False,
        options: HashOptions = DEFAULT_OPTIONS,
        shares: Sequence[float] | None = None,
        **_: Any,
    ) -> None:
        chosen = [index for index, endpoint in enumerate(endpoints) if panic or endpoint.ready]
        self.ready = ready = tuple(endpoints[index] for index in chosen)
        #: (hash, how many were passed over) -> endpoint
        self._at: Callable[[int, int], E]
        if len(ready) < 2:
            only = ready[0] if ready else None
            self._at = cast(Any, lambda request_hash, attempt: only)
            self.pick = repeat(only).__next__
            self.pick_for = lambda request_hash: only
            return
        if shares is None:
            weights = weights_of(ready)
            total = sum(weights)
            shares = [weight / total for weight in weights]
        else:
            shares = [shares[index] for index in chosen]
        keys = tuple(hash_key(cast(Any, endpoint)) for endpoint in ready)
        self.pick_for, self._at = self._table(ready, keys, tuple(shares), options)
        pick_for = self.pick_for
        self.pick = lambda: pick_for(random_hash(random))

    @abstractmethod
    def _table(
        self, ready: tuple[E, ...], keys: tuple[bytes, ...], shares: tuple[float, ...], options: HashOptions
    ) -> tuple[Callable[[int], E], Callable[[int, int], E]]:
        """The picking function for a hash, and the one for a hash and the number of the attempt."""

    def pick_other_for(self, request_hash: int, tried: Collection[E]) -> E | None:
        """The endpoint for a retry, not among ``tried`` if there is any (semantics 6.7.6).

        Up to five further places that belong to the hash are looked at, which are Envoy's own. Should all
        of them belong to hosts already tried, the first untried one is taken.
        """
        for attempt in range(RE_PICKS + 1):
            endpoint = self._at(request_hash, attempt)
            if endpoint not in tried:
                return endpoint
        return next((other for other in self.ready if other not in tried), endpoint)


def random_hash(random: Callable[[], float]) -> int:
    """64 random bits; a float has only 53."""
    return int(random() * 0x1_0000_0000) << 32 | int(random() * 0x1_0000_0000)


def hash_key(endpoint: AddressedEndpoint) -> bytes:
    """What stands for an endpoint in the tables: ``10.0.0.1:80``, ``[fd00::1]:80`` or ``/run/socket``."""
    address = endpoint.address
    if address.startswith(_UNIX):
        return address[len(_UNIX) :].encode()
    if ":" in address:
        address = f"[{socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address))}]"
    return f"{address}:{endpoint.port}".encode()
