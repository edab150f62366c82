"""HOT: what can be worked out about a request from its head alone, under one listener configuration.

A plan is made when a head is first seen and kept beside the parsed head (``ParsedRequest.plan``), so a
repeated head goes straight to its cluster. It dies with the listener's spec.
"""

from __future__ import annotations

from typing import Any, Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.h1.head import CHUNKED, ParsedRequest
from gatewayd.http.message import Pair
from gatewayd.http.options import HttpOptions
from gatewayd.routing.route import FORWARD, Route
from gatewayd.routing.table import RouteTable

#: Methods whose requests have no body by nature: no ``content-length: 0`` is added for them.
_BODILESS: Final = frozenset({b"GET", b"HEAD", b"DELETE", b"TRACE", b"CONNECT"})


class Plan:
    """The routing decision for one head."""

    __slots__ = (
        "client_plain", "cluster", "destination", "failure", "fields", "plain", "prefix", "request", "route", "suffix",
        "upgrade",
    )  # fmt: skip

    def __init__(self, request: ParsedRequest) -> None:
        self.request = request
        #: why the request is answered here at once, or None
        self.failure: Failure | None = request.error
        self.route: Route | None = None
        #: True: ``prefix`` + client lines + request id + ``suffix`` is the whole upstream head
        self.plain = False
        #: True: the connection's own client lines serve as they are
        self.client_plain = False
        self.destination: Any = None
        self.cluster: Any = None
        self.prefix = b""
        self.suffix = b""
        #: the received fields to send on, for heads that are built per request; not to be changed
        self.fields: list[Pair] = []
        self.upgrade = b""


def make_plan(request: ParsedRequest, table: RouteTable, options: HttpOptions) -> Plan:
    """Route ``request`` and prepare what every request with this head has in common."""
    plan = Plan(request)
    head = request.head
    if plan.failure is not None or head is None:
        return plan
    _, route = table.lookup(head)
    if route is None:
        plan.failure = errors.NO_ROUTE
        return plan
    plan.route = route
    if route.action != FORWARD:
        return plan
    block = request.block
    extra: list[Pair] = []
    if block.content_length < 0 and not block.chunked and head.method not in _BODILESS:
        extra.append((b"content-length", b"0"))  # golden 14_06 post-without-length
    if block.upgrade == b"websocket" and request.body == 0:
        plan.upgrade = block.upgrade
        extra += [(b"connection", b"Upgrade"), (b"upgrade", block.upgrade)]
    if block.request_id is not None and not options.request_id:
        extra.append((b"x-request-id", block.request_id))  # semantics 14.3.3
    plan.fields = [*block.forward, *extra] if extra else block.forward
    if len(route.destinations) == 1:
        plan.destination = route.destinations[0]
        plan.cluster = plan.destination.cluster
    if not route.plain or plan.upgrade or options.x_forwarded_host or options.x_forwarded_port:
        return plan
    plan.plain = True
    plan.client_plain = block.forwarded_for is None and block.forwarded_proto == options.scheme
    received = block.forward_bytes
    for name, value in extra:
        received += b"%b: %b\r\n" % (name, value)
    plan.prefix = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b" % (head.method, head.target, head.authority, received)
    tail = b"\r\n" if options.request_id else b""
    if route.decorator:
        tail += b"x-envoy-decorator-operation: %b\r\n" % route.decorator
    if options.attempt_count:
        tail += b"x-envoy-attempt-count: 1\r\n"
    plan.suffix = tail + b"\r\n"
    return plan


def request_head(method: bytes, target: bytes, authority: bytes, fields: list[Pair]) -> bytes:
    """Request line and fields as HTTP/1 lines, without the empty line that ends a head."""
    out = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, authority)]
    for name, value in fields:
        out += (name, b": ", value, b"\r\n")
    return b"".join(out)


def is_chunked(request: ParsedRequest) -> bool:
    """Whether the request's body goes upstream in chunks."""
    return request.body == CHUNKED
