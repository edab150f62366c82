"""HOT: what the fields of an HTTP/2 request come to, checked strictly (RFC 9113 8.2, 8.3; hardening section 3).

The result is what HTTP/1.1 parses to: a :class:`ParsedRequest`, whose block holds the lines that go upstream. So the
proxy does not know which version it was. A request that is malformed has an ``error`` of status 0: there is no answer
to it but the end of the connection, as in Envoy (semantics 14.5.2).
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final
from urllib.parse import quote_from_bytes

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http import headers
from gatewayd.http.message import Pair, RequestHead
from gatewayd.http.options import HttpOptions
from gatewayd.http.paths import is_canonical, normalize_target
from gatewayd.http.request import CHUNKED, LENGTH, NO_BODY, ParsedRequest, RequestBlock, refused
from gatewayd.http.request_fields import (
    BITS,
    CONTENT_LENGTH,
    HOST,
    PLAIN,
    TE,
    USER_AGENT,
    Line,
    is_known_authority,
    join_repeated,
    kind_of,
    special_fields,
)
from gatewayd.http.websocket import WEBSOCKET, new_key

#: Beside the kinds of :mod:`gatewayd.http.request_fields`.
_COOKIE: Final = 100
_MALFORMED: Final = 101

#: Fields that speak of a connection have no place here (RFC 9113 8.2.2).
_OF_CONNECTIONS: Final = headers.HOP_BY_HOP - {b"te"}
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*").fullmatch
#: Every byte that may stand in a target, and those among them that are not escaped.
_TARGET_BYTES: Final = bytes(b for b in range(0x21, 0x100) if b != 0x7F)
_VISIBLE: Final = bytes(range(0x21, 0x7F)).decode()

_BAD_LINE: Final[Line] = (_MALFORMED, (b"", b""), b"", 0)
#: Field lines met; bounded in number and size.
_LINES: Final[dict[Pair, Line]] = {}
_MAX_LINES: Final = 8192
_MAX_LINE_BYTES: Final = 256
#: Pseudo-fields (RFC 9113 8.3.1, RFC 8441 4) and where each stands in the list of them.
_PSEUDO: Final = {b":method": 0, b":scheme": 1, b":path": 2, b":authority": 3, b":protocol": 4}


def _new_line(pair: Pair) -> Line:
    """What a field comes to; remembered."""
    name, value = pair
    line = _BAD_LINE
    if name and not name.translate(None, headers.TOKEN_BYTES) and name == name.lower():
        # Spaces around a value are malformed by the letter; Envoy, and so we, take them away.
        stripped = value.strip(b" \t")
        if name in _OF_CONNECTIONS or value.translate(None, headers.VALUE_BYTES):
            pass
        elif name == b"te":
            if stripped.lower() == b"trailers":
                # In capitals it is left out, as by Envoy.
                line = (TE, (name, stripped if stripped == b"trailers" else b""), b"", 0)
        elif name == b"cookie":
            line = (_COOKIE, pair, b"", 0)
        else:
            kind = PLAIN if name == b"http2-settings" else kind_of(name)
            line = (kind, (name, stripped), b"%b: %b\r\n" % (name, stripped), BITS.get(name, 0))
    if len(name) + len(value) <= _MAX_LINE_BYTES:
        if len(_LINES) >= _MAX_LINES:
            _LINES.clear()
        _LINES[pair] = line
    return line


class _Block(RequestBlock):
    """One of HTTP/2."""

    __slots__ = ("never_indexed",)


class RequestReader:
    """Reads requests under one set of options."""

    __slots__ = ("_merges", "_options", "extended_connect")

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        #: "//" in a path may become "/"
        self._merges = options.path_normalization not in ("BASE", "NONE")
        #: whether CONNECT may name a protocol (RFC 8441)
        self.extended_connect = options.extended_connect

    def read(self, pairs: list[Pair], *, end: bool, never: frozenset[bytes]) -> ParsedRequest:
        """The request that ``pairs`` are the head of; ``end``: and all of it.

        ``never``: names of fields that must never be indexed.
        """
        found: list[bytes | None] = [None, None, None, None, None]
        count = 0
        for name, value in pairs:
            if name[:1] != b":":
                break
            at = _PSEUDO.get(name)
            if at is None or found[at] is not None:
                return refused(errors.H2_FIELD)
            found[at] = value
            count += 1
        method, scheme, target, authority, protocol = found
        options = self._options
        block = _Block()
        block.forwarded_proto = options.scheme
        block.never_indexed = never
        out: list[bytes] = []
        append = out.append
        known = _LINES.get
        special: list[Line] = []
        cookie: bytes | None = None
        names = 0
        repeated = False
        host: bytes | None = None
        for pair in islice(pairs, count, None):
            line = known(pair) or _new_line(pair)
            kind, field, text, bit = line
            if kind <= USER_AGENT:
                append(text)
                if bit:
                    if names & bit:
                        repeated = True
                    names |= bit
                    if kind == USER_AGENT:
                        block.user_agent = field[1]
            elif kind == _COOKIE:
                cookie = b"%b; %b" % (cookie, field[1]) if cookie else field[1]
            elif kind == HOST:
                if host is not None:
                    return refused(errors.H2_FIELD)
                host = field[1]
            elif kind == _MALFORMED:
                return refused(errors.H2_FIELD)
            else:
                special.append(line)
                if kind == CONTENT_LENGTH:
                    append(text)
        if cookie:  # crumbs (RFC 9113 8.2.3)
            append(b"cookie: %b\r\n" % cookie.strip(b" \t"))
        if repeated:
            join_repeated(block, out)
        if special and special_fields(block, out, special, options) is not None:
            return refused(errors.H2_FIELD)
        if authority is None:
            authority = host
        elif host is not None and not (host and is_known_authority(host)):
            return refused(
                errors.H2_FIELD
            )  # one that is valid is left out, whatever it says (semantics 14.5.2)
        failure = self._control_data(block, method, scheme, target, authority, protocol)
        if failure is None and end and block.content_length > 0:
            failure = errors.H2_MESSAGE
        if failure is not None:
            return refused(failure)
        request = ParsedRequest(block, method or b"")
        if not end:
            if block.content_length >= 0:
                request.body = LENGTH
            else:
                request.body = CHUNKED
                block.chunked = True
                append(b"transfer-encoding: chunked\r\n")
        block.authority = authority
        block.forward_bytes = b"".join(out)
        self._head(request, scheme or b"", target or b"", authority or b"", protocol)
        return request

    def _control_data(
        self,
        block: RequestBlock,
        method: bytes | None,
        scheme: bytes | None,
        target: bytes | None,
        authority: bytes | None,
        protocol: bytes | None,
    ) -> Failure | None:
        """What is wrong with the pseudo-fields (RFC 9113 8.3.1): first what they say, then which there are."""
        if (
            (method is not None and not _is_token(method))
            or (scheme is not None and _SCHEME(scheme) is None)
            or (authority is not None and not (authority and is_known_authority(authority)))
            or (target is not None and not _is_target(target))
            or (protocol is not None and not self.extended_connect)
        ):
            return errors.H2_FIELD
        if protocol is not None:
            complete = method == b"CONNECT" and protocol == WEBSOCKET
        elif method == b"CONNECT":
            return (
                errors.H2_MESSAGE if authority is None or target is not None or scheme is not None else None
            )
        else:
            complete = method is not None
        if not complete or scheme is None or target is None or authority is None:
            return errors.H2_MESSAGE
        if target[:1] != b"/" and not (target == b"*" and method == b"OPTIONS"):
            return errors.H2_MESSAGE
        return None

    def _head(
        self, request: ParsedRequest, scheme: bytes, target: bytes, authority: bytes, protocol: bytes | None
    ) -> None:
        """Sets ``head``, and ``error`` where there is an answer to give."""
        block = request.block
        method = request.method
        if method == b"CONNECT":
            if protocol is None:
                request.head = RequestHead(method, b"", authority, self._options.scheme, block)
                request.error = errors.CONNECT_UNROUTED
                return
            _as_upgrade(request, protocol)
            method = request.method
        elif target == b"*":
            request.head = RequestHead(method, target, authority, scheme, block)
            request.error = errors.ABSOLUTE_PATH
            return
        normal: bytes | None = target
        if not is_canonical(target) or (self._merges and b"//" in target):
            # Bytes beyond ASCII are escaped, as Envoy escapes them here.
            ascii_target = target if target.isascii() else quote_from_bytes(target, _VISIBLE).encode()
            normal = normalize_target(ascii_target, self._options.path_normalization)
        if normal is None or b"#" in target:  # a fragment is nobody's business (RFC 9113 8.3.1)
            request.head = RequestHead(method, target, authority, scheme, block)
            request.error = errors.BAD_PATH
            return
        request.head = head = RequestHead(method, normal, authority, scheme, block, block.user_agent)
        if method == b"QUERY" and head.fields.get(b"content-type") is None:
            request.error = errors.QUERY_WITHOUT_TYPE


def _is_token(text: bytes) -> bool:
    return bool(text) and not text.translate(None, headers.TOKEN_BYTES)


def _is_target(text: bytes) -> bool:
    return bool(text) and (is_canonical(text) or not text.translate(None, _TARGET_BYTES))


def _as_upgrade(request: ParsedRequest, protocol: bytes) -> None:
    """Extended CONNECT means what an upgrade means to HTTP/1.1 (RFC 8441 5), where the server wants a key."""
    request.method = b"GET"
    request.body = NO_BODY
    block = request.block
    block.upgrade = protocol
    block.chunked = False
    lines = block.forward_bytes.removesuffix(b"transfer-encoding: chunked\r\n")
    block.forward_bytes = b"%bsec-websocket-key: %b\r\n" % (lines, new_key())


_READERS: dict[HttpOptions, RequestReader] = {}


def reader_for(options: HttpOptions) -> RequestReader:
    """The process's reader for ``options``."""
    reader = _READERS.get(options)
    if reader is None:
        reader = _READERS[options] = RequestReader(options)
    return reader
