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


class Copy:
    """What the copies of one request are sent from."""

    __slots__ = ("body", "encoded", "lines", "trailers")

    def __init__(self, exchange: Exchange, clusters: Sequence[Any]) -> None:
        """The head, in the forms that ``clusters`` take; the exchange has made its first attempt."""
        #: HTTP/1 lines, with the body behind them once it is there, and as HPACK encodes it
        self.lines = self.encoded = b""
        for cluster in clusters:
            protocol = cluster.spec.protocol
            if protocol != HTTP2 and not self.lines:
                self.lines = copied_head(exchange)
            if protocol != HTTP1 and not self.encoded:
                self.encoded = encoded_parts(exchange, _copied_parts(exchange))
        self.body = b""
        self.trailers: Trailers | None = None

    def complete(self, body: bytes, trailers: Trailers | None, *, chunked: bool) -> None:
        """What follows the head; ``chunked``: HTTP/1 sends it in chunks, without the trailers (14.6.9)."""
        self.body = body
        self.trailers = trailers
        if self.lines:
            if chunked:
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
            self.lines += body


class Mirroring:
    """What is kept of a request until its copies can be sent."""

    __slots__ = ("_body", "_clusters", "_copy", "_exchange", "_size", "_trailers")

    def __init__(self, exchange: Exchange, clusters: Sequence[Any]) -> None:
        self._exchange = exchange
        self._clusters = clusters
        self._copy: Copy | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._trailers: Trailers | None = None

    def begin(self) -> None:
        """The first attempt has been made: this is what the copies say."""
        exchange = self._exchange
        self._copy = Copy(exchange, self._clusters)
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
        if end and self._copy is not None:
            self._send()

    def _send(self) -> None:
        copy = self._copy
        assert copy is not None
        copy.complete(b"".join(self._body), self._trailers, chunked=is_chunked(self._exchange.parsed))
        clusters, self._clusters = self._clusters, ()
        send_copies(self._exchange, clusters, copy)


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
