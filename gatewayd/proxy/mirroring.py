"""The copies of one request: made when the first attempt is, sent when the request is complete (semantics 6.9.2).

A copy is the request as it goes upstream, rewrites and header operations included, with the proxy named once more
in ``x-forwarded-for`` and marked internal (6.9.4). A request whose body is larger than what a retry would keep is
not copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatewayd.http.message import Pair
from gatewayd.proxy.plan import is_chunked, request_head
from gatewayd.proxy.shadow import Shadow
from gatewayd.proxy.upstream_head import built_parts

if TYPE_CHECKING:
    from gatewayd.proxy.exchange import Exchange

_INTERNAL: Final[Pair] = (b"x-envoy-internal", b"true")
_FORWARDED_FOR: Final = b"x-forwarded-for"


class Mirroring:
    """What is kept of a request until its copies can be sent."""

    __slots__ = ("_body", "_clusters", "_exchange", "_head", "_size")

    def __init__(self, exchange: Exchange, clusters: list[Any]) -> None:
        self._exchange = exchange
        self._clusters = clusters
        self._head = b""
        self._body: list[bytes] = []
        self._size = 0

    def begin(self) -> None:
        """The first attempt has been made: this is what the copies say."""
        exchange = self._exchange
        method, target, authority, fields = built_parts(exchange)
        local = exchange.connection.local_address.rpartition(":")[0].strip("[]").encode()
        pairs = [
            (name, b"%b,%b" % (value, local)) if name == _FORWARDED_FOR else (name, value)
            for name, value in fields
        ]
        self._head = request_head(method, target, authority, [*pairs, _INTERNAL]) + b"\r\n"
        if exchange.stream.request_done:
            self._send()

    def data(self, data: bytes, end: bool) -> None:
        """A piece of the body came."""
        if not self._clusters:
            return
        if data:
            self._size += len(data)
            if self._size > self._exchange.stream.edge.limits.retry_buffer_bytes:
                self._clusters = []
                self._body = []
                return
            self._body.append(data)
        if end and self._head:
            self._send()

    def _send(self) -> None:
        exchange = self._exchange
        body = b"".join(self._body)
        if is_chunked(exchange.parsed):
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        clusters, self._clusters = self._clusters, []
        route = exchange.route
        timeout_s = route.timeout_s if route is not None else 0.0
        hints = exchange.hints()
        for cluster in clusters:
            shadow = Shadow(cluster, exchange.stream.edge, exchange.method, self._head + body, hints)
            shadow.send(exchange.proxy.wheel, timeout_s)
