"""HOT: where an exchange stands, and how it comes to its end: answered here, or finished, and written down.

The beginning of the class that :mod:`gatewayd.proxy.attempts` and :mod:`gatewayd.proxy.exchange` go on with; they are
one object per request, in three files.
"""

from __future__ import annotations

from time import monotonic, time
from typing import Any, Final

from gatewayd.errors import Failure
from gatewayd.grpc_status import is_grpc
from gatewayd.http.message import Pair, Trailers
from gatewayd.http.request import ParsedRequest
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.proxy.forwarding import Client
from gatewayd.proxy.local_reply import (
    Reply,
    direct_reply,
    failure_reply,
    grpc_reply,
    redirect_reply,
)
from gatewayd.proxy.plan import Plan
from gatewayd.routing.route import DIRECT_RESPONSE
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


class ExchangeBase(StreamInfo):
    """One request and its response: what is known of it, and its end."""

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

    @property
    def is_grpc(self) -> bool:
        """Whether the request is a gRPC one."""
        request = self.request
        return request is not None and is_grpc(request.fields.get(b"content-type"))

    @property
    def upstream_protocol(self) -> str:
        """What its cluster is spoken to in, as the log prints it."""
        spoken = self.cluster.spec.protocol
        if spoken == AS_CLIENT:
            return "HTTP/2" if self.protocol == b"HTTP/2" else "HTTP/1.1"
        return "HTTP/2" if spoken == HTTP2 else "HTTP/1.1"

    # --- answers made here

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

    def _send_answer(self, reply: Reply, operations: Any, *, close: bool) -> None:
        """Answer here with ``reply`` as it stands."""
        status, pairs, body = reply
        self.status = status
        self.bytes_sent = len(body)
        stream = self.stream
        pairs = self._finished_pairs(pairs, operations)
        self._finish(monotonic())
        stream.respond(status, pairs, body, True, close=close)

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

    # --- the end

    def _flag(self, flag: str) -> None:
        self.flags = flag if not self.flags else f"{self.flags},{flag}"

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
