"""HOT: heads of upstream responses, parsed strictly and remembered by their exact bytes.

The form that goes downstream is built here, once, from the parsed values (never from raw bytes): all
but the service time, ``date`` when the upstream sent none, and ``connection: close``.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

from gatewayd.http import headers
from gatewayd.http.h1.head import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE
from gatewayd.http.h1.memo import Memo
from gatewayd.http.limits import HttpLimits
from gatewayd.http.message import Fields, Pair
from gatewayd.http.options import HttpOptions

_STATUS_LINE: Final = re.compile(
    rb"HTTP/[0-9]\.[0-9] ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?"
).fullmatch

#: Status lines of upstreams, as received; bounded.
_STATUS_LINES: Final[dict[bytes, int]] = {}
_MAX_STATUS_LINES: Final = 1024


def _new_status_line(line: bytes) -> int:
    """The status of a line not seen before, 0 = refused."""
    match = _STATUS_LINE(line)
    if match is None:
        return 0
    status = int(match[1])
    if len(_STATUS_LINES) >= _MAX_STATUS_LINES:
        _STATUS_LINES.clear()
    if len(line) <= 128:
        _STATUS_LINES[line] = status
    return status


#: Reason phrases; the upstream's own is not passed on (semantics 14.7, golden framing-e).
REASONS: Final[dict[int, bytes]] = {int(status): status.phrase.encode() for status in HTTPStatus}


_OUR_STATUS_LINES: Final = tuple(
    b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b"Unknown")) for status in range(1000)
)


def status_line(status: int) -> bytes:
    """``HTTP/1.1 200 OK`` CRLF."""
    return _OUR_STATUS_LINES[status]


class ResponseHead:
    """One upstream response head. Shared by responses with the very same bytes."""

    __slots__ = ("chunked", "close", "content_length", "error", "grpc_status", "has_date", "pairs", "relay",
                 "simple", "status", "upgrade")  # fmt: skip

    def __init__(self) -> None:
        #: why the head is refused, "" = it is good
        self.error = ""
        self.status = 0
        self.content_length = -1
        self.chunked = False
        #: the upstream closes this connection after the answer
        self.close = False
        self.has_date = False
        self.upgrade = b""
        self.grpc_status = b""
        #: a final answer with a content-length on a connection that stays open
        self.simple = False
        #: fields for downstream: hop-by-hop ones, framing and an overwritten ``server`` are gone
        self.pairs: list[Pair] = []
        #: status line and ``pairs`` as HTTP/1 lines, with ``server`` and the framing field, and then
        #: ``x-envoy-upstream-service-time: `` waiting for its value (unless debug fields are off)
        self.relay = b""

    def fields(self) -> Fields:
        """``pairs`` with look-ups."""
        return Fields(self.pairs)

    def body_kind(self, request_method: bytes) -> int:
        """How the body of this answer to ``request_method`` ends (RFC 9112 6.3)."""
        if request_method == b"HEAD" or self.status in (204, 304) or self.status < 200:
            return NO_BODY
        if self.chunked:
            return CHUNKED
        if self.content_length > 0:
            return LENGTH
        return NO_BODY if self.content_length == 0 else UNTIL_CLOSE


# What a response field name means to the parser. Up to _GRPC_STATUS a line goes downstream as it is, from
# _SERVER on it is dropped unless the options say otherwise, _DROP always.
_PLAIN, _DATE, _GRPC_STATUS, _JOINED, _CONTENT_LENGTH, _TRANSFER_ENCODING, _CONNECTION, _UPGRADE, _SERVER, \
    _SERVICE_TIME, _DROP = range(11)  # fmt: skip

_KINDS: Final[dict[bytes, int]] = {
    **dict.fromkeys(headers.JOINED_IN_RESPONSES, _JOINED),
    **dict.fromkeys(headers.RESPONSE_HOP_BY_HOP, _DROP),
    b"date": _DATE,
    b"grpc-status": _GRPC_STATUS,
    b"content-length": _CONTENT_LENGTH,
    b"server": _SERVER,
    b"x-envoy-upstream-service-time": _SERVICE_TIME,
    b"transfer-encoding": _TRANSFER_ENCODING,
    b"connection": _CONNECTION,
    b"upgrade": _UPGRADE,
}

#: A field line, parsed: what it means, name and value, the line as it goes downstream.
_Line = tuple[int, Pair, bytes]
_LINES: Final[Memo[_Line]] = Memo(generation=4096, max_key_bytes=512)


def _new_line(line: bytes) -> _Line | None:
    """Parse a line that is not in the young generation of the memo, and offer it; None: refused."""
    known = _LINES.recall(line)
    if known is not None:
        return known
    name, colon, value = line.partition(b":")
    meaning = _MEANINGS.get(name) or _learn_name(name)
    if meaning is None or not colon:
        return None
    if not line.decode("latin-1").isprintable() and line.translate(None, headers.VALUE_BYTES):
        return None
    kind, lower, start = meaning
    value = value.strip(b" \t")
    entry = (kind, (lower, value), start + value + b"\r\n")
    _LINES.offer(line, entry)
    return entry


#: name as received -> (kind, lower-case name, start of its line); only valid tokens, bounded.
_MEANINGS: Final[dict[bytes, tuple[int, bytes, bytes]]] = {}
_MAX_MEANINGS: Final = 4096


def _learn_name(name: bytes) -> tuple[int, bytes, bytes] | None:
    if not name or name.translate(None, headers.TOKEN_BYTES):
        return None
    lower = name.lower()
    meaning = (_KINDS.get(lower, _PLAIN), lower, lower + b": ")
    if len(name) <= 64:
        if len(_MEANINGS) >= _MAX_MEANINGS:
            _MEANINGS.clear()
        _MEANINGS[name] = meaning
    return meaning


def _refuse(reason: str) -> ResponseHead:
    head = ResponseHead()
    head.error = reason
    return head


class ResponseParser:
    """Parses response heads under one set of options; holds the memo."""

    __slots__ = ("_drop_from", "_keep_server", "_limits", "_options", "_tail", "heads")

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._limits: HttpLimits = options.limits
        #: whole heads; a connection asks ``heads.get`` first
        self.heads: Memo[ResponseHead] = Memo()
        server = options.server_header
        self._keep_server = server is None
        keeps_any = server is None or not options.debug_headers
        self._drop_from = _DROP if keeps_any else _SERVER
        #: what we add to every relayed head
        self._tail = b"" if server is None else b"server: %b\r\n" % server
        if options.debug_headers:
            self._tail += b"x-envoy-upstream-service-time: "

    def parse(self, data: bytes) -> ResponseHead:
        """Parse ``data``, which ends with its empty line and holds no other."""
        head = self.heads.get(data) or self.heads.recall(data)
        if head is None:
            head = self._parse(data)
            self.heads.offer(data, head)
        return head

    def _parse(self, data: bytes) -> ResponseHead:
        if len(data) > self._limits.max_response_head_bytes:
            return _refuse("too large")  # here too: it must not matter how it was cut into segments
        lines = data[:-4].split(b"\r\n")
        status = _STATUS_LINES.get(lines[0]) or _new_status_line(lines[0])
        if not status:
            return _refuse("status line")
        if len(lines) - 1 > self._limits.max_response_fields:
            return _refuse("too many fields")
        head = ResponseHead()
        head.status = status
        pairs = head.pairs
        append = pairs.append
        out = [status_line(status)]
        write = out.append
        known = _LINES.get
        special: list[_Line] | None = None
        drop_from = self._drop_from
        del lines[0]
        for line in lines:
            entry = known(line) or _new_line(line)
            if entry is None:
                return _refuse("field line")
            kind, pair, text = entry
            if kind <= _GRPC_STATUS:
                append(pair)
                write(text)
                if kind == _DATE:
                    head.has_date = True
                elif kind:
                    head.grpc_status = pair[1]
            elif kind == _CONTENT_LENGTH:
                value = pair[1]
                if head.content_length >= 0 or not value.isdigit() or len(value) > 19:
                    return _refuse("content-length")
                head.content_length = int(value)
                if head.content_length >> 63:
                    return _refuse("content-length")
                append(pair)
                write(text)
            elif kind < drop_from:
                if special is None:
                    special = []
                special.append(entry)
        head.close = data[5:8] == b"1.0"
        if special is not None:
            error = self._special_fields(head, out, special)
            if error:
                return _refuse(error)
        if status == 204 and head.content_length > 0:
            return _refuse("body of a 204")
        head.simple = (
            status >= 200 and head.content_length >= 0 and not head.close and status not in (204, 304)
        )
        write(self._tail)
        head.relay = b"".join(out)
        return head

    def _special_fields(self, head: ResponseHead, out: list[bytes], special: list[_Line]) -> str:
        """Fields that frame, that are hop-by-hop, ours or joined; why the head is refused, or ""."""
        joined: dict[bytes, int] = {}
        tokens: set[bytes] = set()
        upgrade = b""
        pairs = head.pairs
        for kind, pair, text in special:
            lower, value = pair
            if kind == _JOINED:
                at = joined.get(lower)
                if at is None:
                    joined[lower] = len(pairs)
                    pairs.append(pair)
                    out.append(text)
                else:
                    value = pairs[at][1] + b"," + value
                    pairs[at] = (lower, value)
                    out[at + 1] = b"%b: %b\r\n" % (lower, value)
            elif kind == _TRANSFER_ENCODING:
                if head.chunked or value.lower() != b"chunked":
                    return "transfer-encoding"
                head.chunked = True
            elif kind == _CONNECTION:
                tokens.update(t.strip(b" \t").lower() for t in value.split(b","))
            elif kind == _UPGRADE:
                upgrade = value.lower()
            elif (kind == _SERVER and self._keep_server) or (
                kind == _SERVICE_TIME and not self._options.debug_headers
            ):
                pairs.append(pair)
                out.append(text)
        if head.chunked and head.content_length >= 0:
            return "both length fields"
        if tokens:
            head.close = b"close" in tokens or (head.close and b"keep-alive" not in tokens)
            if b"upgrade" in tokens:
                head.upgrade = upgrade
        return ""


_PARSERS: dict[HttpOptions, ResponseParser] = {}


def parser_for(options: HttpOptions) -> ResponseParser:
    """The process's parser for ``options``; equal options share one memo."""
    parser = _PARSERS.get(options)
    if parser is None:
        parser = _PARSERS[options] = ResponseParser(options)
    return parser
