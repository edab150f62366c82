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

#: Methods that reach routing over HTTP/1.1 (semantics 5.2: the registered ones, in capitals).
METHODS: Final = frozenset(
    b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE "
    b"MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI "
    b"PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK "
    b"UPDATE UPDATEREDIRECTREF VERSION-CONTROL".split()
)

_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]").fullmatch
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9\-._~!$&'()*+;=]*)(?::[0-9]{0,5})?"
).fullmatch
_ABSOLUTE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^ ]*)").fullmatch

# What a request field name means to the parser.
_PLAIN, _HOST_FIELD, _CONTENT_LENGTH, _TRANSFER_ENCODING, _CONNECTION, _TE, _UPGRADE, _XFF, _XFP, _REQUEST_ID, \
    _DROP, _REMOVE, _JOINED, _H2C = range(14)  # fmt: skip

_KINDS: Final[dict[bytes, int]] = {
    **dict.fromkeys(headers.JOINED_IN_REQUESTS, _JOINED),
    **dict.fromkeys(headers.HOP_BY_HOP, _DROP),
    **dict.fromkeys(headers.REMOVED_AT_EDGE, _REMOVE),
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

    __slots__ = ("authority", "chunked", "close", "content_length", "error", "fields", "forward", "forward_bytes",
                 "forwarded_for", "forwarded_proto", "request_id", "upgrade", "user_agent")  # fmt: skip

    def __init__(self) -> None:
        self.error: Failure | None = None
        #: all fields a route may look at, hop-by-hop and edge fields removed, host first
        self.fields = Fields(())
        #: the same without host and without what the proxy writes itself
        self.forward: list[Pair] = []
        #: ``forward`` as HTTP/1 lines, each ended by CRLF
        self.forward_bytes = b""
        self.authority: bytes | None = None
        self.content_length = -1
        self.chunked = False
        self.close = False
        #: value of Upgrade when Connection asked for it, lower-case; b"" = none
        self.upgrade = b""
        self.forwarded_for: bytes | None = None
        #: x-forwarded-proto as sent upstream (semantics 14.2.1)
        self.forwarded_proto: bytes | None = None
        self.request_id: bytes | None = None
        self.user_agent = b""


def _fail(failure: Failure) -> RequestBlock:
    block = RequestBlock()
    block.error = failure
    return block


def parse_block(data: bytes, options: HttpOptions) -> RequestBlock:
    """Parse ``data``: field lines, each ended by CRLF, without the empty line that ends the head.

    Every violation of hardening section 2 gives a block whose ``error`` says how to answer.
    """
    lines = data.split(b"\r\n")
    count = len(lines) - 1  # the last piece is empty: data ends with CRLF
    if data.translate(None, headers.FIELD_BYTES):
        return _fail(errors.INVALID_CHARACTERS)
    if data.count(b"\n") != count or data.count(b"\r") != count:
        return _fail(errors.BAD_REQUEST)
    if count > options.limits.max_request_fields:
        return _fail(errors.TOO_MANY_FIELDS)
    block = RequestBlock()
    forward: list[Pair] = []
    append = forward.append
    known = _NAMES.get
    special: list[tuple[bytes, int, bytes]] | None = None
    for index in range(count):
        name, colon, value = lines[index].partition(b":")
        entry = known(name)
        if entry is None:
            entry = _learn_name(name)
            if entry is None:
                return _fail(errors.BAD_REQUEST)
        if not colon:
            return _fail(errors.BAD_REQUEST)
        lower, kind = entry
        value = value.strip(b" \t")
        if kind == _PLAIN:
            append((lower, value))
        elif kind == _HOST_FIELD:
            if block.authority is not None:
                return _fail(errors.BAD_REQUEST)  # two Host lines: two readings
            block.authority = value
        else:
            if special is None:
                special = []
            special.append((lower, kind, value))
    if special is not None:
        failure = _special_fields(block, forward, special)
        if failure is not None:
            return _fail(failure)
    authority = block.authority
    if authority is not None and _HOST(authority) is None:
        return _fail(errors.BAD_HOST)
    block.forward = forward
    out: list[bytes] = []
    for lower, value in forward:
        out += (lower, b": ", value, b"\r\n")
    block.forward_bytes = b"".join(out)
    if not options.trusted_proxies or block.forwarded_proto is None:
        block.forwarded_proto = options.scheme  # semantics 14.2.1
    visible = [] if authority is None else [(b"host", authority)]
    visible += forward
    visible.append((b"x-forwarded-proto", block.forwarded_proto))
    if block.forwarded_for is not None:
        visible.append((b"x-forwarded-for", block.forwarded_for))
    block.fields = Fields(visible)
    return block


#: name as received -> (lower-case name, kind); only valid tokens, bounded.
_NAMES: dict[bytes, tuple[bytes, int]] = {}


def _learn_name(name: bytes) -> tuple[bytes, int] | None:
    if not name or name.translate(None, headers.TOKEN_BYTES):
        return None
    lower = name.lower()
    entry = (lower, _name_kind(lower))
    if len(name) <= 64:
        if len(_NAMES) >= 4096:
            _NAMES.clear()
        _NAMES[name] = entry
    return entry


def _special_fields(
    block: RequestBlock, forward: list[Pair], special: list[tuple[bytes, int, bytes]]
) -> Failure | None:
    """Fields that frame, that are hop-by-hop, or that are joined; extends ``forward``."""
    nominated: set[bytes] = set()
    upgrade = b""
    joined: dict[bytes, bytes] = {}
    for lower, kind, value in special:
        if kind == _JOINED:
            joined[lower] = joined[lower] + b"," + value if lower in joined else value
        elif kind == _CONTENT_LENGTH:
            if block.content_length >= 0 or not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
                return errors.BAD_REQUEST
            block.content_length = int(value)
            if block.content_length >> 63:
                return errors.BAD_REQUEST
            forward.append((lower, value))
        elif kind == _TRANSFER_ENCODING:
            if value.lower() != b"chunked" or block.chunked:
                return errors.UNKNOWN_TRANSFER_CODING
            block.chunked = True
            forward.append((lower, b"chunked"))
        elif kind == _CONNECTION:
            nominated.update(token.strip(b" \t").lower() for token in value.split(b","))
        elif kind == _TE:
            if b"trailers" in [t.strip(b" \t").lower() for t in value.split(b",")]:
                forward.append((b"te", b"trailers"))
        elif kind == _UPGRADE:
            upgrade = upgrade + b"," + value if upgrade else value
        elif kind == _XFF:
            before = block.forwarded_for
            block.forwarded_for = before + b"," + value if before is not None else value
        elif kind == _XFP:
            block.forwarded_proto = value
        elif kind == _REQUEST_ID:
            block.request_id = value
    if block.chunked and block.content_length >= 0:
        return errors.LENGTH_AND_CHUNKED
    forward.extend(joined.items())
    block.user_agent = joined.get(b"user-agent", b"")
    block.close = b"close" in nominated
    if b"upgrade" in nominated and upgrade:
        block.upgrade = upgrade.lower()
    nominated -= headers.NOT_NOMINABLE
    if nominated:
        forward[:] = [
            pair
            for pair in forward
            if pair[0] not in nominated or pair[0].startswith((b"x-forwarded-", b"x-envoy-"))
        ]
    if block.forwarded_for == b"":
        block.forwarded_for = None  # an empty one is replaced (semantics 14.1.1)
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
        request.method = method
        block = self._block(head[line_end + 2 : -2])
        request.block = block
        if block.error is not None:
            request.error = block.error
            return request
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
        fields = block.fields
        scheme = self._options.scheme
        if not target.startswith(b"/"):
            if method == b"CONNECT":
                request.head = RequestHead(method, b"", target, scheme, fields)
                if _HOST(target) is None:
                    request.error = errors.BAD_HOST
                return
            if target == b"*":
                request.head = RequestHead(method, target, authority or b"", scheme, fields)
                request.error = errors.ABSOLUTE_PATH if method == b"OPTIONS" else errors.BAD_REQUEST
                return
            match = _ABSOLUTE(target)
            if match is None or match[1].lower() not in (b"http", b"https") or _HOST(match[2]) is None:
                request.error = errors.BAD_REQUEST
                return
            if match[1].lower() == b"https" and scheme == b"http":
                request.error = errors.HTTPS_ON_PLAINTEXT
                return
            authority = match[2]
            target = match[3] if match[3].startswith(b"/") else b"/" + match[3]
            fields = Fields([(b"host", authority), *(p for p in fields.pairs if p[0] != b"host")])
        if authority is None:
            request.head = RequestHead(method, target, b"", scheme, fields)
            request.error = errors.MISSING_HOST
            return
        normal = normalize_target(target, self._normalization)
        if normal is None:
            request.head = RequestHead(method, target, authority, scheme, fields)
            # a control byte is the codec's business, an escaped NUL the path's (semantics 14.4.3)
            bad = target.translate(None, _TARGET_BYTES)
            request.error = errors.BAD_REQUEST if bad else errors.BAD_PATH
            return
        if block.forwarded_proto in (b"http", b"https"):
            scheme = block.forwarded_proto  # semantics 14.2.2
        request.head = RequestHead(method, normal, authority, scheme, fields)
        if method == b"QUERY" and fields.get(b"content-type") is None:
            request.error = errors.QUERY_WITHOUT_TYPE
        elif block.upgrade and not self._upgrade_allowed(request):
            request.error = errors.UPGRADE_FAILED

    def _upgrade_allowed(self, request: ParsedRequest) -> bool:
        """Only ``websocket``; ``h2c`` is ignored, anything else refused (semantics 14.6.3)."""
        return request.block.upgrade in (b"websocket", b"h2c")


_TARGET_BYTES: Final = bytes(b for b in range(0x21, 0x100) if b != 0x7F)

_PARSERS: dict[HttpOptions, RequestParser] = {}


def parser_for(options: HttpOptions) -> RequestParser:
    """The process's parser for ``options``; equal options share one memo."""
    parser = _PARSERS.get(options)
    if parser is None:
        parser = _PARSERS[options] = RequestParser(options)
    return parser
