"""Upgrades (semantics 14.6.3, hardening 4): WebSocket as a tunnel, half-closes passed on, anything else refused."""

from __future__ import annotations

import asyncio

import pytest
import websockets

from tests.support.bare_sockets import Net, answer
from tests.support.in_process import InProcess, forward, request
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

UPGRADE = request("GET", "/chat", headers=["Connection: Upgrade", "Upgrade: websocket"])
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nx: y\r\n\r\n"
BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


@BOTH_LOOPS
async def test_a_real_websocket_talks_through() -> None:
    async def echo(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with (
        websockets.serve(echo, "127.0.0.1", 0, compression=None) as upstream,
        InProcess([upstream.sockets[0].getsockname()[1]]) as proxy,
    ):
        async with websockets.connect(f"ws://127.0.0.1:{proxy.port}/chat", proxy=None) as client:
            for message in ("hi", "x" * 300_000, b"\x00\xff" * 1000):
                await client.send(message)
                assert await client.recv() == message
        (record,) = await proxy.logged(1)
        assert (record.status, record.details) == (101, "via_upstream")
        assert record.bytes_received > 300_000


async def test_the_answer_carries_the_upgrade_and_the_request_too() -> None:
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({"upgrade": True})
        outcome = await RawClient(proxy.port).http(UPGRADE, tunnel=b"ping")
        response = outcome.response
        assert (response.status, response.tunnel) == (101, b"echo:ping")
        assert [value.lower() for value in response.values("connection")] == ["upgrade"]
        assert response.values("upgrade") == ["websocket"]
        assert response.values("server") == ["istio-envoy"]
        assert [value.lower() for value in alpha.seen[0].values("connection")] == ["upgrade"]
        assert alpha.seen[0].values("upgrade") == ["websocket"]


async def test_bytes_sent_early_wait_for_the_101() -> None:
    """Hardening 4."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(UPGRADE + b"early")
            upstream = await net.accept()
            assert (await upstream.receive(b"\r\n\r\n")).endswith(b"\r\n\r\n"), "no early byte"
            upstream.send(SWITCH + b"first")
            assert (await client.receive(b"first")).startswith(b"HTTP/1.1 101 ")
            assert await upstream.receive(b"early") == b"early"


async def test_an_ordinary_answer_to_an_upgrade_is_relayed_and_the_early_bytes_go_nowhere() -> None:
    """Hardening 4: any other status is an ordinary answer."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(UPGRADE + request(path="/poison"))
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            upstream.send(answer(b"no", status=403))
            data = await client.receive(b"\r\n\r\nno")
            assert data.startswith(b"HTTP/1.1 403 ")
            assert b"connection: close\r\n" in data
            proxy.tick()
            await proxy.logged(1)
            assert net.nothing_waits()
            assert len(proxy.records) == 1


@pytest.mark.parametrize(
    "raw",
    [
        SWITCH.replace(b"Upgrade: websocket", b"Upgrade: other"),
        SWITCH.replace(b"Connection: Upgrade\r\n", b""),
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
async def test_a_101_to_something_else_is_a_broken_upstream(raw: bytes) -> None:
    """Hardening 7."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({"raw": raw})
        assert (await RawClient(proxy.port).http(UPGRADE)).response.status == 502


async def test_a_101_nobody_asked_for_is_a_broken_upstream() -> None:
    """Hardening 7."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({"raw": SWITCH})
        assert (await RawClient(proxy.port).http(request())).response.status == 502


@pytest.mark.parametrize(("protocol", "status"), [("foo", 403), ("websocket, foo", 403), ("h2c", 200)])
async def test_other_upgrades(protocol: str, status: int) -> None:
    """Semantics 14.6.3."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        data = request(headers=["Connection: Upgrade", f"Upgrade: {protocol}"])
        outcome = await RawClient(proxy.port).http(data)
        assert outcome.response.status == status
        assert len(alpha.seen) == (status == 200)
        if alpha.seen:
            assert alpha.seen[0].values("upgrade") == []


@BOTH_LOOPS
async def test_each_side_may_end_first_and_the_other_still_talks() -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            for first in ("client", "upstream"):
                client = await net.connect(proxy.port)
                client.send(UPGRADE)
                upstream = await net.accept()
                await upstream.receive(b"\r\n\r\n")
                upstream.send(SWITCH)
                await client.receive(b"\r\n\r\n")
                one, other = (client, upstream) if first == "client" else (upstream, client)
                one.send(b"last words")
                one.half_close()
                assert await other.rest() == b"last words"
                other.send(b"answer")
                other.half_close()
                assert await one.rest() == b"answer"
            await proxy.logged(2)
            assert not proxy.endpoint.connections


async def test_a_client_that_half_closed_before_the_101_is_told_to_the_upstream() -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(UPGRADE)
            client.half_close()
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            await asyncio.sleep(0.02)  # the end of stream is there first
            upstream.send(SWITCH)
            assert await upstream.rest() == b""
            upstream.close()
            assert b" 101 " in await client.rest()
            await proxy.logged(1)


async def test_the_last_bytes_reach_an_upstream_that_reads_slowly() -> None:
    """Both sides have ended, but not all that was written has left."""
    size = 3_000_000
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(UPGRADE)
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            upstream.send(SWITCH)
            await client.receive(b"\r\n\r\n")
            upstream.half_close()
            sending = asyncio.ensure_future(
                asyncio.get_running_loop().sock_sendall(client.socket, b"x" * size)
            )
            received = 0
            while received < size:
                received += len(await asyncio.get_running_loop().sock_recv(upstream.socket, 65536))
                if sending.done() and not client.socket._closed:  # type: ignore[attr-defined]
                    client.close()
            await sending
            assert received == size


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_reset_of_one_side_ends_the_other(who: str) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(UPGRADE)
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            upstream.send(SWITCH)
            await client.receive(b"\r\n\r\n")
            one, other = (client, upstream) if who == "client" else (upstream, client)
            one.reset()
            assert await other.rest() == b""
            (record,) = await proxy.logged(1)
            assert record.status == 101
            assert not proxy.endpoint.connections


async def test_a_route_timeout_covers_only_the_wait_for_the_101() -> None:
    """Semantics 14.6.3."""
    with Net() as net:
        async with InProcess([net.port], route=lambda c: forward(c, timeout_s=0.7)) as proxy:
            client = await net.connect(proxy.port)
            client.send(UPGRADE)
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            upstream.send(SWITCH)
            await client.receive(b"\r\n\r\n")
            await asyncio.sleep(0.8)  # longer than the timeout
            client.send(b"still here")
            await upstream.receive(b"still here")
            slow = await net.connect(proxy.port)
            slow.send(UPGRADE)
            assert (await slow.receive(b"timeout")).startswith(b"HTTP/1.1 504 ")
