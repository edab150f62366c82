"""HOT: the field block of a request, parsed strictly (hardening section 2, semantics 14.3).

A block is worked out line by line, and lines are remembered: most of a head repeats even when the head as a
whole does not. What must not go upstream is left out here, so that forwarding is a join.
"""

from __future__ import annotations

import re
from typing import Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http import headers
from gatewayd.http.h1.memo import Memo
from gatewayd.http.message import Fields, Pair
from gatewayd.http.options import HttpOptions

_MAX_LENGTH_DIGITS: Final = 19

#: Authorities found good lately; bounded.
_AUTHORITIES: Final[set[bytes]] = set()
_MAX_AUTHORITIES: Final = 16384

# RFC 3986 3.2.2, word by word.
_H16: Final = "[0-9A-Fa-f]{1,4}"
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_LS32: Final = rf"(?:{_H16}:{_H16}|(?:{_OCTET}\.){{3}}{_OCTET})"
_IPV6: Final = "|".join(
    [
        f"(?:{_H16}:){{6}}{_LS32}",
        f"::(?:{_H16}:){{5}}{_LS32}",
        *(f"(?:(?:{_H16}:){{0,{4 - n}}}{_H16})?::(?:{_H16}:){{{n}}}{_LS32}" for n in (4, 3, 2, 1, 0)),
        f"(?:(?:{_H16}:){{0,5}}{_H16})?::{_H16}",
        f"(?:(?:{_H16}:){{0,6}}{_H16})?::",
    ]
)
_PORT: Final = "[0-9]{0,4}|[0-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"

#: A Host or authority: a name or an address, and a port.
is_authority: Final = re.compile(
    rf"(?:\[(?:{_IPV6})\]|[A-Za-z0-9\-._~!$&'()*+;=]*)(?::(?:{_PORT}))?".encode()
).fullmatch

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
        "_forward", "authority", "chunked", "close", "content_length", "error", "forward_bytes",
        "forwarded_for", "forwarded_proto", "request_id", "template", "upgrade", "user_agent",
    )  # fmt: skip

    def __init__(self) -> None:
        self.error: Failure | None = None
        #: the lines that go upstream, each ended by CRLF: without host, hop-by-hop and edge fields
        self.forward_bytes = b""
        self._forward: list[Pair] | None = None
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
        #: the outgoing text of each line, while the block may serve as a template
        self.template: list[bytes] | None = None

    def copy(self) -> RequestBlock:
        """Another block of the same special fields; what is the line's own is to be set."""
        block = _new_block(RequestBlock)
        block.error = None
        block._forward = None
        block.template = None
        block.content_length = self.content_length
        block.chunked = self.chunked
        block.close = self.close
        block.upgrade = self.upgrade
        block.forwarded_for = self.forwarded_for
        block.forwarded_proto = self.forwarded_proto
        block.request_id = self.request_id
        return block

    @property
    def forward(self) -> list[Pair]:
        """``forward_bytes`` as pairs; not to be changed."""
        pairs = self._forward
        if pairs is None:
            lines = [line.partition(b": ") for line in self.forward_bytes.split(b"\r\n")]
            lines.pop()
            pairs = self._forward = [(name, value) for name, _, value in lines]
        return pairs

    def routed_fields(self, authority: bytes) -> Fields:
        """What a route may look at: host, the forwarded fields, x-forwarded-*."""
        pairs = [(b"host", authority), *self.forward, (b"x-forwarded-proto", self.forwarded_proto)]
        if self.forwarded_for is not None:
            pairs.append((b"x-forwarded-for", self.forwarded_for))
        return Fields(pairs)


_new_block: Final = RequestBlock.__new__


def _fail(failure: Failure) -> RequestBlock:
    block = RequestBlock()
    block.error = failure
    return block


#: A field line, parsed: what it means, name and value, the line as it goes upstream, the bit of its name.
_Line = tuple[int, Pair, bytes, int]

#: Lines seen more than once. Most of a head repeats even when the head does not.
_LINES: Final[Memo[_Line]] = Memo(generation=4096, max_key_bytes=512)

_CHUNKED_LINE: Final[_Line] = (
    _PLAIN,
    (b"transfer-encoding", b"chunked"),
    b"transfer-encoding: chunked\r\n",
    0,
)
_TE_LINE: Final[_Line] = (_PLAIN, (b"te", b"trailers"), b"te: trailers\r\n", 0)

#: name as received -> (kind, lower-case name, start of its line, bit); only valid tokens, bounded.
_NAMES: Final[dict[bytes, tuple[int, bytes, bytes, int]]] = {}
_MAX_NAMES: Final = 4096
#: one bit for each name whose lines are joined
_BITS: Final = {name: 1 << at for at, name in enumerate(sorted(headers.JOINED_IN_REQUESTS))}


def _learn_name(name: bytes) -> tuple[int, bytes, bytes, int] | None:
    if not name or name.translate(None, headers.TOKEN_BYTES):
        return None
    lower = name.lower()
    meaning = (_name_kind(lower), lower, lower + b": ", _BITS.get(lower, 0))
    if len(name) <= 64:
        if len(_NAMES) >= _MAX_NAMES:
            _NAMES.clear()
        _NAMES[name] = meaning
    return meaning


def _new_line(line: bytes) -> _Line | Failure:
    """Parse a line that is not in the young generation of the memo, and offer it."""
    known = _LINES.recall(line)
    if known is not None:
        return known
    name, colon, value = line.partition(b":")
    meaning = _NAMES.get(name) or _learn_name(name)
    # Printable Latin-1 needs no second look; a tab or a byte from 0x80 on may still be allowed.
    if not line.decode("latin-1").isprintable() and line.translate(None, headers.VALUE_BYTES):
        return errors.BAD_REQUEST if b"\r" in line or b"\n" in line else errors.INVALID_CHARACTERS
    if meaning is None or not colon:
        return errors.BAD_REQUEST
    kind, lower, start, bit = meaning
    value = value.strip(b" \t")
    entry = (kind, (lower, value), start + value + b"\r\n", bit)
    _LINES.offer(line, entry)
    return entry


class BlockParser:
    """Parses field blocks under one set of options.

    Clients send blocks that differ from one another in a line or two. The last ordinary block is kept as a
    template: a block with as many lines of the same fields only has its other lines looked at.
    """

    __slots__ = ("_block", "_lines", "_names", "_options", "_texts")

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._lines: list[bytes] = []
        self._names: list[bytes] = []
        self._texts: list[bytes] = []  # one for each line, b"" where nothing goes upstream
        self._block = RequestBlock()

    def parse(self, data: bytes) -> RequestBlock:
        """Parse ``data``: field lines, each ended by CRLF, without the empty line that ends the head.

        Every violation of hardening section 2 gives a block whose ``error`` says how to answer.
        """
        lines = data.split(b"\r\n")
        lines.pop()  # empty: data ends with CRLF
        template = self._lines
        if len(lines) == len(template):
            changed = [at for at, line in enumerate(lines) if line != template[at]]
            if len(changed) <= _MAX_CHANGED:
                block = self._changed(lines, changed)
                if block is not None:
                    return block
        return self._whole(lines)

    def _changed(self, lines: list[bytes], changed: list[int]) -> RequestBlock | None:
        """The template's block with some lines replaced; None if one of them needs the long way."""
        names = self._names
        texts = self._texts[:]
        agent = self._block.user_agent
        authority = self._block.authority
        for at in changed:
            line = lines[at]
            entry = _LINES.get(line) or _new_line(line)
            if isinstance(entry, Failure):
                return None
            kind, (lower, value), text, _ = entry
            if kind > _HOST_FIELD or names[at] != lower:
                return None
            if kind == _HOST_FIELD:
                if not _is_known_authority(value):
                    return None
                authority = value
                continue
            texts[at] = text
            if kind == _USER_AGENT:
                agent = value
        block = self._block.copy()
        block.user_agent = agent
        block.authority = authority
        block.forward_bytes = b"".join(texts)
        return block

    def _whole(self, lines: list[bytes]) -> RequestBlock:
        block = parse_lines(lines, self._options)
        if block.template is not None and len(lines) > 2:
            self._lines = lines
            self._names = [line.partition(b":")[0].lower() for line in lines]
            self._texts = block.template
            self._block = block
            block.template = None
        return block


def _is_known_authority(authority: bytes) -> bool:
    """``is_authority``, remembered."""
    if authority in _AUTHORITIES:
        return True
    if is_authority(authority) is None:
        return False
    if len(_AUTHORITIES) >= _MAX_AUTHORITIES:
        _AUTHORITIES.clear()
    _AUTHORITIES.add(authority)
    return True


#: More changed lines than this are looked at in the ordinary way.
_MAX_CHANGED: Final = 4


def parse_lines(lines: list[bytes], options: HttpOptions) -> RequestBlock:
    """Parse field ``lines``, without their line ends, one by one."""
    if len(lines) > options.limits.max_request_fields:
        return _fail(errors.TOO_MANY_FIELDS)
    block = RequestBlock()
    block.forwarded_proto = options.scheme
    out: list[bytes] = []  # one for each line, b"" where nothing goes upstream
    append = out.append
    known = _LINES.get
    special: list[_Line] = []
    names = 0
    repeated = False
    for line in lines:
        entry = known(line)
        if entry is None:
            parsed = _new_line(line)
            if isinstance(parsed, Failure):
                return _fail(parsed)
            entry = parsed
        kind, pair, text, bit = entry
        if kind <= _USER_AGENT:
            append(text)
            if bit:
                if names & bit:
                    repeated = True
                names |= bit
                if kind == _USER_AGENT:
                    block.user_agent = pair[1]
        elif kind == _HOST_FIELD:
            if block.authority is not None:
                return _fail(errors.BAD_REQUEST)  # two Host lines: two readings
            block.authority = pair[1]
            append(b"")
        else:
            special.append(entry)
            append(text if kind == _CONTENT_LENGTH else b"")
    if block.authority is not None and not _is_known_authority(block.authority):
        return _fail(errors.BAD_HOST)
    if repeated:
        _join_repeated(block, out)
    if special:
        failure = _special_fields(block, out, special, options)
        if failure is not None:
            return _fail(failure)
    elif not repeated:
        block.template = out
    block.forward_bytes = b"".join(out)
    return block


def _join_repeated(block: RequestBlock, out: list[bytes]) -> None:
    """Repeated lines of a field that is one value become one line (semantics 5.8)."""
    at: dict[bytes, int] = {}
    joined: list[bytes] = []
    for text in out:
        if not text:
            continue
        name, _, value = text.partition(b": ")
        first = at.get(name)
        if first is not None and name in _BITS:
            joined[first] = headers.joined_lines(joined[first], value)
            if name == b"user-agent":
                block.user_agent = joined[first].partition(b": ")[2][:-2]
        else:
            at[name] = len(joined)
            joined.append(text)
    out[:] = joined


def _special_fields(
    block: RequestBlock, out: list[bytes], special: list[_Line], options: HttpOptions
) -> Failure | None:
    """Fields that frame or that are hop-by-hop; extends ``out``, the lines that go upstream."""
    nominated: set[bytes] = set()
    upgrade = b""
    for entry in special:
        kind, (_, value), _, _ = entry
        if kind == _CONTENT_LENGTH:
            if block.content_length >= 0 or not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
                return errors.BAD_REQUEST
            block.content_length = int(value)
            if block.content_length >> 63:
                return errors.BAD_REQUEST
        elif kind == _TRANSFER_ENCODING:
            if value.lower() != b"chunked" or block.chunked:
                return errors.UNKNOWN_TRANSFER_CODING
            block.chunked = True
            out.append(b"transfer-encoding: chunked\r\n")
        elif kind == _CONNECTION:
            nominated.update(token.strip(b" \t").lower() for token in value.split(b","))
        elif kind == _TE:
            if b"trailers" in [t.strip(b" \t").lower() for t in value.split(b",")]:
                out.append(b"te: trailers\r\n")
        elif kind == _UPGRADE:
            upgrade = upgrade + b"," + value if upgrade and value else upgrade or value
        elif kind == _XFF:
            before = block.forwarded_for
            block.forwarded_for = before + b"," + value if before and value else before or value
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
            out[:] = [text for text in out if not _is_nominated(text.partition(b": ")[0], nominated)]
    return None


def _is_nominated(name: bytes, nominated: set[bytes]) -> bool:
    return name in nominated and not name.startswith((b"x-forwarded-", b"x-envoy-"))
