"""HOT: one endpoint of a cluster and its pool of HTTP/1.1 connections.

A request takes the connection used last (the others may then grow idle and close). Without an idle one a
connection is opened and the request waits; whichever connection becomes free first serves whoever waits
longest. Only the opening of a connection costs a task.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from time import monotonic
from typing import Any, Final, Protocol

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.h1.client import ClientConnection
from gatewayd.upstream.spec import ClusterSpec

#: errno -> Envoy's words in the log (golden 07_tls_tcp); others use the system's.
_CONNECT_ERRORS: Final = {
    errno.ECONNREFUSED: "Connection refused",
    errno.ECONNRESET: "Connection reset by peer",
    errno.EHOSTUNREACH: "No route to host",
    errno.ENETUNREACH: "Network is unreachable",
}

#: The kernel refused before a packet left.
_LOCAL_ERRORS: Final = frozenset(
    {errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE}
)


class Waiter(Protocol):
    """An exchange that waits for a connection."""

    def on_connected(self, connection: ClientConnection) -> None:
        """A connection is free; the request may start on it now."""

    def on_connect_failure(self, failure: Failure, transport: str) -> None:
        """No connection could be opened."""


class Endpoint:
    """One address of a cluster: what balancers read, and the pool."""

    __slots__ = (
        "_loop", "_tasks", "active", "address", "connecting", "connections", "host_port", "idle", "port", "ready",
        "removed", "spec", "total", "waiting", "weight",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        spec: ClusterSpec,
        address: str,
        port: int,
        weight: int = 1,
        ready: bool = True,
    ) -> None:
        self._loop = loop
        self.spec = spec
        self.address = address  # IP, or "unix:/path"
        self.port = port
        self.weight = weight
        self.ready = ready
        #: requests in progress, for least request
        self.active = 0
        self.total = 0
        #: as the log prints it
        self.host_port = (
            address
            if address.startswith("unix:")
            else ("[%s]:%d" if ":" in address else "%s:%d") % (address, port)
        )
        self.idle: deque[ClientConnection] = deque()
        self.waiting: deque[Waiter] = deque()
        self.connecting = 0
        self.connections: set[ClientConnection] = set()
        #: no longer in the cluster: connections close when they come back
        self.removed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return (
            f"Endpoint({self.host_port}, active {self.active}, idle {len(self.idle)}, "
            f"connections {len(self.connections)}, waiting {len(self.waiting)})"
        )

    def wait(self, waiter: Waiter) -> None:
        """Queue ``waiter`` for a connection and see that one is on its way."""
        self.waiting.append(waiter)
        if self.connecting < len(self.waiting):
            self.connecting += 1
            task = self._loop.create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def forget(self, waiter: Waiter) -> None:
        """``waiter`` no longer wants a connection."""
        if waiter in self.waiting:
            self.waiting.remove(waiter)

    async def _connect(self) -> None:
        timeout_s = self.spec.connect_timeout_s
        connection = ClientConnection(self)
        failure, words = errors.CONNECT_REFUSED, ""
        opened = False
        try:
            async with asyncio.timeout(timeout_s or None):
                if self.address.startswith("unix:"):
                    await self._loop.create_unix_connection(lambda: connection, self.address[5:])
                else:
                    await self._loop.create_connection(lambda: connection, self.address, self.port)
            opened = True
        except TimeoutError:
            failure = errors.CONNECT_TIMEOUT
        except OSError as error:
            number = error.errno or 0
            words = "delayed_connect_error:_" + _CONNECT_ERRORS.get(number, error.strerror or "").replace(
                " ", "_"
            )
            if number in _LOCAL_ERRORS:
                failure = errors.CONNECT_LOCAL
        except (ValueError, OverflowError, UnicodeError):  # not an address at all: the request must not hang
            failure = errors.CONNECT_LOCAL
        self.connecting -= 1
        if not opened:
            if connection.transport is not None:  # made in the very moment the time was up
                connection.close()
            if self.waiting:
                self.waiting.popleft().on_connect_failure(failure, words)
            return
        if connection.closed:  # opened and closed again before we looked
            if self.waiting:
                self.waiting.popleft().on_connect_failure(errors.UPSTREAM_CLOSED, "")
            return
        self.connections.add(connection)
        self.released(connection)

    # --- ClientOwner

    def released(self, connection: ClientConnection) -> None:
        """A connection can carry (another) request."""
        limit = self.spec.max_requests_per_connection
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
            self.connections.discard(connection)
            if connection in self.idle:
                self.idle.remove(connection)

    # --- coarse

    def sweep(self, now: float) -> None:
        """Close connections that were idle too long; the oldest are at the left."""
        limit_s = self.spec.idle_timeout_s
        idle = self.idle
        while idle and limit_s and now - idle[0].idle_since >= limit_s:
            self._close(idle.popleft())

    def remove(self) -> None:
        """The endpoint left its cluster: idle connections close now, busy ones after their exchange."""
        self.removed = True
        while self.idle:
            self._close(self.idle.popleft())

    def _close(self, connection: ClientConnection) -> None:
        self.connections.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close everything at once (the process ends)."""
        self.removed = True
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self.connections):
            self._close(connection)
        self.idle.clear()


def address_key(endpoint: Any) -> tuple[str, int]:
    """What makes two endpoints of one cluster the same."""
    return endpoint.address, endpoint.port
