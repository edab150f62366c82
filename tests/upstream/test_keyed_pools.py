"""Connections that differ: by the name in the ClientHello (semantics 10.2), by the client a PROXY header tells of
(10.11). A request gets only one that would have been opened for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import Any

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.h1.client import ClientConnection
from gatewayd.tls.spec import ClientTlsSpec
from gatewayd.upstream.dialer import Hints
from gatewayd.upstream.keyed_pools import MAX_IDLE, KeyedPools
from gatewayd.upstream.spec import ClusterSpec
from tests.support.fake_transport import FakeTransport

NO_SNI = ClientTlsSpec("DestinationRule a/b", "SIMPLE")
BY_HOST: dict[str, Any] = {"tls": object(), "tls_spec": NO_SNI}
BY_CLIENT: dict[str, Any] = {"proxy_protocol": "V1"}


class Request:
    def __init__(self, host: str = "a.test", client: str = "10.0.0.1:1", attempts: int = 1) -> None:
        self.attempts = attempts
        self._hints = (host.encode(), client, "10.0.0.9:80")
        self.connection: ClientConnection | None = None
        self.failure: Failure | None = None

    def hints(self) -> tuple[bytes, str, str]:
        return self._hints

    def on_connected(self, connection: ClientConnection) -> None:
        self.connection = connection
        connection.exchange = self
        connection.requests += 1

    def on_connect_failure(self, failure: Failure, transport: str) -> None:
        self.failure = failure

    def done(self) -> None:
        """The exchange is over, and clean."""
        assert self.connection is not None
        self.connection.exchange = None
        self.connection.owner.released(self.connection)


class World:
    """Pools whose connections open when :meth:`settle` says so."""

    def __init__(self, **spec: Any) -> None:
        self.opened: list[Hints] = []
        self._attempts: list[tuple[Any, asyncio.Future[tuple[Failure | None, str]]]] = []
        self.pools = KeyedPools(asyncio.get_running_loop(), ClusterSpec("c", "h", 80, **spec), self._open)

    def _open(self, factory: Any, hints: Hints) -> Awaitable[tuple[Failure | None, str]]:
        self.opened.append(hints)
        done: asyncio.Future[tuple[Failure | None, str]] = asyncio.get_running_loop().create_future()
        self._attempts.append((factory(), done))
        return done

    async def ask(self, *requests: Request) -> None:
        """All ask, and what is being opened opens."""
        for request in requests:
            self.pools.wait(request)
        await self.settle()

    async def settle(self, failure: Failure | None = None) -> None:
        await asyncio.sleep(0)
        for protocol, done in self._attempts:
            if failure is None:
                FakeTransport(protocol)
            done.set_result((failure, ""))
        self._attempts = []
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_nothing_is_ever_idle_for_a_request_that_has_not_said_who_it_is() -> None:
    world = World(**BY_HOST)
    request = Request()
    await world.ask(request)
    request.done()
    assert not world.pools.idle
    assert len(world.pools.connections) == 1


async def test_one_host_shares_its_connections_and_no_other_has_them() -> None:
    world = World(**BY_HOST)
    first = Request("a.test")
    await world.ask(first)
    first.done()
    again, other = Request("A.test:8443", client="10.0.0.2:2"), Request("b.test")
    world.pools.wait(again)
    assert again.connection is first.connection, "handed over at once, whoever the client is"
    again.done()
    await world.ask(other)
    assert other.connection is not None
    assert other.connection is not first.connection
    assert world.opened == [Hints("a.test"), Hints("b.test")]


async def test_one_client_connection_has_its_connections_for_itself() -> None:
    world = World(**BY_CLIENT)
    first = Request(client="10.0.0.1:1")
    await world.ask(first)
    first.done()
    again, other = Request("b.test", client="10.0.0.1:1"), Request(client="10.0.0.1:2")
    world.pools.wait(again)
    assert again.connection is first.connection
    await world.ask(other)
    assert other.connection is not first.connection
    assert world.opened == [
        Hints(None, "10.0.0.1:1", "10.0.0.9:80"),
        Hints(None, "10.0.0.1:2", "10.0.0.9:80"),
    ]


async def test_with_both_the_key_is_both() -> None:
    world = World(**BY_HOST, **BY_CLIENT)
    await world.ask(Request("a.test"), Request("b.test"), Request("a.test", client="10.0.0.1:2"))
    assert len(set(world.opened)) == 3


async def test_a_further_attempt_gets_a_connection_of_its_own() -> None:
    """What closed one idle connection may have closed all."""
    world = World(**BY_HOST)
    first, retried = Request(), Request(attempts=2)
    await world.ask(first)
    first.done()
    await world.ask(retried)
    assert retried.connection is not None
    assert retried.connection is not first.connection


async def test_a_failure_reaches_only_those_of_its_key() -> None:
    world = World(**BY_HOST)
    first, second = Request("a.test"), Request("b.test")
    world.pools.wait(first)
    await world.settle(errors.CONNECT_REFUSED)
    world.pools.wait(second)
    assert first.failure is errors.CONNECT_REFUSED
    assert second.failure is None
    assert list(world.pools.waiting) == [second]
    assert world.pools.connecting == 1


async def test_who_left_is_not_served() -> None:
    world = World(**BY_HOST)
    request = Request()
    world.pools.forget(request)
    world.pools.wait(request)
    world.pools.forget(request)
    await world.settle()
    assert request.connection is None
    assert len(world.pools.connections) == 1, "kept for the next one"


async def test_connections_idle_too_long_are_closed_and_empty_pools_forgotten() -> None:
    """Hardening 8: upstream_idle_timeout; the keys are what strangers send."""
    world = World(**BY_HOST, idle_timeout_s=10.0)
    requests = [Request(f"{n}.test") for n in range(3)]
    await world.ask(*requests)
    for age, request in zip((20, 5, 11), requests, strict=True):
        request.done()
        assert request.connection is not None
        request.connection.idle_since = monotonic() - age
    world.pools.sweep(monotonic())
    assert world.pools.connections == {requests[1].connection}
    assert repr(world.pools).startswith("keys 1, connections 1")


async def test_a_pool_in_use_is_not_forgotten() -> None:
    world = World(**BY_HOST, idle_timeout_s=10.0)
    busy, waiting = Request("a.test"), Request("b.test")
    await world.ask(busy)
    world.pools.wait(waiting)
    world.pools.sweep(monotonic() + 1e6)
    assert repr(world.pools).startswith("keys 2")
    await world.settle()
    assert waiting.connection is not None
    assert busy.connection in world.pools.connections


async def test_strangers_cannot_make_us_keep_more_than_so_many_connections() -> None:
    world = World(**BY_HOST)
    requests = [Request(f"{n}.test") for n in range(MAX_IDLE + 10)]
    await world.ask(*requests)
    now = monotonic()
    for age, request in enumerate(requests):
        request.done()
        assert request.connection is not None
        request.connection.idle_since = now - 50 + age * 0.1
    world.pools.sweep(now)
    kept = world.pools.connections
    assert len(kept) == MAX_IDLE
    assert kept == {request.connection for request in requests[10:]}, "those idle longest went"


async def test_a_removed_endpoint_closes_what_is_idle_and_lets_the_rest_finish() -> None:
    """Hardening 9.1."""
    world = World(**BY_HOST)
    busy, idle, late = Request("a.test"), Request("b.test"), Request("c.test")
    await world.ask(busy, idle)
    idle.done()
    world.pools.remove()
    assert world.pools.connections == {busy.connection}
    busy.done()
    assert not world.pools.connections
    await world.ask(late)
    assert late.connection is not None
    late.done()
    assert not world.pools.connections


async def test_closing_ends_everything() -> None:
    world = World(**BY_HOST)
    busy = Request("a.test")
    await world.ask(busy)
    world.pools.wait(Request("b.test"))
    world.pools.close()
    assert busy.connection is not None
    assert busy.connection.closed
    await asyncio.sleep(0)
    assert world.pools.connections == set()
