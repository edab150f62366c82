"""HOT: one attempt of an exchange on an HTTP/2 upstream connection (``ClientConnection`` of ``http/streams.py``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.edge import Edge
from gatewayd.http.h2 import frames
from gatewayd.http.h2.control import STARTING
from gatewayd.http.h2.frames import END_STREAM
from gatewayd.http.h2.responses import ResponseReader
from gatewayd.http.h2.roles import own_code
from gatewayd.http.h2.states import CLOSED, HALF_LOCAL, OPEN
from gatewayd.http.h2.stream import Stream
from gatewayd.http.message import Trailers
from gatewayd.http.response import ResponseHead

if TYPE_CHECKING:
    from gatewayd.http.h2.client import ClientConnection

#: What a reset before the response means (semantics 16); any other code is a reset.
_RESETS: Final[dict[int, Failure]] = {
    frames.REFUSED_STREAM: errors.UPSTREAM_REFUSED,
    frames.PROTOCOL_ERROR: errors.UPSTREAM_PROTOCOL,
    frames.CONNECT_ERROR: errors.UPSTREAM_CONNECT_ERROR,
}


@own_code
class ClientStream(Stream):
    """One request to an upstream and the way its answer comes."""

    __slots__ = (
        "_interim", "_method", "_tunnel", "_upgrade", "local_address", "reader", "responded",
    )  # fmt: skip

    connection: ClientConnection
    #: a head is a block of fields
    takes_lines: bool = False
    #: nothing of a body is taken past the codec
    body_left: int = 0

    def __init__(self, connection: ClientConnection, stream_id: int) -> None:
        self._begin(connection, stream_id, OPEN)
        self.local_address = connection.local_address
        #: what the response's head is read with
        self.reader: ResponseReader
        #: a final head has come
        self.responded = False
        self._interim = 0
        self._method = b""
        self._upgrade = b""
        self._tunnel = False

    @property
    def owner(self) -> Any:
        """The pool that its connection belongs to."""
        return self.connection.owner

    # --- from the exchange

    def start(
        self,
        exchange: Any,
        head: bytes,
        method: bytes,
        edge: Edge,
        *,
        complete: bool = True,
        chunked: bool = False,
        upgrade: bytes = b"",
    ) -> None:
        """Send a request head; see ClientConnection of the contract."""
        connection = self.connection
        self.exchange = exchange
        self._method = method
        self._upgrade = upgrade
        self.reader = edge.response_fields
        if upgrade:
            complete = False
            if connection.phase != STARTING and not connection.takes_connect:
                # It would be malformed to such an upstream (RFC 8441 3).
                self.shut()
                connection.soon(self._refuse)
                return
        connection.put_block(self.id, head, END_STREAM if complete else 0)
        if complete:
            self._ending = True
            self.state = HALF_LOCAL
        if not connection.busy:
            connection.touch()

    def bare_transport(self) -> Any:
        """Never: bytes go in frames."""
        return None

    def _refuse(self) -> None:
        self.fail(errors.UPSTREAM_PROTOCOL, unread=False)

    def send_tunnel(self, data: bytes) -> None:
        """Bytes of a tunnel towards the upstream; ``b""`` ends our side."""
        self.send_data(data, not data)

    def finish_tunnel(self) -> None:
        """Both ends of a tunnel ended."""
        self.exchange = None
        self.reset(frames.NO_ERROR)

    def close(self) -> None:
        """Give the attempt up; the exchange hears no more of it."""
        self.exchange = None
        self.reset(frames.CANCEL)

    # --- from the upstream

    def on_head(self, head: ResponseHead, end: bool) -> None:
        """A response head, final or not."""
        self.progress += 1
        status = head.status
        if head.error or (status < 200 and (end or status == 101)):
            self.break_off(frames.PROTOCOL_ERROR, errors.UPSTREAM_PROTOCOL)
            return
        exchange = self.exchange
        if status < 200:
            self._interim += 1
            if self._interim > self.connection.limits.max_interim_responses:
                self.break_off(frames.PROTOCOL_ERROR, errors.UPSTREAM_PROTOCOL)
            else:
                exchange.on_interim(head)
            return
        self.responded = True
        if self._upgrade and status < 300:
            self._tunnel = True
            granted = ResponseHead.granting(head, self._upgrade)
            exchange.on_upgraded(granted, b"")
            if end:
                self.end_remote()
                exchange.on_tunnel_data_up(b"")
            return
        if head.content_length > 0 and self._method != b"HEAD" and status != 304:
            self.expected = head.content_length
            if end:
                self.break_off(frames.PROTOCOL_ERROR, errors.UPSTREAM_PROTOCOL)
                return
        elif head.content_length == 0 or self._method == b"HEAD" or status in (204, 304):
            self.expected = 0
        if end:
            self.end_remote()
        exchange.on_response(head, b"", end)
        if end:
            self._complete()

    def on_data(self, data: bytes, end: bool) -> None:
        """Bytes of the body, or of a tunnel."""
        exchange = self.exchange
        if exchange is None:
            return
        if self._tunnel:
            if data:
                exchange.on_tunnel_data_up(data)
            if end and self.exchange is exchange:
                exchange.on_tunnel_data_up(b"")
            return
        if not self.responded:
            self.break_off(frames.PROTOCOL_ERROR, errors.UPSTREAM_PROTOCOL)
            return
        exchange.on_response_data(data, end)
        if end:
            self._complete()

    def receive_trailers(self, trailers: Trailers) -> None:
        """Trailers, and with them the end of the response."""
        self.progress += 1
        if self.expected > 0:
            self.on_mismatch()
            return
        exchange = self.exchange
        self.end_remote()
        if self._tunnel:
            exchange.on_tunnel_data_up(b"")
            return
        exchange.on_response_trailers(trailers)
        self._complete()

    def _complete(self) -> None:
        """The response is; what of the request has not been sent is not wanted any more."""
        self.exchange = None
        if self.state != CLOSED:
            self.reset(frames.CANCEL)

    def tell_slow(self, slow: bool) -> None:
        """The upstream takes nothing more for now, or does again."""
        if self.exchange is not None:
            self.exchange.on_upstream_paused(slow)

    # --- failures

    def on_mismatch(self) -> None:
        """The body is not as long as the upstream said."""
        self.break_off(frames.PROTOCOL_ERROR, errors.UPSTREAM_PROTOCOL)

    def on_window_exceeded(self) -> None:
        """As with Envoy it reads as a reset."""
        self.break_off(frames.FLOW_CONTROL_ERROR, errors.UPSTREAM_RESET)

    def on_reset(self, code: int) -> None:
        """The upstream ended the stream."""
        self.fail(_RESETS.get(code, errors.UPSTREAM_RESET), unread=code == frames.REFUSED_STREAM)

    def break_off(self, code: int, failure: Failure) -> None:
        """The response cannot be used."""
        self.reset(code)
        self.fail(failure, unread=False)

    def fail(self, failure: Failure, *, unread: bool) -> None:
        """Tell the exchange that the attempt is over; the stream is closed."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_upstream_failure(failure, "", unread and not self.responded)
