"""TCP sessions with TLS ended on the one side and begun on the other: bytes, ends, resets and names go through."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from gatewayd.tls.contexts import ClientContext, ServerContext
from gatewayd.tls.layer import TlsLayer
from gatewayd.tls.material import KeyPair, Material
from gatewayd.tls.spec import ClientTlsSpec, ServerTlsSpec
from tests.support.tcp_in_process import TcpInProcess
from tests.tls.material import authority, leaf

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
BIG = random.Random("tls").randbytes(4_000_000)
NAME = "a.test"
TIMEOUT_S = 30.0


class End(asyncio.Protocol):
    """What is behind TLS at either end of the chain."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.heard = bytearray()
        self.ended = self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def eof_received(self) -> bool:
        self.ended = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


def _server_context() -> ServerContext:
    issued = leaf(NAME)
    return ServerContext(
        ServerTlsSpec("Gateway test/edge servers[0]", "SIMPLE", ()),
        Material((KeyPair(issued.certificate, issued.private_key),)),
    )


CLIENT_SPEC = ClientTlsSpec("DestinationRule default/up", "SIMPLE", sni=NAME, subject_alt_names=(NAME,))


def _client_context() -> ClientContext:
    return ClientContext(CLIENT_SPEC, Material((), ca=authority().certificate))


class Chain:
    """Client, TLS, session, TLS, upstream."""

    def __init__(self, proxy: TcpInProcess, port: int, upstreams: list[End]) -> None:
        self.proxy = proxy
        self._port = port
        self._upstreams = upstreams
        self._clients: list[End] = []

    async def join(self) -> tuple[End, End]:
        """A client and its upstream, both with TLS."""
        client = End()
        self._clients.append(client)
        layer = TlsLayer(_client_context(), client, lambda *_: None, server_name=NAME)
        await asyncio.get_running_loop().create_connection(lambda: layer, "127.0.0.1", self._port)
        await self.proxy.until(lambda: bool(self._upstreams and self._upstreams[-1].transport))
        await self.proxy.until(lambda: client.transport is not None)
        return client, self._upstreams[-1]

    async def part(self) -> None:
        """Nobody stays."""
        ends = [end for end in (*self._clients, *self._upstreams) if end.transport is not None]
        for end in ends:
            end.transport.abort()
        await self.proxy.until(lambda: all(end.lost for end in ends))


@asynccontextmanager
async def chain() -> AsyncIterator[Chain]:
    """A proxy that ends TLS and begins it anew, and an upstream with TLS."""
    loop = asyncio.get_running_loop()
    upstreams: list[End] = []
    context = _server_context()

    def upstream() -> TlsLayer:
        upstreams.append(End())
        return TlsLayer(context, upstreams[-1], lambda *_: None)

    server = await loop.create_server(upstream, "127.0.0.1", 0)
    tls = SimpleNamespace(context=_client_context(), problem="")
    async with TcpInProcess([server.sockets[0].getsockname()[1]], tls=tls, tls_spec=CLIENT_SPEC) as proxy:
        front = await loop.create_server(
            lambda: TlsLayer(context, proxy.tcp_port(None, NAME), lambda *_: None), "127.0.0.1", 0
        )
        links = Chain(proxy, front.sockets[0].getsockname()[1], upstreams)
        try:
            yield links
        finally:
            await links.part()
            front.close()
    server.close()


@BOTH_LOOPS
async def test_bytes_are_counted_as_the_peers_of_tls_see_them() -> None:
    async with chain() as links:
        client, upstream = await links.join()
        client.transport.write(b"ping")
        await links.proxy.until(lambda: bytes(upstream.heard) == b"ping")
        upstream.transport.write(b"pong!")
        await links.proxy.until(lambda: bytes(client.heard) == b"pong!")
        client.transport.close()
        await links.proxy.until(lambda: upstream.ended)
        upstream.transport.close()
        record = await links.proxy.logged()
        assert (record.bytes_received, record.bytes_sent, record.flags) == (4, 5, "")
        assert record.connection.requested_server_name == NAME


@BOTH_LOOPS
@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_half_close_leaves_the_other_direction_open(who: str) -> None:
    async with chain() as links:
        client, upstream = await links.join()
        first, second = (client, upstream) if who == "client" else (upstream, client)
        first.transport.write(b"that is all")
        first.transport.write_eof()
        await links.proxy.until(lambda: second.ended)
        assert bytes(second.heard) == b"that is all"
        second.transport.write(BIG)
        second.transport.write_eof()
        await links.proxy.until(lambda: first.ended)
        assert bytes(first.heard) == BIG
        first.transport.close()
        second.transport.close()
        await links.proxy.logged()


@BOTH_LOOPS
async def test_bulk_stays_with_the_transports_and_arrives_whole() -> None:
    """The kernel cannot move what has to be encrypted."""
    async with chain() as links:
        client, upstream = await links.join()
        for _ in range(4):
            client.transport.write(BIG)
            upstream.transport.write(BIG)
        await links.proxy.until(lambda: len(upstream.heard) == len(client.heard) == 4 * len(BIG))
        assert bytes(upstream.heard) == bytes(client.heard) == BIG * 4
        session = links.proxy.session
        assert (session.client.splice, session.upstream.splice) == (None, None)


@BOTH_LOOPS
@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_one_that_breaks_off_takes_the_other_along(who: str) -> None:
    async with chain() as links:
        client, upstream = await links.join()
        client.transport.write(b"x")
        await links.proxy.until(lambda: bool(upstream.heard))
        first, second = (client, upstream) if who == "client" else (upstream, client)
        first.transport.abort()
        await links.proxy.until_ticking(lambda: second.lost or second.ended)
        second.transport.abort()
        await links.proxy.until_ticking(lambda: bool(links.proxy.records))


@BOTH_LOOPS
async def test_a_slow_reader_behind_tls_holds_up_the_sender() -> None:
    async with chain() as links:
        client, upstream = await links.join()
        client.transport.pause_reading()
        for _ in range(20):
            upstream.transport.write(BIG)
        left = -1
        while upstream.transport.get_write_buffer_size() != left:
            left = upstream.transport.get_write_buffer_size()
            await asyncio.sleep(0.2)
        assert left > 0, "80 MB do not fit into buffers"
        assert links.proxy.session.client.unsent < 2 << 20
        client.transport.resume_reading()
        await links.proxy.until(lambda: len(client.heard) == 20 * len(BIG))
        assert bytes(client.heard) == BIG * 20
