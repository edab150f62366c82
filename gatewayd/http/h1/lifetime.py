"""How long an HTTP/1.1 downstream connection lives: timeouts, draining, and ends that are not the client's."""

from __future__ import annotations

from typing import Any

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.h1.response_writer import ResponseWriter
from gatewayd.http.h1.states import BODY, CLOSED, IDLE, LINGER, TUNNEL
from gatewayd.http.request import ParsedRequest, refused
from gatewayd.http.tcp_info import unread


class Lifetime(ResponseWriter):
    """A downstream connection as those see it who look after all of them."""

    __slots__ = ("_deadline", "_drained", "_head_since", "_seen_progress", "draining", "port", "state")

    def __init__(self, port: Any) -> None:
        super().__init__(port.edge)
        self.port = port
        self.state = IDLE
        self.draining = False
        #: bytes or lines thrown away while lingering or before a head; once closed, those the client has not taken
        self._drained = 0
        self._head_since = 0.0
        self._seen_progress = 0
        self._deadline = 0.0

    @property
    def under_way(self) -> int:
        """Requests under way."""
        return self.exchange is not None

    @property
    def idle_since(self) -> float:
        """Since when nothing is under way (monotonic, to about a second); 0.0 while a request is."""
        return (self._head_since or self._deadline) if self.state == IDLE else 0.0

    # --- timeouts

    def tick(self, now: float) -> None:
        """Called about once a second: head, idle, stream and linger timeouts (hardening section 8)."""
        state = self.state
        limits = self.edge.limits
        if state == LINGER:
            if now >= self._deadline:
                self.state = CLOSED
                self.transport.close()
            return
        if state == CLOSED:
            self._flush(now)
            return
        head_timeout_s = limits.request_head_timeout_s
        if state == IDLE and self._head_since and 0 < head_timeout_s <= now - self._head_since:
            if self._buffer:
                self._refuse(errors.HEAD_TIMEOUT)
            else:
                self.state = CLOSED
                self.transport.close()
            return
        seen = self.progress << 3 | state  # an answer sent whole is seen by the state it leaves behind
        if seen != self._seen_progress:
            self._seen_progress = seen
            self._deadline = now
        elif not self._deadline:
            self._deadline = now
        elif state == IDLE:
            if limits.idle_timeout_s and now - self._deadline >= limits.idle_timeout_s:
                self.state = CLOSED
                self.transport.close()
        elif limits.stream_idle_timeout_s and now - self._deadline >= limits.stream_idle_timeout_s:
            exchange = self.exchange
            if exchange is not None:
                exchange.on_stream_idle()

    def _flush(self, now: float) -> None:
        """Closed, with bytes the client has not taken: wait for as long as it goes on taking some."""
        left = self.transport.get_write_buffer_size()
        limit_s = self.edge.limits.stream_idle_timeout_s
        if left != self._drained:
            self._drained = left
            self._deadline = now
        elif limit_s and now - self._deadline >= limit_s:
            self.transport.abort()

    def _refuse(self, failure: Failure, request: ParsedRequest | None = None) -> None:
        """Answer a head that cannot be served, and close."""
        self.request_done = False  # framing in doubt: never read another request from here
        self.state = BODY
        self.edge.begin(self, request if request is not None else refused(failure))

    # --- ends

    def drain(self) -> None:
        """Close when idle; otherwise the current answer says ``connection: close``.

        A request that has come and was not read yet is not idleness: to close on it would be to lose it.
        """
        if self.state == IDLE and not self._buffer and not unread(self.transport):
            self.state = CLOSED
            self.transport.close()
        else:
            self.draining = self.close_after = True

    def discourage(self) -> None:
        """The answer to the next request says ``connection: close``; nobody's request is lost by that."""
        self.draining = True

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self.transport.abort()

    def end_tunnel(self) -> None:
        """Close an upgraded connection, which never ends by itself; others stay."""
        if self.state == TUNNEL:
            self.transport.close()

    def finish_tunnel(self) -> None:
        """Both sides of the tunnel ended."""
        self.exchange = None
        self.state = CLOSED
        self.transport.close()

    def truncate(self) -> None:
        """Leave the response visibly unfinished; see ServerStream."""
        self._end_loan()
        self.exchange = None
        self.state = CLOSED
        self.transport.close()
