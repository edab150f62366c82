"""HOT: what the fields of a request mean to a proxy, whatever the HTTP version (hardening section 2, semantics 14.3).

A codec parses field lines strictly and looks up what each name means; here is the meaning, and what a block of
them comes to: which lines go upstream, how long the body is, who the request is for.
"""

from __future__ import annotations

import re
from typing import Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http import headers
from gatewayd.http.message import Pair
from gatewayd.http.options import KEEPS_RECEIVED, HttpOptions
from gatewayd.http.request import RequestBlock

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


#: A field line, parsed: what it means, name and value, the line as it goes upstream, the bit of its name.
Line = tuple[int, Pair, bytes, int]

#: One bit for each name whose lines are joined.
BITS: Final = {name: 1 << at for at, name in enumerate(sorted(headers.JOINED_IN_REQUESTS))}


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


def join_repeated(block: RequestBlock, out: list[bytes]) -> None:
    """Repeated lines of a field that is one value become one line (semantics 5.8)."""
    at: dict[bytes, int] = {}
    joined: list[bytes] = []
    for text in out:
        if not text:
            continue
        name, _, value = text.partition(b": ")
        first = at.get(name)
        if first is not None and name in BITS:
            joined[first] = headers.joined_lines(joined[first], value)
            if name == b"user-agent":
                block.user_agent = joined[first].partition(b": ")[2][:-2]
        else:
            at[name] = len(joined)
            joined.append(text)
    out[:] = joined


def special_fields(
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
