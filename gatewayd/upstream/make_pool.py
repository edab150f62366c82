"""Which pool an endpoint's connections are kept in: by version, and by whether there is anything to count."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from gatewayd.upstream.dialer import NO_HINTS, Hints
from gatewayd.upstream.limited_pool import LimitedPool, needs_limits
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.pool import NO_IDLE, Open, Pool, Waiter
from gatewayd.upstream.shared_pool import SharedPool
from gatewayd.upstream.spec import AS_CLIENT, HTTP2, ClusterSpec

#: What keeps connections that are alike.
AnyPool = Pool | SharedPool
_HTTP2: bytes = b"HTTP/2"


def make_pool(
    loop: asyncio.AbstractEventLoop,
    spec: ClusterSpec,
    open: Open,
    budget: Budget | None = None,
    hints: Hints = NO_HINTS,
) -> AnyPool | ClientsChoice:
    """A pool for connections of a cluster that ``hints`` may tell apart."""
    if spec.protocol == HTTP2:
        return SharedPool(loop, spec, open, budget, hints)
    if spec.protocol == AS_CLIENT:
        return ClientsChoice(loop, spec, open, budget, hints)
    return _http1_pool(loop, spec, open, budget, hints)


def _http1_pool(
    loop: asyncio.AbstractEventLoop, spec: ClusterSpec, open: Open, budget: Budget | None, hints: Hints
) -> Pool:
    if not needs_limits(spec):
        return Pool(loop, spec, open, hints)
    return LimitedPool(loop, spec, open, hints, budget=budget or Budget(spec.limits))


class ClientsChoice:
    """Two pools: each request goes on in the version its client speaks (``useClientProtocol``, semantics 8.3.8)."""

    __slots__ = ("_http1", "_http2")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        spec: ClusterSpec,
        open: Open,
        budget: Budget | None,
        hints: Hints,
    ) -> None:
        self._http1 = _http1_pool(loop, spec, open, budget, hints)
        self._http2 = SharedPool(loop, spec, open, budget, hints._replace(http2=True))

    def __repr__(self) -> str:
        return f"HTTP/1.1: {self._http1}; HTTP/2: {self._http2}"

    @property
    def _both(self) -> tuple[AnyPool, AnyPool]:
        return self._http1, self._http2

    @property
    def idle(self) -> deque[Any]:
        """Always empty: who asks has to say which version."""
        return NO_IDLE

    @property
    def all_idle(self) -> list[Any]:
        """Connections that carry nothing."""
        return [connection for pool in self._both for connection in pool.all_idle]

    @property
    def waiting(self) -> list[Waiter]:
        """Whoever waits for a connection."""
        return [waiter for pool in self._both for waiter in pool.waiting]

    @property
    def connecting(self) -> int:
        """How many connections are being opened."""
        return sum(pool.connecting for pool in self._both)

    @property
    def connections(self) -> set[Any]:
        """All open connections."""
        return {connection for pool in self._both for connection in pool.connections}

    @property
    def unused(self) -> bool:
        """Whether there is nothing in the pools."""
        return self._http1.unused and self._http2.unused

    @property
    def removed(self) -> bool:
        """Nobody comes any more."""
        return self._http1.removed

    @removed.setter
    def removed(self, removed: bool) -> None:
        self._http1.removed = self._http2.removed = removed

    def wait(self, waiter: Waiter) -> None:
        """Queue ``waiter`` for a connection of its version, or hand it one."""
        pool = self._http2 if waiter.protocol == _HTTP2 else self._http1
        pool.lend(waiter)

    lend = wait

    def forget(self, waiter: Waiter) -> None:
        """``waiter`` no longer wants a connection."""
        for pool in self._both:
            pool.forget(waiter)

    def sweep(self, now: float) -> None:
        """Close connections that were idle too long."""
        for pool in self._both:
            pool.sweep(now)

    def drop_oldest(self) -> None:
        """Close an idle connection; there must be one."""
        pool = self._http1 if self._http1.idle else self._http2
        pool.drop_oldest()

    def remove(self) -> None:
        """The endpoint left its cluster: idle connections close now, busy ones after their exchange."""
        for pool in self._both:
            pool.remove()

    def close(self) -> None:
        """Close everything at once (the process ends)."""
        for pool in self._both:
            pool.close()
