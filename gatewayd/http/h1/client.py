"""HOT: one HTTP/1.1 upstream connection, lent to one exchange at a time.

It returns to its pool only after a complete and clean exchange: both messages fully written and read, and
not a byte beyond (hardening section 7 and promise 9.14). It knows no cluster and no route.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.edge import Edge
from gatewayd.http.h1.chunked import ChunkedReader
from gatewayd.http.h1.connection import Connection
from gatewayd.http.message import Trailers
from gatewayd.http.request import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE
from gatewayd.http.response import ResponseHead
from gatewayd.http.streams import Borrower
from gatewayd.http.tcp_info import never_received

# What is being read; LENGTH, CHUNKED and UNTIL_CLOSE (1 to 3) are the body's.
_HEAD: Final = 0
_TUNNEL: Final = 4

#: How long the last bytes of a tunnel may take to leave for an upstream that does not read.
_FLUSH_S: Final = 30.0


class ClientConnection(Connection):
    """An HTTP/1.1 client codec; see :mod:`gatewayd.http.streams` for whom it talks to."""

    __slots__ = (
        "_close_after", "_eof_unread", "_head_bytes", "_interim", "_limits", "_method", "_paused", "_request_done",
        "_request_ended", "_responses", "_state", "_upgrade", "_written", "_written_before",
        "closed", "idle_since", "local_address", "owner", "requests", "takes_lines",
    )  # fmt: skip

    def __init__(self, owner: Any) -> None:
        super().__init__()
        #: see ClientConnection; in a slot, which is read faster than the class
        self.takes_lines = True
        self.owner = owner
        self.closed = False
        self.requests = 0
        #: monotonic time of the last release, set by the pool
        self.idle_since = 0.0
        self.local_address = ""
        self._state = _HEAD
        self._head_bytes = 0  # of the last answer
        self._paused = False
        self._eof_unread = False
        #: bytes of all messages, and of those before the present one
        self._written = self._written_before = 0

    # --- the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; the pool hands the connection to an exchange."""
        super().connection_made(transport)
        address = transport.get_extra_info("sockname")
        if isinstance(address, tuple):
            self.local_address = ("%s:%d" if ":" not in address[0] else "[%s]:%d") % address[:2]

    def data_received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        exchange = self.exchange
        if exchange is None:
            self._leave_pool()  # nobody asked: never deliver it to the next request
            return
        self.progress += 1
        state = self._state
        if state == _HEAD:
            if self._buffer:
                data = self._buffer + data
                self._buffer = b""
            # Answers of one upstream mostly have heads of one length; a whole head that is known needs no search.
            end = self._head_bytes
            text = data[:end]
            head = self._responses.heads.get(text)
            if head is None:
                end = data.find(b"\r\n\r\n") + 4
                if end == 3:
                    self._incomplete_head(data)
                    return
                if end == self._head_bytes:
                    head = self._responses.parse_new(text)
                else:
                    self._head_bytes = end
                    head = self._responses.parse(data[:end])
            if (
                head.simple
                and len(data) - end == head.content_length
                and self._request_done
                and not self._paused
                and self._method != b"HEAD"
            ):
                # All of a common answer at once: back to the pool before the exchange hears of it.
                self.exchange = None
                self.owner.released(self)
                exchange.on_response(head, data[end:], True)
                return
            self._on_head(exchange, head, data[end:])
        elif state == LENGTH:
            remaining = self._remaining - len(data)
            if remaining > 0:
                self._remaining = remaining
                exchange.on_response_data(data, False)
            else:
                if remaining:
                    data = data[: self._remaining]
                    self._close_after = True
                self._complete()
                exchange.on_response_data(data, True)
        elif state == CHUNKED:
            self._on_chunked(exchange, data)
        elif state == UNTIL_CLOSE:
            exchange.on_response_data(data, False)
        else:
            exchange.on_tunnel_data_up(data)

    def eof_received(self) -> bool:
        """The upstream's end of stream; a tunnel stays half open, anything else closes."""
        exchange = self.exchange
        if exchange is not None:
            if self._state == _TUNNEL:
                exchange.on_tunnel_data_up(b"")
                return True
            self._eof_unread = self._unread(ended=True)
        else:
            self._leave_pool()  # now: a request may come before connection_lost does
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; whoever was using it hears why."""
        if self._borrower is not None:
            self._end_loan()
        exchange = self.exchange
        # A broken pipe is what Linux says about a reset that came after the end of stream.
        ended = isinstance(exc, BrokenPipeError)
        unread = exchange is not None and (self._eof_unread or self._unread(ended=ended))
        self.closed = True
        self.exchange = None
        self.owner.gone(self)
        if exchange is None:
            return
        state = self._state
        if state == UNTIL_CLOSE and exc is None:
            exchange.on_response_data(b"", True)
        elif state == _TUNNEL:
            exchange.on_upstream_failure(errors.UPSTREAM_CLOSED, "", False)
        elif state == _HEAD and not self._buffer:
            exchange.on_upstream_failure(errors.UPSTREAM_CLOSED, "", unread)
        else:
            exchange.on_upstream_failure(errors.UPSTREAM_PROTOCOL, "", False)

    def pause_writing(self) -> None:
        """The upstream reads too slowly: stop the client."""
        if self.exchange is not None:
            self.exchange.on_upstream_paused(True)

    def resume_writing(self) -> None:
        """The upstream caught up."""
        self.progress += 1
        if self.exchange is not None:
            self.exchange.on_upstream_paused(False)

    # --- the exchange

    def start(
        self,
        exchange: Any,
        message: bytes,
        method: bytes,
        edge: Edge,
        *,
        complete: bool = True,
        chunked: bool = False,
        upgrade: bytes = b"",
    ) -> None:
        """Send a request head (with body bytes if any) for ``exchange``.

        ``complete``: ``message`` is the whole request. ``chunked``: body pieces get chunk framing.
        """
        self.exchange = exchange
        self.requests += 1
        self._method = method
        self._responses = edge.responses
        self._limits = edge.limits
        self._request_done = complete
        if not complete:
            self._request_ended = False
        self._chunked = chunked
        self._upgrade = upgrade
        self._written_before = self._written
        self._written += len(message)
        self._close_after = False
        self._interim = 0
        self._state = _HEAD
        self.write(message)

    def send_data(self, data: bytes, end: bool) -> None:
        """Send request body bytes; ``end`` ends the request."""
        if self.transport.is_closing():
            return  # connection_lost is on its way and will tell
        self.progress += 1
        if self._chunked:
            if data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            if end:
                data += b"0\r\n\r\n"
        if end:
            self._request_ended = True
        if data:
            self._written += len(data)
            self.write(data)

    def send_trailers(self, trailers: Trailers) -> None:
        """The end of the body: trailers are dropped (semantics 14.6.9)."""
        self.send_data(b"", True)

    def pause(self, paused: bool) -> None:
        """Stop or go on reading from the upstream."""
        if self._borrower is not None:
            self._borrower.pause(paused)
        elif paused != self._paused and not self.closed and not self.transport.is_closing():
            self._paused = paused
            if paused:
                self.transport.pause_reading()
            elif self._reader is not None and self._reader.more:
                self._read_later()
            else:
                self.transport.resume_reading()

    # --- bytes that go past us

    @property
    def body_left(self) -> int:
        """Bytes of the response body still to come, if its length is known; 0 when it is not."""
        return self._remaining if self._state == LENGTH else 0

    def lend(self, borrower: Borrower) -> None:
        """Read nothing until :meth:`take_back`: ``borrower`` takes some of :attr:`body_left` from the socket.

        It must leave at least one byte, so that what follows the body is found here as ever.
        """
        self.pause(True)
        self._borrower = borrower

    def passed(self, count: int) -> None:
        """So many bytes of the request body went past us."""
        self.progress += 1
        self._written += count

    def take_back(self, count: int, *, broken: bool = False) -> None:
        """``count`` bytes of the body went past us, and no more will; ``broken``: so is the connection."""
        self._borrower = None
        self._remaining -= count
        if broken:
            self._fail(errors.UPSTREAM_PROTOCOL)
        else:
            self.pause(False)

    def finish_tunnel(self) -> None:
        """Both ends of a tunnel ended: close, once what is buffered has left (but not for ever)."""
        self.exchange = None
        self.closed = True
        if self.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_FLUSH_S, self.transport.abort)
        self.transport.close()

    def close(self) -> None:
        """Give the connection up; the exchange, if any, hears no more of it."""
        self.exchange = None
        if self._borrower is not None:
            self._end_loan()
        if not self.closed:
            self.closed = True
            self.transport.abort()

    # --- inside

    def _leave_pool(self) -> None:
        """An idle connection that must not be used again."""
        self.close()
        self.owner.gone(self)

    def _unread(self, *, ended: bool) -> bool:
        """Whether the upstream provably got none of this request (see :mod:`gatewayd.http.tcp_info`)."""
        if self._state != _HEAD or self._buffer or self._interim or self.requests < 2:
            return False
        return never_received(self.transport.get_extra_info("socket"), self._written_before, ended=ended)

    def _incomplete_head(self, data: bytes) -> None:
        too_large = len(data) > self._limits.max_response_head_bytes
        # Who speaks otherwise may wait for us, and the client would wait for both.
        if too_large or data[:5] != b"HTTP/"[: len(data)] or data.count(b"\n") != data.count(b"\r\n"):
            self._fail(errors.UPSTREAM_PROTOCOL)
        else:
            self._buffer = data

    def _on_head(self, exchange: Any, head: ResponseHead, data: bytes) -> None:
        while head.status < 200:
            if head.error or head.status == 101:
                if head.error or not self._upgrade or head.upgrade != self._upgrade:
                    self._fail(errors.UPSTREAM_PROTOCOL)
                    return
                self._state = _TUNNEL
                exchange.on_upgraded(head, data)
                return
            self._interim += 1
            if self._interim > self._limits.max_interim_responses:
                self._fail(errors.UPSTREAM_PROTOCOL)
                return
            exchange.on_interim(head)
            if self.exchange is not exchange:
                return
            end = data.find(b"\r\n\r\n") + 4
            if end == 3:
                self._incomplete_head(data)
                return
            head, data = self._responses.parse(data[:end]), data[end:]
        if head.error:
            self._fail(errors.UPSTREAM_PROTOCOL)
            return
        self._close_after = head.close
        kind = head.body_kind(self._method)
        if kind == LENGTH:
            remaining = head.content_length - len(data)
            if remaining > 0:
                self._state = LENGTH
                self._remaining = remaining
                exchange.on_response(head, data, False)
                return
            if remaining:
                data = data[: head.content_length]
                self._close_after = True
        elif kind == NO_BODY:
            if data:
                data = b""
                self._close_after = True
        else:
            self._state = kind
            if kind == CHUNKED:
                self._reader = ChunkedReader(self._limits)
                exchange.on_response(head, b"", False)
                if data and self.exchange is exchange:
                    self._on_chunked(exchange, data)
            else:
                exchange.on_response(head, data, False)
            return
        self._complete()
        exchange.on_response(head, data, True)

    def _on_chunked(self, exchange: Any, data: bytes) -> None:
        reader = self._reader
        assert reader is not None
        payload = reader.feed(data)
        if reader.error:
            if payload:
                exchange.on_response_data(payload, False)
            self._fail(errors.UPSTREAM_PROTOCOL)
        elif reader.done:
            if reader.rest:
                self._close_after = True
            self._complete()
            exchange.on_response_data(payload, True)
        else:
            if reader.more:
                self.transport.pause_reading()
                self._read_later()
            if payload:
                exchange.on_response_data(payload, False)

    def _read_more(self) -> None:
        """Go on, unless the client has to wait; ``pause`` comes back to it then."""
        self._read_due = False
        reader = self._reader
        if reader is None or not reader.more or self._paused or self.transport.is_closing():
            return
        self.transport.resume_reading()
        if self.exchange is not None:
            self._on_chunked(self.exchange, b"")

    def _complete(self) -> None:
        """The response is read to its end: back to the pool, if everything is clean."""
        self.exchange = None
        self._state = _HEAD
        self._reader = None
        # A request that waits in our buffer is not written, even if its end came long ago.
        if self._close_after or not (
            self._request_done or (self._request_ended and not self.transport.get_write_buffer_size())
        ):
            self.close()
            self.owner.gone(self)
        else:
            if self._paused:
                self.pause(False)
            self.owner.released(self)

    def _fail(self, failure: Failure) -> None:
        exchange = self.exchange
        self.close()
        self.owner.gone(self)
        if exchange is not None:
            exchange.on_upstream_failure(failure, "", False)
