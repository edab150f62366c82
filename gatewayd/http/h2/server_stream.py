"""HOT: one request of an HTTP/2 client, as the exchange sees it (``ServerStream`` of :mod:`gatewayd.http.streams`)."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gatewayd import errors
from gatewayd.http.edge import Edge
from gatewayd.http.h2 import floods, frames
from gatewayd.http.h2.encoder import (
    NO_BODY_STATUSES,
    TIMES,
    encode_all,
    encoded_date,
    encoded_head,
    encoded_time,
)
from gatewayd.http.h2.frames import END_STREAM
from gatewayd.http.h2.roles import own_code
from gatewayd.http.h2.states import CLOSED, HALF_REMOTE, OPEN
from gatewayd.http.h2.stream import Stream
from gatewayd.http.message import Pair, Trailers
from gatewayd.http.request import LENGTH, ParsedRequest
from gatewayd.http.response import ResponseHead

if TYPE_CHECKING:
    from gatewayd.http.h2.server import ServerConnection

#: A reset this soon after its request, and before an answer, is what floods are made of (as Envoy).
_PREMATURE_S: Final = 1.0

# Whether the request is an upgrade (RFC 8441).
_NO_TUNNEL: Final = 0
_ASKED: Final = 1  # what comes early is held
_TUNNEL: Final = 2

#: What HTTP/1.1 says of a connection or of its handshake, and an answer to extended CONNECT does not.
_NOT_SAID: Final = frozenset(
    {b"connection", b"upgrade", b"transfer-encoding", b"keep-alive", b"proxy-connection"}
)
_HANDSHAKE: Final = _NOT_SAID | {b"sec-websocket-accept", b"content-length"}


@own_code
class ServerStream(Stream):
    """One request and the way its answer goes."""

    __slots__ = (
        "_answered",
        "_deadline",
        "_early",
        "_seen",
        "_tunnel",
        "close_after",
        "edge",
        "info",
        "request_done",
    )

    connection: ServerConnection
    #: as the log prints it
    protocol: bytes = b"HTTP/2"
    #: nothing of a body is taken past the codec
    body_left: int = 0

    def __init__(
        self, connection: ServerConnection, edge: Edge, stream_id: int, request: ParsedRequest, end: bool
    ) -> None:
        self._begin(connection, stream_id, HALF_REMOTE if end else OPEN)
        self.edge = edge
        self.info = connection.info
        #: the request is complete; for an upgrade, too, whose bytes come behind the answer
        self.request_done = end
        #: of HTTP/1.1: here an answer ends its stream and nothing else
        self.close_after = False
        self._answered = False
        self._tunnel = _NO_TUNNEL
        self._deadline = 0.0
        self._seen = -1
        if not end:
            if request.block.upgrade:
                self.request_done = True
                self._tunnel = _ASKED
                self._early: list[bytes] = []
                self._paused = True
            elif request.body == LENGTH:
                self.expected = request.block.content_length

    @property
    def port(self) -> Any:
        """Where the connection came in."""
        return self.connection.port

    @property
    def request_ended(self) -> bool:
        """Whether the client has sent everything."""
        return self.state == HALF_REMOTE

    # --- from the client

    def on_data(self, data: bytes, end: bool) -> None:
        """Bytes of the body, or of a tunnel."""
        if self._tunnel:
            self._on_tunnel_data(data, end)
            return
        if end:
            self.request_done = True
        self.exchange.on_request_data(data, end)

    def _on_tunnel_data(self, data: bytes, end: bool) -> None:
        if self._tunnel == _ASKED:
            if data:
                self._early.append(data)
            return  # an end is seen by the state
        if data:
            self.exchange.on_tunnel_data_down(data)
        if end and self.exchange is not None:
            self.exchange.on_tunnel_data_down(b"")

    def receive_trailers(self, trailers: Trailers) -> None:
        """Trailers, and with them the end of the request."""
        self.progress += 1
        if self.expected > 0:  # as Envoy, which resets the stream only if DATA shows it
            self.connection.fail(frames.PROTOCOL_ERROR, "body too short", errors.H2_MESSAGE.details)
            return
        self.end_remote()
        if self._tunnel:
            self._on_tunnel_data(b"", True)
            return
        self.request_done = True
        self.exchange.on_request_trailers(trailers)

    def on_reset(self, code: int) -> None:
        """The client wants no answer any more."""
        connection = self.connection
        exchange = self.exchange
        premature = not self._answered and monotonic() - exchange.started_at < _PREMATURE_S
        self.abandon("DR", "http2.remote_reset")
        if premature:
            connection.count(floods.RESETS)

    def on_mismatch(self) -> None:
        """The body is not as long as the client said."""
        connection = self.connection
        self.reset(frames.PROTOCOL_ERROR)
        self.abandon("DPE", "http2.remote_reset")
        connection.count(floods.RESETS)

    def on_window_exceeded(self) -> None:
        """It would be done again and again."""
        self.connection.fail(frames.FLOW_CONTROL_ERROR, "stream window exceeded")

    def abandon(self, flag: str, details: str) -> None:
        """The exchange ends without more of an answer; the stream is closed."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_request_aborted(flag, exchange.details if self._tunnel == _TUNNEL else details)

    def tell_slow(self, slow: bool) -> None:
        """The client takes nothing more for now, or does again."""
        if self.exchange is not None:
            self.exchange.on_downstream_paused(slow)

    def _end_local(self) -> None:
        """The answer is complete; if the request is not, the rest of it is not wanted (RFC 9113 8.1)."""
        if self._tunnel == _TUNNEL:
            super()._end_local()
            return
        self._ending = True
        self.exchange = None
        if self.state == OPEN:
            self.connection.put(frames.rst_stream(self.id, frames.NO_ERROR))
        self.shut()

    # --- from the exchange

    def relay(self, head: ResponseHead, service_time_ms: int, data: bytes, end: bool) -> None:
        """Send an upstream's response with the proxy's own fields; see ServerStream."""
        edge = self.edge
        block = head.encoded
        if block is None:
            block = encoded_head(head)
        if service_time_ms >= 0 and edge.options.debug_headers:
            block += TIMES[service_time_ms] if service_time_ms < 1000 else encoded_time(service_time_ms)
        if not head.has_date:
            block += encoded_date(edge.date.line())
        self._answer(block, data, end)

    def respond(self, status: int, pairs: list[Pair], data: bytes, end: bool, *, close: bool = False) -> None:
        """Send a response built here; ``close`` is a matter of HTTP/1.1."""
        if status in NO_BODY_STATUSES or self.exchange is None or self.exchange.method == b"HEAD":
            data = b""
        block = encode_all(
            [(b":status", b"%d" % status), *[pair for pair in pairs if pair[0] not in _NOT_SAID]]
        )
        self._answer(block, data, end)

    def _answer(self, block: bytes, data: bytes, end: bool) -> None:
        if self.state == CLOSED:
            return
        self._answered = True
        self.progress += 1
        connection = self.connection
        if data:
            connection.put_block(self.id, block, 0)
            self.send_data(data, end)
            return
        connection.put_block(self.id, block, END_STREAM if end else 0)
        if end:
            self._end_local()
        if not connection.busy:
            connection.touch()

    def send_interim(self, status: int, pairs: list[Pair]) -> None:
        """A 1xx response; see ServerStream. It has no body, so nothing in it may promise one."""
        if self.state == CLOSED:
            return
        fields = [pair for pair in pairs if pair[0] not in _NOT_SAID and pair[0] != b"content-length"]
        self.connection.put_block(self.id, encode_all([(b":status", b"%d" % status), *fields]), 0)
        self.connection.touch()

    def truncate(self) -> None:
        """Leave the response visibly unfinished; see ServerStream."""
        self.exchange = None
        self.reset(frames.INTERNAL_ERROR)

    def bare_transport(self) -> Any:
        """Never: bytes go in frames."""
        return None

    # --- tunnels

    def start_tunnel(self, upgrade: bytes, pairs: list[Pair], data: bytes) -> None:
        """Answer extended CONNECT and let bytes through from here on (RFC 8441 5)."""
        if self.state == CLOSED:
            return
        fields = [pair for pair in pairs if pair[0] not in _HANDSHAKE]
        self._answered = True
        self._tunnel = _TUNNEL
        connection = self.connection
        connection.put_block(self.id, encode_all([(b":status", b"200"), *fields]), 0)
        if data:
            self.send_data(data, False)
        connection.touch()
        early, self._early = b"".join(self._early), []
        ended = self.request_ended
        if early:
            self.exchange.on_tunnel_data_down(early)
        self.pause(False)
        if ended and self.exchange is not None:
            self.exchange.on_tunnel_data_down(b"")

    def send_tunnel(self, data: bytes) -> None:
        """Bytes of a tunnel towards the client; ``b""`` ends our side."""
        self.send_data(data, not data)

    def finish_tunnel(self) -> None:
        """Both sides of the tunnel ended."""
        self.exchange = None

    def end_tunnel(self) -> None:
        """End it if it is one."""
        if self._tunnel == _TUNNEL:
            self.reset(frames.CANCEL)
            self.abandon("DC", "")

    # --- time

    def tick(self, now: float, limit_s: float) -> None:
        """Called about once a second: whether anything moves."""
        if self.progress != self._seen or not self._deadline:
            self._seen = self.progress
            self._deadline = now
        elif limit_s and now - self._deadline >= limit_s and self.exchange is not None:
            self.exchange.on_stream_idle()
