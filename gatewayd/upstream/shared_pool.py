"""HOT: the HTTP/2 connections of one endpoint that are alike; many requests share each (semantics 8.3.5, 8.3.8).

A request gets a stream on the first connection that has room. Without one a connection is opened, and everybody who
comes meanwhile waits for it; further ones follow only when those there are carry as many streams as the endpoint, or
``maxConcurrentStreams``, allows. A connection that the endpoint has said farewell on serves what it carries.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.h2.client import UNTIL_TOLD, ClientConnection
from gatewayd.http.limits import HttpLimits
from gatewayd.upstream.dialer import NO_HINTS, Hints
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.pool import NO_IDLE, Open, Waiter
from gatewayd.upstream.spec import NO_LIMITS, ClusterSpec

_LIMITS: Final = HttpLimits()


class SharedPool:
    """Connections that serve the same requests; it is the owner codecs report to (``SharedOwner``)."""

    __slots__ = (
        "_budget", "_hints", "_loop", "_most_requests", "_open", "_requests_each", "_spec", "_tasks", "_usable",
        "connecting", "connections", "removed", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        spec: ClusterSpec,
        open: Open,
        budget: Budget | None = None,
        hints: Hints = NO_HINTS,
    ) -> None:
        self._loop = loop
        self._spec = spec
        self._open = open
        #: what is left of the cluster's limits (8.3); a budget without limits never says no
        self._budget = budget or Budget(NO_LIMITS)
        self._hints = hints
        self._most_requests = spec.limits.max_requests
        self._requests_each = spec.max_requests_per_connection
        self.waiting: deque[Waiter] = deque()
        self.connecting = 0
        self.connections: set[ClientConnection] = set()
        #: those that take new streams, when they have room; the first one with room is used
        self._usable: list[ClientConnection] = []
        #: nobody comes any more: connections close with their last stream
        self.removed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        streams = sum(len(connection.streams) for connection in self.connections)
        return (
            f"connections {len(self.connections)}, streams {streams}, connecting {self.connecting}, "
            f"waiting {len(self.waiting)}"
        )

    @property
    def idle(self) -> deque[Any]:
        """Always empty: see :meth:`wait`."""
        return NO_IDLE

    @property
    def all_idle(self) -> list[ClientConnection]:
        """Connections that carry nothing."""
        return [connection for connection in self.connections if not connection.streams]

    @property
    def unused(self) -> bool:
        """Whether there is nothing in the pool."""
        return not (self.connections or self.connecting or self.waiting)

    # --- requests

    def wait(self, waiter: Waiter) -> None:
        """Hand ``waiter`` a stream at once, or queue it for one; it hears of an overflow at once (8.3.3, 8.3.4)."""
        for connection in self._usable:
            if connection.room > 0:
                self._hand_over(connection, waiter)
                return
        budget = self._budget
        if not budget.room_for_pending():
            self._overflow(waiter)
            return
        budget.pending += 1
        self.waiting.append(waiter)
        self._open_more()

    lend = wait

    def forget(self, waiter: Waiter) -> None:
        """``waiter`` no longer wants a stream."""
        if waiter in self.waiting:
            self.waiting.remove(waiter)
            self._budget.pending -= 1

    def _hand_over(self, connection: ClientConnection, waiter: Waiter) -> None:
        budget = self._budget
        if self._most_requests and not budget.room_to_send():
            self._overflow(waiter)
            return
        budget.requests += 1
        stream = connection.open_stream()
        if 0 < self._requests_each <= connection.requests:
            connection.refuse()
        waiter.on_connected(stream)

    def _overflow(self, waiter: Waiter) -> None:
        self._budget.overflows += 1
        waiter.on_connect_failure(errors.OVERFLOW, "")

    def _serve(self, connection: ClientConnection) -> None:
        """Let those who wait have the room there is."""
        while self.waiting and connection.room > 0:
            self._budget.pending -= 1
            self._hand_over(connection, self.waiting.popleft())

    # --- connections

    def _open_more(self) -> None:
        """See that there is room on its way for everybody who waits, as far as the limit goes (8.3.2)."""
        budget = self._budget
        most = self._spec.max_concurrent_streams or UNTIL_TOLD
        while self.connecting * most < len(self.waiting):
            # One that has none opens one all the same: otherwise nobody would ever serve them.
            if not budget.room_for_connection() and (self.connections or self.connecting):
                return
            budget.connections += 1
            self.connecting += 1
            task = self._loop.create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        spec = self._spec
        connection = ClientConnection(self, _LIMITS, spec.max_concurrent_streams)
        failure, words = await self._open(lambda: connection, self._hints)
        self.connecting -= 1
        if failure is None and connection.closed:  # opened and closed again before we looked
            failure = errors.UPSTREAM_CLOSED
        if failure is not None:
            self._budget.connections -= 1
            connection.close()  # made in the very moment the time was up
            self._failed(failure, words)
            return
        self.adopt(connection)

    def adopt(self, connection: ClientConnection) -> None:
        """Use ``connection``, which is open, from now on."""
        self.connections.add(connection)
        if not connection.refusing:
            self._usable.append(connection)
        self._serve(connection)

    def _failed(self, failure: Failure, words: str) -> None:
        """Everybody for whom no other connection is on its way hears of it."""
        most = self._spec.max_concurrent_streams or UNTIL_TOLD
        for _ in range(len(self.waiting) - self.connecting * most):
            self._budget.pending -= 1
            self.waiting.popleft().on_connect_failure(failure, words)

    # --- SharedOwner

    def released(self, connection: ClientConnection) -> None:
        """A stream is over."""
        self._budget.requests -= 1
        if self.waiting or connection.refusing or self.removed:
            self.ready(connection)

    def ready(self, connection: ClientConnection) -> None:
        """There may be room for another stream, or nothing left to do."""
        if connection not in self.connections:
            return
        if not connection.refusing and self.waiting:
            self._serve(connection)
        if not connection.streams and (connection.refusing or self.removed):
            connection.finish()
            self.gone(connection)

    def refusing(self, connection: ClientConnection) -> None:
        """It takes no new streams; those it has go on."""
        if connection in self._usable:
            self._usable.remove(connection)
        if self.waiting:
            self._open_more()
        # Not at once: its last streams may just be told.
        if not connection.streams and connection in self.connections:
            self._loop.call_soon(self.ready, connection)

    def gone(self, connection: Any) -> None:
        """A connection is closed, or must not be used; told of an attempt's stream, nothing happens."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        if connection in self._usable:
            self._usable.remove(connection)
        self._budget.connections -= 1
        if self.waiting:
            self._open_more()

    # --- coarse

    def sweep(self, now: float) -> None:
        """Close what was idle too long, let go of what is too old, and ask the others whether they are there."""
        spec = self._spec
        for connection in list(self.connections):
            if not connection.streams:
                if spec.idle_timeout_s and now - connection.idle_since >= spec.idle_timeout_s:
                    connection.refuse()
                    continue
            elif spec.ping_interval_s:
                connection.keep_alive(now, spec.ping_interval_s, spec.ping_timeout_s)
            connection.tick(now)
            if 0 < spec.max_connection_duration_s <= now - connection.made_at:  # 8.3.7
                connection.refuse()

    def drop_oldest(self) -> None:
        """Close the idle connection that has been so longest; there must be one."""
        min(self.all_idle, key=lambda connection: connection.idle_since).refuse()

    def remove(self) -> None:
        """The endpoint left its cluster: idle connections close now, the others with their last stream."""
        self.removed = True
        for connection in list(self.connections):
            if connection.streams:
                connection.refuse()
            else:
                self.ready(connection)

    def close(self) -> None:
        """Close everything at once (the process ends)."""
        self.removed = True
        budget = self._budget
        budget.pending -= len(self.waiting)
        self.waiting.clear()
        for task in list(self._tasks):
            task.cancel()
        budget.connections -= self.connecting
        self.connecting = 0
        for connection in list(self.connections):
            self.gone(connection)
            connection.close()
