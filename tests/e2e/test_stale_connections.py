"""Pooled connections the upstream closed: retried when it provably got nothing, never when it may have acted.

Hardening 7 ("close or reset of an idle connection"), promises 9.5 and 9.14. Between two awaits the loop does
not run, so each test decides what the kernel knows when the proxy reuses the connection.
"""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.routing.route import RetryPolicy
from tests.support.bare_sockets import Net, Peer, answer
from tests.support.in_process import InProcess, forward, request

METHODS = pytest.mark.parametrize("method", ["GET", "POST"])
BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


def _request(method: str) -> bytes:
    return request(method, "/x", b"last" if method == "POST" else b"", ["x-end: last"])


async def _warm(port: int, net: Net, count: int = 1) -> tuple[list[Peer], list[Peer]]:
    """``count`` clients and the pooled connection behind each, after one good exchange."""
    clients = [await net.connect(port) for _ in range(count)]
    for client in clients:
        client.send(request())
    pooled = [await net.accept() for _ in range(count)]
    for peer in pooled:
        await peer.receive(b"\r\n\r\n")
    for peer in pooled:
        peer.send(answer())
    for client in clients:
        await client.receive(b"ok")
    return clients, pooled


async def _served_again(net: Net, client: Peer, method: str) -> bytes:
    """Answer the request on a new connection; the head that came there."""
    fresh = await net.accept()
    head = await fresh.receive(b"last\r\n" if method == "GET" else b"\r\n\r\nlast")
    fresh.send(answer(b"again"))
    assert (await client.receive(b"again")).startswith(b"HTTP/1.1 200 OK")
    return head


@BOTH_LOOPS
@METHODS
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_close_in_the_moment_of_reuse_is_retried_whatever_the_method(method: str, how: str) -> None:
    """The request is read first, the close is met while it is written: no process can have seen it."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            (client,), (pooled,) = await _warm(proxy.port, net)
            client.send(_request(method))
            getattr(pooled, how)()
            await _served_again(net, client, method)
            record = (await proxy.logged(2))[1]
            assert (record.status, record.flags, record.details) == (200, "", "via_upstream")


@METHODS
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_close_before_the_request_is_noticed_before_reuse(method: str, how: str) -> None:
    """Both wait in the kernel, the close first: the connection leaves the pool before the request is read."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            (client,), (pooled,) = await _warm(proxy.port, net)
            getattr(pooled, how)()
            client.send(_request(method))
            head = await _served_again(net, client, method)
            # uvloop tells of a reset one turn later: then the write was in vain, and that is known
            assert b"x-envoy-attempt-count: %d" % (1 if how == "close" else 2) in head


async def test_unasked_bytes_on_an_idle_connection_are_never_delivered() -> None:
    """Hardening 7: closed, in the same moment; the next request gets its own answer."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            (client,), (pooled,) = await _warm(proxy.port, net)
            pooled.send(answer(b"not yours"))
            client.send(_request("GET"))
            await _served_again(net, client, "GET")
            assert len(proxy.endpoint.connections) == 1


@BOTH_LOOPS
@METHODS
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_request_the_upstream_has_read_is_not_sent_twice(method: str, how: str) -> None:
    """A reset right after the request was read drops the acknowledgement with it: that proves nothing."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            (client,), (pooled,) = await _warm(proxy.port, net)
            client.send(_request(method))
            await pooled.receive(b"last\r\n" if method == "GET" else b"\r\n\r\nlast")
            getattr(pooled, how)()
            assert (await client.receive(b"termination")).startswith(b"HTTP/1.1 503")
            record = (await proxy.logged(2))[1]
            assert (record.flags, record.attempts) == ("UC", 1)
            assert net.nothing_waits()


async def test_a_request_read_in_part_is_not_sent_twice() -> None:
    """The kernel resets because bytes were unread, but the first were read."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            (client,), (pooled,) = await _warm(proxy.port, net)
            client.send(_request("POST"))
            await asyncio.get_running_loop().sock_recv(pooled.socket, 10)
            pooled.close()
            assert (await client.receive(b"termination")).startswith(b"HTTP/1.1 503")
            assert net.nothing_waits()


async def test_a_first_request_on_a_connection_is_not_stale() -> None:
    """Semantics 16: closed before headers is UC, also when nothing was read."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(_request("GET"))
            (await net.accept()).close()
            assert (await client.receive(b"termination")).startswith(b"HTTP/1.1 503")
            assert (await proxy.logged(1))[0].flags == "UC"


@pytest.mark.parametrize("retry", [None, RetryPolicy()])
async def test_a_whole_pool_that_went_stale_costs_no_request(retry: RetryPolicy | None) -> None:
    """The upstream restarts with many connections idle, and as many requests come in that moment."""
    count = 24
    with Net() as net:
        async with InProcess([net.port], route=lambda c: forward(c, retry=retry)) as proxy:
            clients, pooled = await _warm(proxy.port, net, count)
            for client in clients:
                client.send(_request("POST"))
            for peer in pooled:
                peer.close()
            for _ in range(count):
                fresh = await net.accept()
                await fresh.receive(b"last")
                fresh.send(answer(b"again"))
            for client in clients:
                assert (await client.receive(b"again")).startswith(b"HTTP/1.1 200")
            assert len(await proxy.logged(2 * count)) == 2 * count
