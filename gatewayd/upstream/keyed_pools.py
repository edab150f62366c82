"""The connections of an endpoint where not every connection is like the next: one pool per :class:`Hints`.

Where the SNI follows the Host of each request (semantics 10.2), or a PROXY header tells of the downstream
connection (10.11), a connection may only be used by requests that would have opened the same one. Strangers
choose these keys, so :meth:`KeyedPools.sweep` bounds what is kept for all of them together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from gatewayd.upstream.dialer import Hints
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.make_pool import AnyPool, ClientsChoice, make_pool
from gatewayd.upstream.pool import NO_IDLE, Open, Waiter
from gatewayd.upstream.server_names import host_name
from gatewayd.upstream.spec import ClusterSpec

#: Idle connections of one endpoint after a sweep, whatever their keys; those idle longest make room.
MAX_IDLE: Final = 256


def needs_keys(spec: ClusterSpec) -> bool:
    """Whether connections of this cluster depend on the request they are opened for."""
    return bool(spec.proxy_protocol) or _follows_host(spec)


def _follows_host(spec: ClusterSpec) -> bool:
    return spec.tls_spec is not None and not spec.tls_spec.sni


class KeyedPools:
    """A pool for each key, made when first asked for."""

    __slots__ = ("_budget", "_by_host", "_by_peer", "_loop", "_open", "_pools", "_removed", "_spec")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, spec: ClusterSpec, open: Open, budget: Budget | None = None
    ) -> None:
        self._loop = loop
        self._spec = spec
        self._open = open
        self._budget = budget
        self._by_peer = bool(spec.proxy_protocol)
        self._by_host = _follows_host(spec)
        self._pools: dict[Hints, AnyPool | ClientsChoice] = {}
        self._removed = False

    def __repr__(self) -> str:
        return f"keys {len(self._pools)}, connections {len(self.connections)}, waiting {len(self.waiting)}"

    @property
    def idle(self) -> deque[Any]:
        """Always empty: see :meth:`wait`."""
        return NO_IDLE

    @property
    def all_idle(self) -> list[Any]:
        """Idle connections of all keys."""
        return [connection for pool in self._pools.values() for connection in pool.all_idle]

    @property
    def waiting(self) -> list[Waiter]:
        """Whoever waits for a connection."""
        return [waiter for pool in self._pools.values() for waiter in pool.waiting]

    @property
    def connecting(self) -> int:
        """How many connections are being opened."""
        return sum(pool.connecting for pool in self._pools.values())

    @property
    def connections(self) -> set[Any]:
        """All open connections."""
        return {connection for pool in self._pools.values() for connection in pool.connections}

    def wait(self, waiter: Waiter) -> None:
        """Hand ``waiter`` an idle connection of its key at once, or queue it for one; see :meth:`Pool.lend`."""
        key = self._key(waiter)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = make_pool(self._loop, self._spec, self._open, self._budget, key)
            pool.removed = self._removed
        pool.lend(waiter)

    def forget(self, waiter: Waiter) -> None:
        """``waiter`` no longer wants a connection."""
        pool = self._pools.get(self._key(waiter))
        if pool is not None:
            pool.forget(waiter)

    def _key(self, waiter: Waiter) -> Hints:
        host, remote, local = waiter.hints()
        if not self._by_peer:
            remote = local = ""
        return Hints(host_name(host) if self._by_host else None, remote, local)

    # --- coarse

    def sweep(self, now: float) -> None:
        """Close connections that were idle too long or are too many, and forget pools with nothing in them."""
        idle = 0
        for key, pool in list(self._pools.items()):
            pool.sweep(now)
            idle += len(pool.all_idle)
            if pool.unused:
                del self._pools[key]
        if idle > MAX_IDLE:
            pools = [(c.idle_since, pool) for pool in self._pools.values() for c in pool.all_idle]
            pools.sort(key=lambda entry: entry[0])
            for _, pool in pools[: idle - MAX_IDLE]:
                pool.drop_oldest()

    def remove(self) -> None:
        """The endpoint left its cluster: idle connections close now, busy ones after their exchange."""
        self._removed = True
        for pool in self._pools.values():
            pool.remove()

    def close(self) -> None:
        """Close everything at once (the process ends)."""
        self._removed = True
        for pool in self._pools.values():
            pool.close()
