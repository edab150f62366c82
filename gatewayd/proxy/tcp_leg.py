"""HOT: one connection of a TCP session: hands its bytes to the other one's transport, in one call.

Short messages, plain on both sides, soon go without even that call (:mod:`gatewayd.proxy.direct`).

A stream that has become bulk, plain on both sides, moves to the kernel (:mod:`gatewayd.proxy.splice`) and comes
back when it is bulk no more. The transports stay as they are meanwhile, this one paused and the other one empty,
so that closing, resetting and half-closing go on as without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from gatewayd.proxy import direct, splice
from gatewayd.proxy.direct import Direct
from gatewayd.proxy.splice import Splice, is_plain

#: So many reads of this size, and a stream is bulk.
_BIG_READ: Final = 1 << 15
_BIG_READS: Final = 6
#: After it was given back it takes so many more.
_BIG_READS_AGAIN: Final = 64
#: So many reads that are not big, and messages are handed over by the loop itself, until so many bytes in a second.
_SMALL_READS: Final = 32
_DIRECT_BYTES: Final = 4 << 20


def _drop(data: bytes) -> None:
    """Where bytes go that nobody can take any more."""


class Leg(asyncio.Protocol):
    """One of a session's two connections."""

    __slots__ = (
        "_big_reads", "_mark", "_small_reads", "_wants_splice", "direct", "ended", "forward", "lost", "other",
        "paused", "received", "session", "splice",
        "transport",
    )  # fmt: skip

    other: Leg

    def __init__(self, session: Any) -> None:
        self.session = session
        self.transport: Any = None
        #: takes the bytes that arrive here: the other leg's ``write``
        self.forward: Callable[[bytes], object] = _drop
        self.received = 0
        self.ended = False  # no more bytes will come
        self.paused = False
        self.lost = False
        #: what moves the bytes that arrive here, while they are many
        self.splice: Splice | None = None
        self._big_reads = 0
        self._small_reads = 0
        #: whether bytes go by without a call here, counted by the kernel from ``_mark`` on
        self.direct = False
        self._mark = 0
        self._wants_splice = False  # as soon as the other transport is empty

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is connected."""
        self.transport = transport
        if is_plain(transport):
            # Written at once, not at the end of the loop's turn; and what does not go out stops the other side.
            transport.set_write_buffer_limits(high=0)  # type: ignore[attr-defined]  # typed as any transport
        self.session.on_connected(self)

    def data_received(self, data: bytes) -> None:
        """Bytes, for the other side."""
        size = len(data)
        self.received += size
        self.forward(data)
        if size >= _BIG_READ:
            self._big_reads += 1
            if self._big_reads == _BIG_READS:
                self._become_bulk()
        else:
            self._small_reads += 1
            if self._small_reads == _SMALL_READS:
                self._become_direct()

    def eof_received(self) -> bool:
        """The peer has nothing more to send; we may have."""
        if not self.ended:  # uvloop tells it again when reading resumes
            self.ended = True
            self.session.on_end(self)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, broken if there is an exception."""
        if not self.lost:
            self.lost = True
            self.session.on_lost(self, broken=exc is not None)

    def pause_writing(self) -> None:
        """The peer reads too slowly: read no more from the other one."""
        self.other.pause()

    def resume_writing(self) -> None:
        """The peer caught up."""
        self.other.resume()

    def pause(self) -> None:
        """Stop reading."""
        transport = self.transport
        if not self.paused and transport is not None and not self.ended and not transport.is_closing():
            self.paused = True
            transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if self._wants_splice:
            self._begin_splice()
        elif self.paused and self.splice is None:
            self.paused = False
            if not self.ended and not self.transport.is_closing():
                self.transport.resume_reading()

    def end(self) -> bool:
        """Pass on the other's end of stream; False when this transport cannot end without closing."""
        transport = self.transport
        if transport.is_closing():
            return True  # its loss will be told
        if not transport.can_write_eof():
            return False
        transport.write_eof()
        return True

    @property
    def unsent(self) -> int:
        """Bytes that wait for the peer."""
        if self.lost or self.transport is None:
            return 0
        moving = self.other.splice
        waiting: int = self.transport.get_write_buffer_size()
        return waiting if moving is None else waiting + moving.waiting

    def stop(self, *, flush: bool = False) -> None:
        """Nothing that arrives is wanted any more; with ``flush`` what has arrived is."""
        self._leave_direct()
        self.forward = _drop
        self._wants_splice = False
        self._small_reads = _SMALL_READS  # never again
        self._big_reads = _BIG_READS
        moving = self.splice
        if moving is None:
            return
        if flush and moving.waiting:
            moving.finish()
        else:
            self.splice = None
            moving.stop()

    # --- short messages

    def _become_direct(self) -> None:
        """Many short messages in a row: the loop hands them over by itself."""
        other = self.other.transport
        if self.forward is _drop or not (
            direct.AVAILABLE and is_plain(self.transport) and is_plain(other) and not other.is_closing()
        ):
            return
        mark = direct.received_bytes(self.transport.get_extra_info("socket"))
        if mark >= 0:
            self._mark = mark
            self.direct = True
            self.transport.set_protocol(Direct(self, other.write))

    def _leave_direct(self) -> None:
        """Count again what arrives."""
        if not self.direct:
            return
        self._count()
        self.direct = False
        self._small_reads = 0
        if not self.lost:
            self.transport.set_protocol(self)

    def _count(self) -> int:
        """Add what has gone by; returns how many bytes."""
        sock = self.transport.get_extra_info("socket")
        now = direct.received_bytes(sock, ended=self.ended) if sock is not None else -1
        if now < 0:
            return 0
        count = now - self._mark
        self._mark = now
        self.received += count
        return count

    def look(self) -> None:
        """Called about once a second."""
        if self.splice is not None:
            self.splice.look()
        elif self.direct and not 0 < self._count() < _DIRECT_BYTES:
            self._leave_direct()  # idle, and not worth asking for; or maybe bulk by now

    # --- bulk

    def _become_bulk(self) -> None:
        """Move to the kernel once everything written to the other side has left."""
        other = self.other.transport
        if self.forward is _drop or not (splice.AVAILABLE and is_plain(self.transport) and is_plain(other)):
            return
        self._wants_splice = True
        other.set_write_buffer_limits(
            high=0
        )  # if there is something left we are paused, and told when it is gone
        if self._wants_splice and not other.get_write_buffer_size():
            self._begin_splice()

    def _begin_splice(self) -> None:
        self._wants_splice = False
        pool = splice.pipes()
        pipe = pool.take()
        if pipe is None:
            self.on_splice_calm()
            return
        self.pause()
        source = self.transport.get_extra_info("socket")
        target = self.other.transport.get_extra_info("socket")
        loop = asyncio.get_running_loop()
        try:
            self.splice = Splice(loop, pool, pipe, source.fileno(), target.fileno(), self)
        except OSError:
            pool.give_back(pipe, empty=True)
            self.on_splice_calm()

    def on_spliced(self, count: int) -> None:
        """Bytes went by."""
        self.received += count

    def on_splice_end(self) -> None:
        """The peer has nothing more to send, or nothing more is wanted."""
        self.splice = None
        if self.forward is _drop:
            self.other.transport.close()
            return
        self.ended = True
        self.session.on_end(self)

    def on_splice_broken(self, *, at_source: bool) -> None:
        """Here, or on the other side."""
        self.splice = None
        self.session.on_broken(self if at_source else self.other)

    def on_splice_calm(self) -> None:
        """Bulk no more, or no pipe to be had: as before."""
        self.splice = None
        self._big_reads = _BIG_READS - _BIG_READS_AGAIN
        self.resume()
