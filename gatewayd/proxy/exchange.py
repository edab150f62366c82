"""HOT: one request with its response, whatever the HTTP versions on either side.

The exchange joins a server stream and one upstream attempt at a time. How it begins and what streams through it, both
ways, is here; whom it asks, and what becomes of failures, in :mod:`gatewayd.proxy.attempts`; how it ends in
:mod:`gatewayd.proxy.exchange_base`. Codecs call its ``on_*`` methods; it calls theirs (``http/streams.py``). The plain
route, which only gets the standard fields, is sent from prepared bytes without building anything.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.message import Trailers
from gatewayd.http.response import ResponseHead
from gatewayd.policies.retry import retries_response
from gatewayd.proxy import bodies
from gatewayd.proxy.attempts import Attempts
from gatewayd.proxy.exchange_base import CONNECTING, DONE, RESPONDING, SENT, TUNNEL
from gatewayd.routing.route import FORWARD, Destination, RetryPolicy


class Exchange(Attempts):
    """One request and its response."""

    __slots__ = ()

    # --- the way up

    def begin(self) -> None:
        """Answer at once, or start towards the upstream."""
        plan = self.plan
        new_id = self.stream.edge.new_id
        if new_id is not None:
            self.request_id = new_id()
        if plan.failure is not None:
            self._reply(plan.failure)
            return
        route = plan.route
        assert route is not None
        if route.action != FORWARD:
            self._answer_here()
            return
        if not plan.plain:
            self._begin_general()
            return
        self.destination = plan.destination
        self.cluster = cluster = plan.cluster
        self.upstream_cluster = cluster.name
        endpoint = cluster.pick()
        if endpoint is None:
            self._reply(errors.NO_HEALTHY_UPSTREAM)
            return
        cluster.active += 1
        cluster.total += 1
        self._attempt(endpoint)

    def _begin_general(self) -> None:
        """Several destinations, policies, or a destination that does not exist."""
        self._forward_to(self._draw_destination())

    def _draw_destination(self) -> Destination:
        """The one destination of the route, or one of several by weight."""
        destination: Destination | None = self.plan.destination
        if destination is None:
            assert self.route.pick is not None
            destination = self.route.pick()
        return destination

    def on_request_data(self, data: bytes, end: bool) -> None:
        """Request body bytes; see RequestHandler."""
        if self.phase == DONE:
            return
        self.bytes_received += len(data)
        if end:
            self._pending_end = True
            if self.plan.timeout_s:
                self._arm_timeout()
        limit = self.stream.edge.limits.retry_buffer_bytes
        if self.phase == CONNECTING:
            if data:
                self._keep(data)
            if self._body_size > limit and not end:
                self.stream.pause(True)
            return
        if self._replayable and data and self.phase == SENT:
            if self._body_size + len(data) > limit:
                self._replayable = False
                self._body = None
            else:
                self._keep(data)
        if self.upstream is not None:
            self.upstream.send_data(data, end)
            if not end and len(data) >= bodies.BIG_PIECE and not self._replayable:
                bodies.offer_request(self)
            if end and self.phase == SENT and self.plan.per_try_timeout_s:
                self._arm_per_try()

    def on_request_trailers(self, trailers: Trailers) -> None:
        """Trailers and the end; see RequestHandler."""
        if self.phase == DONE:
            return
        self._trailers = trailers
        self._pending_end = True
        if self.plan.timeout_s:
            self._arm_timeout()
        if self.upstream is not None:
            self.upstream.send_trailers(trailers)
            if self.phase == SENT and self.plan.per_try_timeout_s:
                self._arm_per_try()

    def _keep(self, data: bytes) -> None:
        if self._body is None:
            self._body = []
        bodies.keep(self._body, data)
        self._body_size += len(data)

    def on_request_invalid(self, failure: Failure) -> None:
        """The body broke its framing; see RequestHandler."""
        if self.phase == DONE:
            return
        self._drop_upstream()  # the origin sees an unfinished message (hardening section 2)
        if self.phase == RESPONDING:
            self._flag(failure.flag)
            self.details = failure.details
            self._finish(monotonic())
            self.stream.truncate()
        else:
            self._reply(failure)

    def on_request_aborted(self, flag: str, details: str) -> None:
        """The client is gone or broke the framing; see RequestHandler."""
        if self.phase == DONE:
            return
        self._drop_upstream()
        self._flag(flag)
        if self.phase != TUNNEL:
            self.details = details
        self._finish(monotonic())

    # --- the way down

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """The upstream's answer begins; see ResponseHandler."""
        self.responded_at = now = monotonic()
        retry = self.route.retry
        if head.status < 400 and not head.grpc_status:
            pass
        elif retry is not None and _asks_for_retry(retry, head):
            if self._may_retry():
                if self._take_retry():
                    if not end:
                        self.upstream.close()
                        self._endpoint.gone(self.upstream)
                    self._retry()
                    return
            elif self.attempts > 1 and self._retries_spent():
                self._flag("URX")  # the last allowed retry ended like the others (semantics 15.7)
        if head.grpc_status:
            self.grpc_status = head.grpc_status
        if self._per_try is not None:
            self._per_try.cancel()
            self._per_try = None
        self.phase = RESPONDING
        self._body = None
        self._replayable = False
        self.status = head.status
        self.details = "via_upstream"
        self.bytes_sent = len(data)
        stream = self.stream
        if self.plan.upgrade:  # asked for 101 and got an ordinary answer: relayed, and the connection ends
            stream.close_after = True
            service_ms = -1
        else:
            service_ms = int((now - self.started_at) * 1000) if stream.request_done else -1
        operations = self.destination.response_ops
        if end:
            self._finish(now)
        if operations is None:
            stream.relay(head, service_ms, data, end)
        else:
            self.respond_changed(head, operations, service_ms, data, end)

    def respond_changed(
        self, head: ResponseHead, operations: Any, service_ms: int, data: bytes, end: bool
    ) -> None:
        """Send ``head`` with other fields than it came with."""
        options = self.stream.edge.options
        pairs = list(head.pairs)
        if service_ms >= 0 and options.debug_headers:
            pairs.append((b"x-envoy-upstream-service-time", b"%d" % service_ms))
        self.stream.respond(head.status, self._finished_pairs(pairs, operations), data, end)

    def on_response_data(self, data: bytes, end: bool) -> None:
        """More of the response body; see ResponseHandler."""
        self.bytes_sent += len(data)
        if end:
            self._finish(monotonic())
        self.stream.send_data(data, end)
        if not end and len(data) >= bodies.BIG_PIECE:
            bodies.offer(self)

    def on_response_trailers(self, trailers: Trailers) -> None:
        """Trailers and the end; see ResponseHandler."""
        self.response_trailers = trailers
        self._finish(monotonic())
        self.stream.send_trailers(trailers)

    def on_interim(self, head: ResponseHead) -> None:
        """A 1xx head; see ResponseHandler. A 100 nobody asked for is dropped (hardening section 7)."""
        request = self.request
        if head.status != 100 or (request is not None and request.fields.get(b"expect") is not None):
            self.stream.send_interim(head.status, head.pairs)

    def on_answered(self) -> None:
        """The client has what it gets, and the rest of the upstream's answer is not wanted."""
        self._drop_upstream()
        self._finish(monotonic())

    # --- tunnels

    def on_upgraded(self, head: ResponseHead, data: bytes) -> None:
        """Bytes go through from here on; see ResponseHandler."""
        self.phase = TUNNEL
        self.status = 101
        self.details = "via_upstream"
        self.responded_at = monotonic()
        self._cancel_timers()  # semantics 14.6.3: a route timeout covers only the wait for the 101
        self._tunnel_ends = 0
        pairs = list(head.pairs)
        if self.stream.edge.options.debug_headers:
            service_ms = int((self.responded_at - self.started_at) * 1000)
            pairs.append((b"x-envoy-upstream-service-time", b"%d" % service_ms))
        pairs = self._finished_pairs(pairs, self.destination.response_ops)
        self.bytes_sent += len(data)
        self.stream.start_tunnel(head.upgrade, pairs, data)

    def on_tunnel_data_down(self, data: bytes) -> None:
        """Tunnel bytes from the client; ``b""`` is its end."""
        self.bytes_received += len(data)
        if self.upstream is not None:
            self.upstream.send_tunnel(data)
        if not data:
            self._tunnel_end()

    def on_tunnel_data_up(self, data: bytes) -> None:
        """Tunnel bytes from the upstream; ``b""`` is its end."""
        self.bytes_sent += len(data)
        self.stream.send_tunnel(data)
        if not data:
            self._tunnel_end()

    def _tunnel_end(self) -> None:
        """One direction ended; with both the tunnel is done."""
        self._tunnel_ends += 1
        if self._tunnel_ends == 2:
            self.upstream.finish_tunnel()
            self._endpoint.gone(self.upstream)
            self._finish(monotonic())
            self.stream.finish_tunnel()


def _asks_for_retry(retry: RetryPolicy, head: ResponseHead) -> bool:
    """Whether the policy would throw this answer away (semantics 15.1, 15.3, 15.4)."""
    ratelimited = head.fields().get(b"x-envoy-ratelimited") is not None
    return retries_response(retry, head.status, head.grpc_status, ratelimited=ratelimited)
