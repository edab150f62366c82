"""HOT for routes with mirrors: the copies of one request (semantics 6.9).

What they say is settled when the first attempt is made; they are sent when the request is complete (6.9.2). A copy
is the request as it goes upstream, rewrites and header operations included, with the proxy named once more in
``x-forwarded-for`` and marked internal (6.9.4). A request whose body is larger than what a retry would keep is not
copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import random
from typing import TYPE_CHECKING, Any, Final

from gatewayd.http.message import Pair, Trailers
from gatewayd.policies.fault import MILLION
from gatewayd.proxy import bodies
from gatewayd.proxy.plan import is_chunked, request_head
from gatewayd.proxy.shadow import send_copies
from gatewayd.proxy.upstream_head import built_parts, encoded_parts
from gatewayd.routing.route import Mirror
from gatewayd.upstream.spec import HTTP1, HTTP2

if TYPE_CHECKING:
    from gatewayd.proxy.exchange import Exchange

_INTERNAL: Final[Pair] = (b"x-envoy-internal", b"true")
_END: Final = b"x-envoy-internal: true\r\n\r\n"
_FORWARDED_FOR: Final = b"x-forwarded-for"


def draw(mirrors: Sequence[Mirror]) -> list[Any]:
    """The clusters that get a copy of a request, each drawn for itself (6.9.3)."""
    drawn = []
    for mirror in mirrors:
        share = mirror.millionths
        if share >= MILLION or random() * MILLION < share:
            drawn.append(mirror.cluster)
    return drawn


class Encoded:
    """The copies of a request for mirrors that are spoken to in HTTP/2."""

    __slots__ = ("body", "head", "trailers")

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.body = b""
        self.trailers: Trailers | None = None


def copied(exchange: Exchange, clusters: Sequence[Any]) -> tuple[bytes, Encoded | None]:
    """The head of the copies in the forms that ``clusters`` take: as HTTP/1 lines (``b""``: nobody does), and encoded.

    The exchange has made its first attempt.
    """
    lines, encoded = b"", None
    for cluster in clusters:
        protocol = cluster.spec.protocol
        if protocol != HTTP2 and not lines:
            lines = copied_head(exchange)
        if protocol != HTTP1 and encoded is None:
            encoded = Encoded(encoded_parts(exchange, _copied_parts(exchange)))
    return lines, encoded


class Mirroring:
    """What is kept of a request until its copies can be sent."""

    __slots__ = ("_begun", "_body", "_clusters", "_encoded", "_exchange", "_lines", "_size", "_trailers")

    def __init__(self, exchange: Exchange, clusters: Sequence[Any]) -> None:
        self._exchange = exchange
        self._clusters = clusters
        self._begun = False
        self._lines = b""
        self._encoded: Encoded | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._trailers: Trailers | None = None

    def begin(self) -> None:
        """The first attempt has been made: this is what the copies say."""
        exchange = self._exchange
        self._begun = True
        self._lines, self._encoded = copied(exchange, self._clusters)
        if exchange.stream.request_done:
            self._send()

    def data(self, data: bytes, end: bool, trailers: Trailers | None = None) -> None:
        """A piece of the body came, or what ends it."""
        if not self._clusters:
            return
        if data:
            self._size += len(data)
            if self._size > self._exchange.stream.edge.limits.retry_buffer_bytes:
                self._clusters = ()
                self._body = []
                return
            bodies.keep(self._body, data)
        self._trailers = trailers
        if end and self._begun:
            self._send()

    def _send(self) -> None:
        exchange = self._exchange
        body = b"".join(self._body)
        encoded = self._encoded
        if encoded is not None:
            encoded.body = body
            encoded.trailers = self._trailers
        if is_chunked(exchange.parsed):  # HTTP/1 leaves the trailers out (14.6.9)
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        clusters, self._clusters = self._clusters, ()
        send_copies(exchange, clusters, self._lines + body, encoded)


def copied_head(exchange: Exchange) -> bytes:
    """The head of the copies of an exchange's request, as HTTP/1 lines."""
    plan = exchange.plan
    client = exchange.connection
    if plan.prepared and plan.client_plain and exchange.parsed.block.prefix:
        lines = client.copied
        if not lines:
            lines = client.copied = _copied_lines(client.lines, client.appended, client.local_address)
        suffix = plan.copied_suffix
        if not suffix:
            suffix = plan.copied_suffix = plan.suffix[:-2] + _END
        return b"".join((exchange.parsed.block.prefix, plan.extra_lines, lines, exchange.request_id, suffix))
    return request_head(*_copied_parts(exchange)) + b"\r\n"


def _copied_parts(exchange: Exchange) -> tuple[bytes, bytes, bytes, list[Pair]]:
    """Method, target, authority and fields of the copies."""
    method, target, authority, fields = built_parts(exchange)
    local = _ip(exchange.connection.local_address)
    pairs = [
        (_FORWARDED_FOR, b"%b,%b" % (pair[1], local)) if pair[0] == _FORWARDED_FOR else pair
        for pair in fields
    ]
    if exchange.plan.traced:
        pairs = exchange.trace.copied(pairs)  # type: ignore[attr-defined]  # a traced plan has a traced exchange
    return method, target, authority, [*pairs, _INTERNAL]


def _copied_lines(lines: bytes, appended: bytes, local_address: str) -> bytes:
    """A connection's own lines (:class:`gatewayd.proxy.forwarding.Client`) as they stand in a copy."""
    # From the right: a field of the client's certificate before it may say anything.
    before, name, behind = lines.rpartition(b"x-forwarded-for: ")
    return b"".join((before, name, appended, b",", _ip(local_address), behind[len(appended) :]))


def _ip(address: str) -> bytes:
    return address.rpartition(":")[0].strip("[]").encode()
