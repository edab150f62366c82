"""HOT: HTTP/1.1 heads, parsed strictly once and remembered by their exact bytes.

Three steps, each cheaper than the next: the whole head was seen before (one look-up), its field block
was (a request line to parse), or everything is new (one pass over the lines). The memory is bounded:
two generations of a dictionary, and a head enters only when it is seen a second time, so traffic in
which every head is new does not churn it. A memo can hold nothing wrong, because its key is every byte
of what was parsed. ``tests/reference/`` keeps a plain twin that random tests compare this with.
"""

from __future__ import annotations

import re
from typing import Any, Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http import headers
from gatewayd.http.message import Fields, Pair, RequestHead
from gatewayd.http.options import HttpOptions
from gatewayd.http.paths import normalize_target

#: Body framing of a message.
NO_BODY: Final = 0
LENGTH: Final = 1
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3

_GENERATION: Final = 2048
_MAX_LENGTH_DIGITS: Final = 19

#: Methods that reach routing over HTTP/1.1 (semantics 5.2; asked of Envoy 1.40 one by one).
METHODS: Final = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH "
    b"NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE "
    b"UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)

_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]").fullmatch
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9\-._~!$&'()*+;=]*)(?::[0-9]{0,5})?"
).fullmatch
_ABSOLUTE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^ ]*)").fullmatch

# What a request field name means to the parser.
# Up to _USER_AGENT a line goes upstream as it is.
(
    _PLAIN, _JOINED, _USER_AGENT, _HOST_FIELD, _CONTENT_LENGTH, _TRANSFER_ENCODING, _CONNECTION, _TE, _UPGRADE,
    _XFF, _XFP, _REQUEST_ID, _DROP, _REMOVE, _H2C,
) = range(15)  # fmt: skip

_KINDS: Final[dict[bytes, int]] = {
    **dict.fromkeys(headers.JOINED_IN_REQUESTS, _JOINED),
    **dict.fromkeys(headers.HOP_BY_HOP, _DROP),
    **dict.fromkeys(headers.REMOVED_AT_EDGE, _REMOVE),
    b"user-agent": _USER_AGENT,
    b"host": _HOST_FIELD,
    b"content-length": _CONTENT_LENGTH,
    b"transfer-encoding": _TRANSFER_ENCODING,
    b"connection": _CONNECTION,
    b"te": _TE,
    b"upgrade": _UPGRADE,
    b"http2-settings": _H2C,
    b"x-forwarded-for": _XFF,
    b"x-forwarded-proto": _XFP,
    b"x-request-id": _REQUEST_ID,
}


def _name_kind(lower: bytes) -> int:
    kind = _KINDS.get(lower)
    if kind is not None:
        return kind
    return _REMOVE if b"_" in lower and lower.replace(b"_", b"-") in headers.OWN_NAMES else _PLAIN


class RequestBlock:
    """A request's field block, parsed. Shared by every request with the same bytes."""

    __slots__ = (
        "_forward", "authority", "chunked", "close", "content_length", "entries", "error", "forward_bytes",
        "forwarded_for", "forwarded_proto", "request_id", "upgrade", "user_agent",
    )  # fmt: skip

    def __init__(self) -> None:
        self.error: Failure | None = None
        #: the lines that go upstream: without host, hop-by-hop and edge fields
        self.entries: list[_Line] = []
        self._forward: list[Pair] | None = None
        #: the same as HTTP/1 lines, each ended by CRLF
        self.forward_bytes = b""
        self.authority: bytes | None = None
        self.content_length = -1
        self.chunked = False
        self.close = False
        #: value of Upgrade when Connection asked for it, lower-case; b"" = none
        self.upgrade = b""
        self.forwarded_for: bytes | None = None
        #: x-forwarded-proto as sent upstream (semantics 14.2.1)
        self.forwarded_proto = b"http"
        self.request_id: bytes | None = None
        self.user_agent = b""

    @property
    def forward(self) -> list[Pair]:
        """The fields that go upstream, as pairs; not to be changed."""
        pairs = self._forward
        if pairs is None:
            pairs = self._forward = [pair for _, pair, _ in self.entries]
        return pairs

    def routed_fields(self, authority: bytes) -> Fields:
        """What a route may look at: host, the forwarded fields, x-forwarded-*."""
        pairs = [(b"host", authority), *self.forward, (b"x-forwarded-proto", self.forwarded_proto)]
        if self.forwarded_for is not None:
            pairs.append((b"x-forwarded-for", self.forwarded_for))
        return Fields(pairs)


def _fail(failure: Failure) -> RequestBlock:
    block = RequestBlock()
    block.error = failure
    return block


#: A field line, parsed: what it means, name and value, the line as it goes upstream.
_Line = tuple[int, Pair, bytes]

#: Lines seen more than once. Most of a head repeats even when the head does not.
_LINES: dict[bytes, _Line] = {}
_OLD_LINES: dict[bytes, _Line] = {}
_SEEN_LINES: set[int] = set()
_MAX_LINES: Final = 4096
_MAX_REMEMBERED_LINE: Final = 512

_CHUNKED_LINE: Final[_Line] = (_PLAIN, (b"transfer-encoding", b"chunked"), b"transfer-encoding: chunked\r\n")
_TE_LINE: Final[_Line] = (_PLAIN, (b"te", b"trailers"), b"te: trailers\r\n")


def _parse_line(line: bytes) -> _Line | Failure:
    name, colon, value = line.partition(b":")
    if line.translate(None, headers.VALUE_BYTES):
        return errors.BAD_REQUEST if b"\r" in line or b"\n" in line else errors.INVALID_CHARACTERS
    if not colon or not name or name.translate(None, headers.TOKEN_BYTES):
        return errors.BAD_REQUEST
    lower = name.lower()
    value = value.strip(b" \t")
    return _name_kind(lower), (lower, value), b"%b: %b\r\n" % (lower, value)


def _new_line(line: bytes) -> _Line | Failure:
    """Parse a line that is not in the young generation, and remember it the second time."""
    global _LINES, _OLD_LINES
    entry = _OLD_LINES.get(line)
    if entry is None:
        parsed = _parse_line(line)
        if isinstance(parsed, Failure):
            return parsed
        entry = parsed
        key = hash(line)
        if key not in _SEEN_LINES:
            if len(_SEEN_LINES) >= 2 * _MAX_LINES:
                _SEEN_LINES.clear()
            _SEEN_LINES.add(key)
            return entry
        if len(line) > _MAX_REMEMBERED_LINE:
            return entry
    if len(_LINES) >= _MAX_LINES:
        _OLD_LINES = _LINES
        _LINES = {}
    _LINES[line] = entry
    return entry


def parse_block(data: bytes, options: HttpOptions) -> RequestBlock:
    """Parse ``data``: field lines, each ended by CRLF, without the empty line that ends the head.

    Every violation of hardening section 2 gives a block whose ``error`` says how to answer.
    """
    lines = data.split(b"\r\n")
    lines.pop()  # empty: data ends with CRLF
    if len(lines) > options.limits.max_request_fields:
        return _fail(errors.TOO_MANY_FIELDS)
    block = RequestBlock()
    block.forwarded_proto = options.scheme
    entries = block.entries
    append = entries.append
    known = _LINES.get
    special: list[_Line] = []
    joined = False
    for line in lines:
        entry = known(line)
        if entry is None:
            parsed = _new_line(line)
            if isinstance(parsed, Failure):
                return _fail(parsed)
            entry = parsed
        kind = entry[0]
        if kind <= _USER_AGENT:
            append(entry)
            if kind == _USER_AGENT:
                block.user_agent = entry[1][1]
            elif kind == _JOINED:
                joined = True
        elif kind == _HOST_FIELD:
            if block.authority is not None:
                return _fail(errors.BAD_REQUEST)  # two Host lines: two readings
            block.authority = entry[1][1]
        else:
            special.append(entry)
    if joined or block.user_agent:
        _join_repeated(block)
    if special:
        failure = _special_fields(block, special, options)
        if failure is not None:
            return _fail(failure)
    if block.authority is not None and _HOST(block.authority) is None:
        return _fail(errors.BAD_HOST)
    block.forward_bytes = b"".join([entry[2] for entry in entries])
    return block


def _join_repeated(block: RequestBlock) -> None:
    """Repeated lines of a field that is one value become one line (semantics 5.8)."""
    entries = block.entries
    names = [entry[1][0] for entry in entries if entry[0]]
    if len(set(names)) == len(names):
        return
    at: dict[bytes, int] = {}
    out: list[_Line] = []
    for entry in entries:
        kind, (lower, value), _ = entry
        if kind and lower in at:
            first = out[at[lower]]
            value = first[1][1] + b"," + value
            out[at[lower]] = (kind, (lower, value), b"%b: %b\r\n" % (lower, value))
            if kind == _USER_AGENT:
                block.user_agent = value
        else:
            at[lower] = len(out)
            out.append(entry)
    entries[:] = out


def _special_fields(block: RequestBlock, special: list[_Line], options: HttpOptions) -> Failure | None:
    """Fields that frame or that are hop-by-hop; extends the block's lines."""
    entries = block.entries
    nominated: set[bytes] = set()
    upgrade = b""
    for entry in special:
        kind, (_, value), _ = entry
        if kind == _CONTENT_LENGTH:
            if block.content_length >= 0 or not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
                return errors.BAD_REQUEST
            block.content_length = int(value)
            if block.content_length >> 63:
                return errors.BAD_REQUEST
            entries.append(entry)
        elif kind == _TRANSFER_ENCODING:
            if value.lower() != b"chunked" or block.chunked:
                return errors.UNKNOWN_TRANSFER_CODING
            block.chunked = True
            entries.append(_CHUNKED_LINE)
        elif kind == _CONNECTION:
            nominated.update(token.strip(b" \t").lower() for token in value.split(b","))
        elif kind == _TE:
            if b"trailers" in [t.strip(b" \t").lower() for t in value.split(b",")]:
                entries.append(_TE_LINE)
        elif kind == _UPGRADE:
            upgrade = upgrade + b"," + value if upgrade else value
        elif kind == _XFF:
            before = block.forwarded_for
            block.forwarded_for = before + b"," + value if before is not None else value
        elif kind == _XFP:
            if options.trusted_proxies:
                block.forwarded_proto = value
        elif kind == _REQUEST_ID:
            block.request_id = value
    if block.chunked and block.content_length >= 0:
        return errors.LENGTH_AND_CHUNKED
    if block.forwarded_for == b"":
        block.forwarded_for = None  # an empty one is replaced (semantics 14.1.1)
    if nominated:
        block.close = b"close" in nominated
        if b"upgrade" in nominated and upgrade:
            block.upgrade = upgrade.lower()
        nominated -= headers.NOT_NOMINABLE
        if nominated:
            # what a client may not nominate stays (hardening section 4)
            entries[:] = [
                entry
                for entry in entries
                if entry[1][0] not in nominated or entry[1][0].startswith((b"x-forwarded-", b"x-envoy-"))
            ]
    return None


class ParsedRequest:
    """One request head, ready for the proxy. Shared by requests with the very same bytes.

    ``plan`` belongs to the proxy: what it worked out for this head under ``plan_for`` (the listener's
    spec in force then); the codec never looks at it.
    """

    __slots__ = ("block", "body", "close", "content_length", "error", "head", "method", "plan", "plan_for",
                 "protocol")  # fmt: skip

    def __init__(self) -> None:
        self.error: Failure | None = None
        self.head: RequestHead | None = None
        self.block = _EMPTY_BLOCK
        self.method = b""
        self.protocol = b"HTTP/1.1"
        self.body = NO_BODY
        self.content_length = 0
        self.close = False
        self.plan: Any = None
        self.plan_for: Any = None


_EMPTY_BLOCK: Final = RequestBlock()


class RequestParser:
    """Parses heads under one set of options; holds the memo. One per distinct options and process."""

    __slots__ = ("_blocks", "_heads", "_normalization", "_old_blocks", "_old_heads", "_options", "_seen", "_seen_heads",
                 "heads_get")  # fmt: skip

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._normalization = options.path_normalization
        self._heads: dict[bytes, ParsedRequest] = {}
        self._old_heads: dict[bytes, ParsedRequest] = {}
        self._blocks: dict[bytes, RequestBlock] = {}
        self._old_blocks: dict[bytes, RequestBlock] = {}
        self._seen: set[int] = set()
        self._seen_heads: set[int] = set()
        #: bound ``get`` of the young generation, for the fast path of a connection
        self.heads_get = self._heads.get

    def parse(self, head: bytes) -> ParsedRequest:
        """Parse ``head``, which ends with its empty line (``CRLF CRLF``) and holds no other."""
        request = self._heads.get(head)
        if request is not None:
            return request
        request = self._old_heads.get(head)
        if request is None:
            request = self._parse(head)
            key = hash(head)
            seen = self._seen_heads
            if key not in seen:
                if len(seen) >= _GENERATION * 2:
                    seen.clear()
                seen.add(key)
                return request
        if len(self._heads) >= _GENERATION:
            self._old_heads = self._heads
            self._heads = {}
            self.heads_get = self._heads.get
        self._heads[head] = request
        return request

    def _block(self, data: bytes) -> RequestBlock:
        block = self._blocks.get(data)
        if block is not None:
            return block
        block = self._old_blocks.get(data)
        if block is None:
            block = parse_block(data, self._options)
            key = hash(data)
            seen = self._seen
            if key not in seen:
                if len(seen) >= _GENERATION * 2:
                    seen.clear()
                seen.add(key)
                return block
        if len(self._blocks) >= _GENERATION:
            self._old_blocks = self._blocks
            self._blocks = {}
        self._blocks[data] = block
        return block

    def _parse(self, head: bytes) -> ParsedRequest:
        request = ParsedRequest()
        line_end = head.find(b"\r\n")
        parts = head[:line_end].split(b" ")
        if len(parts) != 3:
            request.error = (
                errors.LOW_VERSION if len(parts) == 2 and parts[0] in METHODS else errors.BAD_REQUEST
            )
            return request
        method, target, version = parts
        if version != b"HTTP/1.1":
            request.error = errors.LOW_VERSION if _VERSION(version) is not None else errors.BAD_REQUEST
            return request
        if method not in METHODS:
            request.error = errors.BAD_REQUEST
            return request
        block = self._block(head[line_end + 2 : -2])
        if block.error is not None:
            request.error = block.error
            return request
        request.method = method
        request.block = block
        if block.chunked:
            request.body = CHUNKED
        elif block.content_length > 0:
            request.body = LENGTH
            request.content_length = block.content_length
        request.close = block.close
        self._control_data(request, method, target)
        return request

    def _control_data(self, request: ParsedRequest, method: bytes, target: bytes) -> None:
        """Target and authority; sets ``head`` or ``error`` (semantics 14.4.3, 14.5)."""
        block = request.block
        authority = block.authority
        scheme = self._options.scheme
        if not target.startswith(b"/"):
            if method == b"CONNECT":
                request.head = RequestHead(method, b"", target, scheme, block)
                request.error = errors.BAD_HOST if _HOST(target) is None else errors.CONNECT_UNROUTED
                return
            if target == b"*":
                request.head = RequestHead(method, target, authority or b"", scheme, block)
                request.error = errors.ABSOLUTE_PATH if method == b"OPTIONS" else errors.INVALID_URL
                return
            match = _ABSOLUTE(target)
            if match is None or _HOST(match[2]) is None:
                request.error = errors.INVALID_URL
                return
            if match[1].lower() not in (b"http", b"https"):
                request.error = errors.INVALID_SCHEME
                return
            if match[1].lower() == b"https" and scheme == b"http":
                request.error = errors.HTTPS_ON_PLAINTEXT
                return
            authority = match[2]
            target = match[3] if match[3].startswith(b"/") else b"/" + match[3]
        if authority is None:
            request.head = RequestHead(method, target, b"", scheme, block)
            request.error = errors.MISSING_HOST
            return
        normal = normalize_target(target, self._normalization)
        if normal is None:
            # a byte that may not stand in a target is the codec's business, an escaped NUL the path's (14.4.3)
            if target.translate(None, _TARGET_BYTES):
                request.error = errors.BAD_REQUEST
            else:
                request.head = RequestHead(method, target, authority, scheme, block)
                request.error = errors.BAD_PATH
            return
        if block.forwarded_proto is not scheme and block.forwarded_proto in (b"http", b"https"):
            scheme = block.forwarded_proto  # semantics 14.2.2
        request.head = head = RequestHead(method, normal, authority, scheme, block, block.user_agent)
        if method == b"QUERY" and head.fields.get(b"content-type") is None:
            request.error = errors.QUERY_WITHOUT_TYPE
        elif block.upgrade and not self._upgrade_allowed(request):
            request.error = errors.UPGRADE_FAILED

    def _upgrade_allowed(self, request: ParsedRequest) -> bool:
        """Only ``websocket``; ``h2c`` is ignored, anything else refused (semantics 14.6.3)."""
        return request.block.upgrade in (b"websocket", b"h2c")


_TARGET_BYTES: Final = bytes(range(0x21, 0x7F))

_PARSERS: dict[HttpOptions, RequestParser] = {}


def parser_for(options: HttpOptions) -> RequestParser:
    """The process's parser for ``options``; equal options share one memo."""
    parser = _PARSERS.get(options)
    if parser is None:
        parser = _PARSERS[options] = RequestParser(options)
    return parser
