"""What costs its sender little may not cost us much, nor keep the others waiting (hardening 1, property 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gatewayd.http.h1.chunked import MAX_CHUNKS, ChunkedReader
from gatewayd.http.limits import HttpLimits
from gatewayd.proxy import bodies
from tests.support.bare_sockets import Net
from tests.support.in_process import InProcess, request
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
#: Payload bytes, each in a chunk of its own: several reads of the loop.
CRUMBS = 100_000
CHUNKED = "transfer-encoding: chunked"
#: The last of one read and the first of the next may share a turn.
TURN = 2 * MAX_CHUNKS
BODY = b"1\r\nx\r\n" * CRUMBS + b"0\r\n\r\n"


class Turns:
    """The largest step that ``count`` made in one turn of the loop."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._last = 0
        self.largest = 0
        self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        now = self._count()
        self.largest = max(self.largest, now - self._last)
        self._last = now
        self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def stop(self) -> None:
        self._handle.cancel()


@BOTH_LOOPS
async def test_a_body_in_crumbs_lets_the_others_have_their_turn() -> None:
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        received: list[int] = [0]

        def count() -> int:
            for connection in proxy.connections:
                if connection.exchange is not None:
                    received[0] = connection.exchange.bytes_received
            return received[0]

        turns = Turns(count)
        data = request("POST", headers=[CHUNKED]) + BODY + request(path="/second")
        outcome = await RawClient(proxy.port).http(data, responses=2)
        turns.stop()
        assert [response.status for response in outcome.responses] == [200, 200]
        assert [(seen.path, len(seen.body)) for seen in alpha.seen] == [("/", CRUMBS), ("/second", 0)]
        assert 0 < turns.largest <= TURN


@BOTH_LOOPS
async def test_an_answer_in_crumbs_lets_the_others_have_their_turn() -> None:
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        sent: list[int] = [0]

        def count() -> int:
            for connection in proxy.connections:
                if connection.exchange is not None:
                    sent[0] = connection.exchange.bytes_sent
            return sent[0]

        alpha.play(
            [{"raw": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY}, {"body": "next"}]
        )
        turns = Turns(count)
        outcome = await RawClient(proxy.port).http(request() * 2, responses=2)
        turns.stop()
        assert [len(response.body) for response in outcome.responses] == [CRUMBS, 4]
        assert 0 < turns.largest <= TURN


@BOTH_LOOPS
@pytest.mark.parametrize("side", ["up", "down"])
async def test_crumbs_wait_for_whoever_does_not_read_and_all_arrive(side: str) -> None:
    """Hardening 9.6: the pause of the other side holds for what is read already, too."""
    loop = asyncio.get_running_loop()
    piece = bytes(range(64, 128))
    body = b"40\r\n%b\r\n" % piece * 100_000 + b"0\r\n\r\n"
    with Net(receive_buffer=4096) as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port, receive_buffer=4096)
            client.send(request("POST", headers=[CHUNKED]) if side == "up" else request())
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            if side == "down":
                upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            sender, reader = (client, upstream) if side == "up" else (upstream, client)
            sending = asyncio.ensure_future(loop.sock_sendall(sender.socket, body))
            (connection,) = proxy.connections
            (pooled,) = proxy.endpoint.connections
            writer = pooled.transport if side == "up" else connection.transport
            await proxy.until(lambda: writer.get_write_buffer_size() > 0)
            for _ in range(100):
                await asyncio.sleep(0)
                assert writer.get_write_buffer_size() < 1 << 20
            got = bytearray()
            while not got.endswith(b"\r\n0\r\n\r\n"):
                got += await loop.sock_recv(reader.socket, 1 << 20)
            await sending
            chunks = ChunkedReader(HttpLimits())
            payload = chunks.feed(bytes(got[got.index(b"\r\n\r\n") + 4 :] if side == "down" else got))
            while chunks.more:
                payload += chunks.feed(b"")
            assert payload == piece * 100_000
            if side == "up":
                upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await client.receive(b"\r\n\r\n")
            else:
                assert len(proxy.endpoint.idle) == 1


@BOTH_LOOPS
@pytest.mark.parametrize(
    "said",
    [b"SSH-2.0-x\r\n", b"<html>", b"J\0\0\0\n8.0.1\0", b"\r\n", b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi"],
)
async def test_an_upstream_that_speaks_otherwise_and_waits_is_502_at_once(said: bytes) -> None:
    """Hardening 7: no valid status line. As Envoy 1.40, which takes the bare line ends."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(request())
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            upstream.send(said)
            head = await client.receive(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 502 ")
            assert (await proxy.logged(1))[0].flags == "UPE"
            assert not proxy.endpoint.connections


async def test_a_body_kept_for_a_retry_weighs_no_more_than_its_bytes_however_it_came() -> None:
    """Hardening 9.6: each byte in a piece of its own would take forty."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(request("POST", headers=[CHUNKED]))
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            (connection,) = proxy.connections
            for number in range(10_000):
                connection.data_received(b"1\r\n%d\r\n" % (number % 10))
            assert len(connection.exchange._body) <= bodies.MAX_PIECES
            assert b"".join(connection.exchange._body) == b"0123456789" * 1000
            client.send(b"0\r\n\r\n")
            await upstream.receive(b"0\r\n\r\n")
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await client.receive(b"\r\n\r\n")
