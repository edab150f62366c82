"""What of a request is hashed for ``consistentHash``, and how several hashes become one (semantics 9.2 to 9.5). Pure.

Hashes are xxHash64, seed 0. The request is looked at as it goes upstream: after rewrites and header
operations, as Envoy does. Where nothing is found there is no hash, and the request may go anywhere (9.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from xxhash import xxh64_hexdigest, xxh64_intdigest

from gatewayd.http.message import Fields, Pair

_COOKIE: Final = b"cookie"
_SET_COOKIE: Final = b"set-cookie"
_ALL_BITS: Final = (1 << 64) - 1


@dataclass(slots=True)
class HashInput:
    """One request as the policies see it. Made only for routes that have any."""

    #: of the request as it goes upstream; Host under ``host``
    fields: Fields
    #: path with query as it goes upstream
    target: bytes
    #: the trusted client's IP address, without port (semantics 9.5, 14.1)
    client_ip: str
    #: the ends of the client's connection, each ``ip:port``, without anything between: of it cookies are made
    connection: str = ""
    #: ``set-cookie`` fields of the answer, for cookies that had to be made (9.4)
    set_cookies: list[Pair] = field(default_factory=list)


class HashPolicy(Protocol):
    """One way to get a hash."""

    @property
    def terminal(self) -> bool:
        """Whether the policies behind it are left out once there is a hash."""

    def hash_of(self, request: HashInput) -> int | None:
        """64 bits, or None when the request has nothing to hash."""


@dataclass(frozen=True, slots=True)
class HeaderHash:
    """``httpHeaderName``; ``name`` is lower-case."""

    name: bytes
    terminal: bool = False

    def hash_of(self, request: HashInput) -> int | None:
        """Of all lines of the field, in sorted order, so that their order does not matter."""
        values = request.fields.values(self.name)
        if not values:
            return None
        if len(values) == 1:
            return xxh64_intdigest(values[0])
        found = 0
        for value in sorted(values):
            found = xxh64_intdigest(value, found)  # the hash so far is the seed of the next
        return found


@dataclass(frozen=True, slots=True)
class CookieHash:
    """``httpCookie``. With ``ttl_s`` a cookie that is missing or empty is made; 0: for the session (9.4)."""

    name: bytes
    ttl_s: int | None = None
    path: bytes = b""
    #: further attributes; a value of b"" prints the name alone
    attributes: tuple[Pair, ...] = ()
    terminal: bool = False

    def hash_of(self, request: HashInput) -> int | None:
        """Of the value without quotes. A cookie that is made has the same value for all of a connection."""
        value = cookie_value(request.fields.values(_COOKIE), self.name)
        if not value and self.ttl_s is not None:
            value = xxh64_hexdigest(request.connection.encode()).encode()
            request.set_cookies.append((_SET_COOKIE, self._set_cookie(value)))
        return xxh64_intdigest(value) if value else None

    def _set_cookie(self, value: bytes) -> bytes:
        out = [b'%b="%b"' % (self.name, value)]
        if self.ttl_s:
            out.append(b"Max-Age=%d" % self.ttl_s)
        if self.path:
            out.append(b"Path=" + self.path)
        out += [b"%b=%b" % (name, given) if given else name for name, given in self.attributes]
        out.append(b"HttpOnly")
        return b"; ".join(out)


@dataclass(frozen=True, slots=True)
class SourceIpHash:
    """``useSourceIp``."""

    terminal: bool = False

    def hash_of(self, request: HashInput) -> int | None:
        """Of the address as text."""
        return source_ip_hash(request.client_ip)


@dataclass(frozen=True, slots=True)
class QueryHash:
    """``httpQueryParameterName``; names and values are compared and hashed as they are written."""

    name: bytes
    terminal: bool = False

    def hash_of(self, request: HashInput) -> int | None:
        """Of the first such parameter; one without value is there, and empty."""
        _, mark, query = request.target.partition(b"?")
        if not mark:
            return None
        for parameter in query.split(b"&"):
            name, _, value = parameter.partition(b"=")
            if name == self.name:
                return xxh64_intdigest(value)
        return None


def request_hash(policies: Sequence[HashPolicy], request: HashInput) -> int | None:
    """The hash of a request, 64 bits, or None when no policy finds anything.

    Each further hash is combined with those before it turned by one bit, so that two equal ones do not
    cancel each other out.
    """
    found: int | None = None
    for policy in policies:
        more = policy.hash_of(request)
        if more is not None:
            found = more if found is None else ((found << 1 & _ALL_BITS) | found >> 63) ^ more
        if policy.terminal and found is not None:
            break
    return found


def source_ip_hash(ip: str) -> int | None:
    """The hash of a client's IP address as text, also for TCP (9.5); None without one (UNIX sockets)."""
    return xxh64_intdigest(ip.encode()) if ip else None


def cookie_value(lines: Sequence[bytes], name: bytes) -> bytes:
    """The value of the first cookie called ``name`` in Cookie fields, without its quotes; b"" when absent.

    Spaces before a name are no part of it, those behind a value are: this is how Envoy reads them.
    """
    for line in lines:
        for pair in line.split(b";"):
            key, mark, value = pair.lstrip(b" ").partition(b"=")
            if mark and key == name:
                if len(value) >= 2 and value.startswith(b'"') and value.endswith(b'"'):
                    return value[1:-1]
                return value
    return b""
