"""HOT: what leaves a connection: frames gathered into one write, and DATA as the peer's windows allow (RFC 9113 6.9).

Everything that one turn of the event loop brings for a connection leaves in one write: frames are put into ``out``, and
``touch`` sees that they go. What flow control or a slow peer holds back waits in its stream's queue, and whoever sends
it is told to stop.
"""

from __future__ import annotations

from asyncio import get_running_loop
from typing import TYPE_CHECKING, Any, Final

from gatewayd.http.h2 import frames
from gatewayd.http.h2.encoder import NO_TABLE
from gatewayd.http.h2.frames import (
    DATA,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    pack_header,
)

if TYPE_CHECKING:
    from gatewayd.http.h2.stream import Stream

#: So much DATA is written at once, and not joined before.
_FLUSH_BYTES: Final = 64 * 1024
#: How much of a stream goes before the next one has its turn.
_TURN_BYTES: Final = 32 * 1024


class Sender:
    """The sending half of a connection."""

    __slots__ = (
        "_out_bytes", "_ready", "busy", "congested", "data_frames", "ended", "out", "peer_window", "progress",
        "queued", "queued_limit", "send_window", "soon", "streams", "table_shrunk", "transport", "write",
        "write_paused",
    )  # fmt: skip

    def __init__(self, queued_limit: int) -> None:
        #: calls a function in the next turn of the loop; set with the transport, unless somebody has
        self.soon: Any = None
        self.transport: Any = None
        self.write: Any = None
        #: frames to be written, in pieces
        self.out: list[Any] = []
        self._out_bytes = 0  # of DATA among them
        #: somebody will call ``flush`` anyway
        self.busy = False
        #: our side is at its end: what is put into ``out`` goes nowhere
        self.ended = False
        #: the transport takes no more for now
        self.write_paused = False
        self.send_window = DEFAULT_WINDOW
        self.peer_window = DEFAULT_WINDOW  # of a new stream
        #: the peer allows a smaller table than it would believe we have, and is to be told that we have none
        self.table_shrunk = False
        #: open streams by their numbers
        self.streams: dict[int, Any] = {}
        #: those with something queued and a window of their own
        self._ready: dict[int, Stream] = {}
        #: bytes in the queues of all streams, and how many are too many
        self.queued = 0
        self.queued_limit = queued_limit
        self.congested = False
        #: DATA frames sent
        self.data_frames = 0
        #: grows with whatever arrives or leaves; idle timeouts look at it
        self.progress = 0

    def attach(self, transport: Any) -> None:
        """Write to ``transport`` from now on."""
        self.transport = transport
        self.write = transport.write
        if self.soon is None:
            self.soon = get_running_loop().call_soon

    def touch(self) -> None:
        """Frames were put into ``out``: now if there is one stream only, else with those of its siblings."""
        if self.busy:
            return
        if len(self.streams) < 2:
            self.flush()
        else:
            self.busy = True
            self.soon(self._flush_later)

    def _flush_later(self) -> None:
        self.busy = False
        self.flush()

    def flush(self) -> None:
        """Write what is there."""
        out = self.out
        if not out:
            return
        self.progress += 1
        self.out = []
        much = self._out_bytes >= _FLUSH_BYTES
        self._out_bytes = 0
        if self.ended or self.transport.is_closing():
            return
        if much:
            self.transport.writelines(out)
        else:
            self.write(b"".join(out))

    def put(self, frame: bytes) -> None:
        """Send a frame that no window holds back."""
        self.out.append(frame)
        if not self.busy:
            self.touch()

    def put_block(self, stream_id: int, block: bytes, flags: int) -> None:
        """Put a header block into ``out``."""
        size = len(block)
        if self.table_shrunk or size > DEFAULT_FRAME_BYTES:
            if self.table_shrunk:  # and never changes again (RFC 7541 4.2)
                self.table_shrunk = False
                block = NO_TABLE + block
            self.out.append(frames.headers(stream_id, block, flags))
        else:
            self.out += pack_header(0, size, HEADERS, flags | END_HEADERS, stream_id), block

    def put_data(self, stream_id: int, data: Any, end: bool) -> None:
        """Put DATA into ``out``; the windows were asked. Frames are no longer than every peer takes."""
        size = len(data)
        self._out_bytes += size
        if size > DEFAULT_FRAME_BYTES:
            data = memoryview(data)
            last = (size - 1) // DEFAULT_FRAME_BYTES * DEFAULT_FRAME_BYTES
            full = pack_header(0, DEFAULT_FRAME_BYTES, DATA, 0, stream_id)
            for at in range(0, last, DEFAULT_FRAME_BYTES):
                self.out += full, data[at : at + DEFAULT_FRAME_BYTES]
            data = data[last:]
            size -= last
            self.data_frames += last // DEFAULT_FRAME_BYTES
        self.out += pack_header(0, size, DATA, END_STREAM if end else 0, stream_id), data
        self.data_frames += 1
        if self._out_bytes >= _FLUSH_BYTES:
            self.flush()

    # --- what has to wait

    def wait_for_window(self, stream: Stream, size: int) -> None:
        """``size`` bytes were queued in ``stream``."""
        self.queued += size
        if stream.send_window > 0:
            self._ready[stream.id] = stream
            self.pump()
        if self.queued > self.queued_limit and not self.congested:
            self.congested = True
            for other in list(self.streams.values()):
                other.set_slow(True)
        if self.out and not self.busy:  # what came before it, the head of an answer
            self.touch()

    def pump(self) -> None:
        """Send what is queued, stream by stream, as far as the windows go."""
        ready = self._ready
        while ready and self.send_window > 0 and not self.write_paused:
            stream_id = next(iter(ready))
            stream = ready.pop(stream_id)
            most = min(self.send_window, _TURN_BYTES) if ready else self.send_window
            if stream.send_queued(most):
                ready[stream_id] = stream
        if self.congested and self.queued <= self.queued_limit // 2:
            self.congested = False
            for other in list(self.streams.values()):
                other.set_slow(other.queued > 0)
        if self.out and not self.busy:
            self.touch()

    def forget_queue(self, stream: Stream) -> None:
        """``stream`` is closed: what it had queued never leaves."""
        self._ready.pop(stream.id, None)
        self.queued -= stream.queued
        stream.queued = 0

    def on_stream_window(self, stream: Stream) -> None:
        """The window of ``stream`` was opened."""
        if stream.queued and stream.send_window > 0:
            self._ready[stream.id] = stream
            self.pump()

    # --- the transport

    def pause_writing(self) -> None:
        """The peer reads too slowly: queues grow, and nothing more is read from it (hardening section 3)."""
        self.write_paused = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It caught up."""
        self.progress += 1
        self.write_paused = False
        if not self.transport.is_closing():
            self.transport.resume_reading()
        self.pump()
