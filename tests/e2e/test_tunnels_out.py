"""DestinationRule ``tunnel`` on real sockets: CONNECT and POST before the bytes (semantics 10.10).

What is expected here was seen from Envoy 1.40: heads, ends, flags and reasons of the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gatewayd.routing.l4 import TcpRoute, Tunnel
from tests.support.bare_sockets import Net, Peer
from tests.support.tcp_in_process import TcpInProcess, tcp_route

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
CONNECT = Tunnel(b"target.test:443")
POST = Tunnel(b"target.test:443", post=True)
CONNECT_HEAD = b"CONNECT target.test:443 HTTP/1.1\r\nhost: target.test:443\r\n\r\n"
POST_HEAD = b"POST / HTTP/1.1\r\nhost: target.test:443\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n\r\n"
BIG = random.Random("tunnel").randbytes(3_000_000)
BOTH_WAYS = pytest.mark.parametrize(("tunnel", "head"), [(CONNECT, CONNECT_HEAD), (POST, POST_HEAD)])


def through(tunnel: Tunnel, **fields: Any) -> Callable[[Any], TcpRoute]:
    return lambda cluster: tcp_route(cluster, tunnel=tunnel, **fields)


@asynccontextmanager
async def asked(tunnel: Tunnel, **fields: Any) -> AsyncIterator[tuple[TcpInProcess, Peer, Peer]]:
    """A client that is connected and has sent ``ping``, and the proxy that was asked."""
    with Net() as net:
        async with TcpInProcess([net.port], route=through(tunnel, **fields)) as proxy:
            client = await net.connect(proxy.port)
            client.send(b"ping")
            upstream = await net.accept()
            yield proxy, client, upstream


async def gone(peer: Peer) -> None:
    """Wait until ``peer``'s connection is ended or reset."""
    with contextlib.suppress(ConnectionResetError):
        await peer.rest()


# -- it opens -------------------------------------------------------------------------------------------------


@BOTH_LOOPS
@pytest.mark.parametrize("status", [b"200", b"201", b"204", b"299"])
async def test_any_2xx_to_connect_opens_the_tunnel_and_bytes_wait_for_it(status: bytes) -> None:
    async with asked(CONNECT) as (proxy, client, upstream):
        assert await upstream.receive(b"\r\n\r\n") == CONNECT_HEAD
        upstream.send(b"HTTP/1.1 " + status + b" Fine\r\nx-via: proxy\r\n\r\n")
        assert await upstream.receive(b"ping") == b"ping"
        upstream.send(b"pong!")
        assert await client.receive(b"pong!") == b"pong!"
        client.close()
        assert await upstream.rest() == b""
        record = await proxy.logged()
        assert (record.bytes_received, record.bytes_sent, record.flags) == (4, 5, "")
        assert record.transport_failure == ""


@BOTH_LOOPS
async def test_post_carries_the_bytes_in_chunks_and_ends_with_the_last_one() -> None:
    async with asked(POST) as (proxy, client, upstream):
        assert await upstream.receive(b"\r\n\r\n") == POST_HEAD
        upstream.send(OK)
        assert await upstream.receive(b"ping\r\n") == b"4\r\nping\r\n"
        upstream.send(b"pong!")  # a body that ends with the connection
        assert await client.receive(b"pong!") == b"pong!"
        client.close()
        assert await upstream.rest() == b"0\r\n\r\n"
        record = await proxy.logged()
        assert (record.bytes_received, record.bytes_sent) == (4, 5), "payload only"


async def test_post_takes_chunks_of_the_answer_apart() -> None:
    async with asked(POST) as (proxy, client, upstream):
        await upstream.receive(b"\r\n\r\n")
        upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\npon\r\n2;x\r\ng")
        assert await client.receive(b"pong") == b"pong"
        upstream.send(b"!\r\n0\r\n\r\n")
        assert await client.rest() == b"!"
        assert (await proxy.logged()).bytes_sent == 5


async def test_post_with_a_length_ends_where_the_body_does() -> None:
    async with asked(POST) as (proxy, client, upstream):
        await upstream.receive(b"\r\n\r\n")
        upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\npong!more")
        assert await client.rest() == b"pong!"
        assert (await proxy.logged()).bytes_sent == 5


async def test_post_answered_with_a_broken_chunk_breaks_the_session() -> None:
    async with asked(POST) as (proxy, client, upstream):
        await upstream.receive(b"\r\n\r\n")
        upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nA\r\nzz\r\nB")
        assert await client.rest() == b"A"
        await proxy.logged()


@BOTH_LOOPS
async def test_after_connect_content_length_means_nothing() -> None:
    async with asked(CONNECT) as (_, client, upstream):
        await upstream.receive(b"\r\n\r\n")
        upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabcd")
        assert await client.receive(b"abcd") == b"abcd"


@BOTH_LOOPS
@BOTH_WAYS
async def test_an_answer_in_pieces_with_interim_heads_and_early_bytes(tunnel: Tunnel, head: bytes) -> None:
    async with asked(tunnel) as (_, client, upstream):
        assert await upstream.receive(b"\r\n\r\n") == head
        for piece in (b"HTTP/1.1 100 Continue\r\n", b"\r\nHTTP/1.1 2", b"00 OK\r\n\r", b"\nEAR", b"LY"):
            upstream.send(piece)
            await asyncio.sleep(0)
        assert await client.receive(b"EARLY") == b"EARLY"


@BOTH_LOOPS
@BOTH_WAYS
async def test_much_goes_through_in_both_directions_unchanged(tunnel: Tunnel, head: bytes) -> None:
    loop = asyncio.get_running_loop()
    with Net() as net:
        async with TcpInProcess([net.port], route=through(tunnel)) as proxy:
            client = await net.connect(proxy.port)
            upstream = await net.accept()
            assert await upstream.receive(b"\r\n\r\n") == head
            upstream.send(OK)
            sending = asyncio.ensure_future(loop.sock_sendall(upstream.socket, BIG))
            up = asyncio.ensure_future(loop.sock_sendall(client.socket, BIG))
            down, seen = b"", b""
            while len(down) < len(BIG):
                down += await loop.sock_recv(client.socket, 1 << 20)
            while len(seen if not tunnel.post else _payload(seen)) < len(BIG):
                seen += await loop.sock_recv(upstream.socket, 1 << 20)
            await asyncio.gather(sending, up)
            assert down == BIG
            assert (_payload(seen) if tunnel.post else seen) == BIG


def _payload(chunks: bytes) -> bytes:
    """Of whole chunks; what is not yet whole is left out."""
    out, at = [], 0
    while (line := chunks.find(b"\r\n", at)) >= 0:
        size = int(chunks[at:line], 16)
        if line + 4 + size > len(chunks):
            break
        out.append(chunks[line + 2 : line + 2 + size])
        at = line + 4 + size
    return b"".join(out)


# -- it does not open -----------------------------------------------------------------------------------------


@BOTH_LOOPS
@BOTH_WAYS
@pytest.mark.parametrize("status", [101, 302, 403, 407, 502])
async def test_anything_but_2xx_closes_the_client_and_tells_the_log(
    tunnel: Tunnel, head: bytes, status: int
) -> None:
    async with asked(tunnel) as (proxy, client, upstream):
        assert await upstream.receive(b"\r\n\r\n") == head
        said = b"\r\n" if status == 101 else b"content-length: 2\r\n\r\nno"
        upstream.send(b"HTTP/1.1 %d No\r\n%b" % (status, said))
        with pytest.raises(ConnectionResetError):  # it has sent what nobody took
            await client.rest()
        record = await proxy.logged()
        assert (record.flags, record.transport_failure) == ("UF,URX", f"tunnel_response:{status}")
        assert (record.bytes_received, record.bytes_sent) == (0, 0)
        assert record.upstream_host == proxy.cluster.endpoints[0].host_port
        assert (await upstream.rest()) == b"", "no byte of the client reached the proxy that said no"


async def test_post_answered_without_a_body_is_no_tunnel() -> None:
    async with asked(POST) as (proxy, _, upstream):
        await upstream.receive(b"\r\n\r\n")
        upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await proxy.logged()).transport_failure == "tunnel_response:204"


@BOTH_LOOPS
@BOTH_WAYS
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 O", b"hello\r\n\r\n", b"x" * 70_000])
async def test_no_answer_at_all_fails_without_a_reason(tunnel: Tunnel, head: bytes, said: bytes) -> None:
    async with asked(tunnel) as (proxy, client, upstream):
        assert await upstream.receive(b"\r\n\r\n") == head
        if said:
            await asyncio.get_running_loop().sock_sendall(upstream.socket, said)
        upstream.half_close()
        with pytest.raises(ConnectionResetError):
            await client.rest()
        record = await proxy.logged()
        assert (record.flags, record.transport_failure) == ("UF,URX", "")


async def test_a_client_that_sent_nothing_is_closed_not_reset() -> None:
    with Net() as net:
        async with TcpInProcess([net.port], route=through(CONNECT)) as proxy:
            client = await net.connect(proxy.port)
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            upstream.send(b"HTTP/1.1 403 No\r\n\r\n")
            assert await client.rest() == b""
            await proxy.logged()


@BOTH_LOOPS
async def test_endless_interim_answers_are_no_answer() -> None:
    async with asked(CONNECT) as (proxy, _, upstream):
        await upstream.receive(b"\r\n\r\n")
        upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 40)
        assert (await proxy.logged()).flags == "UF,URX"


# -- ends -----------------------------------------------------------------------------------------------------


@BOTH_LOOPS
@BOTH_WAYS
async def test_the_client_s_end_ends_both_directions(tunnel: Tunnel, head: bytes) -> None:
    """Over HTTP/1.1 Envoy keeps no half of a tunnel open."""
    async with asked(tunnel) as (proxy, client, upstream):
        await upstream.receive(b"\r\n\r\n")
        upstream.send(OK)
        await upstream.receive(b"ping")
        client.half_close()
        assert await client.rest() == b""
        assert (await upstream.rest()).endswith(b"0\r\n\r\n" if tunnel.post else b"")
        await proxy.logged()


@BOTH_LOOPS
@BOTH_WAYS
async def test_an_end_before_the_answer_still_delivers_what_was_sent(tunnel: Tunnel, head: bytes) -> None:
    async with asked(tunnel) as (proxy, client, upstream):
        client.half_close()
        await upstream.receive(b"\r\n\r\n")
        upstream.send(OK)
        assert await upstream.rest() == (b"4\r\nping\r\n0\r\n\r\n" if tunnel.post else b"ping")
        await proxy.logged()


@BOTH_LOOPS
@BOTH_WAYS
async def test_the_upstream_s_end_ends_both_directions(tunnel: Tunnel, head: bytes) -> None:
    async with asked(tunnel) as (proxy, client, upstream):
        await upstream.receive(b"\r\n\r\n")
        upstream.send(OK + b"bye")
        await upstream.receive(b"ping")
        upstream.half_close()
        assert await client.rest() == b"bye"
        assert (await proxy.logged()).bytes_sent == 3


@BOTH_LOOPS
@BOTH_WAYS
async def test_a_client_that_leaves_while_the_proxy_thinks_takes_the_tunnel_along(
    tunnel: Tunnel, head: bytes
) -> None:
    async with asked(tunnel) as (proxy, client, upstream):
        await upstream.receive(b"\r\n\r\n")
        proxy.session.abort()
        await proxy.logged()
        await gone(upstream)
        await gone(client)


async def test_a_proxy_that_never_answers_is_left_by_the_idle_timeout() -> None:
    async with asked(CONNECT, idle_timeout_s=0.2) as (proxy, client, upstream):
        await upstream.receive(b"\r\n\r\n")
        await gone(client)
        await gone(upstream)
        await proxy.logged()


async def test_a_proxy_that_cannot_be_reached_fails_like_any_upstream() -> None:
    with Net() as net:
        port = net.port
    async with TcpInProcess([port], route=through(CONNECT)) as proxy:
        with Net() as other:
            client = await other.connect(proxy.port)
            assert await client.rest() == b""
        record = await proxy.logged()
        assert record.flags == "UF,URX"
        assert record.transport_failure == "delayed_connect_error:_Connection_refused"
