"""Mutated HTTP/2 into the codec and the proxy: no exception, and every invariant of the data path, whatever comes.

``drawn.py`` says how many inputs each test tries; a failure names its seed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import hpack

from gatewayd.http.h2 import huffman
from gatewayd.http.h2.hpack import Decoder
from gatewayd.http.h2.requests import reader_for as request_reader
from gatewayd.http.h2.responses import read_trailers
from gatewayd.http.h2.responses import reader_for as response_reader
from gatewayd.http.options import HttpOptions
from tests.fuzz.drawn import mutate, pieces, runs
from tests.proxy.place import Place
from tests.proxy.speakers import HTTP2, VERSIONS, Http2Client, Http2Upstream
from tests.support import h2_wire as wire

POST = wire.request("POST", headers=[("content-length", "5")])
RULES = """
  - route: [{destination: {host: a.test}}]
    timeout: 20s
    retries: {attempts: 1, retryOn: "5xx,reset"}"""

#: Frames of a client, good and bad.
ASKS: Sequence[bytes] = [
    wire.headers(1, wire.request(), end=True),
    wire.headers(1, POST) + wire.data(1, b"hello", end=True),
    wire.headers(1, wire.request("POST"))
    + wire.data(1, b"x" * 100)
    + wire.headers(1, [("x-t", "1")], end=True),
    wire.headers(1, wire.request("POST")) + wire.data(1, b"pad", padding=9) + wire.data(1, end=True),
    wire.headers(1, wire.request("CONNECT", headers=[(":protocol", "websocket")])) + wire.data(1, b"early"),
    wire.headers(1, wire.block(wire.request())[:20], end=True, end_headers=False)
    + wire.continuation(1, wire.block(wire.request())[20:]),
    wire.headers(1, wire.request()) + wire.rst(1),
]
#: Frames of an upstream.
ANSWERS: Sequence[bytes] = [
    wire.headers(1, [(":status", "200"), ("content-length", "2")]) + wire.data(1, b"hi", end=True),
    wire.headers(1, [(":status", "100")]) + wire.headers(1, [(":status", "204")], end=True),
    wire.headers(1, [(":status", "200")])
    + wire.data(1, b"x" * 500)
    + wire.headers(1, [("grpc-status", "0")], end=True),
    wire.headers(1, [(":status", "200"), ("grpc-status", "14")], end=True),
    wire.headers(1, [(":status", "503")], end=True),
    wire.rst(1, wire.REFUSED_STREAM),
    wire.goaway(0),
    wire.goaway(1),
]
#: Frames of either side.
ANY: Sequence[bytes] = [
    wire.settings((wire.INITIAL_WINDOW_SIZE, 10)), wire.settings((wire.INITIAL_WINDOW_SIZE, 1 << 20)),
    wire.settings((wire.MAX_FRAME_SIZE, 1 << 20), (wire.HEADER_TABLE_SIZE, 0)), wire.settings(ack=True),
    wire.settings((wire.MAX_CONCURRENT_STREAMS, 1)), wire.ping(), wire.ping(ack=True),
    wire.window_update(0, 1000), wire.window_update(1, 1000), wire.window_update(1, 0), wire.rst(1),
    wire.priority(1), wire.priority(1, 1), wire.frame(0x77, 0xFF, 1, b"?"), wire.goaway(), wire.data(1),
    wire.frame(wire.PUSH_PROMISE, 4, 1, b"\0\0\0\2"), wire.continuation(1, b"\x82"), wire.frame(wire.SETTINGS, 0, 1),
]  # fmt: skip
TOKENS: Sequence[bytes] = [
    *ANY, b"\x00\x00\x00\x00\x01\x00\x00\x00\x01", b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", b"\xff\xff\xff", b"\x82",
    b"\x3f\xe1\x1f", b"\x20", b"\xbe", b"\x40\x01a\x01b", b"\x00\x01A\x01b", b"\x00\x01a\x02\r\n", b"\x00" * 9,
    b"x" * 300,
]  # fmt: skip


def session(parts: Sequence[bytes], rng: random.Random) -> bytes:
    """Frames on the streams of a connection, some of them not as they should be."""
    out = []
    for number in range(1, rng.choice([3, 5, 9]), 2):
        data = rng.choice(parts)
        if rng.random() < 0.5:
            data = mutate(data, rng, TOKENS)
        out.append(_on_stream(data, number))
        while rng.random() < 0.4:
            out.append(_on_stream(rng.choice(ANY), number))
    if rng.random() < 0.3:
        rng.shuffle(out)
    return b"".join(out)


def _on_stream(data: bytes, number: int) -> bytes:
    """The frames in ``data`` that are on stream 1, on another; what is no frame stays."""
    found, rest = wire.split(data)
    return (
        b"".join(
            wire.frame(frame.kind, frame.flags, number if frame.stream == 1 else frame.stream, frame.payload)
            for frame in found
        )
        + rest
    )


async def test_any_frames_of_a_client() -> None:
    """Either kind of upstream answers everything it is asked properly."""
    for run in runs(0.5):
        rng = random.Random(f"client {run}")
        place = Place(HTTP2, rng.choice(VERSIONS), RULES, extended_connect=rng.random() < 0.5)
        try:
            async with place:
                client = place.client = Http2Client(place.connect)
                answered: set[tuple[object, int]] = set()
                waiting = pieces(session(ASKS, rng), rng)
                for _ in range(len(waiting) + 6):
                    if waiting:
                        client.transport.deliver(waiting.pop(0))
                    await place.settle()
                    for asked in [one for upstream in place.upstreams for one in upstream.asked()]:
                        key = (asked.upstream, asked.stream)
                        if asked.whole and not asked.given_up and key not in answered and rng.random() < 0.7:
                            answered.add(key)
                            asked.answer(rng.choice([200, 200, 503]), b"answer", end=rng.random() < 0.8)
                    if rng.random() < 0.1:
                        await place.advance(rng.choice([0.1, 1, 20]))
                    client.reader.read()
                for upstream in place.upstreams:
                    upstream.transport.reset()
        except BaseException as error:
            error.add_note(f"run {run}")
            raise


async def test_any_frames_of_an_upstream() -> None:
    """What the client of either version gets is well-formed, or breaks off."""
    for run in runs(0.5):
        rng = random.Random(f"upstream {run}")
        place = Place(rng.choice(VERSIONS), HTTP2, RULES, endpoints=1)
        try:
            async with place:
                numbers = [place.client.ask("POST", body=b"x" * rng.choice([1, 1000])) for _ in range(3)]
                await place.settle()
                for piece in pieces(session(ANSWERS, rng), rng):
                    for upstream in list(place.upstreams):
                        upstream.transport.deliver(piece)
                    if rng.random() < 0.5:
                        await place.settle()
                    if rng.random() < 0.1:
                        await place.advance(rng.choice([0.1, 1, 20]))
                for number in numbers:
                    answered = place.client.got(number)
                    assert answered.status == 0 or 200 <= answered.status <= 999
                    for name, value in answered.fields:
                        assert name == name.lower()
                        assert not set("\0\r\n") & set(name + value)
                for upstream in place.upstreams:
                    if isinstance(upstream, Http2Upstream):
                        upstream.asked()
                    upstream.transport.reset()
                await place.settle()
                for upstream in place.upstreams:
                    upstream.transport.reset()
        except BaseException as error:
            error.add_note(f"run {run}")
            raise


def test_any_block() -> None:
    """Decoded to what the peer decodes, or refused by both; within the limits."""
    good = wire.block(wire.request(headers=[("user-agent", "x"), ("cookie", "a=1")]))
    for run in runs(5):
        rng = random.Random(f"block {run}")
        ours = Decoder(4096, 50)
        theirs = hpack.Decoder(max_header_list_size=1 << 20)
        for _ in range(3):
            block = mutate(
                good,
                rng,
                [b"\x3f\xe1\x1f", b"\x20", b"\xbe", b"\x7f\x00", b"\x40\x01a\x01b", b"\xff" * 6, b"\x82"],
            )
            pairs = ours.decode(block)
            try:
                expected = [(bytes(name), bytes(value)) for name, value in theirs.decode(block, raw=True)]
            except hpack.exceptions.HPACKError:
                expected = None
            if ours.error or expected is None:
                assert ours.error, run  # what they refuse we do; what we refuse they may take
                break
            assert pairs == expected, run
            assert ours.table_size == theirs.header_table._current_size <= 4096


def test_any_compressed_string() -> None:
    """As the peer reads it."""
    for run in runs(10):
        data = random.Random(f"string {run}").randbytes(random.Random(run).randrange(1, 20))
        try:
            expected: bytes | None = bytes(hpack.huffman_table.decode_huffman(data))
        except hpack.exceptions.HPACKDecodingError:
            expected = None
        assert huffman.decode(data) == expected, run


NAMES = [
    b":method", b":scheme", b":path", b":authority", b":protocol", b":status", b":x", b"host", b"cookie", b"te",
    b"content-length", b"connection", b"transfer-encoding", b"x-forwarded-for", b"x-request-id", b"accept", b"Accept",
    b"x a", b"", b"user-agent", b"expect", b"x-envoy-internal", b"upgrade", b"content-type",
]  # fmt: skip
VALUES = [
    b"GET", b"POST", b"CONNECT", b"OPTIONS", b"http", b"https", b"/", b"/a/../b", b"/%2e%2e/", b"*", b"a.test", b"a b",
    b"[::1]:80", b"websocket", b"200", b"0", b"5", b"-1", b"9" * 30, b"trailers", b"chunked", b"a=1", b"", b" x ",
    b"x\0y", b"x\r\ny: z", b"\xff\xfe", b"100-continue", b"1.2.3.4", b"application/grpc", b"//x", b"/\xc3\xa9",
]  # fmt: skip
HEAD = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a.test")]


def test_any_fields() -> None:
    """What is taken for a request, a response or trailers can be said in either version."""
    options = [HttpOptions(extended_connect=True), HttpOptions(path_normalization="DECODE_AND_MERGE_SLASHES")]
    for run in runs(20):
        rng = random.Random(f"fields {run}")
        fields = [(rng.choice(NAMES), rng.choice(VALUES)) for _ in range(rng.randrange(5))]
        pairs = [*HEAD, *fields] if rng.random() < 0.6 else fields
        if rng.random() < 0.5:
            rng.shuffle(pairs)
        which = rng.choice(options)
        request = request_reader(which).read(pairs, end=rng.random() < 0.5, never=frozenset())
        if request.error is None:
            assert request.head is not None
            assert request.head.target[:1] == b"/", run
            _check_fields(request.block.forward, run)
            assert request.block.forward_bytes.count(b"\n") == request.block.forward_bytes.count(b"\r\n")
            assert not (request.block.chunked and request.block.content_length >= 0)
        response = response_reader(which).read([(b":status", b"200"), *fields], frozenset())
        if not response.error:
            _check_fields(response.pairs, run)
        trailers = read_trailers(fields, frozenset())
        if trailers is not None:
            _check_fields(trailers.pairs, run)


def _check_fields(pairs: Sequence[tuple[bytes, bytes]], run: int) -> None:
    for name, value in pairs:
        assert name, run
        assert name == name.lower(), run
        assert not {0, 10, 13, 32, 58} & set(name), run
        assert not {0, 10, 13} & set(value), run
        assert value == value.strip(b" \t"), run
