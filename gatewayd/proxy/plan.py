"""HOT: what can be worked out about a request from its head alone, under one listener configuration.

A plan is chosen when a head is first seen and kept beside the parsed head (``ParsedRequest.plan``), so a
repeated head goes straight to its cluster. Most heads need nothing of their own and share their route's plan, which
stays with the route; other plans die with the listener's spec.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.grpc_status import is_grpc
from gatewayd.http.h2.encoder import encode_all, encode_lines
from gatewayd.http.message import Pair, RequestHead
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import CHUNKED, NO_BODY, ParsedRequest
from gatewayd.observe.propagation import Context, read_context, tells
from gatewayd.policies.fault import MILLION
from gatewayd.policies.grpc_timeout import limited_s, written
from gatewayd.routing.route import FORWARD, Route
from gatewayd.routing.table import RouteTable
from gatewayd.upstream.spec import HTTP1

# Kinds of exchanges, by what their routes and clusters ask for.
PLAIN: Final = 0
MIRRORED: Final = 1
POLICED: Final = 2

#: Methods whose requests have no body by nature: no ``content-length: 0`` is added for them.
_BODILESS: Final = frozenset({b"GET", b"HEAD", b"DELETE", b"TRACE", b"CONNECT"})


#: The line of a request that may be a gRPC one.
_GRPC_TYPE: Final = b"content-type: application/grpc"

#: What HTTP/1.1 has to say of a request without a body; in HTTP/2 its frames say so. Known by identity.
NOTHING_FOLLOWS: Final[Pair] = (b"content-length", b"0")


class Plan:
    """The routing decision for a head, or for all that need nothing of their own on one route.

    It does not point back at a head: no cycles on the data path.
    """

    __slots__ = (
        "_encoded", "client_plain", "client_told", "cluster", "context", "copied_suffix", "destination", "extra",
        "extra_lines", "failure", "mirrors", "mirrors_take_lines", "per_try_timeout_s", "plain", "prepared", "route",
        "served_by", "suffix", "tells_timeout", "timeout_s", "traced", "upgrade",
    )  # fmt: skip

    def __init__(
        self, failure: Failure | None, route: Route | None = None, context: Context | None = None
    ) -> None:
        #: why the request is answered here at once, or None
        self.failure = failure
        self.route = route
        #: True: the block's prefix + ``extra_lines`` + client lines + request id + ``suffix`` is the whole
        #: upstream head of a first attempt
        self.prepared = False
        #: True: besides, nothing is to be decided or waited for; the request goes straight to the cluster
        self.plain = False
        #: what kind of exchange serves it
        self.served_by = PLAIN
        #: True: the connection's own client lines serve as they are
        self.client_plain = False
        #: True: they do, with those of a trace
        self.client_told = False
        self.destination: Any = None
        self.cluster: Any = None
        #: fields to send on besides those received; None = no more
        self.extra: list[Pair] | None = None
        self.extra_lines = b""
        self.upgrade = b""
        self.suffix = b""
        #: what the client says of a trace; None: nothing, or nobody wants to know
        self.context = context
        #: True: the upstream is told of the exchange's trace
        self.traced = False
        #: the clusters that get a copy of every request; empty: none, or it is drawn for each
        self.mirrors: tuple[Any, ...] = ()
        #: whichever get one, it goes in HTTP/1
        self.mirrors_take_lines = True
        #: of the copies; made when first needed (:mod:`gatewayd.proxy.mirroring`)
        self.copied_suffix = b""
        #: for the request and for one attempt; 0 = none (semantics 6.6, 6.7.4)
        self.timeout_s = 0.0
        self.per_try_timeout_s = 0.0
        #: True: a gRPC server is told of them, by another value than the client's (6.6.3)
        self.tells_timeout = False
        self._encoded: tuple[bytes, bytes] | None = None

    @property
    def encoded(self) -> tuple[bytes, bytes]:
        """``extra_lines`` and ``suffix`` as HTTP/2 writes them; made when first asked for."""
        encoded = self._encoded
        if encoded is None:
            extra = [pair for pair in self.extra or () if pair is not NOTHING_FOLLOWS]
            lines = [line for line in self.suffix.split(b"\r\n") if line]
            encoded = self._encoded = (encode_all(extra), encode_lines(lines))
        return encoded


class Planner:
    """Makes the plans of a listener under one configuration."""

    __slots__ = ("_options", "_server_names", "_table")

    def __init__(self, table: RouteTable, options: HttpOptions, server_names: Sequence[str] = ()) -> None:
        """``server_names``: whom the TLS server of the connections serves, lower case; none: everybody."""
        self._table = table
        self._options = options
        self._server_names = [name.encode() for name in server_names] if options.misdirected_request else []

    def plan(self, request: ParsedRequest) -> Plan:
        """Route ``request`` and prepare what every request with this head has in common."""
        head = request.head
        if request.error is not None or head is None:
            return Plan(request.error)
        _, route = self._table.lookup(head)
        if route is None:
            return Plan(self._unrouted(head))
        options = self._options
        block = request.block
        if (
            block.forwarded_for is not None
            or block.forwarded_certificate is not None
            or block.forwarded_proto is not options.scheme
            or block.upgrade
            or not options.request_id
            or (request.method not in _BODILESS and block.content_length < 0 and not block.chunked)
            or (request.method == b"POST" and _has_deadline(route, block.forward_bytes))
        ):
            plan = _make_plan(route, options, request)
        else:
            # Kept with its route, which outlives this table when only others change.
            if route.planned_for is not options:
                route.plan = _make_plan(route, options, request)
                route.planned_for = options
            plan = route.plan
        if (
            plan.prepared
            and not block.prefix
            and not (plan.plain and plan.served_by == PLAIN and plan.cluster.is_http2)
        ):
            block.prefix = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b" % (
                head.method, head.target, head.authority, block.forward_bytes,
            )  # fmt: skip
        return plan

    def plan_told(self, request: ParsedRequest) -> Plan:
        """The same where traces are told of (``TraceOptions.propagation``)."""
        tracing = self._options.tracing
        assert tracing is not None
        head = request.head
        block = request.block
        if head is None or not tells(tracing.propagation, block.forward_bytes):
            return self.plan(request)
        context = read_context(tracing.propagation, block.forward)
        if request.error is not None:
            return Plan(request.error, None, context)
        _, route = self._table.lookup(head)
        if route is None:
            return Plan(self._unrouted(head), None, context)
        return _make_plan(route, self._options, request, context)

    def _unrouted(self, head: RequestHead) -> Failure:
        """Whether the host is none of those whose certificate the client was shown (semantics 2.5.6)."""
        names = self._server_names
        if not names:
            return errors.NO_ROUTE
        host = head.authority if head.authority[-1:] == b"]" else head.authority.partition(b":")[0]
        host = host.lower().removesuffix(b".")
        served = any(host.endswith(name[1:]) if name[:1] == b"*" else host == name for name in names)
        return errors.NO_ROUTE if served else errors.MISDIRECTED


def _make_plan(
    route: Route, options: HttpOptions, request: ParsedRequest, context: Context | None = None
) -> Plan:
    plan = Plan(None, route, context)
    head = request.head
    assert head is not None
    if route.action != FORWARD:
        return plan
    if route.policed:
        plan.served_by = MIRRORED if route.only_mirrored else POLICED
        _plan_mirrors(plan, route)
    _extra_fields(plan, request, options)
    if len(route.destinations) == 1:
        plan.destination = route.destinations[0]
        plan.cluster = plan.destination.cluster
    _limit_time(plan, route, head)
    told = options.tracing is not None and bool(options.tracing.propagation)
    plan.traced = told and (context is None or not context.refused)
    if (
        not route.prepared
        or plan.tells_timeout
        or plan.upgrade
        or options.x_forwarded_host
        or options.x_forwarded_port
    ):
        return plan
    if context is not None:  # rare, and some of the client's fields may not be sent on
        return plan
    block = request.block
    plan.prepared = True
    plan.plain = (route.plain or route.only_mirrored) and not plan.timeout_s
    usual = (
        block.forwarded_for is None
        and block.forwarded_certificate is None
        and block.forwarded_proto is options.scheme
    )
    plan.client_plain = usual and not plan.traced
    plan.client_told = usual and plan.traced
    if plan.extra is not None:
        plan.extra_lines = b"".join([b"%b: %b\r\n" % pair for pair in plan.extra])
    plan.suffix = _suffix(plan, route, options)
    return plan


def _plan_mirrors(plan: Plan, route: Route) -> None:
    mirrors = route.policies.mirrors if route.policies is not None else ()
    if all(mirror.millionths >= MILLION for mirror in mirrors):
        plan.mirrors = tuple(mirror.cluster for mirror in mirrors)
    # What only looks at a configuration has specs in place of clusters.
    specs = [getattr(mirror.cluster, "spec", mirror.cluster) for mirror in mirrors]
    plan.mirrors_take_lines = all(spec.protocol == HTTP1 for spec in specs)


def _has_deadline(route: Route, lines: bytes) -> bool:
    """Whether the time that a request has may depend on itself: one of gRPC, which is always a POST."""
    # Not ``in``, which looks for an integer first, raises an error and catches it.
    return lines.find(_GRPC_TYPE) >= 0 and (route.timed or lines.find(b"grpc-timeout: ") >= 0)


def _limit_time(plan: Plan, route: Route, head: RequestHead) -> None:
    """What time there is for the request: the route's, or what a gRPC client leaves of it (semantics 6.6.3)."""
    timeout_s = route.timeout_s
    per_try_s = route.retry.per_try_timeout_s if route.retry is not None else 0.0
    asked = None
    grpc = head.method == b"POST" and is_grpc(head.fields.get(b"content-type"))
    if grpc:
        asked = head.fields.get(b"grpc-timeout")
        timeout_s = limited_s(asked, timeout_s)
    if timeout_s and per_try_s >= timeout_s:
        per_try_s = 0.0  # it would never be the first to pass
    plan.timeout_s = timeout_s
    plan.per_try_timeout_s = per_try_s
    if grpc:
        told_ms = first_timeout_ms(plan)
        plan.tells_timeout = bool(told_ms) and written(told_ms) != asked


def _extra_fields(plan: Plan, request: ParsedRequest, options: HttpOptions) -> None:
    block = request.block
    extra: list[Pair] = []
    if block.content_length < 0 and not block.chunked and request.method not in _BODILESS:
        extra.append(NOTHING_FOLLOWS)  # golden 14_06 post-without-length
    if block.upgrade == b"websocket" and request.body == NO_BODY:
        plan.upgrade = block.upgrade
        extra += [(b"connection", b"Upgrade"), (b"upgrade", block.upgrade)]
    if block.request_id is not None and not options.request_id:
        extra.append((b"x-request-id", block.request_id))  # semantics 14.3.3
    plan.extra = extra or None


def _suffix(plan: Plan, route: Route, options: HttpOptions) -> bytes:
    tail = b"\r\n" if options.request_id else b""
    if route.decorator:
        tail += b"x-envoy-decorator-operation: %b\r\n" % route.decorator
    if options.attempt_count:
        tail += b"x-envoy-attempt-count: 1\r\n"
    expected_ms = first_timeout_ms(plan)
    if expected_ms and options.debug_headers:
        tail += b"x-envoy-expected-rq-timeout-ms: %d\r\n" % expected_ms
    return tail + b"\r\n"


def first_timeout_ms(plan: Plan) -> int:
    """The time of an attempt, or else that of the request, in ms; 0 = none (semantics 14.3.4)."""
    return round((plan.per_try_timeout_s or plan.timeout_s) * 1000)


def request_head(method: bytes, target: bytes, authority: bytes, fields: list[Pair]) -> bytes:
    """Request line and fields as HTTP/1 lines, without the empty line that ends a head."""
    out = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, authority)]
    for name, value in fields:
        out += (name, b": ", value, b"\r\n")
    return b"".join(out)


def is_chunked(request: ParsedRequest) -> bool:
    """Whether the request's body goes upstream in chunks."""
    return request.body == CHUNKED
