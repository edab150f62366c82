"""HOT: one stream: its states and windows, for either side (RFC 9113 5.1, 5.2).

Received bytes are credited, by WINDOW_UPDATE, when the other side of the exchange has taken them: while it is paused
they are held, and the peer's window closes. What we send waits in the stream's queue while the peer's windows are
closed, and who sends it is told so.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from gatewayd.http.h2 import frames
from gatewayd.http.h2.encoder import encode_all
from gatewayd.http.h2.frames import END_STREAM
from gatewayd.http.h2.states import CLOSED, HALF_LOCAL, HALF_REMOTE, OPEN
from gatewayd.http.message import Trailers

if TYPE_CHECKING:
    from gatewayd.http.h2.connection import Connection

#: States in which the peer may send DATA.
OPEN_TO_DATA: Final = frozenset({OPEN, HALF_LOCAL})


class Stream:
    """What streams of both roles have in common; a role says who ``tell_slow`` and ``on_*`` are for."""

    __slots__ = (
        "_ending", "_held", "_paused", "_queue", "_taken", "_trailers", "connection", "exchange", "expected", "id",
        "progress", "queued", "send_window", "slow", "state", "unacknowledged",
    )  # fmt: skip

    def _begin(self, connection: Connection, stream_id: int, state: int) -> None:
        """What a role's ``__init__`` does first (not ours, or there would be one for both: see ``roles.py``)."""
        self.connection = connection
        self.id = stream_id
        self.state = state
        self.exchange: Any = None
        self.send_window = connection.peer_window
        #: body bytes that the peer still owes by its content-length; -1: nobody knows
        self.expected = -1
        #: received and not credited yet; of these, what was taken and waits until it is worth a frame
        self.unacknowledged = self._taken = 0
        #: received while the other side was paused
        self._held = 0
        self._paused = False
        #: pieces that wait for a window, and their bytes
        self._queue: deque[Any] | None = None
        self.queued = 0
        #: what comes behind the queue
        self._ending = False
        self._trailers: Trailers | None = None
        #: whether our sender was told to stop
        self.slow = False
        #: grows with whatever arrives or leaves
        self.progress = 0

    # --- a role's own

    def tell_slow(self, slow: bool) -> None:
        """The peer takes nothing more for now, or does again."""
        raise NotImplementedError

    def on_data(self, data: bytes, end: bool) -> None:
        """Bytes of the body."""
        raise NotImplementedError

    def on_reset(self, code: int) -> None:
        """The peer ended the stream before its end; it is closed."""
        raise NotImplementedError

    def on_mismatch(self) -> None:
        """The body is not as long as its content-length says: the stream is to be reset."""
        raise NotImplementedError

    def on_window_exceeded(self) -> None:
        """The peer sent more than we allowed on this stream."""
        raise NotImplementedError

    # --- receiving

    def receive(self, data: bytes, length: int, end: bool) -> None:
        """A DATA frame that took ``length`` of the window, or several."""
        self.progress += 1
        if self.expected >= 0:
            self.expected -= len(data)
            if self.expected < 0 or (end and self.expected):
                self._take(length)
                self.on_mismatch()
                return
        if end:
            self.end_remote()
        self.on_data(data, end)
        if not end or not self.connection.credits_at_once:  # else there is nothing left to credit
            self._take(length)

    def end_remote(self) -> None:
        """The peer has sent everything; a stream that is closed by it is still told of what came last."""
        if self.state == OPEN:
            self.state = HALF_REMOTE
        else:
            self.shut()

    def _take(self, length: int) -> None:
        """``length`` bytes were passed on: credit them, now or when the other side goes on."""
        state = self.state
        if self._paused and state != CLOSED:
            self._held += length
            return
        connection = self.connection
        if not connection.credits_at_once:
            connection.credit(length)
        if state in OPEN_TO_DATA:
            self._taken += length
            if self._taken * 2 >= connection.stream_window:
                connection.put(frames.window_update(self.id, self._taken))
                self.unacknowledged -= self._taken
                self._taken = 0

    def pause(self, paused: bool) -> None:
        """The other side takes nothing more for now, or does again; the peer notices when its window is closed."""
        self._paused = paused
        if not paused and self._held:
            held, self._held = self._held, 0
            self._take(held)

    # --- sending

    def send_data(self, data: bytes, end: bool) -> None:
        """More of the body; what the windows hold back is queued."""
        if self.state == CLOSED or self._ending:
            return
        connection = self.connection
        size = len(data)
        self.progress += 1
        if not self.queued:
            if not size:
                if end:
                    connection.put_data(self.id, data, True)
                    self._end_local()
                    if not connection.busy:
                        connection.touch()
                return
            if size <= self.send_window and size <= connection.send_window and not connection.write_paused:
                self.send_window -= size
                connection.send_window -= size
                connection.put_data(self.id, data, end)
                if end:
                    self._end_local()
                if not connection.busy:
                    connection.touch()
                return
        if size:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(data)
        self._ending = end
        self.queued += size
        self.set_slow(True)
        connection.wait_for_window(self, size)

    def send_trailers(self, trailers: Trailers) -> None:
        """What ends the body."""
        if self.state == CLOSED or self._ending:
            return
        self.progress += 1
        if self.queued:
            self._ending = True
            self._trailers = trailers
            return
        connection = self.connection
        if not trailers.pairs:  # all of them were left out
            connection.put_data(self.id, b"", True)
        else:
            block = trailers.encoded
            if block is None:
                block = trailers.encoded = encode_all(trailers.pairs, trailers.never_indexed)
            connection.put_block(self.id, block, END_STREAM)
        self._end_local()
        if not connection.busy:
            connection.touch()

    def send_queued(self, most: int) -> bool:
        """Send up to ``most`` bytes of the queue; whether the stream could go on."""
        connection = self.connection
        queue = self._queue
        assert queue is not None
        room = min(most, self.send_window)
        sent = 0
        self.progress += 1
        while queue and sent < room:
            piece = queue[0]
            size = len(piece)
            if size > room - sent:
                size = room - sent
                view = memoryview(piece)
                piece = view[:size]
                queue[0] = view[size:]
            else:
                queue.popleft()
            sent += size
            connection.put_data(self.id, piece, self._ending and not queue and self._trailers is None)
        self.send_window -= sent
        self.queued -= sent
        connection.send_window -= sent
        connection.queued -= sent
        if queue:
            return self.send_window > 0
        if self._trailers is not None:
            self._ending = False
            self.send_trailers(self._trailers)
        elif self._ending:
            self._end_local()
        elif not connection.congested:
            self.set_slow(False)
        return False

    def set_slow(self, slow: bool) -> None:
        """Tell who sends on this stream to stop, or to go on."""
        if slow != self.slow:
            self.slow = slow
            self.tell_slow(slow)

    def _end_local(self) -> None:
        """We have sent everything."""
        self._ending = True
        if self.state == OPEN:
            self.state = HALF_LOCAL
        else:
            self.shut()

    # --- the end

    def reset(self, code: int) -> None:
        """End the stream before its end."""
        if self.state != CLOSED:
            self.connection.put(frames.rst_stream(self.id, code))
            self.shut()

    def shut(self) -> None:
        """It is over, and its place free."""
        if self.state == CLOSED:
            return
        self.state = CLOSED
        connection = self.connection
        if self.queued:
            connection.forget_queue(self)
            self._queue = None
        if self._held and not connection.credits_at_once:
            connection.credit(self._held)
        self._held = 0
        connection.closed_stream(self)
