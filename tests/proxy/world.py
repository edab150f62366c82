"""The whole data path on fake transports, driven one event at a time, with every invariant checked after each.

Clients send requests numbered in their paths; the fake upstream puts the path it was asked for into its answers,
so that an answer which reaches another request shows.
"""

from __future__ import annotations

import asyncio
import re
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from gatewayd.http.h1 import server
from gatewayd.http.h1.server import ServerConnection
from gatewayd.http.h1.states import STATES
from gatewayd.http.options import HttpOptions, TraceOptions
from gatewayd.proxy import attempts, exchange, exchange_base, traced_exchange, worker
from gatewayd.proxy.exchange import Exchange
from gatewayd.proxy.exchange_base import DONE, PHASES, RESPONDING, SENT, TUNNEL
from gatewayd.proxy.traced_exchange import _Noting
from gatewayd.proxy.worker import Port, Proxy
from gatewayd.routing.index import Rule
from gatewayd.routing.route import DIRECT_RESPONSE, DirectResponseAction, RetryPolicy, Route
from gatewayd.routing.table import RouteTable, VirtualHost
from gatewayd.snapshot import FilterChain
from gatewayd.upstream.cluster import Cluster
from tests.support.fake_transport import FakeTransport
from tests.support.in_process import cluster_spec, forward

ASKED = re.compile(rb"[A-Z]+ (/[0-9]+) HTTP/1\.1\r\n")

#: The slots that the watched classes put properties over.
_STATE: Any = ServerConnection.state
_PHASE: Any = Exchange.phase


class WatchedServer(ServerConnection):
    """Notes every move of ``state`` that is not in the table."""

    __slots__ = ("bad_moves",)

    def __init__(self, port: Any) -> None:
        self.bad_moves: list[tuple[int, int]] = []
        super().__init__(port)

    @property
    def state(self) -> int:
        return int(_STATE.__get__(self))

    @state.setter
    def state(self, to: int) -> None:
        slot = _STATE
        try:
            was = slot.__get__(self)
        except AttributeError:
            was = to
        if to != was and to not in STATES[was]:
            self.bad_moves.append((was, to))
        slot.__set__(self, to)


class WatchedExchange(Exchange):
    """Notes every move of ``phase`` that is not in the table, and itself."""

    __slots__ = ("bad_moves",)
    all: list[WatchedExchange]

    def __init__(self, *arguments: Any) -> None:
        self.bad_moves: list[tuple[int, int]] = []
        super().__init__(*arguments)
        type(self).all.append(self)

    @property
    def phase(self) -> int:
        return int(_PHASE.__get__(self))

    @phase.setter
    def phase(self, to: int) -> None:
        slot = _PHASE
        try:
            was = slot.__get__(self)
        except AttributeError:
            was = to
        if to != was and to not in PHASES[was]:
            self.bad_moves.append((was, to))
        slot.__set__(self, to)


class WatchedToldExchange(WatchedExchange):
    """The same of an exchange that is part of a trace."""

    __slots__ = ("trace",)


class WatchedNotedExchange(_Noting, WatchedToldExchange):
    """The same of a sampled one."""

    __slots__ = ()


class FakeLoop:
    """Tasks and soon-calls are the real loop's; connections and timers wait for the test."""

    def __init__(self) -> None:
        self._real = asyncio.get_running_loop()
        self.connecting: list[tuple[Any, asyncio.Future[None]]] = []
        self.timers: list[Any] = []

    def create_task(self, work: Any) -> asyncio.Task[Any]:
        return self._real.create_task(work)

    def call_later(self, delay_s: float, callback: Any) -> Any:
        timer: Any = SimpleNamespace(callback=callback)
        timer.cancel = lambda: self.timers.remove(timer)
        self.timers.append(timer)
        return timer

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise context["exception"]

    async def create_connection(self, factory: Any, host: str, port: int) -> None:
        protocol = factory()
        allowed: asyncio.Future[None] = self._real.create_future()
        self.connecting.append((protocol, allowed))
        await allowed


class World:
    """One listener, one cluster of two endpoints, any number of clients."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        *,
        retry: RetryPolicy | None = None,
        timeout_s: float = 0.0,
        tracing: TraceOptions | None = None,
    ) -> None:
        patch.setattr(worker, "Exchange", WatchedExchange)
        patch.setattr(traced_exchange, "ToldExchange", WatchedToldExchange)
        patch.setattr(traced_exchange, "NotedExchange", WatchedNotedExchange)
        WatchedExchange.all = []
        self.now = 0.0  # added to the clock
        for module in (exchange, exchange_base, attempts, server):
            patch.setattr(module, "monotonic", self.clock)
        self.loop = FakeLoop()
        loop: Any = self.loop
        self.cluster = Cluster(loop, None, cluster_spec([1, 2]))  # type: ignore[arg-type]
        self.records: list[Any] = []
        self.proxy = Proxy(loop, SimpleNamespace(sweep=self.cluster.sweep), self.records.append)
        self.proxy.wheel._clock = self.clock
        route = forward(self.cluster, retry=retry, timeout_s=timeout_s)
        local = Route("here", DIRECT_RESPONSE, direct=DirectResponseAction(200, b"local"))
        hosts = [
            VirtualHost("h", ["here.test"], [Rule((), local)]),
            VirtualHost("all", ["*"], [Rule((), route)]),
        ]
        options = HttpOptions(tracing=tracing)
        chain = FilterChain("http.80", 80, routes=RouteTable(hosts), options=options)
        connections: set[Any] = set()
        self.proxy.watch(connections)
        self.port = Port(self.proxy, connections, chain)
        self.clients: list[FakeTransport] = []
        self.upstreams: list[FakeTransport] = []

    def clock(self) -> float:
        return monotonic() + self.now

    # --- events

    def connect(self) -> FakeTransport:
        client = FakeTransport(WatchedServer(self.port), port=40000 + len(self.clients))
        self.clients.append(client)
        return client

    async def open(self, error: Exception | None = None) -> None:
        """The oldest connection attempt succeeds, or fails with ``error``."""
        if self.loop.connecting:
            protocol, allowed = self.loop.connecting.pop(0)
            if allowed.done():
                return
            if error is not None:
                allowed.set_exception(error)
            else:
                self.upstreams.append(FakeTransport(protocol, port=50000 + len(self.upstreams)))
                allowed.set_result(None)

    def advance(self, seconds: float) -> None:
        """Time passes: deadlines fire and connections are looked at."""
        self.now += seconds
        for timer in list(self.loop.timers):
            if timer in self.loop.timers:
                self.loop.timers.remove(timer)
                timer.callback()
        self.proxy.tick()

    async def turn(self) -> None:
        """One turn of the loop: connection_lost of what was closed has not come yet."""
        await asyncio.sleep(0)

    async def settle(self) -> None:
        """Everything that is due: tasks, soon-calls, connection_lost."""
        for _ in range(3):
            for _ in range(4):
                await asyncio.sleep(0)
            for transport in [*self.clients, *self.upstreams]:
                transport.settle()
        await asyncio.sleep(0)

    @staticmethod
    def asked(upstream: FakeTransport) -> bytes:
        """The path of the last request an upstream connection was sent."""
        found = ASKED.findall(bytes(upstream.sent))
        return bytes(found[-1]) if found else b"/none"

    # --- invariants

    def check(self) -> None:
        """What holds between any two events."""
        exchanges = WatchedExchange.all
        for each in exchanges:
            assert not each.bad_moves, ("phase", each.bad_moves)
        live = [each for each in exchanges if each.phase != DONE]
        logged = [id(record) for record in self.records]
        assert len(set(logged)) == len(logged), "logged twice"
        assert len(logged) == len(exchanges) - len(live), (
            "an exchange is logged when it is done, and only then"
        )
        assert self.cluster.active == sum(each.attempts > 0 for each in live)
        assert self.cluster.active >= 0
        for endpoint in self.cluster.endpoints:
            assert endpoint.active == sum(each._endpoint is endpoint for each in live)
            self._check_pool(endpoint, live)
        for client in self.clients:
            connection = client.protocol
            assert not connection.bad_moves, ("state", connection.bad_moves)
            held = connection.exchange
            if held is not None and not client.closing:
                assert held.phase != DONE, "a connection holds a finished exchange"

    def _check_pool(self, endpoint: Any, live: list[WatchedExchange]) -> None:
        idle = list(endpoint.idle)
        assert len(set(idle)) == len(idle), "twice in the pool"
        assert set(idle) <= endpoint.connections
        for connection in endpoint.connections:
            assert not connection.closed
            if connection in idle:
                assert connection.exchange is None, "idle and lent"
                assert connection._state == 0
                assert not connection._buffer
                if connection.requests and not connection._request_done:
                    assert connection._request_ended, "pooled in mid-request"
                    assert not connection.transport.buffered, "pooled with a body that has not left"
            else:
                assert connection.exchange is not None, "neither idle nor lent"
                assert connection.exchange.upstream is connection
                assert connection.exchange.phase in (SENT, RESPONDING, TUNNEL)
        using = [each.upstream for each in live if each.upstream is not None]
        assert len(set(using)) == len(using), "lent twice"

    async def finish(self) -> None:
        """Everybody goes; nothing may be left."""
        for client in self.clients:
            client.reset()
        await self.settle()
        while self.loop.connecting:
            await self.open()
            await self.settle()
        self.check()
        assert all(each.phase == DONE for each in WatchedExchange.all)
        assert self.cluster.active == 0
        assert not self.port.connections
        for endpoint in self.cluster.endpoints:
            assert endpoint.active == 0
            assert endpoint.connecting == 0
            assert not endpoint.waiting
            assert endpoint.connections == set(endpoint.idle)
        pooled = {connection for endpoint in self.cluster.endpoints for connection in endpoint.idle}
        for upstream in self.upstreams:
            assert upstream.closing or upstream.protocol in pooled, "a forgotten upstream connection"


def read_responses(data: bytes, methods: list[bytes]) -> list[tuple[int, dict[bytes, bytes], bytes, bool]]:
    """(status, fields, body, complete) of each final response in ``data``; AssertionError on anything odd.

    After a 101 its body is all that follows. ``methods`` are those of the requests, in order.
    """
    out: list[tuple[int, dict[bytes, bytes], bytes, bool]] = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        if not end:
            break  # cut off inside a head
        lines = head.split(b"\r\n")
        assert re.fullmatch(rb"HTTP/1\.1 [1-9][0-9]{2} [ -~]*", lines[0]), lines[0]
        status = int(lines[0][9:12])
        fields: dict[bytes, bytes] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(b": ")
            assert colon, line
            assert name not in (b"content-length", b"transfer-encoding") or name not in fields
            fields[name] = value
        if status == 101:
            out.append((status, fields, data, True))
            break
        if status < 200:
            continue
        method = methods[len(out)] if len(out) < len(methods) else b""
        body, complete = b"", True
        if method == b"HEAD" or status in (204, 304):
            pass
        elif b"transfer-encoding" in fields:
            assert b"content-length" not in fields
            body, complete, data = _unchunk(data)
        else:
            length = int(fields[b"content-length"])
            body, data = data[:length], data[length:]
            complete = len(body) == length
        out.append((status, fields, body, complete))
        assert complete or not data
    return out


def _unchunk(data: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while True:
        line, end, rest = data.partition(b"\r\n")
        if not end:
            return body, False, b""
        size = int(line, 16)
        if size == 0:
            return (body, True, rest[2:]) if rest[:2] == b"\r\n" else (body, False, b"")
        body += rest[:size]
        if len(rest) < size + 2:
            return body, False, b""
        assert rest[size : size + 2] == b"\r\n"
        data = rest[size + 2 :]
