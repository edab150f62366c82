"""The plain twin of ``gatewayd.http.h1.head``: a request head read line by line, with no memory and no tables.

It answers the same questions in the words of the specification (hardening 2 and 4, semantics 5.8 and 14), and is
written to be checked by eye. Random tests compare the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gatewayd.http.headers import JOINED_IN_REQUESTS, REMOVED_AT_EDGE

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"te", b"upgrade"}
SET_BY_US = {
    b"content-length", b"host", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto",
    b"x-request-id",
}  # fmt: skip
#: Never taken away because a client's Connection field says so.
PROTECTED = {
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"te",
    b"x-request-id",
    b"close",
    b"keep-alive",
}


class Refused(Exception):
    """The head must not be forwarded; the argument is the status."""


@dataclass
class PlainHead:
    """What a head says."""

    fields: list[tuple[bytes, bytes]] = field(default_factory=list)  # as received, names in lower case
    forward: list[tuple[bytes, bytes]] = field(default_factory=list)
    host: bytes | None = None
    content_length: int = -1
    chunked: bool = False
    close: bool = False
    upgrade: bytes = b""
    forwarded_for: bytes | None = None
    request_id: bytes | None = None
    user_agent: bytes = b""


def read_fields(lines: list[bytes], max_fields: int = 100) -> PlainHead:
    """Read field lines without their line ends; raises Refused."""
    if len(lines) > max_fields:
        raise Refused(431)
    head = PlainHead()
    for line in lines:
        if any(byte in line for byte in (*range(9), *range(10, 32), 127)):
            raise Refused(400)
        name, colon, value = line.partition(b":")
        if not colon or TOKEN.fullmatch(name) is None:
            raise Refused(400)
        head.fields.append((name.lower(), value.strip(b" \t")))
    _framing(head)
    _connection(head)
    _singles(head)
    _forward(head)
    return head


def _all(head: PlainHead, wanted: bytes) -> list[bytes]:
    return [value for name, value in head.fields if name == wanted]


def _framing(head: PlainHead) -> None:
    hosts = _all(head, b"host")
    if len(hosts) > 1:
        raise Refused(400)
    if hosts:
        head.host = hosts[0]
    lengths, codings = _all(head, b"content-length"), _all(head, b"transfer-encoding")
    # Lines are judged in the order they came; both kinds of fault end the connection.
    seen: set[bytes] = set()
    for name, value in head.fields:
        if name == b"content-length" and (
            name in seen or re.fullmatch(rb"[0-9]{1,19}", value) is None or int(value) >= 2**63
        ):
            raise Refused(400)
        if name == b"transfer-encoding" and (name in seen or value.lower() != b"chunked"):
            raise Refused(501)
        seen.add(name)
    if lengths and codings:
        raise Refused(400)
    head.content_length = int(lengths[0]) if lengths else -1
    head.chunked = bool(codings)


def _tokens(values: list[bytes]) -> list[bytes]:
    return [token.strip(b" \t").lower() for value in values for token in value.split(b",")]


def _connection(head: PlainHead) -> None:
    tokens = _tokens(_all(head, b"connection"))
    head.close = b"close" in tokens
    if b"upgrade" in tokens:
        head.upgrade = b",".join(value for value in _all(head, b"upgrade") if value).lower()


def _singles(head: PlainHead) -> None:
    head.forwarded_for = b",".join(value for value in _all(head, b"x-forwarded-for") if value) or None
    ids = _all(head, b"x-request-id")
    head.request_id = ids[-1] if ids else None
    head.user_agent = b",".join(value for value in _all(head, b"user-agent") if value)


def _dropped(name: bytes) -> bool:
    if name in HOP_BY_HOP | REMOVED_AT_EDGE or name == b"http2-settings":
        return True
    if name in (b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id"):
        return True  # written anew
    alike = name.replace(b"_", b"-")
    return alike != name and alike in HOP_BY_HOP | REMOVED_AT_EDGE | SET_BY_US


def _forward(head: PlainHead) -> None:
    nominated = set(_tokens(_all(head, b"connection"))) - PROTECTED
    for name, value in head.fields:
        if _dropped(name):
            continue
        if name in nominated and not name.startswith((b"x-forwarded-", b"x-envoy-")):
            continue
        earlier = [at for at, pair in enumerate(head.forward) if pair[0] == name]
        if earlier and name in JOINED_IN_REQUESTS:
            both = [part for part in (head.forward[earlier[0]][1], value) if part]
            head.forward[earlier[0]] = (name, b",".join(both))
        else:
            head.forward.append((name, value))
    if b"trailers" in _tokens(_all(head, b"te")):
        head.forward += [(b"te", b"trailers")] * sum(
            b"trailers" in _tokens([value]) for value in _all(head, b"te")
        )
    if head.chunked:
        head.forward.append((b"transfer-encoding", b"chunked"))
