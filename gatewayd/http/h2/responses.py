"""HOT: what the fields of an HTTP/2 response come to, and of trailers of either side (RFC 9113 8.1, 8.3.2).

As with requests the result is the form HTTP/1.1 parses to, with the lines that go downstream. ``error`` says why a head
is refused: it costs the stream, not the connection, on which there are other clients' answers.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from gatewayd.http import headers
from gatewayd.http.message import Pair, Trailers
from gatewayd.http.options import HttpOptions
from gatewayd.http.response import ResponseHead, added_lines, join_repeated, status_line

# What a response field means. Up to _JOINED a line goes downstream as it is.
_PLAIN, _DATE, _GRPC_STATUS, _JOINED, _CONTENT_LENGTH, _SERVER, _SERVICE_TIME, _MALFORMED = range(8)

_KINDS: Final[dict[bytes, int]] = {
    **dict.fromkeys(headers.JOINED_IN_RESPONSES, _JOINED),
    **dict.fromkeys(headers.HOP_BY_HOP, _MALFORMED),
    b"date": _DATE,
    b"grpc-status": _GRPC_STATUS,
    b"content-length": _CONTENT_LENGTH,
    b"server": _SERVER,
    b"x-envoy-upstream-service-time": _SERVICE_TIME,
}

#: What it means, name and value, the line as it goes downstream.
_Line = tuple[int, Pair, bytes]
_BAD_LINE: Final[_Line] = (_MALFORMED, (b"", b""), b"")
#: Field lines met; bounded in number and size.
_LINES: Final[dict[Pair, _Line]] = {}
_MAX_LINES: Final = 8192
_MAX_LINE_BYTES: Final = 256

_TE_TRAILERS: Final = (b"te", b"trailers")

_STATUSES: Final = {b"%d" % status: status for status in range(100, 1000)}
_LENGTH_DIGITS: Final = 18


class _Head(ResponseHead):
    """One of HTTP/2."""

    __slots__ = ("never_indexed",)


def _new_line(pair: Pair) -> _Line:
    """What a field comes to; remembered."""
    name, value = pair
    line = _BAD_LINE
    valid = name and not name.translate(None, headers.TOKEN_BYTES) and name == name.lower()
    if valid and not value.translate(None, headers.VALUE_BYTES):
        value = value.strip(b" \t")
        kind = _KINDS.get(name, _PLAIN)
        if pair == _TE_TRAILERS:  # means nothing here, and Envoy lets it pass
            kind = _PLAIN
        line = (kind, (name, value), b"%b: %b\r\n" % (name, value))
    if len(name) + len(value) <= _MAX_LINE_BYTES:
        if len(_LINES) >= _MAX_LINES:
            _LINES.clear()
        _LINES[pair] = line
    return line


class ResponseReader:
    """Reads response heads under one set of options."""

    __slots__ = ("_keeps_server", "_keeps_time", "_tail")

    def __init__(self, options: HttpOptions) -> None:
        self._keeps_server = options.server_header is None
        self._keeps_time = not options.debug_headers
        #: what we add to every relayed head
        self._tail = added_lines(options)

    def read(self, pairs: list[Pair], never: frozenset[bytes]) -> ResponseHead:
        """The head that ``pairs`` are; ``never``: names of fields that must never be indexed."""
        head = _Head()
        head.never_indexed = never
        if not pairs or pairs[0][0] != b":status":
            head.error = "no :status"
            return head
        head.status = _STATUSES.get(pairs[0][1], 0)
        if not head.status:
            head.error = ":status"
            return head
        out = [status_line(head.status)]
        append = out.append
        known = _LINES.get
        joined = 0
        for pair in islice(pairs, 1, None):
            kind, field, text = known(pair) or _new_line(pair)
            if kind <= _JOINED:
                append(text)
                if kind == _DATE:
                    head.has_date = True
                elif kind == _GRPC_STATUS:
                    head.grpc_status = field[1]
                elif kind == _JOINED:
                    joined += 1
            elif kind == _CONTENT_LENGTH:
                value = field[1]
                if head.content_length >= 0 or not value.isdigit() or len(value) > _LENGTH_DIGITS:
                    head.error = "content-length"
                    return head
                head.content_length = int(value)
                append(text)
            elif kind == _SERVER:
                if self._keeps_server:
                    append(text)
            elif kind == _SERVICE_TIME:
                if self._keeps_time:
                    append(text)
            else:
                head.error = "field"
                return head
        if head.status == 204 and head.content_length > 0:
            head.error = "body of a 204"
        if joined > 1:
            join_repeated(out)
        append(self._tail)
        head.relay = b"".join(out)
        head.tail_bytes = len(self._tail)
        return head


def read_trailers(pairs: list[Pair], never: frozenset[bytes]) -> Trailers | None:
    """Trailers of a request or response, without those that may not be there; None: malformed (RFC 9113 8.1)."""
    kept: list[Pair] = []
    for pair in pairs:
        kind, field, _ = _LINES.get(pair) or _new_line(pair)
        if kind == _MALFORMED:
            return None
        if field[0] not in headers.FORBIDDEN_TRAILERS:
            kept.append(field)
    return Trailers(kept, never)


_READERS: dict[HttpOptions, ResponseReader] = {}


def reader_for(options: HttpOptions) -> ResponseReader:
    """The process's reader for ``options``."""
    reader = _READERS.get(options)
    if reader is None:
        reader = _READERS[options] = ResponseReader(options)
    return reader
