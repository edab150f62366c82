"""The data path of one worker: what all exchanges share, and the ports their connections come from.

The runtime makes one :class:`Proxy`, gives it a factory for each listener, and calls :meth:`Proxy.tick`
about once a second. A new configuration is ``port.use(spec)``: connections read ``port.edge`` when a
request begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableSet, Sequence
from time import monotonic
from typing import Any, Final, Protocol

from gatewayd.http.dates import DateField
from gatewayd.http.h1 import head, response
from gatewayd.http.h1.edge import Edge
from gatewayd.http.h1.head import ParsedRequest
from gatewayd.http.h1.server import ServerConnection
from gatewayd.http.options import HttpOptions
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.proxy.exchange import Exchange
from gatewayd.proxy.forwarding import Client
from gatewayd.proxy.plan import make_plan
from gatewayd.routing.route import Route
from gatewayd.routing.table import RouteTable
from gatewayd.timing import DeadlineWheel

_WILDCARDS: Final = frozenset({"", "0.0.0.0", "::"})

#: How often idle connections are looked at, in seconds.
TICK_S = 1.0


class ListenerLike(Protocol):
    """What a port needs of a listener (listeners stand above the proxy, so it is named by its shape)."""

    spec: Any  # ListenerSpec: ``routes``, ``options``, ``port``
    connections: MutableSet[Any]


class Port:
    """The proxy's side of one listener."""

    __slots__ = ("_listener", "_local", "_one_address", "_proxy", "connections", "edge", "number")

    def __init__(self, proxy: Proxy, listener: ListenerLike) -> None:
        self._proxy = proxy
        self._listener = listener
        self.connections = listener.connections
        #: where everything arrives at one address it is asked for once, not per connection
        bind: Sequence[tuple[str, int]] = getattr(listener.spec, "bind", ())
        self._one_address = len(bind) == 1 and bind[0][0] not in _WILDCARDS
        self._local: Any = None
        self.use(listener.spec)

    def use(self, spec: Any) -> None:
        """Put ``spec`` in force for requests that begin from now on."""
        #: the Gateway's own port number (semantics 2.1.4)
        self.number: int = spec.port
        self.edge = make_edge(self._proxy, spec)
        for connection in self.connections:  # the lines about their clients depend on the options
            connection.info = self._client(connection)

    def connected(self, connection: ServerConnection) -> None:
        """A connection was accepted."""
        self.connections.add(connection)
        connection.info = self._client(connection)

    def _client(self, connection: ServerConnection) -> Client:
        transport = connection.transport
        local = self._local
        if local is None:
            local = transport.get_extra_info("sockname")
            if self._one_address:
                self._local = local
        return Client(transport.get_extra_info("peername"), local, self.edge.options)

    def disconnected(self, connection: ServerConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)


def make_edge(proxy: Proxy, spec: Any) -> Edge:
    """What the connections of a listener share under ``spec``."""
    table: RouteTable = spec.routes
    options: HttpOptions = spec.options
    suffixes: dict[Route, bytes] = {}

    def begin(stream: ServerConnection, request: ParsedRequest) -> None:
        if request.plan_for is not spec:
            request.plan = make_plan(request, table, options, suffixes)
            request.plan_for = spec
        Exchange(proxy, stream, request).begin()

    return Edge(spec, options, head.parser_for(options), response.parser_for(options), begin, proxy.date)


class Proxy:
    """What all exchanges of a worker share."""

    __slots__ = ("_loop", "_registry", "date", "log", "ports", "wheel")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, registry: Any, log: Callable[[StreamInfo], None]
    ) -> None:
        self._loop = loop
        self._registry = registry
        #: takes every finished exchange; hot, must not block
        self.log = log
        self.wheel = DeadlineWheel(loop)
        self.date = DateField()
        self.ports: list[Port] = []

    def protocol_factory(self, listener: ListenerLike) -> Callable[[], asyncio.Protocol]:
        """What makes the connections of ``listener``."""
        port = Port(self, listener)
        self.ports.append(port)
        return lambda: ServerConnection(port)

    def tick(self) -> None:
        """Look at every connection's timeouts; about once a second, O(connections)."""
        now = monotonic()
        for port in self.ports:
            for connection in list(port.connections):
                connection.tick(now)
        self._registry.sweep(now)
