"""As much of HTTP/2 as clients of a benchmark need: frames out and in, and header blocks that enter no table."""

import struct
from collections.abc import Iterator

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
CANCEL = 8
METHOD_GET, SCHEME_HTTP, SCHEME_HTTPS = b"\x82", b"\x86", b"\x87"
AUTHORITY, PATH = 1, 4
"""Indices of the static table (RFC 7541 appendix A)."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame (RFC 9113 4.1)."""
    return struct.pack("!I", len(payload))[1:] + bytes((kind, flags)) + struct.pack("!I", stream) + payload


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0)
"""What a client begins with: the preface and empty SETTINGS."""


def _string(text: str) -> bytes:
    data = text.encode()
    if len(data) < 127:
        return bytes((len(data),)) + data
    return bytes((127, len(data) - 127)) + data  # RFC 7541 5.1; up to 254 bytes


def literal(name: str | int, value: str) -> bytes:
    """A field without indexing; an int names one of the first 15 of the static table (RFC 7541 6.2.2)."""
    return (bytes((name,)) if isinstance(name, int) else b"\0" + _string(name)) + _string(value)


class Reader:
    """Frames of a byte stream."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """The whole frames there are now: kind, flags, stream, payload."""
        data = self._data + data
        at = 0
        while len(data) >= at + 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if len(data) < end:
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
            yield data[at + 3], data[at + 4], stream, data[at + 9 : end]
            at = end
        self._data = data[at:]
