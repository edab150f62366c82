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
from gatewayd.http.options import KEEPS_RECEIVED, HttpOptions

_MAX_LENGTH_DIGITS: Final = 19

#: Authorities found good lately; bounded in number and in size, for strangers choose them.
_AUTHORITIES: Final[set[bytes]] = set()
_MAX_AUTHORITIES: Final = 16384
_MAX_AUTHORITY_BYTES: Final = 128

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
# Up to USER_AGENT a line goes upstream as it is.
(
    PLAIN, JOINED, USER_AGENT, HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, TE, UPGRADE,
    FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_CERTIFICATE, REQUEST_ID, DROP, REMOVE, H2C,
) = range(16)  # fmt: skip

_KINDS: Final[dict[bytes, int]] = {
    **dict.fromkeys(headers.JOINED_IN_REQUESTS, JOINED),
    **dict.fromkeys(headers.HOP_BY_HOP, DROP),
    **dict.fromkeys(headers.REMOVED_AT_EDGE, REMOVE),
    b"user-agent": USER_AGENT,
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"te": TE,
    b"upgrade": UPGRADE,
    b"http2-settings": H2C,
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-forwarded-proto": FORWARDED_PROTO,
    b"x-forwarded-client-cert": FORWARDED_CERTIFICATE,
    b"x-request-id": REQUEST_ID,
}


def kind_of(name: bytes) -> int:
    """What a field name, received in whatever case, means to the parser."""
    lower = name.lower()
    kind = _KINDS.get(lower)
    if kind is not None:
        return kind
    return REMOVE if b"_" in lower and lower.replace(b"_", b"-") in headers.OWN_NAMES else PLAIN


class RequestBlock:
    """A request's field block, parsed."""

    __slots__ = (
        "_forward", "_forward_bytes", "authority", "chunked", "close", "content_length", "error",
        "forwarded_certificate", "forwarded_for", "forwarded_proto", "prefix", "request_id", "texts",
        "upgrade", "user_agent",
    )  # fmt: skip

    def __init__(self) -> None:
        self.error: Failure | None = None
        self.authority: bytes | None = None
        self.content_length = -1
        self.chunked = False
        self.close = False
        #: value of Upgrade when Connection asked for it, lower-case; b"" = none
        self.upgrade = b""
        self.forwarded_for: bytes | None = None
        #: x-forwarded-client-cert, None unless the options may send it on (semantics 3.18)
        self.forwarded_certificate: bytes | None = None
        #: x-forwarded-proto as sent upstream (semantics 14.2.1)
        self.forwarded_proto = b"http"
        self.request_id: bytes | None = None
        self.user_agent = b""
        #: request line, host and the lines that go upstream, as a route without operations sends them; b"" until
        #: somebody made it
        self.prefix = b""
        self._forward_bytes: bytes | None = None
        self._forward: list[Pair] | None = None
        #: what of each line goes upstream (b"" where nothing does), while a shape may be made of them
        self.texts: list[bytes] | None = None

    @property
    def forward_bytes(self) -> bytes:
        """The lines that go upstream, each ended by CRLF: without host, hop-by-hop and edge fields."""
        text = self._forward_bytes
        if text is None:
            text = self._forward_bytes = self.prefix.split(b"\r\n", 2)[2]
        return text

    @forward_bytes.setter
    def forward_bytes(self, text: bytes) -> None:
        self._forward_bytes = text

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


def _fail(failure: Failure) -> RequestBlock:
    block = RequestBlock()
    block.error = failure
    return block


#: A field line, parsed: what it means, name and value, the line as it goes upstream, the bit of its name.
Line = tuple[int, Pair, bytes, int]

#: Lines seen more than once. Most of a head repeats even when the head does not.
_LINES: Final[Memo[Line]] = Memo(generation=4096, max_key_bytes=512)

#: name as received -> (kind, lower-case name, start of its line, bit); only valid tokens, bounded.
_NAMES: Final[dict[bytes, tuple[int, bytes, bytes, int]]] = {}
_MAX_NAMES: Final = 4096
#: one bit for each name whose lines are joined
_BITS: Final = {name: 1 << at for at, name in enumerate(sorted(headers.JOINED_IN_REQUESTS))}


def _learn_name(name: bytes) -> tuple[int, bytes, bytes, int] | None:
    if not name or name.translate(None, headers.TOKEN_BYTES):
        return None
    lower = name.lower()
    meaning = (kind_of(lower), lower, lower + b": ", _BITS.get(lower, 0))
    if len(name) <= 64:
        if len(_NAMES) >= _MAX_NAMES:
            _NAMES.clear()
        _NAMES[name] = meaning
    return meaning


def _new_line(line: bytes) -> Line | Failure:
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


def is_known_authority(authority: bytes) -> bool:
    """``is_authority``, remembered."""
    if authority in _AUTHORITIES:
        return True
    if is_authority(authority) is None:
        return False
    if len(authority) <= _MAX_AUTHORITY_BYTES:
        if len(_AUTHORITIES) >= _MAX_AUTHORITIES:
            _AUTHORITIES.clear()
        _AUTHORITIES.add(authority)
    return True


def parse_lines(lines: list[bytes], options: HttpOptions) -> RequestBlock:
    """Parse field ``lines``, without their line ends, one by one."""
    if len(lines) > options.limits.max_request_fields:
        return _fail(errors.TOO_MANY_FIELDS)
    block = RequestBlock()
    block.forwarded_proto = options.scheme
    out: list[bytes] = []  # one for each line, b"" where nothing goes upstream
    append = out.append
    known = _LINES.get
    special: list[Line] = []
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
        if kind <= USER_AGENT:
            append(text)
            if bit:
                if names & bit:
                    repeated = True
                names |= bit
                if kind == USER_AGENT:
                    block.user_agent = pair[1]
        elif kind == HOST:
            if block.authority is not None:
                return _fail(errors.BAD_REQUEST)  # two Host lines: two readings
            block.authority = pair[1]
            append(b"")
        else:
            special.append(entry)
            append(text if kind == CONTENT_LENGTH else b"")
    if block.authority is not None and not is_known_authority(block.authority):
        return _fail(errors.BAD_HOST)
    if repeated:
        _join_repeated(block, out)
    else:
        block.texts = out
    if special:
        failure = _special_fields(block, out, special, options)
        if failure is not None:
            return _fail(failure)
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
    block: RequestBlock, out: list[bytes], special: list[Line], options: HttpOptions
) -> Failure | None:
    """Fields that frame or that are hop-by-hop; extends ``out``, the lines that go upstream."""
    nominated: set[bytes] = set()
    upgrade = b""
    for entry in special:
        kind, (_, value), _, _ = entry
        if kind == CONTENT_LENGTH:
            if block.content_length >= 0 or not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
                return errors.BAD_REQUEST
            block.content_length = int(value)
            if block.content_length >> 63:
                return errors.BAD_REQUEST
        elif kind == TRANSFER_ENCODING:
            if value.lower() != b"chunked" or block.chunked:
                return errors.UNKNOWN_TRANSFER_CODING
            block.chunked = True
            out.append(b"transfer-encoding: chunked\r\n")
        elif kind == CONNECTION:
            nominated.update(token.strip(b" \t").lower() for token in value.split(b","))
        elif kind == TE:
            if b"trailers" in [t.strip(b" \t").lower() for t in value.split(b",")]:
                out.append(b"te: trailers\r\n")
        elif kind == UPGRADE:
            upgrade = upgrade + b"," + value if upgrade and value else upgrade or value
        elif kind == FORWARDED_FOR:
            before = block.forwarded_for
            block.forwarded_for = before + b"," + value if before and value else before or value
        elif kind == FORWARDED_PROTO:
            if options.trusted_proxies:
                block.forwarded_proto = value
        elif kind == FORWARDED_CERTIFICATE:
            if options.client_certificate in KEEPS_RECEIVED:
                before = block.forwarded_certificate
                block.forwarded_certificate = before + b"," + value if before and value else before or value
        elif kind == REQUEST_ID:
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
            block.texts = None
            out[:] = [text for text in out if not _is_nominated(text.partition(b": ")[0], nominated)]
    return None


def _is_nominated(name: bytes, nominated: set[bytes]) -> bool:
    return name in nominated and not name.startswith((b"x-forwarded-", b"x-envoy-"))
