"""Clients and upstreams of either version on fake transports, which speak in bytes and say what they understood.

A test is written once for HTTP/1.1 and HTTP/2: whoever asks gets an :class:`Answered`, whoever is asked an
:class:`Asked`, and both are told whether a message is whole or was cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support import h2_wire as wire
from tests.support.fake_transport import FakeTransport

Fields = list[tuple[str, str]]
HTTP1: Final = "HTTP/1.1"
HTTP2: Final = "HTTP/2"
VERSIONS: Final = (HTTP1, HTTP2)


@dataclass
class Message:
    """A message as far as it has come."""

    fields: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields | None = None
    #: its end came
    whole: bool = False
    #: it was broken off: the code of the reset; for HTTP/1.1, where there is none, 0
    reset: int | None = None

    def get(self, name: str) -> str | None:
        """The value of a field, which may come once."""
        found = [value for each, value in self.fields if each == name]
        assert len(found) <= 1, found
        return found[0] if found else None


@dataclass
class Answered(Message):
    """What a client got so far."""

    status: int = 0
    interim: list[tuple[int, Fields]] = field(default_factory=list)
    #: what came through a tunnel
    tunnel: bytes = b""


@dataclass
class Asked(Message):
    """What an upstream was asked so far, and how to answer it."""

    method: str = ""
    path: str = ""
    authority: str = ""
    scheme: str | None = None
    protocol: str | None = None
    #: where it came in
    upstream: Any = None
    stream: int = 0

    @property
    def given_up(self) -> bool:
        """Nobody wants an answer any more."""
        return self.reset is not None or self.upstream.transport.closing

    def answer(
        self,
        status: int = 200,
        body: bytes = b"",
        fields: Sequence[tuple[str, str]] = (),
        *,
        trailers: Fields | None = None,
        end: bool = True,
    ) -> None:
        """A response, or the beginning of one."""
        self.upstream.answer(self, status, body, fields, trailers, end)

    def more(self, body: bytes, *, end: bool = False, trailers: Fields | None = None) -> None:
        """More of its body."""
        self.upstream.more(self, body, end, trailers)

    def interim(self, status: int, fields: Sequence[tuple[str, str]] = ()) -> None:
        """A 1xx response."""
        self.upstream.interim(self, status, fields)

    def break_off(self) -> None:
        """End it in the middle: a reset of its stream, or of the connection."""
        self.upstream.break_off(self)


# --- HTTP/1.1


def _split(data: bytes) -> tuple[str, Fields, bytes] | None:
    """Start line, fields and the rest, once a head is there."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = []
    for line in lines:
        name, colon, value = line.partition(": ")
        assert colon, line
        fields.append((name.lower(), value))
    return first, fields, rest


def _body(message: Message, data: bytes, *, none: bool = False) -> bytes:
    """Fill in the body of a message whose head is known; what comes behind it."""
    if none:
        message.whole = True
        return data
    if message.get("transfer-encoding") == "chunked":
        while True:
            line, end, rest = data.partition(b"\r\n")
            if not end:
                return b""
            size = int(line, 16)
            if not size:
                break
            message.body += rest[:size]
            if len(rest) < size + 2:
                return b""
            assert rest[size : size + 2] == b"\r\n"
            data = rest[size + 2 :]
        if rest.startswith(b"\r\n"):
            message.whole = True
            return rest[2:]
        found = _split(b"t\r\n" + rest)
        if found is not None:
            message.trailers, data, message.whole = found[1], found[2], True
            return data
        return b""
    length = int(message.get("content-length") or 0)
    message.body = data[:length]
    message.whole = len(message.body) == length
    return data[length:]


def _head(first: str, fields: Sequence[tuple[str, str]]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _last_chunk(trailers: Fields | None) -> bytes:
    return b"0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in trailers or ()).encode() + b"\r\n"


class Http1Client:
    """A client with a connection for each request."""

    version = HTTP1

    def __init__(self, connect: Callable[[], FakeTransport]) -> None:
        self._connect = connect
        self.transports: list[FakeTransport] = []
        self._methods: list[str] = []

    def ask(
        self,
        method: str = "GET",
        path: str = "/",
        fields: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        *,
        host: str = "a.test",
        end: bool = True,
        trailers: Fields | None = None,
    ) -> int:
        """Ask; the number by which the request is known from here on. ``end=False``: more of the body follows."""
        head: Fields = [("host", host), *fields]
        chunked = trailers is not None or not end
        if chunked:
            head.append(("transfer-encoding", "chunked"))
        elif body is not None and "content-length" not in dict(fields):
            head.append(("content-length", str(len(body))))
        self.transports.append(self._connect())
        self._methods.append(method)
        number = len(self.transports) - 1
        self.transports[-1].deliver(
            _head(f"{method} {path} HTTP/1.1", head) + (b"" if chunked else body or b"")
        )
        if chunked:
            self.more(number, body or b"", end=end, trailers=trailers)
        return number

    def more(self, number: int, body: bytes, *, end: bool = False, trailers: Fields | None = None) -> None:
        """More of a body."""
        self.transports[number].deliver(_chunk(body) + (_last_chunk(trailers) if end else b""))

    def send_tunnel(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Bytes of a tunnel."""
        self.transports[number].deliver(data)
        if end:
            self.transports[number].end()

    def give_up(self, number: int) -> None:
        """Want no answer any more."""
        self.transports[number].reset()
        self.transports[number].settle()

    def got(self, number: int) -> Answered:
        """The answer so far."""
        transport = self.transports[number]
        answered = Answered()
        data = bytes(transport.sent)
        while True:
            found = _split(data)
            if found is None:
                break
            first, answered.fields, data = found
            answered.status = int(first.split()[1])
            if answered.status == 101:
                answered.tunnel = data
                answered.whole = transport.ended or transport.closing
                break
            if answered.status >= 200:
                none = self._methods[number] == "HEAD" or answered.status in (204, 304)
                rest = _body(answered, data, none=none)
                assert not rest, rest
                break
            answered.interim.append((answered.status, answered.fields))
            answered.status, answered.fields = 0, []
        if not answered.whole and transport.closing:
            answered.reset = 0
        return answered


class Http1Upstream:
    """An upstream connection."""

    version = HTTP1

    def __init__(self, transport: FakeTransport, name: str) -> None:
        self.transport = transport
        self.name = name

    def asked(self) -> list[Asked]:
        """Everything it was asked so far."""
        data = bytes(self.transport.sent)
        out: list[Asked] = []
        while found := _split(data):
            first, fields, data = found
            method, path, _ = first.split(" ")
            asked = Asked(fields, method=method, path=path, upstream=self, stream=len(out))
            asked.authority = asked.get("host") or ""
            asked.fields = [pair for pair in fields if pair[0] != "host"]
            data = _body(asked, data)
            out.append(asked)
            if not asked.whole and self.transport.closing:
                asked.reset = 0
        return out

    def answer(
        self,
        asked: Asked,
        status: int,
        body: bytes,
        fields: Sequence[tuple[str, str]],
        trailers: Fields | None,
        end: bool,
    ) -> None:
        """See :meth:`Asked.answer`."""
        head = list(fields)
        chunked = trailers is not None or not end
        if chunked:
            head.append(("transfer-encoding", "chunked"))
        elif "content-length" not in dict(fields) and status != 204:
            head.append(("content-length", str(len(body))))
        self.transport.deliver(_head(f"HTTP/1.1 {status} OK", head) + (b"" if chunked else body))
        if chunked:
            self.more(asked, body, end, trailers)

    def more(self, asked: Asked, body: bytes, end: bool, trailers: Fields | None) -> None:
        """See :meth:`Asked.more`."""
        self.transport.deliver(_chunk(body) + (_last_chunk(trailers) if end else b""))

    def interim(self, asked: Asked, status: int, fields: Sequence[tuple[str, str]]) -> None:
        """See :meth:`Asked.interim`."""
        self.transport.deliver(_head(f"HTTP/1.1 {status} Interim", fields))

    def break_off(self, asked: Asked) -> None:
        """See :meth:`Asked.break_off`."""
        self.transport.reset()


# --- HTTP/2


class _Reader:
    """What came on one HTTP/2 connection, stream by stream."""

    def __init__(self, transport: FakeTransport, skip: int = 0) -> None:
        self._transport = transport
        self._at = skip
        self._reader = wire.Reader()
        self.blocks: dict[int, list[Fields]] = {}
        self.data: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.goaways: list[wire.Frame] = []
        self.credit: dict[int, int] = {}
        self.pings: list[bytes] = []
        self.settings: dict[int, int] = {}

    def read(self) -> None:
        """Take in what was sent since the last time."""
        found, rest = wire.split(bytes(self._transport.sent[self._at :]))
        self._at = len(self._transport.sent) - len(rest)
        block = b""
        for frame in found:
            number = frame.stream
            if frame.kind in (wire.HEADERS, wire.CONTINUATION):
                block += frame.payload
                if frame.flags & wire.END_HEADERS:
                    assert number not in self.ended, "nothing follows the end"
                    self.blocks.setdefault(number, []).append(self._reader.fields(block))
                    block = b""
            elif frame.kind == wire.DATA:
                assert number in self.blocks, "a body without a head"
                assert number not in self.ended, "nothing follows the end"
                self.data[number] = self.data.get(number, b"") + frame.payload
            elif frame.kind == wire.RST_STREAM:
                assert number not in self.resets, "reset twice"
                self.resets[number] = frame.code
            elif frame.kind == wire.GOAWAY:
                self.goaways.append(frame)
            elif frame.kind == wire.WINDOW_UPDATE:
                self.credit[number] = self.credit.get(number, 0) + int.from_bytes(frame.payload, "big")
            elif frame.kind == wire.PING and not frame.flags & wire.ACK:
                self.pings.append(frame.payload)
            elif frame.kind == wire.SETTINGS and not frame.flags & wire.ACK:
                for at in range(0, len(frame.payload), 6):
                    key = int.from_bytes(frame.payload[at : at + 2], "big")
                    self.settings[key] = int.from_bytes(frame.payload[at + 2 : at + 6], "big")
            if frame.ends:
                self.ended.add(number)

    def fill(self, message: Message, number: int, blocks: list[Fields]) -> dict[str, str]:
        """Complete ``message``, whose head and trailers are ``blocks``; its pseudo-fields."""
        if blocks:
            message.fields = [pair for pair in blocks[0] if not pair[0].startswith(":")]
        if len(blocks) > 1:
            message.trailers = blocks[1]
        message.body = self.data.get(number, b"")
        message.whole = number in self.ended
        message.reset = self.resets.get(number)
        if not message.whole and self._transport.closing and message.reset is None:
            message.reset = 0
        return {name: value for name, value in blocks[0] if name.startswith(":")} if blocks else {}


def _rest(number: int, body: bytes, end: bool, trailers: Fields | None) -> bytes:
    """What follows a head."""
    out = b""
    pieces = [body[at : at + 16384] for at in range(0, len(body), 16384)]
    for piece in pieces:
        out += wire.data(number, piece, end=end and trailers is None and piece is pieces[-1])
    if end and trailers is not None:
        out += wire.headers(number, trailers, end=True)
    elif end and not pieces:
        out += wire.data(number, b"", end=True)
    return out


class Http2Client:
    """A client with one connection."""

    version = HTTP2

    def __init__(self, connect: Callable[[], FakeTransport], *, window: int = 1 << 20) -> None:
        self.transport = connect()
        self.reader = _Reader(self.transport)
        settings = wire.settings((wire.INITIAL_WINDOW_SIZE, window))
        grown = wire.window_update(0, (1 << 30) - 65535)
        self.transport.deliver(wire.PREFACE + settings + grown + wire.settings(ack=True))
        self._next = 1
        self._tunnels: set[int] = set()

    def ask(
        self,
        method: str = "GET",
        path: str = "/",
        fields: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        *,
        host: str = "a.test",
        end: bool = True,
        trailers: Fields | None = None,
        protocol: str | None = None,
    ) -> int:
        """Ask; the number by which the request is known from here on. ``end=False``: more of the body follows."""
        number, self._next = self._next, self._next + 2
        head = list(fields)
        only_head = end and body is None and trailers is None
        if body is not None and end and trailers is None and "content-length" not in dict(fields):
            head.append(("content-length", str(len(body))))
        block = wire.request(method, path, host, headers=head)
        if protocol is not None:
            block.insert(0, (":protocol", protocol))
        data = wire.headers(number, block, end=only_head)
        if not only_head:
            data += _rest(number, body or b"", end, trailers)
        self.transport.deliver(data)
        return number

    def more(self, number: int, body: bytes, *, end: bool = False, trailers: Fields | None = None) -> None:
        """More of a body."""
        self.transport.deliver(_rest(number, body, end, trailers))

    def connect_websocket(self) -> int:
        """Ask for a tunnel by extended CONNECT."""
        number = self.ask("CONNECT", "/", [("sec-websocket-version", "13")], end=False, protocol="websocket")
        self._tunnels.add(number)
        return number

    def send_tunnel(self, number: int, data: bytes, *, end: bool = False) -> None:
        """Bytes of a tunnel."""
        self.more(number, data, end=end)

    def give_up(self, number: int) -> None:
        """Want no answer any more."""
        self.transport.deliver(wire.rst(number))

    def got(self, number: int) -> Answered:
        """The answer so far."""
        self.reader.read()
        answered = Answered()
        blocks = list(self.reader.blocks.get(number, []))
        while blocks and blocks[0][0][1].startswith("1"):
            (_, status), *fields = blocks.pop(0)
            answered.interim.append((int(status), fields))
        pseudo = self.reader.fill(answered, number, blocks)
        if pseudo:
            assert list(pseudo) == [":status"]
            answered.status = int(pseudo[":status"])
        if number in self._tunnels:
            answered.tunnel = answered.body
        return answered


class Http2Upstream:
    """An upstream connection."""

    version = HTTP2

    def __init__(
        self, transport: FakeTransport, name: str, *settings: tuple[int, int], window: int = 1 << 30
    ) -> None:
        self.transport = transport
        self.name = name
        self.reader = _Reader(transport, len(wire.PREFACE))
        grown = wire.window_update(0, (1 << 30) - 65535)
        transport.deliver(
            wire.settings((wire.INITIAL_WINDOW_SIZE, window), *settings) + grown + wire.settings(ack=True)
        )

    def asked(self) -> list[Asked]:
        """Everything it was asked so far."""
        assert self.transport.sent.startswith(wire.PREFACE)
        self.reader.read()
        out = []
        for number, blocks in self.reader.blocks.items():
            asked = Asked(upstream=self, stream=number)
            pseudo = self.reader.fill(asked, number, blocks)
            asked.method = pseudo[":method"]
            asked.path = pseudo.get(":path", "")
            asked.authority = pseudo[":authority"]
            asked.scheme = pseudo.get(":scheme")
            asked.protocol = pseudo.get(":protocol")
            out.append(asked)
        return out

    def answer(
        self,
        asked: Asked,
        status: int,
        body: bytes,
        fields: Sequence[tuple[str, str]],
        trailers: Fields | None,
        end: bool,
    ) -> None:
        """See :meth:`Asked.answer`."""
        only_head = end and not body and trailers is None
        head = wire.headers(asked.stream, [(":status", str(status)), *fields], end=only_head)
        self.transport.deliver(head + (b"" if only_head else _rest(asked.stream, body, end, trailers)))

    def more(self, asked: Asked, body: bytes, end: bool, trailers: Fields | None) -> None:
        """See :meth:`Asked.more`."""
        self.transport.deliver(_rest(asked.stream, body, end, trailers))

    def interim(self, asked: Asked, status: int, fields: Sequence[tuple[str, str]]) -> None:
        """See :meth:`Asked.interim`."""
        self.transport.deliver(wire.headers(asked.stream, [(":status", str(status)), *fields]))

    def break_off(self, asked: Asked) -> None:
        """See :meth:`Asked.break_off`."""
        self.transport.deliver(wire.rst(asked.stream, wire.INTERNAL_ERROR))


Client = Http1Client | Http2Client
Upstream = Http1Upstream | Http2Upstream
