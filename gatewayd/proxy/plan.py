"""HOT: what can be worked out about a request from its head alone, under one listener configuration.

A plan is made when a head is first seen and kept beside the parsed head (``ParsedRequest.plan``), so a
repeated head goes straight to its cluster. It dies with the listener's spec.
"""

from __future__ import annotations

from typing import Any, Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.h1.head import CHUNKED, NO_BODY, ParsedRequest
from gatewayd.http.message import Pair
from gatewayd.http.options import HttpOptions
from gatewayd.routing.route import FORWARD, Route
from gatewayd.routing.table import RouteTable

#: Methods whose requests have no body by nature: no ``content-length: 0`` is added for them.
_BODILESS: Final = frozenset({b"GET", b"HEAD", b"DELETE", b"TRACE", b"CONNECT"})


class Plan:
    """The routing decision for one head. It does not point back at the head: no cycles on the data path."""

    __slots__ = (
        "client_plain", "cluster", "destination", "extra", "failure", "plain", "policed", "prefix", "route", "suffix",
        "upgrade",
    )  # fmt: skip

    def __init__(self, failure: Failure | None, route: Route | None = None) -> None:
        #: why the request is answered here at once, or None
        self.failure = failure
        self.route = route
        #: True: ``prefix`` + client lines + request id + ``suffix`` is the whole upstream head
        self.plain = False
        #: True: a PolicyExchange serves it
        self.policed = False
        #: True: the connection's own client lines serve as they are
        self.client_plain = False
        self.destination: Any = None
        self.cluster: Any = None
        #: fields to send on besides those received; None = no more
        self.extra: list[Pair] | None = None
        self.upgrade = b""
        self.prefix = b""
        self.suffix = b""


def make_plan(
    request: ParsedRequest, table: RouteTable, options: HttpOptions, suffixes: dict[Route, bytes]
) -> Plan:
    """Route ``request`` and prepare what every request with this head has in common.

    ``suffixes`` keeps, for the listener, what ends a plain head on each route.
    """
    head = request.head
    if request.error is not None or head is None:
        return Plan(request.error)
    _, route = table.lookup(head)
    if route is None:
        return Plan(errors.NO_ROUTE)
    plan = Plan(None, route)
    if route.action != FORWARD:
        return plan
    plan.policed = route.policed
    block = request.block
    method = head.method
    if block.upgrade or method not in _BODILESS or not options.request_id:
        _extra_fields(plan, request, options)
    if len(route.destinations) == 1:
        plan.destination = route.destinations[0]
        plan.cluster = plan.destination.cluster
    if not route.plain or plan.upgrade or options.x_forwarded_host or options.x_forwarded_port:
        return plan
    plan.plain = True
    plan.client_plain = block.forwarded_for is None and block.forwarded_proto is options.scheme
    received = block.forward_bytes
    if plan.extra is not None:
        received += b"".join([b"%b: %b\r\n" % pair for pair in plan.extra])
    plan.prefix = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b" % (method, head.target, head.authority, received)
    suffix = suffixes.get(route)
    if suffix is None:
        suffix = suffixes[route] = _suffix(route, options)
    plan.suffix = suffix
    return plan


def _extra_fields(plan: Plan, request: ParsedRequest, options: HttpOptions) -> None:
    block = request.block
    extra: list[Pair] = []
    if block.content_length < 0 and not block.chunked and request.method not in _BODILESS:
        extra.append((b"content-length", b"0"))  # golden 14_06 post-without-length
    if block.upgrade == b"websocket" and request.body == NO_BODY:
        plan.upgrade = block.upgrade
        extra += [(b"connection", b"Upgrade"), (b"upgrade", block.upgrade)]
    if block.request_id is not None and not options.request_id:
        extra.append((b"x-request-id", block.request_id))  # semantics 14.3.3
    plan.extra = extra or None


def _suffix(route: Route, options: HttpOptions) -> bytes:
    tail = b"\r\n" if options.request_id else b""
    if route.decorator:
        tail += b"x-envoy-decorator-operation: %b\r\n" % route.decorator
    if options.attempt_count:
        tail += b"x-envoy-attempt-count: 1\r\n"
    return tail + b"\r\n"


def request_head(method: bytes, target: bytes, authority: bytes, fields: list[Pair]) -> bytes:
    """Request line and fields as HTTP/1 lines, without the empty line that ends a head."""
    out = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, authority)]
    for name, value in fields:
        out += (name, b": ", value, b"\r\n")
    return b"".join(out)


def is_chunked(request: ParsedRequest) -> bool:
    """Whether the request's body goes upstream in chunks."""
    return request.body == CHUNKED
