"""The whole data path from its YAML, without sockets: clients and upstreams of either version on fake transports.

Connections are opened at once, clocks are turned by hand, and leaving the block checks what must hold after every
exchange, however it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from io import BytesIO
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from gatewayd.compiler.compile import compile_snapshot
from gatewayd.compiler.options import CompileOptions
from gatewayd.http.h1 import server as http1_server
from gatewayd.http.h1.server import ServerConnection
from gatewayd.http.h2 import server as http2_server
from gatewayd.http.h2 import server_stream
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.proxy import attempts, exchange, exchange_base, policy_exchange, worker
from gatewayd.proxy.worker import Port, Proxy
from gatewayd.sources.load import load
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.registry import Registry
from tests.proxy.speakers import (
    HTTP2,
    Asked,
    Client,
    Http1Client,
    Http1Upstream,
    Http2Client,
    Http2Upstream,
    Upstream,
)
from tests.support.fake_transport import FakeTransport

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
"""
ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes, namespace: default}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http:
"""
PLAIN = "  - route: [{destination: {host: a.test}}]"


def service(host: str, protocol: str, addresses: list[str]) -> str:
    """A ServiceEntry of port 80."""
    endpoints = "".join(f"\n  - {{address: {address}}}" for address in addresses)
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {host.replace(".", "-")}, namespace: default}}
spec:
  hosts: [{host}]
  location: MESH_EXTERNAL
  ports: [{{number: 80, name: port, protocol: {protocol}}}]
  resolution: STATIC
  endpoints:{endpoints}
"""


class _Loop:
    """Tasks are the real loop's; connections are opened at once, timers wait for the test."""

    def __init__(self, open_one: Callable[[Any, str], Awaitable[None]]) -> None:
        real = asyncio.get_running_loop()
        self.create_task = real.create_task
        self.call_soon = real.call_soon
        self.time = real.time
        self._open = open_one
        self.timers: list[Any] = []

    def call_later(self, delay_s: float, callback: Any) -> Any:
        timer: Any = SimpleNamespace(callback=callback)
        timer.cancel = lambda: self.timers.remove(timer)
        self.timers.append(timer)
        return timer

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise context["exception"]

    async def create_connection(self, factory: Any, host: str, port: int) -> None:
        await self._open(factory, host)


class Place:
    """One listener, its routes, ``a.test`` with two endpoints and ``b.test`` with one.

    Use ``async with Place(HTTP2, HTTP1, rules) as place``. ``refusing`` are addresses that take no connections,
    ``settings`` what HTTP/2 upstreams say of themselves.
    """

    def __init__(
        self,
        client: str,
        upstream: str,
        rules: str = PLAIN,
        *,
        more: str = "",
        endpoints: int = 2,
        **options: Any,
    ) -> None:
        self.version = client
        self.upstream_version = upstream
        protocol = "HTTP2" if upstream == HTTP2 else "HTTP"
        addresses = [f"10.0.0.{number}" for number in range(1, endpoints + 1)]
        self._yaml = "---".join(
            [
                GATEWAY,
                ROUTES + rules + "\n",
                service("a.test", protocol, addresses),
                service("b.test", protocol, ["10.0.1.1"]),
                more or "\n",
            ]
        )
        self._options = CompileOptions(**options)
        self.refusing: set[str] = set()
        self.settings: list[tuple[int, int]] = []
        self.window = 1 << 30
        self.records: list[StreamInfo] = []
        self.upstreams: list[Upstream] = []
        self.transports: list[FakeTransport] = []
        self._now = monotonic()

    async def __aenter__(self) -> Place:
        loop: Any = _Loop(self._open)
        self.loop = loop
        self._patch = pytest.MonkeyPatch()
        proxy = (exchange, exchange_base, attempts, policy_exchange, worker)
        for module in (*proxy, http1_server, http2_server, server_stream):
            self._patch.setattr(module, "monotonic", self.clock)
        self.registry = Registry(loop)
        loaded = load(["-"], BytesIO(self._yaml.encode()))
        snapshot = compile_snapshot(loaded.resources, self._options, self.registry.adopt)
        findings = [*loaded.findings, *snapshot.findings]
        assert not findings, findings
        self.proxy = Proxy(loop, self.registry, self.records.append)
        self.proxy.wheel._clock = self.clock
        ((listener),) = snapshot.listeners
        (self.chain,) = listener.chains
        connections: set[Any] = set()
        self.proxy.watch(connections)
        self.port = Port(self.proxy, connections, self.chain)
        self.client = self.new_client()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        try:
            for transport in self.transports:
                if isinstance(transport.protocol, ServerConnection) or hasattr(transport.protocol, "port"):
                    transport.reset()
            await self.settle()
            if kind is None:
                self.check()
        finally:
            self._patch.undo()

    def clock(self) -> float:
        """The clock of everything that looks at one."""
        return self._now

    # --- the client's side

    def connect(self) -> FakeTransport:
        """A connection from a client."""
        transport = FakeTransport(self.port(), port=40000 + len(self.transports))
        self.transports.append(transport)
        return transport

    def new_client(self, **options: Any) -> Client:
        """Another client."""
        if self.version == HTTP2:
            return Http2Client(self.connect, **options)
        return Http1Client(self.connect)

    @property
    def http2_client(self) -> Http2Client:
        """The client, which must be of HTTP/2."""
        assert isinstance(self.client, Http2Client)
        return self.client

    # --- the upstreams' side

    async def _open(self, factory: Any, host: str) -> None:
        if host in self.refusing:
            raise ConnectionRefusedError(111, "Connection refused")
        transport = FakeTransport(factory(), port=50000 + len(self.transports))
        self.transports.append(transport)
        if self.upstream_version == HTTP2:
            self.upstreams.append(Http2Upstream(transport, host, *self.settings, window=self.window))
        else:
            self.upstreams.append(Http1Upstream(transport, host))

    async def asked(self, count: int = 1) -> list[Asked]:
        """Everything any upstream was asked, once all that is due was done; there must be ``count``."""
        await self.settle()
        found = [asked for upstream in self.upstreams for asked in upstream.asked()]
        assert len(found) == count, found
        return found

    # --- time

    async def settle(self) -> None:
        """Everything that is due: tasks, soon-calls, ``connection_lost``."""
        for _ in range(4):
            for _ in range(4):
                await asyncio.sleep(0)
            for transport in self.transports:
                transport.settle()

    async def advance(self, seconds: float) -> None:
        """Time passes: deadlines fire and connections are looked at."""
        await self.settle()
        self._now += seconds
        for timer in list(self.loop.timers):
            if timer in self.loop.timers:
                self.loop.timers.remove(timer)
                timer.callback()
        self.proxy.tick()
        await self.settle()

    # --- what must hold

    @property
    def clusters(self) -> list[Cluster]:
        """All of them."""
        found = list(self.registry.clusters.values())
        assert all(isinstance(one, Cluster) for one in found)
        return found  # type: ignore[return-value]  # as was just seen

    def cluster(self, host: str = "a.test") -> Cluster:
        """That of ``host``."""
        (found,) = [one for one in self.clusters if one.name.endswith(f"||{host}")]
        return found

    def check(self) -> None:
        """What must hold when no exchange is under way."""
        assert len({id(record) for record in self.records}) == len(self.records), "one record per exchange"
        assert not self.port.connections
        for cluster in self.clusters:
            assert cluster.active == 0, cluster.name
            budget = cluster.budget
            if budget is not None:
                assert (budget.pending, budget.requests, budget.retries) == (0, 0, 0)
            for endpoint in cluster.endpoints:
                assert endpoint.active == 0, endpoint
                assert not endpoint.waiting, endpoint
                assert not endpoint.connecting, endpoint
                assert set(endpoint.pools.all_idle) == endpoint.connections, "idle or gone"

    def logged(self, count: int = 1) -> StreamInfo:
        """The last record, of ``count``."""
        assert len(self.records) == count, [
            (record.status, record.flags, record.details) for record in self.records
        ]
        return self.records[-1]
