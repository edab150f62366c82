"""The pool of one endpoint: who gets which connection, and what happens to those nobody may have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import pytest

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.h1.client import ClientConnection
from gatewayd.upstream.endpoint import Endpoint
from gatewayd.upstream.pool import Pool as HttpPool
from gatewayd.upstream.spec import ClusterSpec
from tests.support.fake_transport import FakeTransport

Outcome = Callable[[Any], Awaitable[None]]


class Loop:
    """Makes tasks for real; each connection attempt waits in ``attempts`` for its outcome."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Any, asyncio.Future[Any]]] = []

    def create_task(self, work: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(work)

    async def create_connection(self, factory: Any, host: str, port: int) -> None:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        protocol = factory()
        self.attempts.append((protocol, done))
        await done

    async def create_unix_connection(self, factory: Any, path: str) -> None:
        await self.create_connection(factory, path, 0)


class Waiter:
    attempts = 1

    def __init__(self) -> None:
        self.connection: ClientConnection | None = None
        self.failure: tuple[Failure, str] | None = None
        self.told = asyncio.Event()

    def hints(self) -> tuple[bytes, str, str]:
        return b"a.test", "127.0.0.1:1", "127.0.0.1:80"

    def on_connected(self, connection: ClientConnection) -> None:
        self.connection = connection
        connection.exchange = self
        connection.requests += 1
        self.told.set()

    def on_connect_failure(self, failure: Failure, transport: str) -> None:
        self.failure = (failure, transport)
        self.told.set()


class Pool:
    """An endpoint with its loop and a few words for tests."""

    def __init__(self, **spec: Any) -> None:
        self.loop = Loop()
        loop: Any = self.loop
        self.endpoint = Endpoint(loop, ClusterSpec("c", "h", 80, **spec), "10.0.0.1", 80)

    def wait(self) -> Waiter:
        waiter = Waiter()
        self.endpoint.wait(waiter)
        return waiter

    async def settle(self, error: BaseException | None = None, *, attempt: int = 0) -> FakeTransport | None:
        """The attempt succeeds, or fails with ``error``; its transport."""
        await asyncio.sleep(0)
        protocol, done = self.loop.attempts.pop(attempt)
        transport = None
        if error is None:
            transport = FakeTransport(protocol)
            done.set_result(None)
        else:
            done.set_exception(error)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return transport

    def free(self, connection: ClientConnection) -> None:
        """Its exchange is over, and it is clean."""
        connection.exchange = None
        connection.owner.released(connection)


async def test_a_waiter_gets_the_connection_opened_for_it() -> None:
    pool = Pool()
    waiter = pool.wait()
    assert pool.endpoint.connecting == 1
    await pool.settle()
    assert waiter.connection in pool.endpoint.connections
    assert not pool.endpoint.idle
    assert pool.endpoint.connecting == 0


async def test_whoever_waits_longest_gets_whatever_becomes_free_first() -> None:
    pool = Pool()
    first = pool.wait()
    await pool.settle()
    assert first.connection is not None
    second, third = pool.wait(), pool.wait()
    pool.free(first.connection)
    assert second.connection is first.connection
    assert third.connection is None
    await pool.settle()
    assert third.connection is not None
    await pool.settle()
    assert len(pool.endpoint.idle) == 1, "the connection nobody needed any more is kept"


async def test_there_is_an_attempt_for_each_waiter_and_no_more() -> None:
    pool = Pool()
    waiters = [pool.wait() for _ in range(3)]
    await asyncio.sleep(0)
    assert len(pool.loop.attempts) == pool.endpoint.connecting == 3
    pool.endpoint.forget(waiters[0])
    pool.wait()
    await asyncio.sleep(0)
    assert len(pool.loop.attempts) == 3, "the one of the waiter that left serves"


async def test_who_left_is_not_served() -> None:
    pool = Pool()
    waiter = pool.wait()
    pool.endpoint.forget(waiter)
    pool.endpoint.forget(waiter)
    await pool.settle()
    assert waiter.connection is None
    assert len(pool.endpoint.idle) == 1


@pytest.mark.parametrize(
    ("error", "failure", "words"),
    [
        (
            ConnectionRefusedError(111, "x"),
            errors.CONNECT_REFUSED,
            "delayed_connect_error:_Connection_refused",
        ),
        (OSError(113, "x"), errors.CONNECT_REFUSED, "delayed_connect_error:_No_route_to_host"),
        (OSError(101, "x"), errors.CONNECT_LOCAL, "delayed_connect_error:_Network_is_unreachable"),
        (OSError(99, "Cannot assign"), errors.CONNECT_LOCAL, "delayed_connect_error:_Cannot_assign"),
        (OSError("without a number"), errors.CONNECT_REFUSED, "delayed_connect_error:_"),
        (TimeoutError(), errors.CONNECT_TIMEOUT, ""),
        (OverflowError("port must be 0-65535"), errors.CONNECT_LOCAL, ""),
        (UnicodeError("label too long"), errors.CONNECT_LOCAL, ""),
    ],
)
async def test_a_failed_attempt_tells_whoever_waits_longest(
    error: Exception, failure: Failure, words: str
) -> None:
    """Semantics 16; whatever the library raises, nobody waits for ever."""
    pool = Pool()
    first, second = pool.wait(), pool.wait()
    await pool.settle(error)
    assert first.failure == (failure, words)
    assert second.failure is None
    assert pool.endpoint.connecting == 1
    await pool.settle()
    assert second.connection is not None


async def test_an_attempt_that_takes_too_long_is_given_up() -> None:
    """Semantics 8.3.2, 16."""
    pool = Pool(connect_timeout_s=0.01)
    waiter = pool.wait()
    async with asyncio.timeout(30.0):
        await waiter.told.wait()
    assert waiter.failure is not None
    assert waiter.failure[0] is errors.CONNECT_TIMEOUT
    assert pool.endpoint.connecting == 0


@pytest.mark.parametrize("how", ["end", "data", "reset"])
async def test_a_connection_that_ends_before_anybody_used_it(how: str) -> None:
    """Semantics 16: accepted and closed is UC, not a connection to be handed out."""
    pool = Pool()
    waiter = pool.wait()
    await asyncio.sleep(0)
    protocol, done = pool.loop.attempts.pop()
    transport = FakeTransport(protocol)
    if how == "end":
        transport.end()
    elif how == "data":
        transport.deliver(b"220 hello\r\n")
    else:
        transport.reset()
        transport.settle()
    done.set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert waiter.connection is None
    assert waiter.failure == (errors.UPSTREAM_CLOSED, "")
    assert not pool.endpoint.connections
    assert not pool.endpoint.idle


@pytest.mark.parametrize("how", ["end", "data", "reset"])
async def test_an_idle_connection_that_ends_leaves_the_pool_at_once(how: str) -> None:
    """Hardening 7: noticed before reuse, in the same turn of the loop."""
    pool = Pool()
    waiter = pool.wait()
    transport = await pool.settle()
    assert waiter.connection is not None
    assert transport is not None
    pool.free(waiter.connection)
    if how == "end":
        transport.end()
    elif how == "data":
        transport.deliver(b"HTTP/1.1 408 Timeout\r\n\r\n")
    else:
        transport.reset()
        transport.settle()
    assert not pool.endpoint.idle
    assert not pool.endpoint.connections
    assert transport.closing


async def test_the_last_connection_used_is_the_next_one() -> None:
    """So that the others grow idle and close."""
    pool = Pool()
    waiters = [pool.wait() for _ in range(3)]
    for _ in range(3):
        await pool.settle()
    connections = [waiter.connection for waiter in waiters]
    for connection in connections:
        assert connection is not None
        pool.free(connection)
    assert pool.endpoint.idle[-1] is connections[2]


async def test_connections_idle_too_long_are_closed_oldest_first() -> None:
    """Hardening 8: upstream_idle_timeout."""
    pool = Pool(idle_timeout_s=10.0)
    waiters = [pool.wait() for _ in range(3)]
    for _ in range(3):
        await pool.settle()
    for age, waiter in zip((20, 11, 5), waiters, strict=True):
        assert waiter.connection is not None
        pool.free(waiter.connection)
        waiter.connection.idle_since = monotonic() - age
    pool.endpoint.sweep(monotonic())
    assert list(pool.endpoint.idle) == [waiters[2].connection]
    assert len(pool.endpoint.connections) == 1


async def test_without_an_idle_limit_nothing_is_closed() -> None:
    pool = Pool(idle_timeout_s=0.0)
    waiter = pool.wait()
    await pool.settle()
    assert waiter.connection is not None
    pool.free(waiter.connection)
    pool.endpoint.sweep(monotonic() + 1e6)
    assert len(pool.endpoint.idle) == 1


async def test_a_connection_ends_after_its_number_of_requests() -> None:
    """Semantics 8.3.5."""
    pool = Pool(max_requests_per_connection=2)
    waiter = pool.wait()
    transport = await pool.settle()
    assert waiter.connection is not None
    pool.free(waiter.connection)
    pool.endpoint.idle.pop()
    waiter.on_connected(waiter.connection)
    pool.free(waiter.connection)
    assert not pool.endpoint.connections
    assert transport is not None
    assert transport.closing


async def test_a_removed_endpoint_closes_what_is_idle_and_lets_the_rest_finish() -> None:
    """Hardening 9.1."""
    pool = Pool()
    busy, idle = pool.wait(), pool.wait()
    await pool.settle()
    await pool.settle()
    assert busy.connection is not None
    assert idle.connection is not None
    pool.free(idle.connection)
    pool.endpoint.remove()
    assert pool.endpoint.connections == {busy.connection}
    pool.free(busy.connection)
    assert not pool.endpoint.connections


async def test_who_waits_for_an_endpoint_that_is_removed_is_still_served() -> None:
    """A change of addresses must not leave a request hanging."""
    pool = Pool()
    waiter = pool.wait()
    await asyncio.sleep(0)
    pool.endpoint.remove()
    await pool.settle()
    assert waiter.connection is not None
    pool.free(waiter.connection)
    assert not pool.endpoint.connections


async def test_closing_ends_attempts_too() -> None:
    pool = Pool()
    pool.wait()
    await asyncio.sleep(0)
    pool.endpoint.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert isinstance(pool.endpoint.pools, HttpPool)
    assert not pool.endpoint.pools._tasks
    assert not pool.endpoint.connections
