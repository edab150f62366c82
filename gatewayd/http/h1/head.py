"""HOT: HTTP/1.1 request heads, parsed strictly once and remembered by their exact bytes.

Three steps, each dearer than the one before: the whole head was seen before (one look-up), it is built like
one seen before (:mod:`gatewayd.http.h1.shapes`), or it is read line by line (:mod:`gatewayd.http.h1.fields`).
``tests/reference/`` keeps a plain twin that random tests compare this with.
"""

from __future__ import annotations

import re
from typing import Final

from gatewayd import errors
from gatewayd.http.h1.fields import parse_lines
from gatewayd.http.h1.request_shapes import RequestShape, learn
from gatewayd.http.h1.shapes import LEARN_ONE_IN, come_forward
from gatewayd.http.memo import Memo
from gatewayd.http.message import RequestHead
from gatewayd.http.options import HttpOptions
from gatewayd.http.paths import is_canonical, normalize_target
from gatewayd.http.request import CHUNKED, LENGTH, NO_BODY, ParsedRequest, refused
from gatewayd.http.request_fields import is_authority

#: Methods that reach routing over HTTP/1.1 (semantics 5.2; asked of Envoy 1.40 one by one).
METHODS: Final = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH "
    b"NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE "
    b"UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)

_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]").fullmatch
_ABSOLUTE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^ ]*)").fullmatch


class _BareRequest(ParsedRequest):
    """One whose attributes are all set by who makes it: without a call of ``__init__``."""

    __slots__ = ()
    __init__ = object.__init__


class _BareHead(RequestHead):
    """The same for a head."""

    __slots__ = ()
    __init__ = object.__init__


class RequestParser:
    """Parses heads under one set of options; holds the memo. One per distinct options and process."""

    __slots__ = ("_merges", "_misses", "_normalization", "_options", "_shapes", "heads")

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._normalization = options.path_normalization
        #: "//" in a path may become "/"
        self._merges = options.path_normalization not in ("BASE", "NONE")
        #: whole heads; a connection asks ``heads.get`` first
        self.heads: Memo[ParsedRequest] = Memo(generation=16_384)
        #: by method
        self._shapes: dict[bytes, list[RequestShape]] = {}
        self._misses = 0

    def parse(self, head: bytes) -> ParsedRequest:
        """Parse ``head``, which ends with its empty line (``CRLF CRLF``) and holds no other."""
        return self.heads.get(head) or self.parse_new(head)

    def parse_new(self, head: bytes) -> ParsedRequest:
        """The same, when ``heads.get`` was asked in vain."""
        heads = self.heads
        request = heads.recall(head)
        if request is None:
            request = self._by_shape(head) or self._parse(head)
            heads.offer(head, request)
        return request

    def _by_shape(self, head: bytes) -> ParsedRequest | None:
        """The request if its head has a known shape and an ordinary target."""
        parts = head.split(b" ", 2)
        if len(parts) < 3:
            return None
        method, target, rest = parts
        shapes = self._shapes.get(method)
        if shapes is None:
            return None
        if not is_canonical(target) or target[:1] != b"/" or (self._merges and b"//" in target):
            return None
        for shape in shapes:
            block = shape.block(rest, target)
            if block is not None:
                break
        else:
            return None
        if shape is not shapes[0]:
            come_forward(shapes, shape)
        request: ParsedRequest = _BareRequest()
        request.block = block
        request.method = method
        request.error = request.plan = request.plan_for = None
        request.body = CHUNKED if block.chunked else LENGTH if block.content_length > 0 else NO_BODY
        request.head = parsed = _BareHead()
        parsed.method = method
        parsed.target = target
        parsed.path, mark, query = target.partition(b"?")
        parsed.query = query if mark else None
        parsed.authority = block.authority or b""
        parsed.scheme = shape.scheme
        parsed.user_agent = block.user_agent
        parsed._source = block
        parsed._fields = parsed.shown = None
        return request

    def _learn(self, head: bytes, request: ParsedRequest) -> None:
        """Learn the shape of a head that had none, when it is of the ordinary kind and size."""
        if len(head) > self.heads.max_key_bytes:
            return
        block = request.block
        if request.error is None and request.head is not None and block.texts is not None:
            if self._misses % LEARN_ONE_IN == 0:
                shapes = self._shapes.setdefault(request.method, [])
                learn(shapes, head, block, request.head.scheme)
            self._misses += 1

    def _parse(self, head: bytes) -> ParsedRequest:
        line_end = head.find(b"\r\n")
        parts = head[:line_end].split(b" ")
        if len(parts) != 3:
            low = len(parts) == 2 and parts[0] in METHODS and not parts[1].translate(None, _TARGET_BYTES)
            return refused(errors.LOW_VERSION if low else errors.BAD_REQUEST)
        method, target, version = parts
        if version != b"HTTP/1.1":
            low = _VERSION(version) is not None
            return refused(errors.LOW_VERSION if low else errors.BAD_REQUEST)
        if method not in METHODS:
            return refused(errors.BAD_REQUEST)
        lines = head[line_end + 2 : -2].split(b"\r\n")
        lines.pop()  # empty: the field block ends with CRLF
        block = parse_lines(lines, self._options)
        if block.error is not None:
            return refused(block.error)
        request = ParsedRequest(block, method)
        if block.chunked:
            request.body = CHUNKED
        elif block.content_length > 0:
            request.body = LENGTH
        self._control_data(request, method, target)
        if target[:1] == b"/" and method != b"QUERY" and not block.upgrade:
            self._learn(head, request)
        block.texts = None
        return request

    def _control_data(self, request: ParsedRequest, method: bytes, target: bytes) -> None:
        """Target and authority; sets ``head`` or ``error`` (semantics 14.4.3, 14.5)."""
        block = request.block
        authority = block.authority
        scheme = self._options.scheme
        if not target.startswith(b"/"):
            if method == b"CONNECT":
                request.head = RequestHead(method, b"", target, scheme, block)
                request.error = errors.BAD_HOST if is_authority(target) is None else errors.CONNECT_UNROUTED
                return
            if target == b"*":
                request.head = RequestHead(method, target, authority or b"", scheme, block)
                request.error = errors.ABSOLUTE_PATH if method == b"OPTIONS" else errors.INVALID_URL
                return
            match = _ABSOLUTE(target)
            if match is None or not match[2] or is_authority(match[2]) is None:
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
