"""HOT: one request with its response, whatever the HTTP versions on either side.

The exchange joins a server stream and one upstream attempt at a time: it picks the destination, waits for a
connection, sends, streams both ways, retries, times out and writes down what befell it. Codecs call its
``on_*`` methods; it calls theirs (``http/streams.py``). The plain route, which only gets the standard
fields, is sent from prepared bytes without building anything.
"""

from __future__ import annotations

from time import monotonic, time
from typing import Any, Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.grpc_status import is_grpc
from gatewayd.http.message import Pair, Trailers
from gatewayd.http.request import NO_BODY, ParsedRequest
from gatewayd.http.response import ResponseHead
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.policies.retry import backoff_s, retries_failure, retries_response
from gatewayd.proxy import bodies
from gatewayd.proxy.forwarding import Client
from gatewayd.proxy.local_reply import (
    Reply,
    direct_reply,
    failure_reply,
    grpc_reply,
    redirect_reply,
)
from gatewayd.proxy.plan import Plan, is_chunked
from gatewayd.proxy.upstream_head import built_head, encoded_head, plain_head
from gatewayd.routing.route import DIRECT_RESPONSE, FORWARD, Destination, RetryPolicy
from gatewayd.upstream.remote import pick_remote
from gatewayd.upstream.spec import AS_CLIENT, HTTP2

# Where an exchange stands; it moves along this table and nowhere else (tests drive it).
CONNECTING: Final = 0  # no connection yet, or waiting for a back-off
SENT: Final = 1  # the head is on its way, no response yet
RESPONDING: Final = 2  # the response head went downstream
TUNNEL: Final = 3
DONE: Final = 4

PHASES: Final[dict[int, frozenset[int]]] = {
    CONNECTING: frozenset({SENT, DONE}),
    SENT: frozenset({CONNECTING, RESPONDING, TUNNEL, DONE}),
    RESPONDING: frozenset({DONE}),
    TUNNEL: frozenset({DONE}),
    DONE: frozenset(),
}


class Exchange(StreamInfo):
    """One request and its response."""

    connection: Client

    __slots__ = (
        "_body",
        "_body_size",
        "_endpoint",
        "_pending_end",
        "_per_try",
        "_replayable",
        "_retry_timer",
        "_trailers",
        "_tried",
        "_tunnel_ends",
        "cluster",
        "destination",
        "parsed",
        "phase",
        "plan",
        "proxy",
        "stream",
        "timeout",
        "upstream",
    )  # fmt: skip

    def __init__(self, proxy: Any, stream: Any, request: ParsedRequest) -> None:
        self.proxy = proxy
        self.stream = stream
        stream.exchange = self
        self.parsed = request
        self.plan: Plan = request.plan
        self.connection = stream.info
        self.request = head = request.head
        self.method = request.method
        self.path = b"" if head is None else head.target
        self.protocol = stream.protocol
        self.started_at = monotonic()
        self.started_wall = time()
        self.status = 0
        self.flags = ""
        self.details = ""
        self.termination_details = ""
        self.transport_failure = ""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.responded_at = 0.0
        self.upstream_host = ""
        self.upstream_cluster = ""
        self.upstream_local_address = ""
        self.route = self.plan.route
        self.request_id = b""
        self.x_forwarded_for = b""
        self.trusted_address = b""
        self.attempts = 0
        self.response_pairs = None
        self.phase = CONNECTING
        self.upstream: Any = None
        self._endpoint: Any = None
        self.cluster: Any = None
        self.destination: Any = None
        self.timeout: Any = None
        self._per_try: Any = None
        self._retry_timer: Any = None
        self._tried: list[Any] | None = None
        self._body: list[bytes] | None = None
        self._body_size = 0
        self._replayable = True
        self._pending_end = False
        self._trailers: Trailers | None = None

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

    def _forward_to(self, destination: Destination) -> None:
        """The destination is chosen; is there anybody?"""
        route = self.route
        assert route is not None
        self.destination = destination
        cluster = destination.cluster
        if cluster is None:
            self._reply(errors.NO_CLUSTER)
            return
        self.cluster = cluster
        self.upstream_cluster = cluster.name
        endpoint = self._pick(cluster)
        if endpoint is None:
            self._reply(errors.NO_HEALTHY_UPSTREAM)
            return
        cluster.active += 1
        cluster.total += 1
        if self.plan.timeout_s and self.stream.request_done:
            self._arm_timeout()
        self._attempt(endpoint)

    def _pick(self, cluster: Any) -> Any:
        """The endpoint of a first attempt, or None."""
        return cluster.pick()

    def _pick_other(self, cluster: Any) -> Any:
        """The endpoint of a retry that shall avoid those tried (semantics 6.7.6), or None."""
        retry = self.route.retry
        if retry is not None and retry.remote_localities:
            return pick_remote(cluster.balancer, self._tried or ())
        return cluster.balancer.pick_other(self._tried)

    def _arm_timeout(self) -> None:
        """The route timeout runs from the moment the request is complete (semantics 6.6.2)."""
        if self.plan.timeout_s:
            self.timeout = self.proxy.wheel.arm(self.plan.timeout_s, self._on_timeout)

    def _attempt(self, endpoint: Any, *, fresh: bool = False) -> None:
        """Try ``endpoint``: now on an idle connection (not if ``fresh``), or when one is open."""
        self._endpoint = endpoint
        self.attempts += 1
        endpoint.active += 1
        endpoint.total += 1
        self.upstream_host = endpoint.host_port
        idle = endpoint.idle
        if idle and not fresh:
            self._send_on(idle.pop())
        else:
            endpoint.wait(self)

    def hints(self) -> tuple[bytes, str, str]:
        """Host as it goes upstream, and the client's connection: see Waiter."""
        authority = self.destination.authority
        if authority is None:
            authority = self.request.authority  # type: ignore[union-attr]  # a routed request has a head
        client = self.connection
        return authority, client.remote_address, client.local_address

    def on_connected(self, connection: Any) -> None:
        """A connection is there for whom had to wait; see Waiter."""
        self._send_on(connection)
        if self.stream.slow:
            self.on_downstream_paused(True)

    def _send_on(self, connection: Any) -> None:
        """Send the request on ``connection``."""
        self.phase = SENT
        self.upstream = connection
        self.upstream_local_address = connection.local_address
        plan = self.plan
        stream = self.stream
        if plan.client_plain and self.attempts == 1 and connection.takes_lines:
            client = self.connection
            self.x_forwarded_for = client.appended
            message = b"".join(
                (self.parsed.block.prefix, plan.extra_lines, client.lines, self.request_id, plan.suffix)
            )
        elif not connection.takes_lines:
            message = encoded_head(self)
        elif plan.prepared and self.attempts == 1:
            message = plain_head(self)
        else:
            message = built_head(self)
        body = self.parsed.body
        if body == NO_BODY:
            connection.start(self, message, self.method, stream.edge, upgrade=plan.upgrade)
        else:
            self._start_with_body(connection, message)
        if plan.per_try_timeout_s and stream.request_done:
            self._arm_per_try()

    def _start_with_body(self, connection: Any, message: bytes) -> None:
        """Send the head with whatever of the body has arrived."""
        edge = self.stream.edge
        if self._body_size or self.attempts > 1:
            # Before anything is written: if this connection is soon full its own pause has the last word. The
            # pause may be ours or that of a connection whose attempt failed.
            self.stream.pause(False)
        chunked = connection.takes_lines and is_chunked(self.parsed)
        connection.start(self, message, self.method, edge, complete=False, chunked=chunked)
        end = self._pending_end and self._trailers is None
        if self._body:
            body = b"".join(self._body)
            self._body = [body]
            connection.send_data(body, end)
        elif end:
            connection.send_data(b"", True)
        if self._trailers is not None:
            connection.send_trailers(self._trailers)

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

    def _finished_pairs(self, pairs: list[Pair], operations: Any) -> list[Pair]:
        """Response operations first, then what the connection manager sets (semantics 6.2.8, 14.7.1, 14.7.2)."""
        if operations is not None:
            pairs = operations.apply(pairs, self)
        edge = self.stream.edge
        server = edge.options.server_header
        if server is not None:
            pairs = [pair for pair in pairs if pair[0] != b"server"]
        if not any(pair[0] == b"date" for pair in pairs):
            pairs.append((b"date", edge.date.line()[6:-2]))
        if server is not None:
            pairs.append((b"server", server))
        return pairs

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

    # --- backpressure

    def on_downstream_paused(self, paused: bool) -> None:
        """The client cannot keep up, or can again."""
        if self.upstream is not None:
            self.upstream.pause(paused)

    def on_upstream_paused(self, paused: bool) -> None:
        """The upstream cannot keep up, or can again."""
        self.stream.pause(paused)

    # --- failures

    def on_connect_failure(self, failure: Failure, transport: str) -> None:
        """No connection to the endpoint; see Waiter."""
        self._attempt_failed(failure, transport, unread=False)

    def on_upstream_failure(self, failure: Failure, transport: str, unread: bool) -> None:
        """The attempt ended without a complete response; see ResponseHandler."""
        if self.phase == SENT:
            self._attempt_failed(failure, transport, unread=unread)
            return
        self.upstream = None
        if self.phase == TUNNEL:
            self._finish(monotonic())
            self.stream.truncate()
            return
        # The client must see that the message is unfinished (semantics 16.2).
        self._flag(failure.flag)
        self.details = failure.details.replace("before", "after")
        self._finish(monotonic())
        self.stream.truncate()

    def _attempt_failed(self, failure: Failure, transport: str, *, unread: bool) -> None:
        self.upstream = None
        self.transport_failure = transport
        retry = self.route.retry
        head_sent = self.phase == SENT
        # Whether a stream that was refused is tried again is the policy's business (semantics 15.2).
        stale = unread and failure is not errors.UPSTREAM_REFUSED
        if stale and self._replayable and self.attempts <= _STALE_RETRIES:
            self._retry(at_once=True)
            return
        if retry is not None and self._may_retry():
            if retries_failure(retry, failure, head_sent=head_sent) and self._take_retry():
                self._retry()
                return
        elif retry is not None and self.attempts > 1 and self._retries_spent():
            self._flag("URX")
        self._reply(failure)

    def _retries_spent(self) -> bool:
        attempts: int = self.route.retry.attempts
        return self.attempts > attempts

    def _may_retry(self) -> bool:
        """Whether another attempt is allowed and possible at all (semantics 15.5)."""
        return self._replayable and not self._retries_spent()

    def _take_retry(self) -> bool:
        """Whether the cluster has room for a retry that is wanted and possible; then it is counted."""
        return True

    def _retry(self, *, at_once: bool = False) -> None:
        """Try again, on another endpoint where there is one."""
        endpoint = self._endpoint
        endpoint.active -= 1
        self._endpoint = None
        self.upstream = None
        self.phase = CONNECTING
        if self._per_try is not None:
            self._per_try.cancel()
            self._per_try = None
        if self._tried is None:
            self._tried = []
        self._tried.append(endpoint)
        if at_once:
            self._attempt_again(fresh=True)  # whatever else is idle there may be just as stale
        else:
            self._retry_timer = self.proxy.wheel.arm(
                backoff_s(self.route.retry, self.attempts), self._attempt_again
            )

    def _attempt_again(self, *, fresh: bool = False) -> None:
        self._retry_timer = None
        retry = self.route.retry
        cluster = self.cluster
        pick = self._pick_other if retry is None or retry.ignore_previous_hosts else self._pick
        endpoint = pick(cluster)
        if endpoint is None:
            self._reply(errors.NO_HEALTHY_UPSTREAM)
            return
        self._attempt(endpoint, fresh=fresh)

    def _arm_per_try(self) -> None:
        self._per_try = self.proxy.wheel.arm(self.plan.per_try_timeout_s, self._on_per_try_timeout)

    def _on_per_try_timeout(self) -> None:
        self._per_try = None
        self._drop_upstream()
        self._attempt_failed(errors.PER_TRY_TIMEOUT, "", unread=False)

    def _on_timeout(self) -> None:
        """The route timeout (semantics 6.6.2)."""
        self.timeout = None
        self._drop_upstream()
        if self.phase == RESPONDING:
            self._flag("UT")
            self.details = "response_timeout"
            self._finish(monotonic())
            self.stream.truncate()
        elif self.phase != DONE:
            self._reply(errors.ROUTE_TIMEOUT)

    def on_stream_idle(self) -> None:
        """Nothing moved for the stream idle timeout (hardening section 8)."""
        self._drop_upstream()
        if self.phase in (CONNECTING, SENT):
            failure = errors.ROUTE_TIMEOUT if self.stream.request_done else errors.IDLE_TIMEOUT
            self._reply(failure)
        elif self.phase != DONE:
            self._flag("SI")
            self.details = "stream_idle_timeout"
            self._finish(monotonic())
            self.stream.truncate()

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

    def on_answered(self) -> None:
        """The client has what it gets, and the rest of the upstream's answer is not wanted."""
        self._drop_upstream()
        self._finish(monotonic())

    def _drop_upstream(self) -> None:
        """End the attempt; a connection in mid-message is never used again."""
        upstream = self.upstream
        if upstream is not None:
            self.upstream = None
            upstream.close()
            self._endpoint.gone(upstream)
        elif self.phase == CONNECTING and self._endpoint is not None:
            self._endpoint.forget(self)

    # --- the end

    def _flag(self, flag: str) -> None:
        self.flags = flag if not self.flags else f"{self.flags},{flag}"

    def _reply(self, failure: Failure) -> None:
        """Answer with what ``failure`` says."""
        self._cancel_timers()
        if failure.flag != "-":
            self._flag(failure.flag)
        transport = self.transport_failure
        self.details = failure.details
        if transport and failure.reset_reason and failure.details.endswith("}"):
            self.details = f"{failure.details[:-1]}|{transport.replace(' ', '_')}}}"
        reply = failure_reply(failure, retried=self.attempts > 1)
        operations = self.destination.response_ops if self.destination is not None else None
        self._send_reply(reply, operations, close=failure.close)

    def _answer_here(self) -> None:
        """Redirects and direct responses."""
        route = self.route
        head = self.request
        assert head is not None
        make = direct_reply if route.action == DIRECT_RESPONSE else redirect_reply
        self.details = "direct_response"
        self._send_reply(make(route, head), route.response_ops, close=False)

    def _send_reply(
        self, reply: Reply, operations: Any, *, close: bool, grpc_status: int | None = None
    ) -> None:
        if reply[0] == 400:  # of a message that is not understood, Envoy thinks, whoever says so
            close = True
        if self.method == b"HEAD":
            reply = (*reply[:2], b"")
        if self.is_grpc and not self.parsed.web:
            reply = grpc_reply(reply, grpc_status)
            self.grpc_status = dict(reply[1])[b"grpc-status"]
        self._send_answer(reply, operations, close=close)

    @property
    def upstream_protocol(self) -> str:
        """What its cluster is spoken to in, as the log prints it."""
        spoken = self.cluster.spec.protocol
        if spoken == AS_CLIENT:
            return "HTTP/2" if self.protocol == b"HTTP/2" else "HTTP/1.1"
        return "HTTP/2" if spoken == HTTP2 else "HTTP/1.1"

    @property
    def is_grpc(self) -> bool:
        """Whether the request is a gRPC one."""
        request = self.request
        return request is not None and is_grpc(request.fields.get(b"content-type"))

    def _send_answer(self, reply: Reply, operations: Any, *, close: bool) -> None:
        """Answer here with ``reply`` as it stands."""
        status, pairs, body = reply
        self.status = status
        self.bytes_sent = len(body)
        stream = self.stream
        pairs = self._finished_pairs(pairs, operations)
        self._finish(monotonic())
        stream.respond(status, pairs, body, True, close=close)

    def _cancel_timers(self) -> None:
        for timer in (self.timeout, self._per_try, self._retry_timer):
            if timer is not None:
                timer.cancel()
        self.timeout = self._per_try = self._retry_timer = None

    def _finish(self, now: float) -> None:
        """The last thing about an exchange: counters down, facts to the log."""
        if self.phase == DONE:
            return
        self.phase = DONE
        self.finished_at = now
        if self.timeout is not None or self._per_try is not None or self._retry_timer is not None:
            self._cancel_timers()
        endpoint = self._endpoint
        if endpoint is not None:
            endpoint.active -= 1
        if self.cluster is not None and self.attempts:
            self.cluster.active -= 1
        self.upstream = None
        self._body = None
        log = self.proxy.log  # in two steps, because it is no method
        log(self)


def _asks_for_retry(retry: RetryPolicy, head: ResponseHead) -> bool:
    """Whether the policy would throw this answer away (semantics 15.1, 15.3, 15.4)."""
    ratelimited = head.fields().get(b"x-envoy-ratelimited") is not None
    return retries_response(retry, head.status, head.grpc_status, ratelimited=ratelimited)


#: Up to this attempt a pooled connection that turns out dead is replaced whatever the policy says.
_STALE_RETRIES: Final = 3
