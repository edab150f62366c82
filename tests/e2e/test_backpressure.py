"""Hardening 9.6: a side that does not read stops the side that writes; memory stays bounded whatever the size."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path

import pytest

from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from gatewayd.routing.route import DIRECT_RESPONSE, DirectResponseAction, Route
from tests.support.bare_sockets import Net, Peer
from tests.support.in_process import InProcess, forward, request

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
BODY = 64 * 1024 * 1024
#: What our own buffers may hold of one exchange: the write mark, a read of the loop, and room for objects.
HELD = 1024 * 1024
SMALL = 4096  # kernel buffers of the side that reads nothing, so that they fill soon


def rss() -> int:
    """Resident bytes of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


async def _pour(peer: Peer, total: int, quiet_s: float = 0.25) -> int:
    """Send until nothing more is taken for ``quiet_s``; how much was taken."""
    loop = asyncio.get_running_loop()
    piece = b"x" * 262_144
    sent = 0
    while sent < total:
        try:
            async with asyncio.timeout(quiet_s):
                await loop.sock_sendall(peer.socket, piece)
        except TimeoutError:
            return sent
        sent += len(piece)
    return sent


def _held(proxy: InProcess) -> int:
    """Bytes in the write buffers of all the proxy's connections."""
    downstream = [connection.transport for connection in proxy.connections]
    upstream = [c.transport for endpoint in proxy.cluster.endpoints for c in endpoint.connections]
    return sum(transport.get_write_buffer_size() for transport in [*downstream, *upstream])


@BOTH_LOOPS
@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upstream_that_does_not_read_stops_the_client(chunked: bool) -> None:
    with Net(receive_buffer=SMALL) as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            if chunked:
                client.send(request("POST", headers=["transfer-encoding: chunked"]) + b"%x\r\n" % BODY)
            else:
                client.send(request("POST", headers=[f"content-length: {BODY}"]))
            upstream = await net.accept()
            gc.collect()
            before = rss()
            taken = await _pour(client, BODY)
            assert taken < BODY / 2, "the client was never stopped"
            assert _held(proxy) < HELD
            assert rss() - before < 8 * HELD
            # and it goes on where it stopped
            reading = asyncio.ensure_future(_drain(upstream))
            assert await _pour(client, 8 * 1024 * 1024, 30.0) == 8 * 1024 * 1024
            reading.cancel()


@BOTH_LOOPS
@pytest.mark.parametrize(
    "framing", [f"content-length: {BODY}", "transfer-encoding: chunked", "x: until close"]
)
async def test_a_client_that_does_not_read_stops_the_upstream(framing: str) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port, receive_buffer=SMALL)
            client.send(request())
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            head = f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode()
            upstream.send(head + (b"%x\r\n" % BODY if "chunked" in framing else b""))
            gc.collect()
            before = rss()
            taken = await _pour(upstream, BODY)
            assert taken < BODY / 2, "the upstream was never stopped"
            assert _held(proxy) < HELD
            assert rss() - before < 8 * HELD
            reading = asyncio.ensure_future(_drain(client))
            assert await _pour(upstream, 8 * 1024 * 1024, 30.0) == 8 * 1024 * 1024
            reading.cancel()


async def _drain(peer: Peer) -> None:
    while await asyncio.get_running_loop().sock_recv(peer.socket, 1 << 20):
        pass


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_tunnel_holds_back_both_sides(who: str) -> None:
    with Net(receive_buffer=SMALL) as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port, receive_buffer=SMALL)
            client.send(request(headers=["Connection: Upgrade", "Upgrade: websocket"]))
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            upstream.send(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            await client.receive(b"\r\n\r\n")
            assert await _pour(client if who == "client" else upstream, BODY) < BODY / 2
            assert _held(proxy) < HELD


async def test_a_client_that_pipelines_without_reading_is_not_read_without_bound() -> None:
    """Hardening 2: reading stops while an answer is pending."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            flood = request() * 20_000
            loop = asyncio.get_running_loop()
            sending = asyncio.ensure_future(loop.sock_sendall(client.socket, flood * 40))
            await net.accept()
            await asyncio.sleep(0.3)
            assert not sending.done()
            (connection,) = proxy.connections
            assert len(connection._buffer) < HELD
            sending.cancel()


async def test_a_flood_of_requests_answered_here_is_not_read_without_bound() -> None:
    """The same where no upstream slows it down: neither the requests nor the answers pile up."""

    def here(_: object) -> Route:
        return Route("here", DIRECT_RESPONSE, direct=DirectResponseAction(200, b"x" * 1000))

    with Net() as net:
        async with InProcess([net.port], route=here) as proxy:
            client = await net.connect(proxy.port, receive_buffer=SMALL)
            loop = asyncio.get_running_loop()
            sending = asyncio.ensure_future(loop.sock_sendall(client.socket, request() * 800_000))
            await proxy.logged(50)
            (connection,) = proxy.connections
            answered, largest, still = 0, 0, 0
            while still < 100:  # until nothing has moved in so many looks
                assert not sending.done(), "it takes requests of a client that reads no answers"
                await asyncio.sleep(0.003)
                largest = max(largest, len(connection._buffer) + connection.transport.get_write_buffer_size())
                still = still + 1 if len(proxy.records) == answered else 0
                answered = len(proxy.records)
            assert largest < HELD
            reading = asyncio.ensure_future(_drain(client))
            await proxy.until(lambda: len(proxy.records) > answered + 100)
            sending.cancel()
            reading.cancel()


async def test_a_body_that_arrives_while_connecting_is_held_back() -> None:
    """The buffer before a connection stands is that of retries, not of the whole body."""
    with Net(backlog=0) as net:
        fillers = [asyncio.ensure_future(net.connect(net.port)) for _ in range(4)]
        await asyncio.sleep(0.05)
        async with InProcess(
            [net.port], route=lambda c: forward(c, retry=None), connect_timeout_s=1.0
        ) as proxy:
            client = await net.connect(proxy.port)
            client.send(request("POST", headers=[f"content-length: {BODY}"]))
            assert await _pour(client, BODY) < BODY / 2
            (connection,) = proxy.connections
            assert connection.exchange._body_size < HELD
            client.reset()
        for filler in fillers:
            filler.cancel()
        await asyncio.gather(*fillers, return_exceptions=True)


@pytest.mark.parametrize("last", [True, False])
async def test_a_client_that_never_reads_does_not_keep_its_connection(last: bool) -> None:
    """Hardening 3 and 8: answers not read end with the idle timeout, also when our side has closed."""
    options = HttpOptions(limits=HttpLimits(stream_idle_timeout_s=0.1, idle_timeout_s=0.1))
    body = 8 * 1024 * 1024

    def here(_: object) -> Route:
        return Route("here", DIRECT_RESPONSE, direct=DirectResponseAction(200, b"x" * body))

    with Net() as net:
        async with InProcess([net.port], route=here, options=options) as proxy:
            client = await net.connect(proxy.port, receive_buffer=SMALL)
            client.send(request(headers=["Connection: close"] if last else []))
            await proxy.logged(1)
            async with asyncio.timeout(30.0):  # or it is kept for ever
                while proxy.connections:
                    await asyncio.sleep(0.01)
                    proxy.tick()


async def test_a_client_that_reads_slowly_gets_all_of_a_last_answer() -> None:
    options = HttpOptions(limits=HttpLimits(stream_idle_timeout_s=1.0, idle_timeout_s=1.0))
    body = 1024 * 1024

    def here(_: object) -> Route:
        return Route("here", DIRECT_RESPONSE, direct=DirectResponseAction(200, b"x" * body))

    with Net() as net:
        async with InProcess([net.port], route=here, options=options) as proxy:
            client = await net.connect(proxy.port, receive_buffer=SMALL)
            client.send(request(headers=["Connection: close"]))
            received = 0
            began = time.monotonic()
            while piece := await asyncio.get_running_loop().sock_recv(client.socket, 65536):
                received += len(piece)
                proxy.tick()
                await asyncio.sleep(0.01)
            assert received > body
            assert time.monotonic() - began > 1.5, "it was not slow"
