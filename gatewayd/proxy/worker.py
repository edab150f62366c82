"""The data path of one worker: what all exchanges share, and the ports their connections come from.

The runtime makes one :class:`Proxy`, listeners take a factory for each filter chain from it, and
:meth:`Proxy.tick` is called about once a second. A new configuration is ``port.use(chain)``: connections
read ``port.edge`` when a request begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableSet
from time import monotonic
from typing import Any
from weakref import WeakSet

from gatewayd.errors import OVERLOADED
from gatewayd.http.dates import DateField
from gatewayd.http.edge import Edge
from gatewayd.http.h1 import head, response
from gatewayd.http.h1.server import ServerConnection
from gatewayd.http.h2.server import ServerConnection as Http2Connection
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import ParsedRequest
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.proxy.counted_exchange import counted
from gatewayd.proxy.exchange import Exchange
from gatewayd.proxy.forwarding import Client, request_ids
from gatewayd.proxy.grpc_web import LateLog, web_begin
from gatewayd.proxy.mirrored_exchange import MirroredExchange
from gatewayd.proxy.plan import Plan, Planner
from gatewayd.proxy.policy_exchange import PolicyExchange
from gatewayd.proxy.tcp_proxy import TcpPort
from gatewayd.proxy.traced_exchange import is_observed, observed_begin
from gatewayd.routing.table import RouteTable
from gatewayd.timing import DeadlineWheel

#: Of whichever version.
Connection = ServerConnection | Http2Connection

#: How often idle connections are looked at, in seconds.
TICK_S = 1.0

_OVERLOADED = Plan(OVERLOADED)


class Port:
    """The proxy's side of the HTTP filter chain of one listener; called, it makes a connection."""

    __slots__ = (
        "__weakref__", "_begin", "_local", "_one_address", "_proxy", "connections", "edge", "gone", "name", "number",
    )  # fmt: skip

    def __init__(
        self, proxy: Proxy, connections: MutableSet[Any], chain: Any, *, one_address: bool = False
    ) -> None:
        """``chain``: a FilterChain (listeners and snapshot stand above the proxy); ``connections``: its
        listener's. ``one_address``: everything arrives at one address, which is asked for once only.
        """
        self._proxy = proxy
        self.connections = connections
        self._one_address = one_address
        self._local: Any = None
        #: the chain is not in the configuration any more
        self.gone = False
        #: that of the chain
        self.name: str
        self.number: int
        self.edge: Edge
        self._put(chain)
        proxy.ports.add(self)

    def __call__(self, announced: Any = None) -> ServerConnection:
        """A new connection; ``announced``: what a PROXY protocol header said (``remote``, ``local``)."""
        return ServerConnection(self if announced is None else _AnnouncedPort(self, announced))

    def _put(self, chain: Any) -> None:
        self.name = chain.name
        #: the Gateway's own port number (semantics 2.1.4)
        self.number = chain.port
        self.edge = edge = make_edge(self._proxy, chain)
        self._begin = edge.begin
        if self._proxy.refusing:
            self.refuse(True)

    def refuse(self, refusing: bool) -> None:
        """Answer requests that begin from now on with 503, or serve them again."""
        edge = self.edge
        edge.begin = _refusing(self._proxy, self._begin) if refusing else self._begin

    def use(self, chain: Any) -> None:
        """Put ``chain`` in force for requests that begin from now on."""
        before = self.edge.options
        self._put(chain)
        if chain.options == before:
            return
        for connection in self._own():  # the lines about their clients depend on the options
            connection.info = connection.port.describe(connection)

    def retire(self) -> None:
        """The chain is gone: requests are served as before, each the last one of its connection."""
        self.gone = True
        for connection in self._own():
            connection.discourage()

    def drain(self) -> None:
        """Close the connections that are idle; the others close after what they are doing."""
        for connection in self._own():
            connection.drain()

    def _own(self) -> list[Connection]:
        return [
            connection
            for connection in self.connections
            if isinstance(connection, (ServerConnection, Http2Connection))
            and connection.port.chain_port is self
        ]

    @property
    def chain_port(self) -> Port:
        """Itself; see :class:`_AnnouncedPort`."""
        return self

    def connected(self, connection: Connection) -> None:
        """A connection was accepted."""
        self.connections.add(connection)
        connection.info = self.describe(connection)
        if self.leaving:
            connection.discourage()

    @property
    def leaving(self) -> bool:
        """Whether a connection that comes now has come late: its handshake took so long, or nobody is to stay."""
        return self.gone or self._proxy.discouraging

    def describe(self, connection: Connection) -> Client:
        """The client, and the lines that speak of it."""
        transport = connection.transport
        local = self._local
        if local is None:
            local = transport.get_extra_info("sockname")
            if self._one_address:
                self._local = local
        options = self.edge.options
        tls = transport.get_extra_info("tls") if options.scheme == b"https" else None
        return _of_chain(self, Client(transport.get_extra_info("peername"), local, options, tls))

    def disconnected(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)


class _AnnouncedPort:
    """A port as one connection sees it whose addresses a PROXY protocol header announced."""

    __slots__ = ("_announced", "_port", "connections")

    def __init__(self, port: Port, announced: Any) -> None:
        self._port = port
        self._announced = announced
        self.connections = port.connections

    @property
    def chain_port(self) -> Port:
        """The port that all connections of the chain share."""
        return self._port

    @property
    def edge(self) -> Edge:
        """What is in force."""
        return self._port.edge

    @property
    def number(self) -> int:
        """The Gateway's own port number."""
        return self._port.number

    def connected(self, connection: Connection) -> None:
        """A connection was accepted."""
        self.connections.add(connection)
        connection.info = self.describe(connection)
        if self._port.leaving:
            connection.discourage()

    def describe(self, connection: Connection) -> Client:
        """The client, and the lines that speak of it."""
        transport, announced = connection.transport, self._announced
        client = Client(
            announced.remote or transport.get_extra_info("peername"),
            announced.local or transport.get_extra_info("sockname"),
            self._port.edge.options,
            transport.get_extra_info("tls"),
        )
        return _of_chain(self._port, client)

    def disconnected(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)


def _of_chain(port: Port, client: Client) -> Client:
    client.chain = port.name
    return client


def make_edge(proxy: Proxy | LateLog, chain: Any) -> Edge:
    """What the connections of a filter chain share."""
    if isinstance(proxy, Proxy):
        proxy.counts_routes |= chain.routes.counted
        if chain.options.grpc_web:
            edge = make_edge(LateLog(proxy), chain)
            edge.begin = web_begin(edge.begin)
            return edge
    table: RouteTable = chain.routes
    options: HttpOptions = chain.options
    planner = Planner(table, options, chain.server_names)
    parsers = head.parser_for(options), response.parser_for(options)

    def note(stream: Any, request: ParsedRequest) -> None:
        failure = request.error
        assert failure is not None
        request.plan = Plan(failure)
        Exchange(proxy, stream, request).on_request_aborted(failure.flag, failure.details)

    if is_observed(options):
        return Edge(chain, options, *parsers, observed_begin(proxy, chain, planner), note, proxy.date)
    plan = planner.plan
    #: by Plan.served_by
    kinds: tuple[type[Exchange], ...] = (Exchange, MirroredExchange, PolicyExchange)
    if options.counts_messages:
        kinds = tuple(map(counted, kinds))

    def begin(stream: Any, request: ParsedRequest) -> None:
        if request.plan_for is not chain:
            request.plan = plan(request)
            request.plan_for = chain
        kinds[request.plan.served_by](proxy, stream, request).begin()

    sampling = options.tracing.sampling if options.tracing is not None else 0
    new_id = request_ids(sampling) if options.request_id else None
    return Edge(chain, options, *parsers, begin, note, proxy.date, new_id)


def _refusing(
    proxy: Proxy, begin: Callable[[Any, ParsedRequest], None]
) -> Callable[[Any, ParsedRequest], None]:
    """In place of ``begin`` while there is too much to do: nothing is routed, and nobody is asked."""

    def refuse(stream: Any, request: ParsedRequest) -> None:
        if request.error is not None:
            begin(stream, request)  # it is wrong whenever it comes
            return
        proxy.refused += 1
        request.plan, request.plan_for = _OVERLOADED, None
        Exchange(proxy, stream, request).begin()

    return refuse


class Proxy:
    """What all exchanges of a worker share."""

    __slots__ = (
        "_connections", "_registry", "counts_routes", "date", "discouraging", "log", "loop", "ports", "refused",
        "refusing", "spans", "wheel",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, registry: Any, log: Callable[[StreamInfo], None]
    ) -> None:
        self.loop = loop
        self._registry = registry
        #: takes every finished exchange; hot, must not block
        self.log = log
        #: takes every sampled exchange of traced listeners when it is finished, None: nobody does
        self.spans: Callable[[StreamInfo], None] | None = None
        self.wheel = DeadlineWheel(loop)
        self.date = DateField()
        #: some route has statistics of its own, or had
        self.counts_routes = False
        #: connections that come now are told to end after their first answer
        self.discouraging = False
        self._connections: list[MutableSet[Any]] = []
        self.ports: WeakSet[Port] = WeakSet()
        #: whether new requests are answered with 503 (hardening 9.13), and how many were, ever
        self.refusing = False
        self.refused = 0

    def refuse(self, refusing: bool) -> None:
        """Answer all requests that begin from now on with 503, or serve them again."""
        self.refusing = refusing
        for port in self.ports:
            port.refuse(refusing)

    def watch(self, connections: MutableSet[Any]) -> None:
        """Look after the timeouts of ``connections``, those of one listener, from now on."""
        self._connections.append(connections)

    def unwatch(self, connections: MutableSet[Any]) -> None:
        """The listener of ``connections`` is gone, and so are they."""
        self._connections = [one for one in self._connections if one is not connections]

    def http(self, connections: MutableSet[Any], chain: Any, *, one_address: bool = False) -> Port:
        """What makes the connections of an HTTP filter chain."""
        return Port(self, connections, chain, one_address=one_address)

    def tcp(self, connections: MutableSet[Any], chain: Any) -> TcpPort:
        """What makes the connections of a TCP filter chain."""
        return TcpPort(self, connections, chain)

    def tick(self) -> None:
        """Look at every connection's timeouts; about once a second, O(connections)."""
        now = monotonic()
        for connections in self._connections:
            for connection in list(connections):
                connection.tick(now)
        self._registry.sweep(now)
