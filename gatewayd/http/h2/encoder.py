"""HOT: fields as HPACK writes them without a dynamic table (RFC 7541 6.1, 6.2.2, 6.2.3).

A field's bytes depend on nothing but the field: no table is kept, so what was encoded once serves every connection,
and a head is put together by joining (docs/decisions/http2.md). What the static table has is one byte; everything else
is a literal that is not indexed, and one whose value is a secret says that nobody shall ever index it.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Final

from gatewayd.http.h2.static_table import STATIC
from gatewayd.http.headers import HOP_BY_HOP
from gatewayd.http.message import Pair, RequestHead
from gatewayd.http.request import RequestBlock
from gatewayd.http.response import ResponseHead

#: Not to be kept in anybody's table: their values are guessed at a byte at a time (RFC 7541 7.1.3).
_SECRETS: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"})
_NEVER: Final = 0x10
#: A size update: the table is empty and stays so (RFC 7541 6.3).
NO_TABLE: Final = b"\x20"
_NOBODY: Final[frozenset[bytes]] = frozenset()


def integer(value: int, mask: int, first: int = 0) -> bytes:
    """``value`` behind the bits ``first``, in a prefix of ``mask`` (RFC 7541 5.1)."""
    if value < mask:
        return bytes((first | value,))
    out = bytearray((first | mask,))
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


#: Lengths of strings that are not compressed, up to 1023.
_LENGTHS: Final = tuple(integer(length, 0x7F) for length in range(1024))


def string(text: bytes) -> bytes:
    """Its length, and itself (RFC 7541 5.2)."""
    length = len(text)
    return (_LENGTHS[length] if length < 1024 else integer(length, 0x7F)) + text


_INDEXED: Final = {pair: integer(at, 0x7F, 0x80) for at, pair in enumerate(STATIC) if pair[1]}
_NAMED: Final[dict[bytes, int]] = {}
for _at, (_name, _) in enumerate(STATIC):
    _NAMED.setdefault(_name, _at)

#: Beginnings of literals by their names: the name by number, or in full. Of names met; bounded.
_STARTS: Final[dict[bytes, bytes]] = {}
_MAX_STARTS: Final = 4096
#: Fields encoded before; bounded in number and size.
_KNOWN: Final[dict[Pair, bytes]] = dict(_INDEXED)
_MAX_KNOWN: Final = 8192
_MAX_KNOWN_BYTES: Final = 256


def start(name: bytes) -> bytes:
    """The beginning of a literal named ``name``: its value's string follows."""
    known = _STARTS.get(name)
    if known is None:
        first = _NEVER if name in _SECRETS else 0
        at = _NAMED.get(name, 0)
        known = integer(at, 0x0F, first) if at else bytes((first,)) + string(name)
        if len(name) <= 64:
            if len(_STARTS) >= _MAX_STARTS:
                _STARTS.clear()
            _STARTS[name] = known
    return known


def encode(pair: Pair) -> bytes:
    """One field; its name must be in lower case."""
    known = _KNOWN.get(pair)
    if known is None:
        name, value = pair
        known = start(name) + string(value)
        if len(known) <= _MAX_KNOWN_BYTES:
            if len(_KNOWN) >= _MAX_KNOWN:
                _KNOWN.clear()
                _KNOWN.update(_INDEXED)
            _KNOWN[pair] = known
    return known


def encode_once(pairs: Iterable[Pair]) -> bytes:
    """A block of fields whose values will not come again: ids, and what was made of a clock."""
    return b"".join([start(name) + string(value) for name, value in pairs])


def encode_all(pairs: Iterable[Pair], never: Set[bytes] = _NOBODY) -> bytes:
    """A block of fields; those named in ``never`` came as never to be indexed and go on as such (6.2.3)."""
    if not never:
        return b"".join(map(encode, pairs))
    return b"".join([_secret(pair) if pair[0] in never else encode(pair) for pair in pairs])


def _secret(pair: Pair) -> bytes:
    begun = start(pair[0])
    return bytes((begun[0] | _NEVER,)) + begun[1:] + string(pair[1])


#: Lines encoded before; bounded in number and size.
_LINES: Final[dict[bytes, bytes]] = {}
_OF_CONNECTIONS: Final = HOP_BY_HOP - {b"te"}


def encode_lines(lines: Iterable[bytes], never: Set[bytes] = _NOBODY) -> bytes:
    """The same for lines (``name: value``, without CRLF) of HTTP/1.1, whose fields that speak of the connection stay
    behind (RFC 9113 8.2.2).
    """
    if never:
        pairs = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        return encode_all([pair for pair in pairs if pair[0] not in _OF_CONNECTIONS], never)
    known = _LINES.get
    return b"".join([known(line) or _new_line(line) for line in lines])


def _new_line(line: bytes) -> bytes:
    name, _, value = line.partition(b": ")
    if name in _OF_CONNECTIONS:
        return b""
    encoded = _INDEXED.get((name, value)) or start(name) + string(value)
    if len(encoded) <= _MAX_KNOWN_BYTES:
        if len(_LINES) >= _MAX_KNOWN:
            _LINES.clear()
        _LINES[line] = encoded
    return encoded


def encode_request(
    method: bytes,
    scheme: bytes,
    target: bytes,
    authority: bytes,
    fields: Iterable[Pair],
    *,
    protocol: bytes = b"",
    never: Set[bytes] = _NOBODY,
) -> bytes:
    """A request's head; ``protocol``: it asks for a tunnel by extended CONNECT (RFC 8441 4)."""
    return _control_data(method, scheme, target, authority, protocol) + encode_all(
        [pair for pair in fields if pair[0] not in _OF_CONNECTIONS], never
    )


def encoded_request(head: RequestHead, block: RequestBlock) -> bytes:
    """What of a request's head does not depend on who sent it when."""
    lines = block.forward_bytes.split(b"\r\n")
    lines.pop()
    return _control_data(
        head.method, upstream_scheme(head, block), head.target, head.authority, b""
    ) + encode_lines(lines, block.never_indexed)


def upstream_scheme(head: RequestHead, block: RequestBlock) -> bytes:
    """The scheme as it goes upstream: the client's own if it is one of HTTP's, as in Envoy."""
    return head.scheme if head.scheme in _SCHEMES else block.forwarded_proto


def _control_data(method: bytes, scheme: bytes, target: bytes, authority: bytes, protocol: bytes) -> bytes:
    """The pseudo-fields of a request."""
    pairs = [(b":method", method), (b":scheme", scheme), (b":authority", authority)]
    if protocol:
        pairs[0] = (b":method", b"CONNECT")
        pairs.append((b":protocol", protocol))
    # Paths differ from request to request: they are not remembered.
    path = (b":path", target)
    return encode_all(pairs) + (_INDEXED.get(path) or start(b":path") + string(target))


_SCHEMES: Final = frozenset({b"http", b"https"})

#: Statuses whose answers have no body.
NO_BODY_STATUSES: Final = frozenset({204, 304})
_SERVICE_TIME: Final = start(b"x-envoy-upstream-service-time")
#: The service time of so many milliseconds.
TIMES: Final = tuple(_SERVICE_TIME + string(b"%d" % ms) for ms in range(1000))
_DATE: Final = start(b"date")
_last_date = (b"", b"")


def encoded_head(head: ResponseHead) -> bytes:
    """An upstream's response as it goes downstream, but for the service time and a missing date; kept in the head."""
    # What is behind the last CRLF is nothing, or the name of the service time.
    lines = head.relay.split(b"\r\n")[1:-1]
    head.encoded = encode((b":status", b"%d" % head.status)) + encode_lines(lines, head.never_indexed)
    return head.encoded


def encoded_time(ms: int) -> bytes:
    """``x-envoy-upstream-service-time``; there are ``TIMES`` of a short one."""
    return _SERVICE_TIME + string(b"%d" % ms)


def encoded_date(line: bytes) -> bytes:
    """The ``date`` field whose line (with CRLF) is ``line``; made once a second."""
    global _last_date
    known, encoded = _last_date
    if known != line:
        encoded = _DATE + string(line[6:-2])
        _last_date = (line, encoded)
    return encoded
