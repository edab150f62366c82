"""HOT: the chunked coding, read strictly and without I/O (RFC 9112 7.1; hardening section 2).

A reader is fed bytes and gives back payload; sizes, extensions, trailers and errors stay inside.
Extensions are discarded. Trailers are parsed for their form and dropped (semantics 14.6.9).
"""

from __future__ import annotations

import re
from typing import Final

from gatewayd.http.headers import FIELD_BYTES, TOKEN_BYTES
from gatewayd.http.limits import HttpLimits

_SIZE, _DATA, _DATA_END, _TRAILER, _DONE, _BROKEN = range(6)
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})([ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?)").fullmatch
#: A size line may be this long before its CRLF is seen; the rest is extension and counted.
_MAX_SIZE_DIGITS: Final = 16
#: Sizes as most write them: small chunks are many, and each is to cost little.
_SIZES: Final = {form % size: size for size in range(1, 256) for form in (b"%x", b"%X")}
#: So many chunks at a time: a read may bring a hundred thousand of a byte each, and others wait meanwhile.
MAX_CHUNKS: Final = 2048


class ChunkedReader:
    """Decodes one chunked body; use a new one for each message.

    ``done`` turns true with the last trailer line; ``rest`` then holds the bytes after the message.
    ``error`` is a short reason once the coding was violated; nothing more is decoded then.
    ``more``: there were more than ``MAX_CHUNKS``; feed it ``b""`` to go on, and nothing else before.
    """

    __slots__ = ("_ext_bytes", "_limits", "_pending", "_remaining", "_state", "_trailer_bytes", "_trailer_fields",
                 "done", "error", "more", "rest")  # fmt: skip

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._state = _SIZE
        self._remaining = 0
        self._pending = b""
        self._ext_bytes = 0
        self._trailer_bytes = 0
        self._trailer_fields = 0
        self.done = False
        self.error = ""
        self.more = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Payload bytes contained in ``data``; check ``error`` and ``done`` afterwards."""
        if self._state == _DATA and len(data) < self._remaining:
            self._remaining -= len(data)  # the middle of a large chunk: nothing to copy
            return data
        if self._pending:
            data = self._pending + data
            self._pending = b""
            self.more = False
        pieces: list[bytes] = []
        position, length = 0, len(data)
        while True:
            state = self._state
            if state == _DATA:
                end = position + self._remaining
                if end > length:
                    pieces.append(data[position:] if position else data)
                    self._remaining = end - length
                    break
                pieces.append(data[position:end])
                position = end
                self._state = _DATA_END
            elif state == _DATA_END:
                if length - position < 2:
                    if position < length and data[position] != 13:
                        self._fail("no CRLF after chunk data")
                    self._pending = data[position:]
                    break
                if data[position : position + 2] != b"\r\n":
                    self._fail("no CRLF after chunk data")
                    break
                position += 2
                self._state = _SIZE
            else:
                if len(pieces) >= MAX_CHUNKS and position < length:
                    self._pending = data[position:]
                    self.more = True
                    break
                end = data.find(b"\n", position)
                if end < 0:
                    self._keep_line(data[position:], state)
                    break
                if end == position or data[end - 1] != 13:
                    self._fail("bare LF")
                    break
                line = data[position : end - 1]
                position = end + 1
                if state == _SIZE:
                    size = _SIZES.get(line)
                    if size is None:
                        self._size_line(line)
                    else:
                        end = position + size
                        if data[end : end + 2] == b"\r\n":  # the whole chunk is here
                            pieces.append(data[position:end])
                            position = end + 2
                        else:
                            self._remaining = size
                            self._state = _DATA
                elif not line:
                    self._state = _DONE
                    self.done = True
                    self.rest = data[position:]
                    break
                else:
                    self._trailer_line(line)
                if self._state == _BROKEN:
                    break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _fail(self, reason: str) -> None:
        self._state = _BROKEN
        self.error = reason
        self._pending = b""

    def _keep_line(self, part: bytes, state: int) -> None:
        """Hold an unfinished line, bounded."""
        limit = (
            self._limits.max_chunk_ext_bytes + _MAX_SIZE_DIGITS
            if state == _SIZE
            else self._limits.max_trailer_bytes
        )
        if len(part) > limit + 2:
            self._fail("line too long")
        elif state == _SIZE and part and part[0] not in b"0123456789abcdefABCDEF":
            self._fail("bad chunk size")
        else:
            self._pending = part

    def _size_line(self, line: bytes) -> None:
        match = _SIZE_LINE(line)
        if match is None or match[2][:1] in (b" ", b"\t"):
            self._fail("bad chunk size")
            return
        self._ext_bytes += len(match[2])
        if self._ext_bytes > self._limits.max_chunk_ext_bytes:
            self._fail("chunk extensions too long")
            return
        self._remaining = int(match[1], 16)
        if self._remaining >> 63:
            self._fail("chunk size overflow")
        elif self._remaining:
            self._state = _DATA
        else:
            self._state = _TRAILER

    def _trailer_line(self, line: bytes) -> None:
        self._trailer_bytes += len(line) + 2
        self._trailer_fields += 1
        name, colon, value = line.partition(b":")
        if (
            not colon
            or not name
            or name.translate(None, TOKEN_BYTES)
            or value.translate(None, FIELD_BYTES)
            or b"\r" in value
        ):
            self._fail("malformed trailer")
        elif (
            self._trailer_bytes > self._limits.max_trailer_bytes
            or self._trailer_fields > self._limits.max_trailer_fields
        ):
            self._fail("trailers too large")
