"""Pools of HTTP/2 connections (semantics 8.3.1 to 8.3.9): who shares one, when there are more, and when one ends."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import pytest

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.dates import DateField
from gatewayd.http.edge import Edge
from gatewayd.http.h1 import head, response
from gatewayd.http.h1.client import ClientConnection as Http1Connection
from gatewayd.http.h2.client import UNTIL_TOLD, ClientConnection
from gatewayd.http.h2.client_stream import ClientStream
from gatewayd.http.h2.encoder import encode_request
from gatewayd.http.options import HttpOptions
from gatewayd.http.response import ResponseHead
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.dialer import Hints
from gatewayd.upstream.endpoint import Endpoint
from gatewayd.upstream.keyed_pools import KeyedPools
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.shared_pool import SharedPool
from gatewayd.upstream.spec import AS_CLIENT, HTTP2, ClusterSpec, EndpointSpec, Limits
from tests.support import h2_wire as wire
from tests.support.fake_transport import FakeTransport
from tests.upstream.test_pool import Loop

_OPTIONS = HttpOptions()
EDGE = Edge(
    None,
    _OPTIONS,
    head.parser_for(_OPTIONS),
    response.parser_for(_OPTIONS),
    lambda _stream, _request: None,
    lambda _stream, _request: None,
    DateField(),
)
OK = [(":status", "200")]


class Asker:
    """An exchange, as a pool sees it; it sends a GET as soon as it may."""

    attempts = 1

    def __init__(self, protocol: bytes = b"HTTP/2", client: str = "127.0.0.1:1") -> None:
        self.protocol = protocol
        self._client = client
        self.stream: Any = None
        self.failed: Failure | None = None
        self.unread = False
        self.status = 0

    def hints(self) -> tuple[bytes, str, str]:
        return b"a.test", self._client, "127.0.0.1:80"

    def on_connected(self, stream: Any) -> None:
        assert self.stream is None, "handed one, once"
        self.stream = stream
        if isinstance(stream, ClientStream):
            stream.start(self, encode_request(b"GET", b"http", b"/", b"a.test", []), b"GET", EDGE)

    def on_connect_failure(self, failure: Failure, transport: str) -> None:
        assert self.failed is None, "told once"
        self.failed = failure

    def on_response(self, answer: ResponseHead, data: bytes, end: bool) -> None:
        self.status = answer.status

    def on_upstream_failure(self, failure: Failure, transport: str, unread: bool) -> None:
        self.failed = failure
        self.unread = unread

    @property
    def connection(self) -> ClientConnection:
        """Where its stream is."""
        assert self.stream is not None
        connection = self.stream.connection
        assert isinstance(connection, ClientConnection)
        return connection


class Shared:
    """A cluster whose endpoints speak HTTP/2; connections are opened by hand."""

    def __init__(self, endpoints: int = 1, *, protocol: str = HTTP2, **spec: Any) -> None:
        self.loop = Loop()
        loop: Any = self.loop
        loop.call_soon = asyncio.get_running_loop().call_soon
        members = tuple(EndpointSpec(f"10.0.0.{number}", 80) for number in range(1, endpoints + 1))
        spec.setdefault("limits", Limits(max_requests=10_000))  # so that there is a budget to look at
        resolver: Any = None
        self.cluster = Cluster(
            loop, resolver, ClusterSpec("c", "h", 80, endpoints=members, protocol=protocol, **spec)
        )
        self.endpoint = self.cluster.endpoints[0]

    @property
    def budget(self) -> Budget:
        assert self.cluster.budget is not None
        return self.cluster.budget

    def ask(self, endpoint: Endpoint | None = None, protocol: bytes = b"HTTP/2") -> Asker:
        """A request."""
        asker = Asker(protocol)
        endpoint = endpoint or self.endpoint
        assert not endpoint.idle, "nothing is lent without being counted"
        endpoint.wait(asker)
        return asker

    async def open(self, error: BaseException | None = None, *, streams: int | None = None) -> FakeTransport:
        """The oldest connection attempt succeeds, or fails with ``error``.

        ``streams``: how many the upstream says it takes; None: it has not said anything yet.
        """
        await asyncio.sleep(0)
        protocol, done = self.loop.attempts.pop(0)
        transport = FakeTransport(protocol)
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
        await self.turn()
        if error is None and streams is not None:
            transport.deliver(wire.settings((wire.MAX_CONCURRENT_STREAMS, streams)) + wire.settings(ack=True))
        return transport

    async def turn(self) -> None:
        """What is due."""
        for _ in range(3):
            await asyncio.sleep(0)

    @property
    def opening(self) -> int:
        """How many connections are being opened."""
        return self.endpoint.connecting


def answer(asker: Asker) -> None:
    """The upstream answers."""
    asker.connection.transport.deliver(wire.headers(asker.stream.id, OK, end=True))
    assert asker.status == 200


async def test_requests_share_a_connection() -> None:
    pool = Shared()
    early = [pool.ask() for _ in range(3)]
    assert pool.opening == 1
    await pool.open(streams=100)
    late = pool.ask()
    assert {asker.connection for asker in [*early, late]} == {early[0].connection}
    assert [asker.stream.id for asker in [*early, late]] == [1, 3, 5, 7]
    for asker in [*early, late]:
        answer(asker)
    assert pool.endpoint.pools.all_idle == [late.connection]
    assert pool.opening == 0


async def test_9_1_2_before_its_settings_an_upstream_is_asked_no_more_than_it_must_be_able_to_take() -> None:
    pool = Shared()
    askers = [pool.ask() for _ in range(UNTIL_TOLD + 1)]
    assert pool.opening == 2
    await pool.open()
    assert [asker.stream is not None for asker in askers] == [True] * UNTIL_TOLD + [False]
    await pool.open()
    assert askers[-1].connection is not askers[0].connection


async def test_5_1_2_the_upstream_says_how_many_streams_it_takes() -> None:
    pool = Shared()
    first = pool.ask()
    await pool.open(streams=2)
    second, third = pool.ask(), pool.ask()
    assert second.connection is first.connection
    assert third.stream is None
    assert pool.opening == 1
    answer(first)
    assert third.connection is first.connection, "whoever is free first"
    await pool.open(streams=2)
    assert pool.ask().connection is not first.connection


async def test_5_1_2_and_may_change_its_mind() -> None:
    pool = Shared()
    first = pool.ask()
    await pool.open(streams=1)
    second = pool.ask()
    assert second.stream is None
    first.connection.transport.deliver(wire.settings((wire.MAX_CONCURRENT_STREAMS, 2)))
    assert second.connection is first.connection
    first.connection.transport.deliver(wire.settings((wire.MAX_CONCURRENT_STREAMS, 0)))
    third = pool.ask()
    answer(first)
    assert third.stream is None


async def test_8_3_5_max_concurrent_streams_opens_connections_sooner() -> None:
    pool = Shared(max_concurrent_streams=2)
    askers = [pool.ask() for _ in range(5)]
    assert pool.opening == 3
    for _ in range(3):
        await pool.open(streams=100)
    assert len({asker.connection for asker in askers}) == 3


async def test_8_3_5_max_requests_per_connection_counts_streams() -> None:
    pool = Shared(max_requests_per_connection=2)
    first, second, third = pool.ask(), pool.ask(), pool.ask()
    await pool.open(streams=100)
    assert second.connection is first.connection
    assert third.stream is None
    await pool.open(streams=100)
    assert third.connection is not first.connection
    answer(first)
    assert not first.connection.closed
    answer(second)
    await pool.turn()
    assert first.connection.closed
    assert first.connection.transport.closing
    assert wire.frames(bytes(first.connection.transport.sent[len(wire.PREFACE) :]))[-1].kind == wire.GOAWAY
    assert pool.endpoint.connections == {third.connection}


async def test_8_3_4_http2_max_requests_are_those_on_streams() -> None:
    pool = Shared(limits=Limits(max_requests=2))
    first, second, third = pool.ask(), pool.ask(), pool.ask()
    await pool.open(streams=100)
    assert second.stream is not None
    assert third.failed is errors.OVERFLOW
    assert pool.budget.requests == 2
    answer(first)
    assert pool.budget.requests == 1
    assert pool.ask().stream is not None


async def test_8_3_3_a_limit_on_those_who_wait() -> None:
    pool = Shared(limits=Limits(max_pending=1))
    first, second = pool.ask(), pool.ask()
    assert second.failed is errors.OVERFLOW
    await pool.open(streams=100)
    assert first.stream is not None
    assert (pool.budget.pending, pool.budget.overflows) == (0, 1)


async def test_8_3_2_a_limit_on_connections_makes_requests_wait() -> None:
    pool = Shared(2, limits=Limits(max_connections=1))
    first = pool.ask()
    await pool.open(streams=1)
    second = pool.ask()
    assert pool.opening == 0
    other = pool.ask(pool.cluster.endpoints[1])
    await pool.open(streams=1)
    assert other.stream is not None, "who has none opens one all the same"
    answer(first)
    assert second.connection is first.connection
    assert pool.budget.connections == 2


async def test_everybody_hears_of_a_failed_connect() -> None:
    pool = Shared()
    askers = [pool.ask() for _ in range(3)]
    await pool.open(ConnectionRefusedError(111, "Connection refused"))
    assert [asker.failed for asker in askers] == [errors.CONNECT_REFUSED] * 3
    assert pool.budget.connections == 0
    assert pool.endpoint.pools.unused


async def test_but_those_for_whom_another_is_on_its_way() -> None:
    pool = Shared(max_concurrent_streams=1)
    first, second = pool.ask(), pool.ask()
    await pool.open(ConnectionRefusedError(111, "Connection refused"))
    assert first.failed is errors.CONNECT_REFUSED
    await pool.open(streams=1)
    assert second.stream is not None


async def test_who_does_not_want_a_stream_any_more_gets_none() -> None:
    pool = Shared()
    first, second = pool.ask(), pool.ask()
    pool.endpoint.forget(first)
    await pool.open(streams=100)
    assert first.stream is None
    assert second.stream.id == 1
    assert pool.budget.pending == 0


# --- farewells (RFC 9113 6.8)


async def test_6_8_what_an_upstream_has_not_seen_may_be_sent_elsewhere() -> None:
    pool = Shared()
    first, second = pool.ask(), pool.ask()
    await pool.open(streams=100)
    first.connection.transport.deliver(wire.goaway(1))
    assert first.failed is None
    assert (second.failed, second.unread) == (errors.UPSTREAM_REFUSED, True)
    again = pool.ask()
    assert pool.opening == 1
    await pool.open(streams=100)
    assert again.connection is not first.connection
    answer(first)
    await pool.turn()
    assert first.connection.closed, "with its last stream"


async def test_6_8_those_who_wait_go_to_another_connection() -> None:
    pool = Shared()
    first = pool.ask()
    transport = await pool.open(streams=1)
    waiting = pool.ask()
    await pool.open(streams=1)
    assert waiting.stream is not None
    more = pool.ask()
    assert pool.opening == 1
    transport.deliver(wire.goaway(1))
    await pool.open(streams=1)
    assert more.connection not in (first.connection, waiting.connection)


async def test_6_8_an_idle_connection_that_is_told_goodbye_closes() -> None:
    pool = Shared()
    first = pool.ask()
    await pool.open(streams=100)
    answer(first)
    first.connection.transport.deliver(wire.goaway(1))
    await pool.turn()
    assert first.connection.closed
    assert pool.endpoint.pools.unused
    assert pool.budget.connections == 0


async def test_a_connection_that_ends_fails_its_streams_and_is_replaced_for_those_who_wait() -> None:
    pool = Shared()
    first = pool.ask()
    transport = await pool.open(streams=1)
    waiting = pool.ask()
    transport.reset()
    transport.settle()
    assert (first.failed, first.unread) == (errors.UPSTREAM_CLOSED, False)
    await pool.open(streams=1)
    assert waiting.stream is not None
    assert pool.endpoint.connections == {waiting.connection}


async def test_8_1_1_a_response_that_is_malformed_costs_its_stream_only() -> None:
    pool = Shared()
    first, second = pool.ask(), pool.ask()
    transport = await pool.open(streams=100)
    transport.deliver(wire.headers(1, [(":status", "200"), ("X", "1")]))
    assert first.failed is errors.UPSTREAM_PROTOCOL
    answer(second)


async def test_an_upstream_that_breaks_the_protocol_is_left() -> None:
    pool = Shared()
    first = pool.ask()
    transport = await pool.open(streams=100)
    transport.deliver(wire.settings((wire.MAX_FRAME_SIZE, 1)))
    assert first.failed is errors.UPSTREAM_PROTOCOL
    assert pool.endpoint.connections == set()
    assert transport.ended


# --- time


async def test_8_3_7_an_idle_connection_closes_after_its_time() -> None:
    pool = Shared(idle_timeout_s=10)
    first, second = pool.ask(), pool.ask()
    await pool.open(streams=100)
    answer(first)
    pool.endpoint.sweep(monotonic() + 100)
    assert not first.connection.closed, "it carries another"
    answer(second)
    pool.endpoint.sweep(monotonic() + 9)
    assert not first.connection.closed
    pool.endpoint.sweep(monotonic() + 11)
    await pool.turn()
    assert first.connection.closed


async def test_8_3_7_an_old_connection_takes_no_new_requests() -> None:
    pool = Shared(max_connection_duration_s=60)
    first = pool.ask()
    await pool.open(streams=100)
    pool.endpoint.sweep(monotonic() + 61)
    second = pool.ask()
    await pool.open(streams=100)
    assert second.connection is not first.connection
    answer(first)
    await pool.turn()
    assert first.connection.closed


async def test_8_3_9_a_connection_in_use_is_asked_whether_it_is_there() -> None:
    pool = Shared(ping_interval_s=10, ping_timeout_s=5)
    first = pool.ask()
    transport = await pool.open(streams=100)
    now = monotonic()

    def pings() -> list[bytes]:
        found = wire.frames(bytes(transport.sent[len(wire.PREFACE) :]))
        return [frame.payload for frame in found if frame.kind == wire.PING]

    pool.endpoint.sweep(now + 9)
    assert pings() == []
    pool.endpoint.sweep(now + 11)
    (question,) = pings()
    transport.deliver(wire.ping(question, ack=True))
    pool.endpoint.sweep(now + 17)
    pool.endpoint.sweep(now + 22)
    assert len(pings()) == 2
    pool.endpoint.sweep(now + 26)
    assert not first.connection.closed
    pool.endpoint.sweep(now + 28)
    transport.settle()
    assert first.failed is errors.UPSTREAM_CLOSED
    assert transport.closing


async def test_6_5_3_an_upstream_that_never_acknowledges_settings_is_left() -> None:
    pool = Shared()
    first = pool.ask()
    transport = await pool.open()
    pool.endpoint.sweep(monotonic() + 1000)
    assert first.failed is errors.UPSTREAM_PROTOCOL
    assert transport.ended


# --- the end


async def test_an_endpoint_that_left_closes_idle_connections_and_lets_others_finish() -> None:
    pool = Shared()
    first = pool.ask()
    await pool.open(streams=100)
    pool.endpoint.remove()
    assert not first.connection.closed
    answer(first)
    await pool.turn()
    assert first.connection.closed
    assert pool.endpoint.pools.unused


async def test_close_ends_everything() -> None:
    pool = Shared(max_concurrent_streams=1)
    first, waiting = pool.ask(), pool.ask()
    transport = await pool.open(streams=1)
    pool.endpoint.close()
    transport.settle()
    await pool.turn()
    assert first.failed is errors.UPSTREAM_CLOSED
    assert waiting.stream is None
    assert pool.endpoint.pools.unused
    assert (pool.budget.connections, pool.budget.pending, pool.budget.requests) == (0, 0, 0)


async def test_8_3_8_use_client_protocol_has_a_pool_for_each_version() -> None:
    pool = Shared(protocol=AS_CLIENT)
    new, old = pool.ask(protocol=b"HTTP/2"), pool.ask(protocol=b"HTTP/1.1")
    await pool.open(streams=100)
    await pool.open()
    assert isinstance(new.stream, ClientStream)
    assert isinstance(old.stream, Http1Connection)
    assert len(pool.endpoint.connections) == 2
    oldest = pool.ask(protocol=b"HTTP/1.0")
    assert pool.opening == 1
    pool.endpoint.forget(oldest)
    answer(new)
    pool.endpoint.close()
    assert pool.endpoint.pools.unused


async def test_10_11_connections_that_tell_of_their_client_are_shared_by_its_requests_only() -> None:
    opening: list[tuple[Any, asyncio.Future[Any]]] = []

    def open_one(factory: Any, hints: Hints) -> asyncio.Future[Any]:
        opening.append((factory(), asyncio.get_running_loop().create_future()))
        return opening[-1][1]

    spec = ClusterSpec("c", "h", 80, protocol=HTTP2, proxy_protocol="V1")
    pools = KeyedPools(asyncio.get_running_loop(), spec, open_one)
    askers = [Asker(), Asker(), Asker(client="127.0.0.1:2")]
    for asker in askers:
        pools.wait(asker)
    await asyncio.sleep(0)
    for protocol, done in opening:
        FakeTransport(protocol)
        done.set_result((None, ""))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first, second, other = (asker.connection for asker in askers)
    assert first is second
    assert other is not first
    assert (len(pools.connections), pools.waiting) == (2, [])
    pools.close()


@pytest.mark.parametrize("count", [1, 7])
async def test_every_count_is_zero_again(count: int) -> None:
    pool = Shared(max_concurrent_streams=3)
    askers = [pool.ask() for _ in range(count)]
    while pool.opening:
        await pool.open(streams=100)
    for asker in askers:
        answer(asker)
    assert isinstance(pool.endpoint.pools, SharedPool)
    assert (pool.budget.requests, pool.budget.pending) == (0, 0)
    assert pool.budget.connections == len(pool.endpoint.connections) == (count + 2) // 3
    assert len(pool.endpoint.pools.all_idle) == len(pool.endpoint.connections)
