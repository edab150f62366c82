"""HOT: the numbers of RFC 9113, and frames as bytes."""

from __future__ import annotations

from struct import Struct
from typing import Final

#: What a client sends first (RFC 9113 3.4).
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

#: Length (high byte, low bytes), type, flags, stream.
HEADER: Final = Struct(">BHBBL")
HEADER_BYTES: Final = 9
unpack_header: Final = HEADER.unpack_from
pack_header: Final = HEADER.pack

# Types (RFC 9113 6)
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
NAMES: Final = (
    "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
    "CONTINUATION",
)  # fmt: skip

# Flags
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

# Error codes (RFC 9113 7)
(
    NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
    REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY,
    HTTP_1_1_REQUIRED,
) = range(14)  # fmt: skip

# Settings (RFC 9113 6.5.2, RFC 8441 3)
HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6
ENABLE_CONNECT_PROTOCOL: Final = 8

#: What every connection and stream begins with (RFC 9113 6.9.2).
DEFAULT_WINDOW: Final = 65_535
MAX_WINDOW: Final = (1 << 31) - 1
MAX_STREAM_ID: Final = (1 << 31) - 1
#: The least that everybody must take, and what we take (RFC 9113 4.2).
DEFAULT_FRAME_BYTES: Final = 16_384
MAX_FRAME_BYTES: Final = (1 << 24) - 1

_SETTING: Final = Struct(">HL")
_FRAME_32: Final = Struct(">BHBBLL")
_GOAWAY: Final = Struct(">BHBBLLL")

SETTINGS_ACK: Final = pack_header(0, 0, SETTINGS, ACK, 0)


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(_SETTING.pack(key, value) for key, value in values.items())
    return pack_header(0, len(payload), SETTINGS, 0, 0) + payload


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The settings in a payload whose length is a multiple of six, in order."""
    return list(_SETTING.iter_unpack(payload))


def rst_stream(stream_id: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return _FRAME_32.pack(0, 4, RST_STREAM, 0, stream_id, code)


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return _FRAME_32.pack(0, 4, WINDOW_UPDATE, 0, stream_id, increment)


def ping(payload: bytes, *, ack: bool = False) -> bytes:
    """A PING frame; ``payload`` has eight bytes."""
    return pack_header(0, 8, PING, ACK if ack else 0, 0) + payload


def goaway(last_stream_id: int, code: int, words: bytes = b"") -> bytes:
    """A GOAWAY frame."""
    return _GOAWAY.pack(0, 8 + len(words), GOAWAY, 0, 0, last_stream_id, code) + words


def headers(stream_id: int, block: bytes, flags: int) -> bytes:
    """A header block in a HEADERS frame, and CONTINUATION frames where it is longer than every frame may be."""
    parts = [block[at : at + DEFAULT_FRAME_BYTES] for at in range(0, len(block), DEFAULT_FRAME_BYTES)]
    out: list[bytes] = []
    for at, part in enumerate(parts):
        kind = CONTINUATION if at else HEADERS
        part_flags = (0 if at else flags) | (END_HEADERS if at + 1 == len(parts) else 0)
        out += (pack_header(0, len(part), kind, part_flags, stream_id), part)
    return b"".join(out)
