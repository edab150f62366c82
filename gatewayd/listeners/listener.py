"""A listener: its sockets, the connections accepted there, and the specification in force.

A connection reads ``listener.spec`` when a request starts, so a new configuration is one assignment and
a request that has begun keeps what it read.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, MutableSet
from typing import Any, Protocol

from gatewayd.listeners.doors import Bound, addresses
from gatewayd.listeners.intake import Intake
from gatewayd.listeners.plain_accept import PlainAcceptor, accept_on


class Connection(Protocol):
    """What a listener asks of a downstream connection."""

    def drain(self) -> None:
        """Close now when idle, else answer the request under way with ``connection: close``."""

    def discourage(self) -> None:
        """Answer the next request with ``connection: close``; nothing that may be on its way is lost."""

    def end_tunnel(self) -> None:
        """Close when upgraded to another protocol; nothing happens to others."""

    def abort(self) -> None:
        """Close at once, whatever is under way."""


class Listener:
    """One ``ListenerSpec`` (gatewayd/snapshot.py, a floor above, so named by its shape) being served."""

    __slots__ = (
        "_acceptors",
        "_factory",
        "_intake",
        "_loop",
        "_paused",
        "accepted",
        "bound",
        "connections",
        "draining",
        "spec",
    )

    def __init__(self, spec: Any, intake: Intake | None = None) -> None:
        #: the specification in force: ``bind``, ``port``, ``name``, and what the proxy reads of it
        self.spec = spec
        #: downstream connections, kept by themselves: added when made, discarded when lost
        self.connections: MutableSet[Any] = set()  # of Connection
        self.draining = False
        #: how many ever came
        self.accepted = 0
        #: the listening sockets, which are their giver's, by what the specification calls their addresses
        self.bound: Bound = {}
        self._intake = intake
        self._acceptors: list[asyncio.AbstractServer | PlainAcceptor] = []
        self._paused = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._factory: Callable[[], asyncio.BaseProtocol] | None = None

    async def open(
        self, loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.Protocol], bound: Bound
    ) -> None:
        """Serve on the sockets ``bound``."""
        self.bound = dict(bound)
        self._loop = loop
        intake = self._intake
        if intake is None:
            self._factory = factory
        else:
            intake.join(self)

            def counted() -> asyncio.Protocol:
                intake.count()
                self.accepted += 1
                return factory()

            self._factory = counted
        await self.resume()

    async def use(self, spec: Any, bound: Bound) -> None:
        """Serve ``spec`` from now on, on the sockets ``bound``.

        Connections stay; what they serve is the entrance's matter.
        """
        self.spec = spec
        if self.bound != bound:
            self.bound = dict(bound)
            if self._acceptors:
                self.pause()
                await self.resume()

    @property
    def sockets(self) -> list[socket.socket]:
        """The listening sockets."""
        return [sock for sockets in self.bound.values() for sock in sockets]

    @property
    def accepting(self) -> bool:
        """Whether new connections are taken now."""
        return bool(self._acceptors)

    @property
    def addresses(self) -> tuple[str, ...]:
        """What is bound, printable, with the real numbers where the kernel chose them."""
        return addresses(self.bound)

    def pause(self) -> None:
        """Take no more connections for now; those that come wait in the kernel's queue."""
        self._paused = True
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors = []

    async def resume(self) -> None:
        """Take connections (again)."""
        loop, factory = self._loop, self._factory
        if self.draining or self._acceptors or loop is None or factory is None:
            return
        self._paused = False
        for sock in self.sockets:
            acceptor = await accept_on(loop, sock, factory, start=False)
            if self._paused:
                acceptor.close()
                return
            # Listed before it serves: the first connection may already call for a pause.
            self._acceptors.append(acceptor)
            if not isinstance(acceptor, PlainAcceptor):
                await acceptor.start_serving()

    def stop_accepting(self) -> None:
        """Take no more connections; those that are there live on. :meth:`accept_again` takes it back."""
        self.draining = True
        self.pause()
        self.bound = {}
        if self._intake is not None:
            self._intake.leave(self)

    async def accept_again(self, bound: Bound) -> None:
        """Serve on the sockets ``bound``, after :meth:`stop_accepting`."""
        self.draining = False
        self.bound = dict(bound)
        if self._intake is not None:
            self._intake.join(self)
        await self.resume()

    def drain(self) -> None:
        """Stop accepting and let every connection end after what it is doing."""
        self.stop_accepting()
        for connection in self._connections():
            connection.drain()

    def discourage(self) -> None:
        """Every connection ends with the next answer, and none at once."""
        for connection in self._connections():
            connection.discourage()

    def end_tunnels(self) -> None:
        """End upgraded connections, which never end by themselves."""
        for connection in self._connections():
            connection.end_tunnel()

    def close(self) -> None:
        """Stop accepting and cut every connection."""
        self.stop_accepting()
        for connection in self._connections():
            connection.abort()

    def _connections(self) -> list[Connection]:
        return list(self.connections)

    def __repr__(self) -> str:
        state = "DRAINING" if self.draining else "ACCEPTING" if self._acceptors else "PAUSED"
        return f"<Listener {self.spec.name} {state}, {len(self.connections)} connections>"
