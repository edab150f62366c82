"""The data path alone, in the test's own loop: a listener on a free port of the loopback, and its upstreams.

Leaving the block checks what must hold after every exchange, however it ended: one record each, counters at
zero, every pooled connection clean, no exception that escaped into the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from gatewayd.http.h2.client import ClientConnection as Http2Connection
from gatewayd.http.options import HttpOptions
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.proxy.worker import Proxy
from gatewayd.routing.index import Rule
from gatewayd.routing.route import FORWARD, Destination, Route
from gatewayd.routing.table import RouteTable, VirtualHost
from gatewayd.snapshot import FilterChain
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.registry import Registry
from gatewayd.upstream.spec import ClusterSpec, EndpointSpec

HOST = "a.test"
SETTLE_S = 30.0  # only ever reached by a test that fails
POLL_S = 0.002


def forward(cluster: Any, **fields: Any) -> Route:
    """A route to ``cluster`` as the compiler makes one; ``fields`` are those of Route."""
    destination = fields.pop("destination", None) or Destination(cluster, cluster.name)
    return Route("r", FORWARD, (destination,), decorator=b"a.test:80/*", **fields).seal()


def cluster_spec(ports: Sequence[int], **fields: Any) -> ClusterSpec:
    """A cluster with an endpoint on the loopback for each port."""
    fields.setdefault("endpoints", tuple(EndpointSpec("127.0.0.1", port) for port in ports))
    return ClusterSpec("outbound|80||a.test", "a.test", 80, **fields)


class InProcess:
    """A proxy in front of ``ports``; use ``async with InProcess([upstream.port]) as proxy``.

    route: makes the one route of all hosts from the cluster; default: plain forwarding. options: of the
    connection manager. secure: puts TLS before a connection. spec: further fields of the ClusterSpec.
    """

    def __init__(
        self,
        ports: Sequence[int],
        *,
        route: Callable[[Cluster], Route] = forward,
        options: HttpOptions | None = None,
        secure: Callable[[Any], asyncio.Protocol] | None = None,
        **spec: Any,
    ) -> None:
        self.options = options or HttpOptions()
        self.records: list[StreamInfo] = []
        self.failures: list[dict[str, Any]] = []  # what reached the loop's exception handler
        self.connections: set[Any] = set()
        self._make_route = route
        self._secure = secure
        self._spec = cluster_spec(ports, **spec)

    async def __aenter__(self) -> InProcess:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self.registry = Registry(loop)
        self.cluster = self.registry.adopt(self._spec)
        self.route = self._make_route(self.cluster)
        self.table = table = RouteTable([VirtualHost("all", ["*"], [Rule((), self.route)])])
        self.proxy = Proxy(loop, self.registry, self.records.append)
        self.proxy.watch(self.connections)
        chain = FilterChain("http.80", 80, routes=table, options=self.options)
        self.chain_port = self.proxy.http(self.connections, chain)
        port, secure = self.chain_port, self._secure
        make = port if secure is None else lambda: secure(port())
        self._server = await loop.create_server(make, "127.0.0.1", 0, backlog=256)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        self._server.close()
        for connection in list(self.connections):
            connection.abort()
        # Waiting, not luck: connection_lost of an aborted transport comes in the next turns of the loop.
        await self.until(lambda: not self.connections)
        try:
            if kind is None:
                self.check()
        finally:
            await self.registry.close()
            await self._server.wait_closed()

    @property
    def endpoint(self) -> Any:
        """The first endpoint."""
        return self.cluster.endpoints[0]

    def tick(self) -> None:
        """What a worker does once a second."""
        self.proxy.tick()

    async def until(self, condition: Callable[[], bool], timeout_s: float = SETTLE_S) -> None:
        """Wait for ``condition``; TimeoutError when it does not come true in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError
            await asyncio.sleep(POLL_S)

    async def logged(self, count: int) -> list[StreamInfo]:
        """The records so far, once there are ``count``."""
        try:
            await self.until(lambda: len(self.records) >= count)
        except TimeoutError:
            raise AssertionError(f"{len(self.records)} records, not {count}") from None
        return self.records

    def check(self) -> None:
        """What must hold whenever no exchange is under way."""
        assert not self.failures, self.failures
        assert len({id(record) for record in self.records}) == len(self.records), "one record per exchange"
        assert self.cluster.active == 0
        for endpoint in self.cluster.endpoints:
            assert endpoint.active == 0, endpoint
            assert not endpoint.waiting, endpoint
            idle = endpoint.pools.all_idle
            assert len(set(idle)) == len(idle)
            assert set(idle) == endpoint.connections, "a connection without exchange is idle or gone"
            for connection in idle:
                assert not connection.closed
                assert not connection._buffer
                if isinstance(connection, Http2Connection):
                    continue
                assert connection.exchange is None
                assert not connection._paused
                assert connection._state == 0


def request(
    method: str = "GET", path: str = "/", body: bytes = b"", headers: Sequence[str] = (), host: str = HOST
) -> bytes:
    """A request with its Host, and content-length when there is a body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
