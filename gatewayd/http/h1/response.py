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

    __slots__ = (
        "_pairs",
        "chunked",
        "close",
        "content_length",
        "error",
        "grpc_status",
        "has_date",
        "relay",
        "simple",
        "status",
        "tail_bytes",
        "upgrade",
    )  # fmt: skip

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
        self._pairs: list[Pair] | None = None
        #: status line and fields as HTTP/1 lines, with ``server`` and the framing field, and then
        #: ``x-envoy-upstream-service-time: `` waiting for its value (unless debug fields are off)
        self.relay = b""
        #: how many bytes at the end of ``relay`` are ours
        self.tail_bytes = 0

    def copy(self) -> ResponseHead:
        """Another head of the same status and special fields; ``relay`` is to be set."""
        head = _new_head(ResponseHead)
        head.error = ""
        head.status = self.status
        head.content_length = self.content_length
        head.chunked = self.chunked
        head.close = self.close
        head.has_date = self.has_date
        head.upgrade = self.upgrade
        head.grpc_status = self.grpc_status
        head.simple = self.simple
        head._pairs = None
        head.tail_bytes = self.tail_bytes
        return head

    @property
    def pairs(self) -> list[Pair]:
        """The fields for downstream, hop-by-hop ones and an overwritten ``server`` left out; not to be changed."""
        pairs = self._pairs
        if pairs is None:
            text = self.relay[: len(self.relay) - self.tail_bytes]
            lines = [line.partition(b": ") for line in text.split(b"\r\n")[1:-1]]
            pairs = self._pairs = [(name, value) for name, _, value in lines]
        return pairs

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


_new_head: Final = ResponseHead.__new__

#: More changed lines than this are looked at in the ordinary way.
_MAX_CHANGED: Final = 4

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


def _is_length(value: bytes) -> bool:
    """Digits, and below 2^63."""
    return value.isdigit() and len(value) <= 19 and not int(value) >> 63


def _join_repeated(out: list[bytes]) -> bool:
    """Repeated lines of a field that is one value become one line (semantics 14.7.2); whether there were any."""
    at: dict[bytes, int] = {}
    repeated = False
    for index, text in enumerate(out[1:], start=1):
        name, _, value = text.partition(b": ")
        if name not in headers.JOINED_IN_RESPONSES:
            continue
        first = at.setdefault(name, index)
        if first != index:
            out[first] = headers.joined_lines(out[first], value)
            out[index] = b""
            repeated = True
    return repeated


def _refuse(reason: str) -> ResponseHead:
    head = ResponseHead()
    head.error = reason
    return head


class ResponseParser:
    """Parses response heads under one set of options; holds the memo."""

    __slots__ = (
        "_drop_from",
        "_head",
        "_keep_server",
        "_limits",
        "_lines",
        "_names",
        "_options",
        "_tail",
        "_texts",
        "heads",
    )

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._limits: HttpLimits = options.limits
        #: whole heads; a connection asks ``heads.get`` first
        self.heads: Memo[ResponseHead] = Memo()
        #: the last simple head: most heads of an upstream differ from it in a line or two
        self._lines: list[bytes] = []
        self._names: list[bytes] = []
        self._texts: list[bytes] = []
        self._head = ResponseHead()
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
            return _refuse("too large")
        lines = data[:-4].split(b"\r\n")
        template = self._lines
        if len(lines) == len(template):
            changed = [at for at, line in enumerate(lines) if line != template[at]]
            if len(changed) <= _MAX_CHANGED:
                head = self._changed(lines, changed)
                if head is not None:
                    return head
        return self._whole(lines)

    def _changed(self, lines: list[bytes], changed: list[int]) -> ResponseHead | None:
        """The template's head with some lines replaced; None if one of them needs the long way."""
        texts = self._texts[:]
        names = self._names
        length = -2
        for at in changed:
            line = lines[at]
            entry = _LINES.get(line) or _new_line(line)
            if entry is None:
                return None
            kind, (lower, value), text = entry
            if kind > _CONTENT_LENGTH or names[at] != lower:
                return None
            if kind == _CONTENT_LENGTH:
                if not _is_length(value):
                    return None
                length = int(value)
            elif kind == _GRPC_STATUS:
                return None
            texts[at] = text
        head = self._head.copy()
        if length >= 0:
            head.content_length = length
        head.relay = b"".join(texts)
        return head

    def _whole(self, lines: list[bytes]) -> ResponseHead:
        status = _STATUS_LINES.get(lines[0]) or _new_status_line(lines[0])
        if not status:
            return _refuse("status line")
        if len(lines) - 1 > self._limits.max_response_fields:
            return _refuse("too many fields")
        head = ResponseHead()
        head.status = status
        out = [status_line(status)]  # one for each line, b"" where nothing goes downstream
        append = out.append
        known = _LINES.get
        special: list[_Line] | None = None
        drop_from = self._drop_from
        names = 0
        for at in range(1, len(lines)):
            line = lines[at]
            entry = known(line) or _new_line(line)
            if entry is None:
                return _refuse("field line")
            kind, pair, text = entry
            if kind < _CONTENT_LENGTH:
                append(text)
                if kind == _DATE:
                    head.has_date = True
                elif kind == _GRPC_STATUS:
                    head.grpc_status = pair[1]
                elif kind == _JOINED:
                    names += 1
            elif kind == _CONTENT_LENGTH:
                value = pair[1]
                if head.content_length >= 0 or not _is_length(value):
                    return _refuse("content-length")
                head.content_length = int(value)
                append(text)
            else:
                append(b"")
                if kind < drop_from:
                    if special is None:
                        special = []
                    special.append(entry)
        head.close = lines[0][5:8] == b"1.0"
        if special is not None:
            error = self._special_fields(head, out, special)
            if error:
                return _refuse(error)
        if status == 204 and head.content_length > 0:
            return _refuse("body of a 204")
        head.simple = (
            status >= 200 and head.content_length >= 0 and not head.close and status not in (204, 304)
        )
        repeated = names > 1 and _join_repeated(out)
        out.append(self._tail)
        head.relay = b"".join(out)
        head.tail_bytes = len(self._tail)
        if head.simple and not repeated and not head.upgrade:
            self._lines = lines
            self._names = [line.partition(b":")[0].lower() for line in lines]
            self._texts = out
            self._head = head
        return head

    def _special_fields(self, head: ResponseHead, out: list[bytes], special: list[_Line]) -> str:
        """Fields that frame, that are hop-by-hop, ours or joined; why the head is refused, or ""."""
        tokens: set[bytes] = set()
        upgrade = b""
        for kind, (_, value), text in special:
            if kind == _TRANSFER_ENCODING:
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
