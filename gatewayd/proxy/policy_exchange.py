"""HOT for routes that ask for it: an exchange with faults, CORS, mirrors, hashing, limits and passive health.

A route without any of these gets a plain :class:`~gatewayd.proxy.exchange.Exchange` and pays nothing; which of the
two serves a request is decided when its plan is made. The order is Envoy's: fault, then CORS, then the router
(semantics 6.8.1, 6.8.5).
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import Any

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.grpc_status import http_status_of
from gatewayd.http.message import Pair, Trailers
from gatewayd.http.request import NO_BODY, ParsedRequest
from gatewayd.http.response import ResponseHead
from gatewayd.policies.cors import apply_answer
from gatewayd.policies.hash_policy import request_hash
from gatewayd.proxy.exchange import Exchange
from gatewayd.proxy.exchange_base import CONNECTING, DONE
from gatewayd.proxy.hashing import hash_input
from gatewayd.proxy.local_reply import abort_reply
from gatewayd.proxy.mirroring import Mirroring, copied, draw
from gatewayd.proxy.shadow import send_copies
from gatewayd.routing.route import Destination, RoutePolicies
from gatewayd.upstream.dynamic import DynamicCluster
from gatewayd.upstream.load import hear

#: What the outlier detection hears of an attempt without an answer (semantics 9.11).
_TIMEOUTS = frozenset({errors.PER_TRY_TIMEOUT, errors.ROUTE_TIMEOUT, errors.CONNECT_TIMEOUT})


class PolicyExchange(Exchange):
    """An exchange on a route, or towards a cluster, with policies."""

    __slots__ = ("_cookies", "_cors", "_hash", "_mirroring", "_mirrors", "_retrying")

    # The base class is called by its name: super() costs more, and there are several calls for each request.

    def __init__(self, proxy: Any, stream: Any, request: ParsedRequest) -> None:
        Exchange.__init__(self, proxy, stream, request)
        #: what CORS adds to every answer, local ones included (6.10.6)
        self._cors: list[Pair] | None = None
        #: who gets a copy of a request without a body; with one, the copies are in the making for a while
        self._mirrors: list[Any] | None = None
        self._mirroring: Mirroring | None = None
        #: whether this exchange counts as a retry in progress (8.3.6)
        self._retrying = False
        #: of the request, once it is worked out; None: there is nothing to hash
        self._hash: int | None = None
        #: cookies made for hashing, for the answer (9.4)
        self._cookies: list[Pair] | None = None

    # --- before the router

    def _begin_general(self) -> None:
        assert self.route is not None
        policies = self.route.policies
        if policies is None:
            Exchange._begin_general(self)
            return
        # The destination is drawn with the route, so the log knows the cluster whatever happens before it.
        self.destination = destination = self._draw_destination()
        if destination.cluster is not None:
            self.upstream_cluster = destination.cluster_name
        if policies.fault is not None:
            delay_s, abort = policies.fault.draw()
            if delay_s:
                self._flag("DI")
                after = self._abort if abort else self._after_fault
                self._retry_timer = self.proxy.wheel.arm(delay_s, partial(self._after_delay, after))
                return
            if abort:
                self._abort()
                return
        self._after_fault()

    def _after_delay(self, then: Any) -> None:
        self._retry_timer = None
        then()

    def _abort(self) -> None:
        """``fault.abort``: the upstream is never asked (6.8.3)."""
        assert self.route is not None
        assert self.route.policies is not None
        self._flag("FI")
        self.details = "fault_filter_abort"
        fault = self.route.policies.fault
        reply = abort_reply(fault.abort_status, fault.grpc_status)
        # The route's operations are the router's, yet they are done on whatever answers the client (6.2.8).
        operations = self.destination.response_ops
        self._send_reply(reply, operations, close=False, grpc_status=fault.grpc_status)

    def _after_fault(self) -> None:
        assert self.route is not None
        policies = self.route.policies
        assert policies is not None
        if policies.cors is not None and self._answered_preflight(policies):
            return
        if policies.mirrors and not self.plan.upgrade:
            drawn = draw(policies.mirrors)
            if not drawn:
                pass
            elif self.parsed.body == NO_BODY:
                self._mirrors = drawn
            else:
                self._mirroring = Mirroring(self, drawn)
        self._forward_to(self.destination)

    def _answered_preflight(self, policies: RoutePolicies) -> bool:
        request = self.request
        assert request is not None
        preflight = policies.cors.preflight(self.method, request.fields)
        if preflight is None:
            self._cors = policies.cors.answer(request.fields) or None
            return False
        self.details = "cors_response"
        self._send_answer((200, preflight, b""), None, close=False)
        return True

    # --- towards the upstream

    def _forward_to(self, destination: Destination) -> None:
        if self._cors is not None:
            destination = _with_ops(destination, _CorsOps(destination.response_ops, self._cors))
        cluster = destination.cluster
        if isinstance(cluster, DynamicCluster):
            self._resolve(destination, cluster)
        else:
            Exchange._forward_to(self, destination)

    def _resolve(self, destination: Destination, cluster: DynamicCluster) -> None:
        """The Host says where the request goes; it may have to be looked up first (semantics 11.3)."""
        assert self.request is not None
        self.destination = destination
        self.upstream_cluster = cluster.name

        def done(found: Any, failure: Failure | None) -> None:
            self._retry_timer = None
            if failure is not None:
                self._reply(failure)
            else:
                Exchange._forward_to(self, _led_to(destination, found))

        pending = cluster.for_host(self.request.authority, done)
        if pending is not None:
            self._retry_timer = pending

    def _pick(self, cluster: Any) -> Any:
        policies = self.route.policies
        if policies is None or not policies.hashes or not cluster.spec.balancer.hashes:
            return cluster.pick()
        if self._hash is None:
            asked = hash_input(self)
            self._hash = request_hash(policies.hashes, asked)
            self._cookies = asked.set_cookies
            if self._hash is None:
                return cluster.pick()
        return cluster.pick_for(self._hash)

    def _pick_other(self, cluster: Any) -> Any:
        if self._hash is not None:  # hashing goes before avoiding hosts (6.7.6)
            return cluster.pick_for(self._hash)
        return Exchange._pick_other(self, cluster)

    def _attempt(self, endpoint: Any, *, fresh: bool = False) -> None:
        Exchange._attempt(self, endpoint, fresh=fresh)
        if self.attempts == 1 and self.phase != DONE:
            if self._mirrors is not None:
                send_copies(self, self._mirrors, *copied(self, self._mirrors))
            elif self._mirroring is not None:
                self._mirroring.begin()

    def _take_retry(self) -> bool:
        """See the base; over the limit the failure stands as it is, with its own flag (8.3.6)."""
        budget = self.cluster.budget
        if budget is None:
            return True
        if not budget.room_for_retry(self.cluster.active):
            budget.overflows += 1
            self._flag("UO")
            return False
        budget.retries += 1
        budget.retried += 1
        self._retrying = True
        return True

    def _retry_is_over(self) -> None:
        if self._retrying:
            self._retrying = False
            self.cluster.budget.retries -= 1

    def _send_on(self, connection: Any) -> None:
        """Send the request on ``connection``."""
        detector = self.cluster.detector
        if detector is not None:
            detector.connected(self._endpoint.health)
        Exchange._send_on(self, connection)

    def on_request_data(self, data: bytes, end: bool) -> None:
        """Request body bytes; see RequestHandler."""
        if self._mirroring is not None:
            self._mirroring.data(data, end)
        Exchange.on_request_data(self, data, end)

    def on_request_trailers(self, trailers: Trailers) -> None:
        """Trailers and the end; see RequestHandler."""
        if self._mirroring is not None:
            self._mirroring.data(b"", True, trailers)
        Exchange.on_request_trailers(self, trailers)

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """The upstream's answer begins; see ResponseHandler."""
        load = self.cluster.spec.balancer.load
        if load is not None:
            hear(self._endpoint, load, head.pairs)
        detector = self.cluster.detector
        if detector is not None:
            status = head.status
            if head.grpc_status and self.is_grpc:
                status = http_status_of(head.grpc_status)
            detector.response(self._endpoint.health, status, monotonic())
        if self._retrying:
            self._retry_is_over()
        if self._cookies:
            ops = _CookieOps(self.destination.response_ops, self._cookies)
            self.destination = _with_ops(self.destination, ops)
        Exchange.on_response(self, head, data, end)

    def _attempt_failed(self, failure: Failure, transport: str, *, unread: bool) -> None:
        detector = self.cluster.detector
        stale = unread and failure is not errors.UPSTREAM_REFUSED
        if detector is not None and failure is not errors.OVERFLOW and not stale:
            status = 504 if failure in _TIMEOUTS else 503
            detector.local_failure(self._endpoint.health, monotonic(), status=status)
        self._retry_is_over()
        Exchange._attempt_failed(self, failure, transport, unread=unread)

    def _on_timeout(self) -> None:
        detector = self.cluster.detector
        if detector is not None and self._endpoint is not None and self.phase != CONNECTING:
            detector.local_failure(self._endpoint.health, monotonic(), status=504)
        Exchange._on_timeout(self)

    def _finish(self, now: float) -> None:
        if self._retrying:
            self._retry_is_over()
        Exchange._finish(self, now)


class _CorsOps:
    """Response operations of a destination with those of CORS behind them: the router is further in (6.10.6)."""

    __slots__ = ("_added", "_inner")

    def __init__(self, inner: Any, added: list[Pair]) -> None:
        self._inner = inner
        self._added = added

    def apply(self, pairs: list[Pair], exchange: Any) -> list[Pair]:
        """As :meth:`gatewayd.policies.header_ops.HeaderOps.apply`."""
        if self._inner is not None:
            pairs = self._inner.apply(pairs, exchange)
        return apply_answer(pairs, self._added)


class _CookieOps:
    """Response operations of a destination with the cookies behind them that keep a client on its endpoint."""

    __slots__ = ("_cookies", "_inner")

    def __init__(self, inner: Any, cookies: list[Pair]) -> None:
        self._inner = inner
        self._cookies = cookies

    def apply(self, pairs: list[Pair], exchange: Any) -> list[Pair]:
        """As :meth:`gatewayd.policies.header_ops.HeaderOps.apply`."""
        if self._inner is not None:
            pairs = self._inner.apply(pairs, exchange)
        return [*pairs, *self._cookies]


def _led_to(destination: Destination, cluster: Any) -> Destination:
    """``destination`` for one request whose Host led to ``cluster``."""
    return Destination(
        cluster,
        destination.cluster_name,
        destination.weight,
        destination.authority,
        destination.request_ops,
        destination.response_ops,
        authority_told=destination.authority_told,
    )


def _with_ops(destination: Destination, response_ops: Any) -> Destination:
    """``destination`` for one request with response operations of its own."""
    return Destination(
        destination.cluster,
        destination.cluster_name,
        destination.weight,
        destination.authority,
        destination.request_ops,
        response_ops,
        authority_told=destination.authority_told,
    )
