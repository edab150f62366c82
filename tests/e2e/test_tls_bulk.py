"""Large bodies over TLS: downwards in large pieces past the upstream's codec, upwards as they come."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from gatewayd.http.options import HttpOptions
from gatewayd.proxy import bodies, pump
from gatewayd.proxy.pump import Pump
from gatewayd.tls.contexts import ServerContext
from gatewayd.tls.layer import TlsLayer
from gatewayd.tls.spec import ServerTlsSpec
from tests.support.bare_sockets import Net, Peer, answer
from tests.support.bulk import DATA, Reader, digest, give, head, serve
from tests.support.in_process import InProcess, request
from tests.support.tcp_in_process import descriptors
from tests.tls.handshakes import client as client_context
from tests.tls.handshakes import material
from tests.tls.material import leaf

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
LARGE = 24 << 20
SMALL_BUFFER = 4096
HTTPS = HttpOptions(scheme=b"https")


@pytest.fixture(autouse=True)
def pumps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Pump]]:
    """All of each test, which must be over at its end, and their descriptors closed."""
    made: list[Pump] = []

    def make(*arguments: Any) -> Pump:
        made.append(Pump(*arguments))
        return made[-1]

    monkeypatch.setattr(bodies, "Pump", make)
    before = descriptors()
    yield made
    assert not any(moves(each) for each in made)
    assert descriptors() <= before + 16


def moves(one: Pump) -> bool:
    return one._source >= 0


def in_front_of(net: Net) -> InProcess:
    """A proxy that is spoken to over TLS."""
    context = ServerContext(ServerTlsSpec("o", "SIMPLE", ()), material(leaf()))
    return InProcess(
        [net.port],
        options=HTTPS,
        secure=lambda inner: TlsLayer(context, inner, lambda *_: None, server_name="a.test"),
    )


class Secure(Reader):
    """A client that speaks TLS; it reads as any other."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = client_context().wrap_bio(self._incoming, self._outgoing, server_hostname="a.test")

    @classmethod
    async def connect(cls, net: Net, port: int, buffer: int = 0) -> Secure:
        self = cls(await net.connect(port, receive_buffer=buffer))
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                self._incoming.write(await super()._receive(self))
            else:
                await self._flush()
                return self

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await give(self.peer, self._outgoing.read())

    async def send(self, data: bytes | memoryview) -> None:
        for start in range(0, len(data), 1 << 16):
            self._tls.write(data[start : start + (1 << 16)])
            await self._flush()

    async def _receive(self) -> bytes:
        while True:
            try:
                return self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                piece = await super()._receive()
                if not piece:
                    return b""
                self._incoming.write(piece)


@BOTH_LOOPS
@pytest.mark.parametrize("size", [100, bodies._LEAST - 1, bodies._LEAST + 1, (5 << 20) + 12345, 64 << 20])
async def test_a_download_arrives_whole_and_both_connections_serve_on(size: int, pumps: list[Pump]) -> None:
    with Net() as net:
        async with in_front_of(net) as proxy:
            client = await Secure.connect(net, proxy.port)
            await client.send(request())
            upstream = await net.accept()
            for _ in range(2):
                _, got = await asyncio.gather(serve(upstream, size), client.whole())
                assert got == (b"200", digest(size))
                await client.send(request())
            _, got = await asyncio.gather(serve(upstream, 100), client.whole())
            assert got == (b"200", digest(100))
            assert net.nothing_waits(), "one upstream connection is enough"
            records = await proxy.logged(3)
            assert [record.bytes_sent for record in records] == [size, size, 100]
            assert {record.flags for record in records} == {""}
    assert bool(pumps) == (size >= 5 << 20) or size == bodies._LEAST + 1


@BOTH_LOOPS
async def test_what_follows_a_body_reaches_nobody(pumps: list[Pump]) -> None:
    """Hardening section 7."""
    with Net() as net:
        async with in_front_of(net) as proxy:
            client = await Secure.connect(net, proxy.port)
            await client.send(request())
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            sending = asyncio.ensure_future(give(upstream, head(LARGE) + DATA[:LARGE] + answer(b"smuggled")))
            assert await client.whole() == (b"200", digest(LARGE))
            await sending
            assert pumps
            await client.send(request(path="/next"))
            upstream = await net.accept()
            _, got = await asyncio.gather(serve(upstream, 5), client.whole())
            assert got == (b"200", digest(5))


async def begun(net: Net, proxy: InProcess, pumps: list[Pump], buffer: int = 0) -> tuple[Secure, Peer, int]:
    """A download of LARGE bytes that a pump moves: the client, the upstream, and how many bytes both are past."""
    client = await Secure.connect(net, proxy.port, buffer)
    await client.send(request())
    upstream = await net.accept()
    await upstream.receive(b"\r\n\r\n")
    await give(upstream, head(LARGE))
    await client.head()
    sent = 0
    while not any(map(moves, pumps)):
        assert sent < LARGE // 2, "nobody took it"
        _, got = await asyncio.gather(
            give(upstream, memoryview(DATA)[sent : sent + (1 << 18)]), client.body(1 << 18)
        )
        assert got == digest(1 << 18, sent)
        sent += 1 << 18
    return client, upstream, sent


@BOTH_LOOPS
async def test_a_client_that_does_not_read_stops_the_upstream(pumps: list[Pump]) -> None:
    """Hardening 9.6: what waits for a slow reader is bounded, and all of it arrives."""
    with Net() as net:
        async with in_front_of(net) as proxy:
            client, upstream, start = await begun(net, proxy, pumps, SMALL_BUFFER)
            sent = start
            with contextlib.suppress(TimeoutError):
                while True:
                    async with asyncio.timeout(0.5):
                        await give(upstream, memoryview(DATA)[sent : sent + 4096])
                    sent += 4096
                    assert sent < LARGE - 8192, "never stopped"
            (connection,) = proxy.connections
            assert 0 < connection.transport.get_write_buffer_size() < 3 * pump.LEAST_BYTES
            assert await client.body(sent - start) == digest(sent - start, start)


@BOTH_LOOPS
@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_client_that_leaves_takes_the_upstream_with_it(way: str, pumps: list[Pump]) -> None:
    with Net() as net:
        async with in_front_of(net) as proxy:
            client, upstream, start = await begun(net, proxy, pumps)
            await asyncio.sleep(0.11)  # beyond the window in which an end is a half close
            getattr(client.peer, way)()
            with contextlib.suppress(OSError):
                await give(upstream, memoryview(DATA)[start:LARGE])
            with contextlib.suppress(ConnectionResetError):
                assert await upstream.rest() == b""
            (record,) = await proxy.logged(1)
            assert record.flags == "DC"
            assert start <= record.bytes_sent < LARGE


@BOTH_LOOPS
@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("after", [0, 1 << 20])
async def test_an_upstream_that_leaves_truncates_the_message(way: str, after: int, pumps: list[Pump]) -> None:
    """Semantics 16.2: all that came goes on to the client, and then its connection ends."""
    with Net() as net:
        async with in_front_of(net) as proxy:
            client, upstream, start = await begun(net, proxy, pumps)
            _, got = await asyncio.gather(
                give(upstream, memoryview(DATA)[start : start + after]), client.body(after)
            )
            assert got == digest(after, start)
            getattr(upstream, way)()
            assert await client.to_the_end() == 0
            (record,) = await proxy.logged(1)
            assert (record.flags, record.bytes_sent) == ("UPE", start + after)


@BOTH_LOOPS
async def test_a_stream_that_rests_is_given_back_and_taken_again(pumps: list[Pump]) -> None:
    with Net() as net:
        async with in_front_of(net) as proxy:
            client, upstream, start = await begun(net, proxy, pumps)
            proxy.proxy.wheel.sweep()
            await proxy.until(lambda: not any(map(moves, pumps)))
            before = len(pumps)
            left = LARGE - start
            _, got = await asyncio.gather(give(upstream, memoryview(DATA)[start:LARGE]), client.body(left))
            assert got == digest(left, start)
            assert len(pumps) > before
            await proxy.logged(1)


@BOTH_LOOPS
async def test_a_trickle_goes_back_to_the_codecs(pumps: list[Pump]) -> None:
    with Net() as net:
        async with in_front_of(net) as proxy:
            client, upstream, at = await begun(net, proxy, pumps)
            for _ in range(500):
                await asyncio.gather(give(upstream, memoryview(DATA)[at : at + 100]), client.body(100))
                at += 100
                if not any(map(moves, pumps)):
                    break
            assert not any(map(moves, pumps))
            _, got = await asyncio.gather(give(upstream, memoryview(DATA)[at:LARGE]), client.body(LARGE - at))
            assert got == digest(LARGE - at, at)


@BOTH_LOOPS
async def test_without_descriptors_it_goes_the_usual_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(bodies, "Pump", none_left)
    with Net() as net:
        async with in_front_of(net) as proxy:
            client = await Secure.connect(net, proxy.port)
            await client.send(request())
            upstream = await net.accept()
            _, got = await asyncio.gather(serve(upstream, LARGE), client.whole())
            assert got == (b"200", digest(LARGE))


@BOTH_LOOPS
async def test_an_upload_arrives_whole_and_the_connection_serves_on() -> None:
    size = 8 << 20
    with Net() as net:
        async with in_front_of(net) as proxy:
            client = await Secure.connect(net, proxy.port)
            upstream = None
            for _ in range(2):
                await client.send(request("PUT", headers=[f"content-length: {size}"]))
                sending = asyncio.ensure_future(client.send(memoryview(DATA)[:size]))
                upstream = upstream or await net.accept()
                below = Reader(upstream)
                await below.head()
                assert await below.body(size) == digest(size)
                await sending
                upstream.send(answer())
                assert (await client.whole())[0] == b"200"
            records = await proxy.logged(2)
            assert [record.bytes_received for record in records] == [size, size]
