"""HOT: the HTTP/1.1 connections of one endpoint that are alike.

A request takes the connection used last (the others may then grow idle and close). Without an idle one a
connection is opened and the request waits; whichever connection becomes free first serves whoever waits
longest. Only the opening of a connection costs a task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final, Protocol

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.h1.client import ClientConnection
from gatewayd.upstream.dialer import NO_HINTS, Factory, Hints
from gatewayd.upstream.spec import ClusterSpec

#: Nothing is idle for a request that has to come to the pool first.
NO_IDLE: Final[deque[Any]] = deque(maxlen=0)

Open = Callable[[Factory, Hints], Awaitable[tuple[Failure | None, str]]]


class Waiter(Protocol):
    """An exchange that waits for a connection."""

    #: how many endpoints were tried for it so far, this one included
    attempts: int
    #: what its client speaks, as the log prints it
    protocol: bytes

    def hints(self) -> tuple[bytes, str, str]:
        """What a connection may depend on: Host as it goes upstream, and ``ip:port`` of the client and of what
        it connected to."""

    def on_connected(self, connection: Any) -> None:
        """A connection, or a stream of one, is free; the request may start on it now."""

    def on_connect_failure(self, failure: Failure, transport: str) -> None:
        """No connection could be opened."""


class Pool:
    """Connections that serve the same requests; it is the owner codecs report to (``ClientOwner``)."""

    __slots__ = (
        "_hints", "_loop", "_open", "_spec", "_tasks", "connecting", "connections", "idle", "removed", "waiting",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, spec: ClusterSpec, open: Open, hints: Hints = NO_HINTS
    ) -> None:
        self._loop = loop
        self._spec = spec
        self._open = open
        self._hints = hints
        #: the connection used last is at the right
        self.idle: deque[ClientConnection] = deque()
        self.waiting: deque[Waiter] = deque()
        self.connecting = 0
        self.connections: set[ClientConnection] = set()
        #: nobody comes any more: connections close when they come back
        self.removed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return (
            f"idle {len(self.idle)}, connections {len(self.connections)}, connecting {self.connecting}, "
            f"waiting {len(self.waiting)}"
        )

    def wait(self, waiter: Waiter) -> None:
        """Queue ``waiter`` for a connection and see that one is on its way."""
        self.waiting.append(waiter)
        if self.connecting < len(self.waiting):
            self._dial()

    def lend(self, waiter: Waiter) -> None:
        """Hand ``waiter`` an idle connection at once, or queue it for one.

        A further attempt gets none that was idle: what made the last one fail may have closed all of them.
        """
        if self.idle and waiter.attempts <= 1:
            waiter.on_connected(self.idle.pop())
        else:
            self.wait(waiter)

    def _dial(self) -> None:
        self.connecting += 1
        task = self._loop.create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, waiter: Waiter) -> None:
        """``waiter`` no longer wants a connection."""
        if waiter in self.waiting:
            self.waiting.remove(waiter)

    async def _connect(self) -> None:
        connection = ClientConnection(self)
        failure, words = await self._open(lambda: connection, self._hints)
        self.connecting -= 1
        if failure is None and connection.closed:  # opened and closed again before we looked
            failure = errors.UPSTREAM_CLOSED
        if failure is not None:
            if connection.transport is not None:  # made in the very moment the time was up
                connection.close()
            self._failed(failure, words)
            return
        self.connections.add(connection)
        self.released(connection)

    def _failed(self, failure: Failure, words: str) -> None:
        if self.waiting:
            self.waiting.popleft().on_connect_failure(failure, words)

    # --- ClientOwner

    def released(self, connection: ClientConnection) -> None:
        """A connection can carry (another) request."""
        limit = self._spec.max_requests_per_connection
        if connection.closed or (limit and connection.requests >= limit):
            connection.close()
            self.gone(connection)
        elif self.waiting:  # also after a removal: nobody else will come for them
            self.waiting.popleft().on_connected(connection)
        elif self.removed:
            connection.close()
            self.gone(connection)
        else:
            connection.idle_since = monotonic()
            self.idle.append(connection)

    def gone(self, connection: ClientConnection) -> None:
        """A connection is closed, or will be; may be told more than once."""
        if connection in self.connections:
            if connection in self.idle:
                self.idle.remove(connection)
            self._lose(connection)

    def _lose(self, connection: ClientConnection) -> None:
        """It is one of ours no more."""
        self.connections.discard(connection)

    # --- coarse

    def sweep(self, now: float) -> None:
        """Close connections that were idle too long; the oldest are at the left."""
        limit_s = self._spec.idle_timeout_s
        idle = self.idle
        while idle and limit_s and now - idle[0].idle_since >= limit_s:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        """Close the connection that is idle longest; there must be one."""
        self._close(self.idle.popleft())

    @property
    def all_idle(self) -> list[ClientConnection]:
        """Idle connections, as a view of the pools' state."""
        return list(self.idle)

    @property
    def unused(self) -> bool:
        """Whether there is nothing in the pool."""
        return not (self.connections or self.connecting or self.waiting)

    def remove(self) -> None:
        """The endpoint left its cluster: idle connections close now, busy ones after their exchange."""
        self.removed = True
        while self.idle:
            self._close(self.idle.popleft())

    def _close(self, connection: ClientConnection) -> None:
        self._lose(connection)
        connection.close()

    def close(self) -> None:
        """Close everything at once (the process ends)."""
        self.removed = True
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self.connections):
            self._close(connection)
        self.idle.clear()
