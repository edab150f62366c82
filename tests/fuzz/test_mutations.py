"""Mutated messages into the codecs: no exception, and every invariant of the data path, whatever comes.

``drawn.py`` says how many inputs each test tries; a failure names its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from gatewayd.http.h1.chunked import ChunkedReader
from gatewayd.http.h1.head import RequestParser
from gatewayd.http.h1.response import ResponseParser
from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from tests.fuzz.drawn import mutate, pieces, runs
from tests.proxy.world import WatchedExchange, World, read_responses

H = b"host: a.test\r\n"
REQUESTS = [
    b"GET /1?a=b HTTP/1.1\r\n" + H + b"user-agent: x\r\naccept: */*\r\n\r\n",
    b"POST /1 HTTP/1.1\r\n" + H + b"content-length: 12\r\n\r\nhello, world",
    b"PUT /1 HTTP/1.1\r\n"
    + H
    + b"transfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n",
    b"GET /1 HTTP/1.1\r\n" + H + b"connection: upgrade\r\nupgrade: websocket\r\n\r\nearly",
    b"GET http://b.test/1 HTTP/1.1\r\n" + H + b"connection: close, x-a\r\nx-a: 1\r\n\r\n",
    b"POST /1 HTTP/1.1\r\n" + H + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\nhi",
    b"HEAD /1 HTTP/1.1\r\n" + H + b"te: trailers\r\nx-forwarded-for: 1.1.1.1\r\n\r\n",
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nserver: x\r\nvary: a\r\nvary: b\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nt: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\ndate: x\r\n\r\nuntil the end",
    b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\ntunnel",
    b"HTTP/1.1 503 U\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
]
TOKENS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b",",
    b"0",
    b"-",
    b"+",
    b"ffffffffffffffff",
    b"chunked",
    b"\xff",
    b"content-length: 3\r\n",
    b"transfer-encoding: chunked\r\n",
    b"host: b\r\n",
    b"connection: upgrade\r\n",
    b"HTTP/1.1",
    b"GET / HTTP/1.1\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"%",
    b"%2e%2e",
    b"/../",
    b";",
    b"x" * 300,
    b"a: " + b"b" * 70_000,
]


async def _each(play: Callable[[World, random.Random], object]) -> None:
    for run in runs():
        rng = random.Random(f"fuzz {run}")
        with pytest.MonkeyPatch.context() as patch:
            world = World(patch)
            try:
                await play(world, rng)  # type: ignore[misc]
                await world.finish()
            except BaseException as error:
                error.add_note(f"run {run}")
                raise


async def test_any_bytes_of_a_client() -> None:
    """The upstream answers everything it is asked properly."""

    async def play(world: World, rng: random.Random) -> None:
        data = b"".join(mutate(rng.choice(REQUESTS), rng, TOKENS) for _ in range(rng.randrange(1, 4)))
        client = world.connect()
        waiting = pieces(data, rng)
        for _ in range(len(waiting) + 12):
            if waiting and client.deliver(waiting[0]):
                waiting.pop(0)
            await world.settle()
            await world.open()
            await world.settle()
            for upstream in world.upstreams:
                if (
                    upstream.protocol.exchange is not None
                    and upstream.protocol._state == 0
                    and rng.random() < 0.7
                ):
                    upstream.deliver(RESPONSES[0])
                    await world.settle()
            world.check()
        read_responses(bytes(client.sent), [exchange.method for exchange in WatchedExchange.all])

    await _each(play)


async def test_any_bytes_of_an_upstream() -> None:
    """What the client gets is well-formed, or breaks off."""

    async def play(world: World, rng: random.Random) -> None:
        client = world.connect()
        client.deliver(rng.choice(REQUESTS))
        await world.settle()
        await world.open()
        await world.settle()
        for upstream in list(world.upstreams):
            for piece in pieces(mutate(rng.choice(RESPONSES), rng, TOKENS), rng):
                upstream.deliver(piece)
                if rng.random() < 0.5:
                    await world.settle()
                    world.check()
            await world.settle()
            ending = rng.choice(["end", "reset", ""])
            if ending:
                getattr(upstream, ending)()
            await world.settle()
            world.check()
        read_responses(bytes(client.sent), [exchange.method for exchange in WatchedExchange.all])

    await _each(play)


def test_any_chunked_body() -> None:
    """Cut in any way, the verdict and the payload are those of the whole."""
    valid = b"5;a=b\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nt: 1\r\n\r\nrest"
    for run in runs(10):
        rng = random.Random(run)
        data = mutate(valid, rng, TOKENS)
        whole = ChunkedReader(HttpLimits())
        payload = whole.feed(data)
        cut = ChunkedReader(HttpLimits())
        parts = b""
        for piece in pieces(data, rng):
            if not cut.done and not cut.error:
                parts += cut.feed(piece)
        assert (whole.done, bool(whole.error)) == (cut.done, bool(cut.error)), run
        assert parts == payload, run


def test_any_head() -> None:
    """Parsers answer every head, and a refused one never carries a request."""
    requests, responses = RequestParser(HttpOptions()), ResponseParser(HttpOptions())
    for run in runs(10):
        rng = random.Random(run)
        head, _, _ = mutate(rng.choice(REQUESTS), rng, TOKENS).partition(b"\r\n\r\n")
        request = requests.parse(head + b"\r\n\r\n")
        if request.error is None:
            assert request.head is not None
            assert request.head.target.startswith(b"/")
            assert b"\r\n" not in request.head.target + request.head.authority
            for name, value in request.block.forward:
                assert name == name.lower()
                assert not {0, 10, 13} & set(name + value), run
            assert not (request.block.chunked and request.block.content_length >= 0)
        head, _, _ = mutate(rng.choice(RESPONSES), rng, TOKENS).partition(b"\r\n\r\n")
        response = responses.parse(head + b"\r\n\r\n")
        if not response.error:
            assert 100 <= response.status <= 999
            assert not {0, 10, 13} & set(b"".join(name + value for name, value in response.pairs)), run
            assert response.relay.count(b"\n") == response.relay.count(b"\r\n")
