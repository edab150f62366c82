"""A whole exchange without sockets: request bytes in, upstream bytes out and in, response bytes out, logged.

Everything is the real thing except the transports, which only count what is written. The figure against that
of the whole process is what system calls and the event loop cost.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.macro import site
from benchmarks.micro import heads
from benchmarks.micro.timing import Timing, measure
from gatewayd.http.h1.client import ClientConnection
from gatewayd.http.h1.server import ServerConnection
from gatewayd.http.options import HttpOptions
from gatewayd.observe.access_log import AccessLog
from gatewayd.proxy.worker import Proxy
from gatewayd.routing.index import Rule
from gatewayd.routing.matchers import MATCHERS
from gatewayd.routing.route import FORWARD, Destination, Route
from gatewayd.routing.table import RouteTable, VirtualHost
from gatewayd.snapshot import FilterChain
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.pool import Pool
from gatewayd.upstream.registry import Registry
from gatewayd.upstream.spec import HTTP1, ClusterSpec, EndpointSpec

CLUSTER = "outbound|80||upstream.test"


class FakeTransport:
    """Takes what is written and throws it away, but for its size."""

    def __init__(self, peer: tuple[str, int]) -> None:
        self.written = 0
        self._peer = peer

    def write(self, data: bytes) -> None:
        """Count."""
        self.written += len(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Addresses; there is no socket."""
        return {"peername": self._peer, "sockname": ("127.0.0.1", 80)}.get(name, default)

    def is_closing(self) -> bool:
        """Never."""
        return False

    def pause_reading(self) -> None:
        """Nothing reads here."""

    def resume_reading(self) -> None:
        """Nothing reads here."""


@dataclass
class Rig:
    """One downstream and one upstream connection, joined by the real data path."""

    downstream: ServerConnection
    upstream: ClientConnection
    down: FakeTransport

    def exchange(self, pair: tuple[bytes, bytes]) -> None:
        """One request and its answer."""
        self.downstream.data_received(pair[0])
        self.upstream.data_received(pair[1])


def make_site(
    loop: asyncio.AbstractEventLoop, log: AccessLog, protocol: str = HTTP1
) -> tuple[Cluster, ServerConnection]:
    """The site of the keep-alive scenario: its one cluster, which speaks `protocol`, and a connection from a client."""
    registry = Registry(loop)
    endpoints = (EndpointSpec("127.0.0.1", 8080),)
    cluster = registry.adopt(
        ClusterSpec(CLUSTER, "upstream.test", 80, endpoints=endpoints, protocol=protocol)
    )
    assert isinstance(cluster, Cluster)
    route = Route("", FORWARD, (Destination(cluster, cluster.name),)).seal()
    hosts = [
        VirtualHost(
            host.host,
            [host.host],
            [Rule((MATCHERS["uri"]("", rule.kind, rule.path),), route) for rule in host.rules],
        )
        for host in site.plain_site(8080).hosts
    ]
    chain = FilterChain("http.80", 80, routes=RouteTable(hosts), options=HttpOptions())
    downstream = Proxy(loop, registry, log.append).http(set(), chain)()
    assert isinstance(downstream, ServerConnection)
    return cluster, downstream


def make_rig(loop: asyncio.AbstractEventLoop, log: AccessLog) -> Rig:
    """That site, an idle upstream connection, a client."""
    cluster, downstream = make_site(loop, log)
    upstream = connect(cluster)
    down = FakeTransport(("10.0.0.9", 40000))
    downstream.connection_made(down)  # type: ignore[arg-type]
    return Rig(downstream, upstream, down)


def connect(cluster: Cluster) -> ClientConnection:
    """An idle connection to its endpoint."""
    pool = cluster.endpoints[0].pools
    assert isinstance(pool, Pool)
    upstream = ClientConnection(pool)
    upstream.connection_made(FakeTransport(("127.0.0.1", 8080)))  # type: ignore[arg-type]
    pool.connections.add(upstream)
    pool.released(upstream)
    return upstream


def pairs(source: heads.Source, count: int) -> list[tuple[bytes, bytes]]:
    """`count` requests with their answers."""
    return [(each, heads.response(each)) for each in source(count)]


def checked(rig: Rig, pair: tuple[bytes, bytes]) -> None:
    """Raise ValueError unless one exchange sends a whole response down."""
    before = rig.down.written
    rig.exchange(pair)
    if rig.down.written - before < len(pair[1]):
        raise ValueError("the exchange of the benchmark sends no response")


def benchmarks(seconds: float) -> Iterator[Timing]:
    """The three kinds of traffic; the access log is formatted and written to /dev/null."""
    loop = asyncio.new_event_loop()
    log = AccessLog(loop, "/dev/null", "text")
    try:
        rig = make_rig(loop, log)
        for kind, source in heads.kinds():
            make = partial(pairs, source)
            checked(rig, make(1)[0])
            yield measure(f"whole exchange, {kind}", rig.exchange, make, seconds)
    finally:
        log.close()
        loop.close()
