"""Short messages that the loop hands over by itself are counted all the same, and everything else still works."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import pytest

from gatewayd.proxy import direct
from tests.support.bare_sockets import Net, Peer
from tests.support.tcp_in_process import TcpInProcess, tcp_route

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


async def _talk(client: Peer, upstream: Peer, times: int = 50) -> None:
    """``times`` messages of 7 bytes up and of 5 down, one after the other."""
    for _ in range(times):
        client.send(b"request")
        assert await upstream.receive(b"request") == b"request"
        upstream.send(b"reply")
        assert await client.receive(b"reply") == b"reply"


async def _talking(net: Net, proxy: TcpInProcess) -> tuple[Peer, Peer, Any]:
    """A client and its upstream after 50 messages each way, and their session."""
    client = await net.connect(proxy.port)
    upstream = await net.accept()
    await _talk(client, upstream)
    session = proxy.session
    assert session.client.direct
    assert session.upstream.direct
    return client, upstream, session


@BOTH_LOOPS
async def test_every_byte_is_counted_whoever_ends_first() -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            for number, first_is_client in enumerate((True, False), 1):
                client, upstream, _ = await _talking(net, proxy)
                first, second = (client, upstream) if first_is_client else (upstream, client)
                first.half_close()
                assert await second.rest() == b""
                second.send(b"last words")
                second.close()
                assert await first.rest() == b"last words"
                record = await proxy.logged(number)
                extra = (0, 10) if first_is_client else (10, 0)
                assert (record.bytes_received, record.bytes_sent) == (350 + extra[0], 250 + extra[1])
                assert record.flags == ""


@BOTH_LOOPS
@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_reset_is_passed_on_and_the_count_stands(who: str) -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream, _ = await _talking(net, proxy)
            first, second = (client, upstream) if who == "client" else (upstream, client)
            first.reset()
            with pytest.raises(ConnectionResetError):
                await second.rest()
            record = await proxy.logged()
            assert (record.bytes_received, record.bytes_sent) == (350, 250)
            assert record.flags == ("UR" if who == "upstream" else "")


@BOTH_LOOPS
async def test_messages_put_the_idle_timeout_off_and_silence_brings_it() -> None:
    with Net() as net:
        async with TcpInProcess([net.port], route=lambda c: tcp_route(c, idle_timeout_s=60.0)) as proxy:
            client, upstream, session = await _talking(net, proxy)
            now = monotonic()
            session.tick(now)
            client.send(b"x")
            await upstream.receive(b"x")
            session.tick(now + 50)
            session.tick(now + 109)
            assert proxy.connections
            session.tick(now + 111)
            assert await client.rest() == b""
            assert (await proxy.logged()).bytes_received == 351


@BOTH_LOOPS
async def test_a_silent_second_ends_it_and_talk_brings_it_back() -> None:
    """So that idle connections cost no question to the kernel."""
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream, session = await _talking(net, proxy)
            proxy.proxy.tick()
            assert session.client.direct
            proxy.proxy.tick()
            assert not session.client.direct
            assert not session.upstream.direct
            await _talk(client, upstream)
            assert session.client.direct
            client.close()
            await upstream.rest()
            upstream.close()
            record = await proxy.logged()
            assert (record.bytes_received, record.bytes_sent) == (700, 500)


@BOTH_LOOPS
async def test_a_talk_that_becomes_bulk_moves_to_the_kernel() -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream, session = await _talking(net, proxy)
            loop = asyncio.get_running_loop()

            async def read(count: int) -> None:
                while count:
                    count -= len(await loop.sock_recv(upstream.socket, min(count, 1 << 20)))

            sent = 0
            for _ in range(100):
                if session.client.splice is not None:
                    break
                await asyncio.gather(loop.sock_sendall(client.socket, bytes(6 << 20)), read(6 << 20))
                sent += 6 << 20
                if session.client.direct:
                    proxy.proxy.tick()
            assert session.client.splice is not None
            client.close()
            await upstream.rest()
            upstream.close()
            assert (await proxy.logged()).bytes_received == 350 + sent


@BOTH_LOOPS
async def test_a_slow_reader_still_stops_the_other_side() -> None:
    with Net(receive_buffer=8192) as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream, session = await _talking(net, proxy)
            sent = stuck = 0
            while stuck < 20:
                try:
                    sent += client.socket.send(bytes(1000))
                    stuck = 0
                except BlockingIOError:
                    stuck += 1
                    await asyncio.sleep(0.01)
            assert session.client.paused
            assert session.upstream.unsent < 1 << 20
            client.half_close()
            assert len(await upstream.rest()) == sent
            upstream.close()
            assert (await proxy.logged()).bytes_received == 350 + sent


@BOTH_LOOPS
async def test_an_abort_counts_what_was_read_and_not_what_waits() -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, _, session = await _talking(net, proxy)
            session.client.pause()
            client.send(b"nobody reads this")
            client.half_close()
            await asyncio.sleep(0)
            session.abort()
            record = await proxy.logged()
            assert (record.bytes_received, record.bytes_sent) == (350, 250)


@BOTH_LOOPS
async def test_without_the_kernels_count_messages_go_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "received_bytes", lambda sock, *, ended=False: -1)
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            upstream = await net.accept()
            await _talk(client, upstream)
            assert not proxy.session.client.direct
            client.close()
            await upstream.rest()
            upstream.close()
            assert (await proxy.logged()).bytes_received == 350
