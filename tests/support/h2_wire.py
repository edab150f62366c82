"""HTTP/2 as bytes, by the test's own hand: frames are built and split here, and nothing of ours is used.

Header blocks are written as literals without indexing, so that a test says exactly what is sent; ``hpack`` reads
what came back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
NAMES: Final = (
    "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
    "CONTINUATION",
)  # fmt: skip

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    1, 2, 3, 4, 5, 6,
)  # fmt: skip
ENABLE_CONNECT_PROTOCOL: Final = 8

(
    NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED,
    FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM,
    INADEQUATE_SECURITY, HTTP_1_1_REQUIRED,
) = range(14)  # fmt: skip

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Headers = Sequence[tuple[str | bytes, str | bytes]]


class Frame(NamedTuple):
    """One frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    def __repr__(self) -> str:
        name = NAMES[self.kind] if self.kind < len(NAMES) else hex(self.kind)
        shown = self.payload if len(self.payload) < 40 else self.payload[:40] + b"..."
        return f"{name}(flags={self.flags:#x}, stream={self.stream}, {shown!r})"

    @property
    def code(self) -> int:
        """The error code of a RST_STREAM or GOAWAY."""
        at = 4 if self.kind == GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4], "big")

    @property
    def last_stream(self) -> int:
        """Of a GOAWAY."""
        return int.from_bytes(self.payload[:4], "big") & 0x7FFFFFFF

    @property
    def ends(self) -> bool:
        """Whether it ends its stream."""
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A frame of any kind, right or wrong."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def integer(value: int, prefix_bits: int, first: int = 0) -> bytes:
    """RFC 7541 5.1."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((first | value,))
    out = bytearray((first | limit,))
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


def string(text: str | bytes) -> bytes:
    """RFC 7541 5.2, not compressed."""
    raw = _bytes(text)
    return integer(len(raw), 7) + raw


def block(headers: Headers) -> bytes:
    """A header block of literals that nobody indexes."""
    return b"".join(b"\x00" + string(name) + string(value) for name, value in headers)


def request(
    method: str = "GET",
    path: str = "/",
    authority: str = "a.test",
    scheme: str = "http",
    headers: Headers = (),
) -> list[tuple[str | bytes, str | bytes]]:
    """The fields of a request, pseudo ones first."""
    return [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority), *headers]


def headers(
    stream: int, fields: Headers | bytes, *, end: bool = False, end_headers: bool = True, flags: int = 0
) -> bytes:
    """A HEADERS frame; ``fields`` may be a block."""
    payload = fields if isinstance(fields, bytes) else block(fields)
    flags |= (END_STREAM if end else 0) | (END_HEADERS if end_headers else 0)
    return frame(HEADERS, flags, stream, payload)


def continuation(stream: int, payload: bytes, *, end_headers: bool = True) -> bytes:
    """A CONTINUATION frame."""
    return frame(CONTINUATION, END_HEADERS if end_headers else 0, stream, payload)


def data(stream: int, payload: bytes = b"", *, end: bool = False, padding: int | None = None) -> bytes:
    """A DATA frame."""
    flags = END_STREAM if end else 0
    if padding is not None:
        return frame(DATA, flags | PADDED, stream, bytes((padding,)) + payload + bytes(padding))
    return frame(DATA, flags, stream, payload)


def rst(stream: int, code: int = CANCEL) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def settings(*pairs: tuple[int, int], ack: bool = False) -> bytes:
    """A SETTINGS frame."""
    return frame(
        SETTINGS, ACK if ack else 0, 0, b"".join(struct.pack(">HL", key, value) for key, value in pairs)
    )


def ping(payload: bytes = b"12345678", *, ack: bool = False) -> bytes:
    """A PING frame."""
    return frame(PING, ACK if ack else 0, 0, payload)


def goaway(last_stream: int = 0, code: int = NO_ERROR, debug: bytes = b"") -> bytes:
    """A GOAWAY frame."""
    return frame(GOAWAY, 0, 0, struct.pack(">LL", last_stream, code) + debug)


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def priority(stream: int, depends_on: int = 0, weight: int = 15) -> bytes:
    """A PRIORITY frame."""
    return frame(PRIORITY, 0, stream, struct.pack(">LB", depends_on, weight))


def split(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames in ``data``, and what is left."""
    found = []
    while len(data) >= 9:
        end = 9 + int.from_bytes(data[:3], "big")
        if len(data) < end:
            break
        found.append(Frame(data[3], data[4], int.from_bytes(data[5:9], "big") & 0x7FFFFFFF, data[9:end]))
        data = data[end:]
    return found, data


def frames(data: bytes) -> list[Frame]:
    """All of ``data``, which must end with a frame."""
    found, rest = split(data)
    assert not rest, f"a torn frame: {rest!r}"
    return found


class Reader:
    """Decodes the header blocks of one connection, in order."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=1 << 20)

    def fields(self, payload: bytes) -> list[tuple[str, str]]:
        """The fields of a whole block."""
        return [
            (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
            for name, value in self._decoder.decode(payload, raw=True)
        ]

    def of(self, found: Iterable[Frame], stream: int) -> list[list[tuple[str, str]]]:
        """The field lists that ``stream`` got; blocks of other streams are decoded too, in order."""
        out: list[list[tuple[str, str]]] = []
        parts = b""
        for one in found:
            if one.kind in (HEADERS, CONTINUATION):
                parts += one.payload
                if one.flags & END_HEADERS:
                    fields, parts = self.fields(parts), b""
                    if one.stream == stream:
                        out.append(fields)
        return out
