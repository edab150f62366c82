"""Pools with limits (semantics 8.3.1 to 8.3.7): what they let through, and that every count returns to zero."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from gatewayd import errors
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.endpoint import Endpoint
from gatewayd.upstream.limited_pool import LimitedPool
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.spec import ClusterSpec, EndpointSpec, Limits
from tests.support.fake_transport import FakeTransport
from tests.upstream.test_pool import Loop, Waiter


class Limited:
    """A cluster of some endpoints with limits; connections are opened by hand."""

    def __init__(self, endpoints: int = 1, *, limits: Limits | None = None, **spec: Any) -> None:
        self.loop = Loop()
        loop: Any = self.loop
        members = tuple(EndpointSpec(f"10.0.0.{number}", 80) for number in range(1, endpoints + 1))
        resolver: Any = None
        self.cluster = Cluster(
            loop, resolver, ClusterSpec("c", "h", 80, endpoints=members, limits=limits or Limits(), **spec)
        )
        self.endpoint = self.cluster.endpoints[0]

    @property
    def budget(self) -> Budget:
        assert self.cluster.budget is not None
        return self.cluster.budget

    def ask(self, endpoint: Endpoint | None = None, *, attempts: int = 1) -> Waiter:
        """A request, as an exchange does it: an idle connection, else wait."""
        waiter = Waiter()
        waiter.attempts = attempts
        endpoint = endpoint or self.endpoint
        if endpoint.idle and attempts == 1:
            waiter.on_connected(endpoint.idle.pop())
        else:
            endpoint.wait(waiter)
        return waiter

    async def settle(self, error: BaseException | None = None, *, attempt: int = 0) -> None:
        """A connection attempt succeeds, or fails with ``error``."""
        await asyncio.sleep(0)
        protocol, done = self.loop.attempts.pop(attempt)
        if error is None:
            FakeTransport(protocol)
            done.set_result(None)
        else:
            done.set_exception(error)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def free(self, waiter: Waiter) -> None:
        """Its exchange is over, and the connection clean."""
        assert waiter.connection is not None
        waiter.connection.exchange = None
        waiter.connection.owner.released(waiter.connection)

    def drop(self, waiter: Waiter) -> None:
        """Its exchange failed, and the connection with it."""
        connection = waiter.connection
        assert connection is not None
        connection.exchange = None
        connection.close()
        connection.owner.gone(connection)


def overflowed(waiter: Waiter) -> bool:
    return waiter.failure == (errors.OVERFLOW, "")


async def test_8_3_3_one_waiter_too_many_overflows_while_a_connection_is_opened() -> None:
    pool = Limited(limits=Limits(max_pending=1))
    first, second = pool.ask(), pool.ask()
    assert overflowed(second)
    assert pool.endpoint.connecting == 1
    await pool.settle()
    assert first.connection is not None
    assert (pool.budget.pending, pool.budget.overflows) == (0, 1)
    assert not overflowed(pool.ask()), "there is room for a waiter again"


async def test_8_3_2_at_the_connection_limit_requests_wait_for_those_there_are() -> None:
    pool = Limited(limits=Limits(max_connections=1))
    first, second = pool.ask(), pool.ask()
    assert pool.endpoint.connecting == 1
    await pool.settle()
    assert first.connection is not None
    assert second.connection is None
    pool.free(first)
    assert second.connection is first.connection
    pool.free(second)
    assert pool.budget.connections == 1, "an idle one counts"


async def test_8_3_2_and_an_endpoint_without_any_opens_one_all_the_same() -> None:
    pool = Limited(2, limits=Limits(max_connections=1))
    pool.ask(pool.cluster.endpoints[0])
    other = pool.ask(pool.cluster.endpoints[1])
    await pool.settle()
    await pool.settle()
    assert other.connection is not None
    assert pool.budget.connections == 2


async def test_a_connection_that_ends_makes_room_for_the_one_its_waiters_need() -> None:
    pool = Limited(limits=Limits(max_connections=1))
    first, second = pool.ask(), pool.ask()
    await pool.settle()
    pool.drop(first)
    assert pool.endpoint.connecting == 1
    await pool.settle()
    assert second.connection is not None


async def test_8_3_5_so_does_one_that_carried_its_last_request() -> None:
    pool = Limited(limits=Limits(max_connections=1), max_requests_per_connection=1)
    first, second = pool.ask(), pool.ask()
    await pool.settle()
    pool.free(first)
    await pool.settle()
    assert second.connection is not first.connection
    assert pool.budget.connections == 1


async def test_a_request_that_wants_a_fresh_connection_at_the_limit_ends_an_idle_one() -> None:
    pool = Limited(limits=Limits(max_connections=1))
    first = pool.ask()
    await pool.settle()
    pool.free(first)
    again = pool.ask(attempts=2)
    await pool.settle()
    assert again.connection is not first.connection
    assert first.connection is not None
    assert first.connection.closed
    assert pool.budget.connections == 1


async def test_a_failed_connect_fails_everybody_for_whom_no_other_is_on_its_way() -> None:
    pool = Limited(limits=Limits(max_connections=1))
    waiters = [pool.ask() for _ in range(3)]
    await pool.settle(ConnectionRefusedError(111, "refused"))
    assert [waiter.failure and waiter.failure[0] for waiter in waiters] == [errors.CONNECT_REFUSED] * 3
    assert (pool.budget.pending, pool.budget.connections) == (0, 0)


async def test_8_3_4_a_request_counts_once_it_would_be_sent() -> None:
    pool = Limited(limits=Limits(max_requests=1))
    first, second = pool.ask(), pool.ask()
    await pool.settle()
    assert not overflowed(second), "it waits for its connection"
    await pool.settle()
    assert overflowed(second)
    pool.free(first)
    third = pool.ask()
    assert third.connection is not None
    assert overflowed(pool.ask()), "there is an idle connection, but one is in flight"


async def test_8_3_4_waiting_for_the_only_connection_is_not_in_flight() -> None:
    pool = Limited(limits=Limits(max_requests=1, max_connections=1))
    waiters = [pool.ask() for _ in range(4)]
    await pool.settle()
    for waiter in waiters:
        assert waiter.connection is not None
        pool.free(waiter)
    assert pool.budget.overflows == 3, "so often a connection was wanted that may not be opened"
    assert pool.budget.requests == 0


async def test_8_3_7_a_connection_ends_by_its_age_after_the_request_it_carries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("gatewayd.upstream.limited_pool.monotonic", lambda: now)
    pool = Limited(max_connection_duration_s=5.0)
    young, old = pool.ask(), pool.ask()
    await pool.settle()
    await pool.settle()
    pool.free(young)
    now = 104.9
    pool.cluster.sweep(now)
    assert len(pool.endpoint.connections) == 2
    now = 105.0
    pool.cluster.sweep(now)
    assert young.connection is not None
    assert young.connection.closed, "it was idle"
    assert old.connection is not None
    assert not old.connection.closed
    pool.free(old)
    assert old.connection.closed
    assert not pool.endpoint.connections


async def test_with_keys_each_pool_counts_against_the_same_budget() -> None:
    limits = Limits(max_pending=1)
    budget = Budget(limits)
    loop: Any = Loop()
    spec = ClusterSpec("c", "h", 80, limits=limits, proxy_protocol="V1")
    endpoint = Endpoint(loop, spec, "10.0.0.1", 80, budget)
    one, two = Waiter(), Waiter()
    two.hints = lambda: (b"a.test", "127.0.0.1:2", "127.0.0.1:80")  # type: ignore[method-assign]
    endpoint.wait(one)
    endpoint.wait(two)
    assert overflowed(two)
    endpoint.forget(one)
    assert budget.pending == 0


def test_a_cluster_without_limits_has_a_plain_pool() -> None:
    nothing: Any = None
    endpoints = (EndpointSpec("10.0.0.1", 80),)
    cluster = Cluster(nothing, nothing, ClusterSpec("c", "h", 80, endpoints=endpoints))
    assert not cluster.policed
    assert not isinstance(cluster.endpoints[0].pools, LimitedPool)
    limited = Cluster(nothing, nothing, ClusterSpec("c", "h", 80, "", endpoints=endpoints, limits=Limits(1)))
    assert limited.policed
    assert isinstance(limited.endpoints[0].pools, LimitedPool)


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_happens_no_count_leaks_and_no_limit_is_passed(seed: int) -> None:
    draw = random.Random(seed)
    limits = Limits(
        max_connections=draw.choice([0, 1, 2, 3]),
        max_pending=draw.choice([0, 1, 2]),
        max_requests=draw.choice([0, 1, 2]),
    )
    if limits == Limits():
        limits = Limits(max_pending=1)
    pool = Limited(
        draw.choice([1, 2]),
        limits=limits,
        max_requests_per_connection=draw.choice([0, 0, 1, 3]),
        max_connection_duration_s=draw.choice([0.0, 1000.0]),
    )
    budget = pool.budget
    everybody: list[tuple[Endpoint, Waiter]] = []

    def waiting() -> list[tuple[Endpoint, Waiter]]:
        return [(e, w) for e, w in everybody if w.connection is None and w.failure is None]

    def busy() -> list[Waiter]:
        return [w for _, w in everybody if w.connection is not None and w.connection.exchange is w]

    def check() -> None:
        endpoints = pool.cluster.endpoints
        assert budget.connections == sum(len(e.connections) + e.connecting for e in endpoints)
        assert budget.pending == sum(len(e.waiting) for e in endpoints) == len(waiting())
        if limits.max_requests:
            assert budget.requests == len(busy()) <= limits.max_requests
        if limits.max_pending:
            assert budget.pending <= limits.max_pending
        if limits.max_connections:
            assert budget.connections <= max(limits.max_connections, 1) + len(endpoints) - 1
        for endpoint in endpoints:  # nobody waits where nothing will ever come
            assert not endpoint.waiting or endpoint.connections or endpoint.connecting

    for _ in range(120):
        action = draw.choice(
            ["ask", "ask", "ask", "open", "open", "refuse", "free", "free", "drop", "forget", "idle"]
        )
        await asyncio.sleep(0)
        if action == "ask":
            endpoint = draw.choice(pool.cluster.endpoints)
            everybody.append((endpoint, pool.ask(endpoint, attempts=draw.choice([1, 1, 1, 2]))))
        elif action in ("open", "refuse") and pool.loop.attempts:
            at = draw.randrange(len(pool.loop.attempts))
            await pool.settle(
                None if action == "open" else ConnectionRefusedError(111, "refused"), attempt=at
            )
        elif action in ("free", "drop") and busy():
            (pool.free if action == "free" else pool.drop)(draw.choice(busy()))
        elif action == "forget" and waiting():
            endpoint, waiter = draw.choice(waiting())
            endpoint.forget(waiter)
            everybody.remove((endpoint, waiter))
        elif action == "idle":
            for endpoint in pool.cluster.endpoints:
                if endpoint.pools.all_idle and draw.random() < 0.3:
                    connection = endpoint.pools.all_idle[0]
                    connection.close()
                    connection.owner.gone(connection)
        check()
    await asyncio.sleep(0)
    while waiting() or busy() or pool.loop.attempts:
        if pool.loop.attempts:
            await pool.settle()
        for waiter in busy():
            pool.free(waiter)
        await asyncio.sleep(0)
    check()
    pool.cluster.close()
    assert (budget.connections, budget.pending, budget.requests) == (0, 0, 0)
