"""HTTP/2 without sockets: the codec alone beside hyper-h2, and whole exchanges, of which sixteen come at a time.

What a client says again and again is in its encoder's table, as with browsers and gRPC: its blocks repeat.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from benchmarks.macro import traffic
from benchmarks.macro.site import BENCH_HOST
from benchmarks.micro import heads
from benchmarks.micro.handler import FakeTransport, connect, make_site
from benchmarks.micro.timing import Make, Timing, measure
from gatewayd.http.h2 import frames
from gatewayd.http.h2.client import ClientConnection
from gatewayd.http.h2.server import ServerConnection
from gatewayd.http.request import ParsedRequest
from gatewayd.http.response import ResponseHead
from gatewayd.observe.access_log import AccessLog
from gatewayd.upstream.shared_pool import SharedPool
from gatewayd.upstream.spec import HTTP1, HTTP2

STREAMS = 16
"""Requests that come in one piece, as from a client with so many under way."""

Fields = list[tuple[str, str]]
BODY = b"x" * 1024
_TARGET = [(":scheme", "http"), (":authority", BENCH_HOST)]
GET: Fields = [
    *((":method", "GET"), *_TARGET, (":path", "/api/items?page=2")),
    *((name.lower(), value) for name, value in traffic.nine_headers()[1:]),
]
CALL: Fields = [
    *((":method", "POST"), *_TARGET, (":path", "/api.Greeter/SayHello")),
    *(("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "grpc-go/1.64.0")),
]
MESSAGE = b"\0\0\0\0\x0fhello, somebody"
ANSWER: Fields = [
    (":status", "200"),
    ("content-type", "application/json"),
    ("content-length", "1024"),
    ("server", "up"),
]
BEGINNING: Fields = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS: Fields = [("grpc-status", "0"), ("grpc-message", "")]

ROOM = frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW)
GREETING = frames.PREFACE + frames.settings({}) + ROOM


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    return frames.pack_header(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


class Peer:
    """Says the same on one stream after the other: blocks of fields, and bodies; the last is the end of the stream."""

    def __init__(self, *parts: Fields | bytes) -> None:
        self._parts = parts
        self._payloads: list[bytes] = []
        self._encoder = hpack.Encoder()
        self._stream = -1

    def message(self) -> bytes:
        """What it says on the next stream."""
        self._stream += 2
        if self._stream <= 3:  # with the first the table is filled, and it stays as it is
            self._payloads = [
                part if isinstance(part, bytes) else self._encoder.encode(part) for part in self._parts
            ]
        out = []
        for part, payload in zip(self._parts, self._payloads, strict=True):
            kind, flags = (
                (frames.DATA, 0) if isinstance(part, bytes) else (frames.HEADERS, frames.END_HEADERS)
            )
            if part is self._parts[-1]:
                flags |= frames.END_STREAM
            out.append(frame(kind, flags, self._stream, payload))
        return b"".join(out)

    def messages(self, count: int) -> list[bytes]:
        """On so many streams."""
        return [self.message() for _ in range(count)]

    def batches(self, count: int) -> list[bytes]:
        """The same, of sixteen streams each."""
        return [b"".join(self.messages(STREAMS)) for _ in range(count)]


class Ours:
    """A connection from a client, every GET on which is answered at once with the same head and 1 KiB."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: AccessLog) -> None:
        _, accepted = make_site(loop, log)
        head: list[ResponseHead] = []

        def begin(stream: Any, request: ParsedRequest) -> None:
            if not head:
                fields = [(name.encode(), value.encode()) for name, value in ANSWER]
                head.append(stream.edge.response_fields.read(fields, frozenset()))
            stream.relay(head[0], 1, BODY, True)

        accepted.port.edge.begin = begin
        self._connection = ServerConnection(accepted.port)
        self.transport = FakeTransport(("10.0.0.9", 40000))
        self._connection.soon = loop.call_soon
        self._connection.connection_made(self.transport)  # type: ignore[arg-type]
        self._connection.data_received(GREETING)

    def answer(self, data: bytes) -> None:
        """To one GET."""
        self._connection.data_received(data)


class Theirs:
    """The same with hyper-h2."""

    def __init__(self) -> None:
        self._connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._connection.initiate_connection()
        self.transport = FakeTransport(("10.0.0.9", 40000))
        self.answer(GREETING)

    def answer(self, data: bytes) -> None:
        """To one GET."""
        connection = self._connection
        for event in connection.receive_data(data):
            if isinstance(event, RequestReceived):
                connection.send_headers(event.stream_id, ANSWER)
                connection.send_data(event.stream_id, BODY, end_stream=True)
        self.transport.write(connection.data_to_send())


class Rig:
    """A connection from a client, and as many to the upstream as it takes to carry sixteen requests."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: AccessLog, protocol: str) -> None:
        self._later: list[Any] = []
        cluster, accepted = make_site(loop, log, protocol)
        self.down = FakeTransport(("10.0.0.9", 40000))
        self._client = ServerConnection(accepted.port)
        self._client.soon = self._later.append
        self._client.connection_made(self.down)  # type: ignore[arg-type]
        self._client.data_received(GREETING + frames.SETTINGS_ACK)
        self._upstreams: list[Any]
        if protocol == HTTP2:
            pool = cluster.endpoints[0].pools
            assert isinstance(pool, SharedPool)
            upstream = ClientConnection(pool, accepted.port.edge.limits)
            upstream.soon = self._later.append
            upstream.connection_made(FakeTransport(("127.0.0.1", 8080)))  # type: ignore[arg-type]
            pool.adopt(upstream)
            upstream.data_received(frames.settings({}) + ROOM + frames.SETTINGS_ACK)
            self._upstreams = [upstream]
        else:
            self._upstreams = [connect(cluster) for _ in range(STREAMS)]

    def exchange(self, pair: tuple[bytes, bytes]) -> None:
        """Sixteen requests and their answers, or the answer to each."""
        self._client.data_received(pair[0])
        self._turn()
        for upstream in self._upstreams:
            upstream.data_received(pair[1])
        self._turn()

    def _turn(self) -> None:
        """A turn of the loop is over."""
        later, self._later[:] = list(self._later), []
        for call in later:
            call()


def checked(transport: FakeTransport, call: Callable[[Any], None], given: Any, count: int) -> None:
    """Raise ValueError unless `call(given)` sends the client as much as `count` short answers have."""
    before = transport.written
    call(given)
    if transport.written - before < 40 * count:
        raise ValueError("the exchange of the benchmark sends no response")


def codecs(seconds: float) -> Iterator[Timing]:
    """The codecs alone."""
    loop = asyncio.new_event_loop()
    log = AccessLog(loop, "/dev/null", "text")
    try:
        for name, codec in (("ours", Ours(loop, log)), ("hyper-h2", Theirs())):
            get = Peer(GET)
            checked(codec.transport, codec.answer, get.message(), 1)
            yield measure(f"codec alone, GET with 1 KiB, {name}", codec.answer, get.messages, seconds)
    finally:
        log.close()
        loop.close()


@dataclass(frozen=True)
class Scenario:
    """Sixteen exchanges at a time."""

    row: str
    protocol: str
    """What the upstream speaks."""
    asks: tuple[Fields | bytes, ...]
    answers: tuple[Fields | bytes, ...] = ()

    def make(self) -> Make:
        """What makes pairs of bytes, as :meth:`Rig.exchange` takes them."""
        client, upstream = Peer(*self.asks), Peer(*self.answers)
        if self.protocol == HTTP1:
            answer = heads.response(b"GET / HTTP/1.1")
            return lambda count: [(each, answer) for each in client.batches(count)]
        return lambda count: list(zip(client.batches(count), upstream.batches(count), strict=True))


SCENARIOS = {
    "http2-http1": Scenario("HTTP/2 to HTTP/1.1, GET with 1 KiB", HTTP1, (GET,)),
    "http2": Scenario("HTTP/2 to HTTP/2, GET with 1 KiB", HTTP2, (GET,), (ANSWER, BODY)),
    "grpc": Scenario("HTTP/2 to HTTP/2, unary gRPC", HTTP2, (CALL, MESSAGE), (BEGINNING, MESSAGE, TRAILERS)),
}


def benchmarks(seconds: float) -> Iterator[Timing]:
    """The codecs, and whole exchanges between the versions; the access log is written to /dev/null."""
    yield from codecs(seconds)
    loop = asyncio.new_event_loop()
    log = AccessLog(loop, "/dev/null", "text")
    try:
        for scenario in SCENARIOS.values():
            rig = Rig(loop, log, scenario.protocol)
            make = scenario.make()
            checked(rig.down, rig.exchange, make(1)[0], STREAMS)
            timing = measure(scenario.row, rig.exchange, make, seconds)
            yield Timing(
                f"whole exchange, {scenario.row}", timing.median_us / STREAMS, timing.best_us / STREAMS
            )
    finally:
        log.close()
        loop.close()
