"""HOT: the attempts of an exchange, one at a time.

An endpoint is picked, a connection awaited, the request sent. What fails is tried again or answered, and what takes too
long is ended.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.request import NO_BODY
from gatewayd.policies.retry import backoff_s, retries_failure
from gatewayd.proxy.exchange_base import CONNECTING, DONE, RESPONDING, SENT, TUNNEL, ExchangeBase
from gatewayd.proxy.plan import is_chunked
from gatewayd.proxy.upstream_head import built_head, encoded_head, plain_head
from gatewayd.routing.route import Destination
from gatewayd.upstream.remote import pick_remote

#: Up to this attempt a pooled connection that turns out dead is replaced whatever the policy says.
_STALE_RETRIES: Final = 3


class Attempts(ExchangeBase):
    """An exchange on its way to an upstream: one attempt at a time."""

    __slots__ = ()

    # --- an endpoint, a connection

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

    def _drop_upstream(self) -> None:
        """End the attempt; a connection in mid-message is never used again."""
        upstream = self.upstream
        if upstream is not None:
            self.upstream = None
            upstream.close()
            self._endpoint.gone(upstream)
        elif self.phase == CONNECTING and self._endpoint is not None:
            self._endpoint.forget(self)

    # --- another attempt

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

    # --- timeouts

    def _arm_timeout(self) -> None:
        """The route timeout runs from the moment the request is complete (semantics 6.6.2)."""
        if self.plan.timeout_s:
            self.timeout = self.proxy.wheel.arm(self.plan.timeout_s, self._on_timeout)

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
