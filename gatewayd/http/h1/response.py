"""HOT: heads of upstream responses, parsed strictly and remembered by their exact bytes.

The form that goes downstream is built here, once, from the parsed values (never from raw bytes): all
but the service time, ``date`` when the upstream sent none, and ``connection: close``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gatewayd.http import headers
from gatewayd.http.h1.shapes import LEARN_ONE_IN, Shape, come_forward, keep, widened
from gatewayd.http.limits import HttpLimits
from gatewayd.http.memo import Memo
from gatewayd.http.message import Pair
from gatewayd.http.options import HttpOptions
from gatewayd.http.response import ResponseHead, added_lines, join_repeated, status_line

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


class _BareHead(ResponseHead):
    """One whose attributes are all set by who makes it: without a call of ``__init__``."""

    __slots__ = ()
    __init__ = object.__init__


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

#: Lines of these may differ between heads of one shape.
_MAY_VARY: Final = frozenset({_PLAIN, _DATE, _JOINED, _CONTENT_LENGTH})


def _kind_of(name: bytes) -> int:
    return _KINDS.get(name.lower(), _PLAIN)


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
    meaning = (_kind_of(name), lower, lower + b": ")
    if len(name) <= 64:
        if len(_MEANINGS) >= _MAX_MEANINGS:
            _MEANINGS.clear()
        _MEANINGS[name] = meaning
    return meaning


def _is_length(value: bytes) -> bool:
    """Digits, and below 2^63."""
    return value.isdigit() and len(value) <= 19 and not int(value) >> 63


def _refuse(reason: str) -> ResponseHead:
    head = ResponseHead()
    head.error = reason
    return head


class _ResponseShape(Shape):
    """What simple heads have in common; ``head`` and ``texts`` are those of the head that ``lines`` came from."""

    __slots__ = ("_head", "_length", "_pieces")

    def __init__(
        self, lines: Sequence[bytes], varying: Sequence[int], head: ResponseHead, texts: Sequence[bytes]
    ) -> None:
        super().__init__(lines, varying)
        self._head = head
        #: where the length stands among the values; -1: it does not vary
        self._length = -1
        #: what goes downstream, in pieces: every other one is a value
        self._pieces = [b""]
        for line, text in enumerate(texts):
            if line in varying:
                if _kind_of(self.names[line - 1]) == _CONTENT_LENGTH:
                    self._length = varying.index(line)
                self._pieces[-1] += text[: text.find(b": ") + 2]
                self._pieces += [b"", b"\r\n"]
            else:
                self._pieces[-1] += text

    def head(self, data: bytes) -> ResponseHead | None:
        """The head of ``data``; None: it does not fit."""
        values = self.values(data)
        if values is None:
            return None
        common = self._head
        head: ResponseHead = _BareHead()
        if self._length < 0:
            head.content_length = common.content_length
        else:
            length = values[self._length]
            if not _is_length(length):
                return None
            head.content_length = int(length)
        # What makes it a simple head is the same in all; see where it is learnt.
        head.error = ""
        head.upgrade = b""
        head.chunked = head.close = False
        head.simple = True
        head.status = common.status
        head.has_date = common.has_date
        head.grpc_status = common.grpc_status
        head.tail_bytes = common.tail_bytes
        head._pairs = head.encoded = None
        pieces = self._pieces[:]
        pieces[1::2] = values
        head.relay = b"".join(pieces)
        return head


class ResponseParser:
    """Parses response heads under one set of options; holds the memo."""

    __slots__ = ("_drop_from", "_keep_server", "_limits", "_misses", "_options", "_shapes", "_tail", "heads")

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._limits: HttpLimits = options.limits
        #: whole heads; a connection asks ``heads.get`` first
        self.heads: Memo[ResponseHead] = Memo()
        self._shapes: list[_ResponseShape] = []
        self._misses = 0
        server = options.server_header
        self._keep_server = server is None
        keeps_any = server is None or not options.debug_headers
        self._drop_from = _DROP if keeps_any else _SERVER
        #: what we add to every relayed head
        self._tail = added_lines(options)

    def parse(self, data: bytes) -> ResponseHead:
        """Parse ``data``, which ends with its empty line and holds no other."""
        return self.heads.get(data) or self.parse_new(data)

    def parse_new(self, data: bytes) -> ResponseHead:
        """The same, when ``heads.get`` was asked in vain."""
        heads = self.heads
        head = heads.recall(data)
        if head is None:
            head = self._by_shape(data) or self._parse(data)
            heads.offer(data, head)
        return head

    def _by_shape(self, data: bytes) -> ResponseHead | None:
        if len(data) > self._limits.max_response_head_bytes:
            return None
        for shape in self._shapes:
            head = shape.head(data)
            if head is not None:
                if shape is not self._shapes[0]:
                    come_forward(self._shapes, shape)
                return head
        return None

    def _learn(self, lines: list[bytes], texts: list[bytes], head: ResponseHead) -> None:
        """Make a shape of a head that has none, or widen the one it nearly fits."""
        self._misses += 1
        if self._misses % LEARN_ONE_IN != 1 % LEARN_ONE_IN:
            return
        kinds = [_kind_of(line.partition(b":")[0]) for line in lines]
        alike = [shape for shape in self._shapes if shape.lines[0] == lines[0]]
        wide, varying = widened(alike, lines, [kind in _MAY_VARY for kind in kinds])
        keep(self._shapes, _ResponseShape(lines, varying, head, texts), wide)

    def _parse(self, data: bytes) -> ResponseHead:
        if len(data) > self._limits.max_response_head_bytes:
            return _refuse("too large")
        lines = data[:-4].split(b"\r\n")
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
        if status < 200 or status == 204:
            if head.chunked or head.content_length > 0:
                return _refuse("body where there is none")  # its bytes could be read as the next answer
            if head.content_length == 0:  # RFC 9110 8.6: may not be said, and Envoy does not pass it on
                head.content_length = -1
                out = [text for text in out if not text.startswith(b"content-length:")]
        head.simple = (
            status >= 200 and head.content_length >= 0 and not head.close and status not in (204, 304)
        )
        repeated = names > 1 and join_repeated(out)
        out.append(self._tail)
        head.relay = b"".join(out)
        head.tail_bytes = len(self._tail)
        ordinary = not repeated and not head.upgrade and len(data) <= self.heads.max_key_bytes
        if head.simple and ordinary:
            self._learn(lines, out, head)
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
