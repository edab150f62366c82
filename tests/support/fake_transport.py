"""A transport without a socket: the test delivers what arrives, sees what was written, and decides when it leaves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class FakeTransport:
    """Connected to ``protocol`` from the start.

    ``sent`` is all that was written; ``buffered`` how much of it has not left yet (nothing stays unless ``stuck``).
    Like a loop's, ``connection_lost`` comes later: call :meth:`settle`.
    """

    HIGH, LOW = 64 * 1024, 16 * 1024

    def __init__(self, protocol: Any, *, port: int = 40000) -> None:
        self.protocol = protocol
        self.sent = bytearray()
        self.buffered = 0
        self.stuck = False  # the peer reads nothing
        self.reading = True
        self.closing = False
        self.ended = False  # write_eof was called
        self.lost = False
        self.peer_ended = False
        self._error: Exception | None = None
        self._aborted = False
        self._write_paused = False
        self._addresses = {"peername": ("127.0.0.1", port), "sockname": ("127.0.0.1", 80)}
        protocol.connection_made(self)

    # --- what the protocol calls

    def write(self, data: bytes) -> None:
        """Take bytes; on a closing transport they are lost in silence, as asyncio's are."""
        assert isinstance(data, bytes)
        if self.closing:
            return
        assert not self.ended, "write after write_eof"
        self.sent += data
        if self.stuck:
            self.buffered += len(data)
            if self.buffered > self.HIGH and not self._write_paused:
                self._write_paused = True
                self.protocol.pause_writing()

    def writelines(self, pieces: Iterable[Any]) -> None:
        """Take bytes in pieces."""
        self.write(b"".join(pieces))

    def write_eof(self) -> None:
        """End our side."""
        self.ended = True

    def can_write_eof(self) -> bool:
        """Plain TCP can."""
        return True

    def pause_reading(self) -> None:
        """Deliver nothing for now."""
        self.reading = False

    def resume_reading(self) -> None:
        """Deliver again."""
        assert not self.closing, "resume_reading on a closing transport"
        self.reading = True

    def set_protocol(self, protocol: Any) -> None:
        """Another one goes on from here."""
        self.protocol = protocol

    def is_closing(self) -> bool:
        """Whether close or abort was called."""
        return self.closing

    def get_write_buffer_size(self) -> int:
        """Bytes that have not left."""
        return self.buffered

    def get_extra_info(self, name: str) -> Any:
        """Addresses; there is no socket."""
        return self._addresses.get(name)

    def close(self) -> None:
        """End once everything has left."""
        self.closing = True

    def abort(self) -> None:
        """End now; what has not left is lost."""
        self.closing = self._aborted = True
        if self.buffered:
            del self.sent[-self.buffered :]
            self.buffered = 0

    # --- what the test does

    def deliver(self, data: bytes) -> bool:
        """The peer's bytes arrive; False when nobody reads them now."""
        if self.closing or self.peer_ended or not self.reading:
            return False
        self.protocol.data_received(data)
        return True

    def end(self) -> bool:
        """The peer ends its side; False when nobody would notice now."""
        if self.closing or self.peer_ended or not self.reading:
            return False
        self.peer_ended = True
        if not self.protocol.eof_received():
            self.close()
        return True

    def reset(self) -> None:
        """The peer resets."""
        if not self.lost:
            self._error = ConnectionResetError(104, "Connection reset by peer")
            self.abort()

    def drain(self) -> None:
        """The peer reads everything, from now on too."""
        self.stuck = False
        self.buffered = 0
        if self._write_paused and not self.lost:
            self._write_paused = False
            self.protocol.resume_writing()

    def settle(self) -> None:
        """``connection_lost``, when it is due."""
        if self.closing and not self.lost and (self._aborted or not self.buffered):
            self.lost = True
            self.protocol.connection_lost(self._error)
