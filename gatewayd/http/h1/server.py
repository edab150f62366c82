"""HOT: one HTTP/1.1 downstream connection.

Requests are answered in order; reading stops while bytes of the next one wait (hardening section 2). The
connection frames: it knows lengths, chunks and when to close, and nothing of routes. Whatever it is given
as ``edge.begin`` makes an exchange of each head. Here it reads, and goes from one request to the next; what it writes
is in :mod:`gatewayd.http.h1.response_writer`, what ends it in :mod:`gatewayd.http.h1.lifetime`.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, Final

from gatewayd import errors
from gatewayd.http.h1.chunked import ChunkedReader
from gatewayd.http.h1.lifetime import Lifetime
from gatewayd.http.h1.states import BODY, CLOSED, IDLE, LINGER, TUNNEL, WAIT
from gatewayd.http.h2.server import ServerConnection as Http2Connection
from gatewayd.http.message import Pair
from gatewayd.http.request import LENGTH, NO_BODY
from gatewayd.http.streams import Borrower
from gatewayd.http.websocket import with_accept

#: Of the preface of HTTP/2, which reads as a request of a low version.
_HTTP2_BEGINS: Final = b"PRI * HTTP/2.0\r\n\r\n"

#: More than this at once may be a pipeline, which must not be parsed anew as a whole for each of its heads.
_ONE_HEAD_BYTES: Final = 4096

#: An end of stream this soon after the request is a client that half-closes and waits for its answer;
#: a later one is a client that has gone (docs/decisions/half_close.md).
HALF_CLOSE_WINDOW_S: Final = 0.1


class ServerConnection(Lifetime):
    """An HTTP/1.1 server codec; see :mod:`gatewayd.http.streams` for whom it talks to."""

    __slots__ = (
        "_eof", "_held", "_read_paused", "_write_paused", "info", "protocol", "request_ended_at",
    )  # fmt: skip

    #: who does not read its answers has no request under way
    slow: bool = False

    def __init__(self, port: Any) -> None:
        super().__init__(port)
        #: as the log prints it; in a slot, which is read faster than the class
        self.protocol = b"HTTP/1.1"
        self.info: Any = None
        self.request_ended_at = 0.0
        self._eof = False
        self._write_paused = False
        self._held = False  # by the exchange, in the midst of a body
        self._read_paused = False  # in the transport

    # --- the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register with the port."""
        super().connection_made(transport)
        self._head_since = monotonic()
        self.port.connected(self)
        tls = self.info.tls
        if tls is not None and tls.alpn == "h2":
            self._speak_http2(b"")

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self.progress += 1
        state = self.state
        if state == IDLE:
            if self._buffer:
                data = self._buffer + data
                self._buffer = b""
            edge = self.port.edge
            request = edge.requests.heads.get(data)  # a whole head, seen before, and nothing else
            if request is None or request.body or request.error is not None:
                self._read_head(data)
                return
            self.edge = edge
            self.state = WAIT
            self.method = request.method
            self.close_after = request.block.close or self.draining
            self._head_since = 0.0
            self.request_ended_at = 0.0
            edge.begin(self, request)
        elif state == BODY:
            self._read_body(data)
        elif state == WAIT:
            self._buffer += data
            if not self._read_paused:
                self._read_paused = True
                self.transport.pause_reading()
        elif state == TUNNEL:
            self.exchange.on_tunnel_data_down(data)
        elif state == LINGER:
            self._drained += len(data)
            if self._drained > self.edge.limits.linger_bytes:
                self.transport.abort()

    def eof_received(self) -> bool:
        """The client's end of stream; True keeps our side open for the answer."""
        state = self.state
        if state == TUNNEL:
            self.exchange.on_tunnel_data_down(b"")
            return True
        if state == WAIT:
            ended_at = self.request_ended_at or self.exchange.started_at
            if monotonic() - ended_at <= HALF_CLOSE_WINDOW_S:
                self._eof = True
                self.close_after = True
                return True
            self._abandon("DC", "downstream_remote_disconnect")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; an exchange in progress ends with ``DC``."""
        self.port.disconnected(self)
        if self._borrower is not None:
            self._end_loan()
        exchange = self.exchange
        self.exchange = None
        was = self.state
        self.state = CLOSED
        if exchange is not None:
            exchange.on_request_aborted(
                "DC", "downstream_remote_disconnect" if was != TUNNEL else exchange.details
            )

    def pause_writing(self) -> None:
        """The client reads too slowly: stop the upstream."""
        self._write_paused = True
        if self.exchange is not None:
            self.exchange.on_downstream_paused(True)

    def resume_writing(self) -> None:
        """The client caught up."""
        self.progress += 1
        self._write_paused = False
        if self.exchange is not None:
            self.exchange.on_downstream_paused(False)
        elif self.state == IDLE:
            self._between_requests()

    # --- reading

    def _read_head(self, data: bytes) -> None:
        """A head that is new, incomplete, followed by more, or refused."""
        edge = self.edge = self.port.edge
        limit = edge.limits.max_request_head_bytes
        rest = b""
        request = None
        if data[-4:] == b"\r\n\r\n" and len(data) <= _ONE_HEAD_BYTES and len(data) <= limit:
            # Mostly one head and nothing else. If there is more, the empty line inside makes it a bad one, or
            # the fields of several heads are too many.
            request = edge.requests.parse_new(data)
        if request is None or request.error is errors.BAD_REQUEST or request.error is errors.TOO_MANY_FIELDS:
            while data[:2] == b"\r\n":  # empty lines before a request (RFC 9112 2.2)
                self._drained += 1
                if self._drained > edge.limits.max_empty_lines:
                    self._refuse(errors.BAD_REQUEST)
                    return
                data = data[2:]
            end = data.find(b"\r\n\r\n", 0, limit + 4) + 4
            if end == 3:
                self._incomplete_head(data, limit)
                return
            data, rest = data[:end], data[end:]
            request = edge.requests.parse(data)
        self._drained = 0
        self._head_since = 0.0
        if request.error is not None and request.error.close:
            if data.startswith(_HTTP2_BEGINS) and not self.method and not self._negotiated:
                self._speak_http2(data + rest)
                return
            self.method = request.method
            self._refuse(request.error, request)
            return
        self.method = request.method
        self.close_after = request.block.close or self.draining
        body = request.body
        if body == NO_BODY:
            self.state = WAIT
            self.request_done = True
            self.request_ended_at = monotonic()
            if rest:
                self._buffer = rest
                self._pause_reading()
            edge.begin(self, request)
            return
        self.state = BODY
        self.request_done = False
        if body == LENGTH:
            self._remaining = request.block.content_length
        else:
            self._reader = ChunkedReader(edge.limits)
            self._held = False
        edge.begin(self, request)
        if rest and self.state == BODY:
            self._read_body(rest)

    @property
    def _negotiated(self) -> bool:
        """Whether the client agreed to HTTP/1.1 by ALPN."""
        tls = self.info.tls
        return tls is not None and bool(tls.alpn)

    def _speak_http2(self, data: bytes) -> None:
        """The connection is HTTP/2, by ALPN or by prior knowledge: the first bytes say so (semantics 2.4.2)."""
        port, transport = self.port, self.transport
        self.state = CLOSED
        port.disconnected(self)
        connection = Http2Connection(port)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if data:
            connection.data_received(data)

    def _incomplete_head(self, data: bytes, limit: int) -> None:
        if len(data) > limit:
            self._refuse(errors.HEAD_TOO_LARGE)
            return
        if data.count(b"\n") != data.count(b"\r\n"):
            self._refuse(errors.BAD_REQUEST)  # a bare LF would end the head for somebody else
            return
        self._buffer = data
        if not self._write_paused:
            self._resume_reading()
        if not self._head_since and data:
            self._head_since = monotonic()

    def _read_body(self, data: bytes) -> None:
        exchange = self.exchange
        reader = self._reader
        if reader is None:
            remaining = self._remaining - len(data)
            if remaining > 0:
                self._remaining = remaining
                exchange.on_request_data(data, False)
                return
            rest = data[self._remaining :] if remaining else b""
            payload = data[: self._remaining] if remaining else data
        else:
            payload = reader.feed(data)
            if reader.error:
                exchange.on_request_invalid(errors.BAD_REQUEST)
                return
            if not reader.done:
                if reader.more:
                    self._pause_reading()
                    self._read_later()
                if payload:
                    exchange.on_request_data(payload, False)
                return
            rest = reader.rest
            self._reader = None
        self.state = WAIT
        self.request_done = True
        self.request_ended_at = monotonic()
        if rest:
            self._buffer = rest
            self._pause_reading()
        exchange.on_request_data(payload, True)

    def _read_more(self) -> None:
        """Go on, unless the exchange has to wait; ``pause`` comes back to it then."""
        self._read_due = False
        reader = self._reader
        if self.state == BODY and reader is not None and reader.more and not self._held:
            self._resume_reading()
            self._read_body(b"")

    def _pause_reading(self) -> None:
        if not self._read_paused and not self.transport.is_closing():
            self._read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused and not self.transport.is_closing():
            self._read_paused = False
            self.transport.resume_reading()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading the request body or the tunnel."""
        if self._borrower is not None:
            self._borrower.pause(paused)
            return
        self._held = paused
        if paused:
            self._pause_reading()
        elif self._reader is not None and self._reader.more:
            self._read_later()
        elif self.state in (BODY, TUNNEL):
            self._resume_reading()

    # --- bytes that go past us, as in the client codec

    @property
    def body_left(self) -> int:
        """Bytes of the request body still to come, if its length is known; 0 when it is not."""
        return self._remaining if self.state == BODY and self._reader is None else 0

    def lend(self, borrower: Borrower) -> None:
        """Read nothing until :meth:`take_back`: ``borrower`` takes some of :attr:`body_left` from the socket.

        It must leave at least one byte, so that what follows the body is found here as ever.
        """
        self._pause_reading()
        self._borrower = borrower

    def take_back(self, count: int, *, broken: bool = False) -> None:
        """``count`` bytes of the body went past us, and no more will; ``broken``: so is the connection."""
        self._borrower = None
        self._remaining -= count
        if broken:
            self.transport.abort()
        else:
            self._resume_reading()

    # --- tunnels

    def start_tunnel(self, upgrade: bytes, pairs: list[Pair], data: bytes) -> None:
        """Answer an upgrade and let bytes through from here on."""
        pairs = with_accept(self.exchange.request.fields, upgrade, pairs)
        self.send_interim(101, [*pairs, (b"connection", b"Upgrade"), (b"upgrade", upgrade)])
        self.state = TUNNEL
        early, self._buffer = self._buffer, b""
        if data:
            self.write(data)
        self._resume_reading()
        if early:
            self.exchange.on_tunnel_data_down(early)
        if self._eof:  # it came while the upstream had not agreed yet
            self.exchange.on_tunnel_data_down(b"")

    # --- between requests

    def _response_done(self) -> None:
        """The answer is written to its end: next request, linger or close."""
        self.exchange = None
        if not self.request_done:
            self._linger()
        elif self.close_after:
            if self._buffer:
                self._linger()  # closing on bytes the client has sent would reset it, answer and all
            else:
                self.state = CLOSED
                self.transport.close()
        else:
            self.state = IDLE
            if self._buffer or self._read_paused or self._write_paused:
                self._between_requests()

    def _between_requests(self) -> None:
        """Go on with what is buffered, but take no request from a client that does not read answers."""
        if self._write_paused:
            self._pause_reading()
        elif self._buffer:
            # Not from inside the exchange's own call: a long pipeline would nest.
            asyncio.get_running_loop().call_soon(self._next_pipelined)
        else:
            self._resume_reading()

    def _next_pipelined(self) -> None:
        # While the client does not read, what it sent waits; resume_writing comes back here.
        if self.state == IDLE and not self._write_paused and not self.transport.is_closing():
            data, self._buffer = self._buffer, b""
            self.data_received(data)

    def _linger(self) -> None:
        """Keep reading a little, so that the client sees the answer (hardening section 2)."""
        self._end_loan()
        self.state = LINGER
        self._buffer = b""
        self._reader = None
        self._drained = 0
        self._deadline = monotonic() + self.edge.limits.linger_s
        self._resume_reading()

    def _abandon(self, flag: str, details: str) -> None:
        """The client broke off inside a request or while waiting."""
        exchange = self.exchange
        self.exchange = None
        if exchange is not None:
            exchange.on_request_aborted(flag, details)
        if self.state in (BODY, WAIT):
            self.state = CLOSED
            self.transport.close()
