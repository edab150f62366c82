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
from gatewayd.http.limits import HttpLimits
from gatewayd.http.message import Fields, Pair
from gatewayd.http.options import HttpOptions

_GENERATION: Final = 2048
_STATUS_LINE: Final = re.compile(
    rb"HTTP/[0-9]\.[0-9] ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?"
).fullmatch

#: Reason phrases; the upstream's own is not passed on (semantics 14.7, golden framing-e).
REASONS: Final[dict[int, bytes]] = {int(status): status.phrase.encode() for status in HTTPStatus}


def status_line(status: int) -> bytes:
    """``HTTP/1.1 200 OK`` CRLF."""
    return b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b"Unknown"))


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


_NAMES: dict[bytes, bytes] = {}


def _learn_name(name: bytes) -> bytes | None:
    if not name or name.translate(None, headers.TOKEN_BYTES):
        return None
    lower = name.lower()
    if len(name) <= 64:
        if len(_NAMES) >= 4096:
            _NAMES.clear()
        _NAMES[name] = lower
    return lower


def _refuse(reason: str) -> ResponseHead:
    head = ResponseHead()
    head.error = reason
    return head


class ResponseParser:
    """Parses response heads under one set of options; holds the memo."""

    __slots__ = ("_heads", "_limits", "_old_heads", "_options", "_seen", "heads_get")

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._limits: HttpLimits = options.limits
        self._heads: dict[bytes, ResponseHead] = {}
        self._old_heads: dict[bytes, ResponseHead] = {}
        self._seen: set[int] = set()
        self.heads_get = self._heads.get

    def parse(self, data: bytes) -> ResponseHead:
        """Parse ``data``, which ends with its empty line and holds no other."""
        head = self._heads.get(data)
        if head is not None:
            return head
        head = self._old_heads.get(data)
        if head is None:
            head = self._parse(data)
            key = hash(data)
            if key not in self._seen:
                if len(self._seen) >= 2 * _GENERATION:
                    self._seen.clear()
                self._seen.add(key)
                return head
        if len(self._heads) >= _GENERATION:
            self._old_heads = self._heads
            self._heads = {}
            self.heads_get = self._heads.get
        self._heads[data] = head
        return head

    def _parse(self, data: bytes) -> ResponseHead:
        if len(data) > self._limits.max_response_head_bytes:
            return _refuse("too large")  # here too, so that it does not matter how it was cut into segments
        if data.translate(None, headers.FIELD_BYTES):
            return _refuse("control byte")
        lines = data[:-2].split(b"\r\n")
        count = len(lines) - 1
        if data.count(b"\n") != count + 1 or data.count(b"\r") != count + 1:
            return _refuse("bare CR or LF")
        match = _STATUS_LINE(lines[0])
        if match is None:
            return _refuse("status line")
        if count - 1 > self._limits.max_response_fields:
            return _refuse("too many fields")
        head = ResponseHead()
        head.status = int(match[1])
        keep_alive = lines[0][5:8] != b"1.0"
        pairs = head.pairs
        append = pairs.append
        joined: dict[bytes, int] = {}
        keep_server = self._options.server_header is None
        upgrade = b""
        tokens: set[bytes] = set()
        for index in range(1, count):
            name, colon, value = lines[index].partition(b":")
            lower = _NAMES.get(name) or _learn_name(name)
            if lower is None or not colon:
                return _refuse("field line")
            value = value.strip(b" \t")
            if lower in headers.RESPONSE_HOP_BY_HOP:
                if lower == b"transfer-encoding":
                    if head.chunked or value.lower() != b"chunked":
                        return _refuse("transfer-encoding")
                    head.chunked = True
                elif lower == b"connection":
                    tokens.update(t.strip(b" \t").lower() for t in value.split(b","))
                elif lower == b"upgrade":
                    upgrade = value.lower()
            elif lower == b"content-length":
                if head.content_length >= 0 or not value.isdigit() or len(value) > 19:
                    return _refuse("content-length")
                head.content_length = int(value)
                if head.content_length >> 63:
                    return _refuse("content-length")
                append((lower, value))
            elif lower == b"server" and not keep_server:
                continue
            elif lower == b"x-envoy-upstream-service-time" and self._options.debug_headers:
                continue  # ours replaces it
            elif lower in headers.JOINED_IN_RESPONSES:
                at = joined.get(lower)
                if at is None:
                    joined[lower] = len(pairs)
                    append((lower, value))
                else:
                    pairs[at] = (lower, pairs[at][1] + b"," + value)
            else:
                if lower == b"date":
                    head.has_date = True
                elif lower == b"grpc-status":
                    head.grpc_status = value
                append((lower, value))
        if head.chunked and head.content_length >= 0:
            return _refuse("both length fields")
        if head.status == 204 and head.content_length > 0:
            return _refuse("body of a 204")
        head.close = b"close" in tokens or (not keep_alive and b"keep-alive" not in tokens)
        if b"upgrade" in tokens:
            head.upgrade = upgrade
        head.simple = head.status >= 200 and head.content_length >= 0 and not head.close
        head.simple = head.simple and head.status not in (204, 304)
        self._relay_form(head)
        return head

    def _relay_form(self, head: ResponseHead) -> None:
        out = [status_line(head.status)]
        for name, value in head.pairs:
            out += (name, b": ", value, b"\r\n")
        if self._options.server_header is not None:
            out += (b"server: ", self._options.server_header, b"\r\n")
        if self._options.debug_headers:
            out.append(b"x-envoy-upstream-service-time: ")
        head.relay = b"".join(out)


_PARSERS: dict[HttpOptions, ResponseParser] = {}


def parser_for(options: HttpOptions) -> ResponseParser:
    """The process's parser for ``options``; equal options share one memo."""
    parser = _PARSERS.get(options)
    if parser is None:
        parser = _PARSERS[options] = ResponseParser(options)
    return parser
