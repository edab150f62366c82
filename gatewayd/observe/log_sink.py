"""Where log lines go: a file, or a stream somebody reads, and never a moment of waiting.

A regular file takes what it is given. A pipe, terminal or socket may be full: then lines wait in a bounded
buffer until the reader comes back, and beyond it they are dropped and counted (hardening 9.11).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import select
import socket
import stat
from typing import Final

_log = logging.getLogger("gatewayd.log")

#: Bytes that may wait for a reader that does not keep up.
MAX_WAITING_BYTES: Final = 1024 * 1024
#: At most one report of dropped lines in this time.
REPORT_INTERVAL_S: Final = 10.0
#: A pipe takes this much whole or not at all (POSIX PIPE_BUF), so writers that share it never mix lines.
_WHOLE_BYTES: Final = select.PIPE_BUF


#: Paths that mean a stream we have already. A socket (systemd's journal) cannot be opened by its path.
_STREAMS: Final = {"/dev/stdout": 1, "/dev/fd/1": 1, "/dev/stderr": 2, "/dev/fd/2": 2}


class LogSink:
    """One open destination. ``path`` is a file's path, or ``-`` for the descriptor ``stream_fd``.

    Opening raises ``OSError``. Without a running ``loop`` what cannot be written waits for :meth:`drain`.
    """

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop | None = None, stream_fd: int = 1) -> None:
        self._loop = loop
        self._stream_fd = _STREAMS.get(path, stream_fd)
        self.path = "-" if path in _STREAMS else path
        self._waiting = bytearray()
        #: the last thing written was the first part of a line ...
        self._half_line_out = False
        #: ... whose rest was lost
        self._torn = False
        self._watching = False
        self._report: asyncio.TimerHandle | None = None
        self._unreported = 0
        self._last_error = ""
        self.dropped_lines = 0
        self._open()

    def _open(self) -> None:
        if self.path != "-":
            self._fd = _open_path(self.path)
        else:
            self._fd = self._open_stream()
        mode = os.fstat(self._fd).st_mode
        self._regular = stat.S_ISREG(mode)
        self._blocking = os.get_blocking(self._fd)
        self._socket: socket.socket | None = None
        if stat.S_ISSOCK(mode):  # systemd's journal
            self._socket = socket.socket(fileno=self._fd)

    def _open_stream(self) -> int:
        """A descriptor of our own for the inherited stream.

        O_NONBLOCK belongs to the open file, which we share with whoever started us, so setting it there
        would break their writes: the file is opened a second time where the system allows that.
        """
        mode = os.fstat(self._stream_fd).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            with contextlib.suppress(OSError):
                return os.open(f"/proc/self/fd/{self._stream_fd}", flags)
        return os.dup(self._stream_fd)

    @property
    def waiting_bytes(self) -> int:
        """Bytes the reader has not taken yet."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether further lines would be dropped; then there is no need to format them."""
        return len(self._waiting) >= MAX_WAITING_BYTES

    def write(self, lines: bytes) -> None:
        """Write whole lines, now or as soon as the reader takes them."""
        waiting = self._waiting
        if len(waiting) + len(lines) > MAX_WAITING_BYTES:
            self.drop(lines.count(b"\n"), "the reader does not keep up")
            return
        waiting += lines
        if not self._watching:
            self._write_waiting()

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """From now on watch for the reader with ``loop``; None: not any more (before it is closed)."""
        self._unwatch()
        if self._report is not None:
            self._report.cancel()
            self._report = None
        self._loop = loop

    def drop(self, lines: int, reason: str) -> None:
        """Count lines as lost; said in the program's log once in ``REPORT_INTERVAL_S``."""
        self.dropped_lines += lines
        self._unreported += lines
        self._last_error = reason
        if self._report is None and self._loop is not None:
            self._report = self._loop.call_later(REPORT_INTERVAL_S, self._report_drops)

    def _report_drops(self) -> None:
        self._report = None
        if self._unreported:
            lines, self._unreported = self._unreported, 0
            _log.warning(
                "%d lines for %s were dropped: %s",
                lines,
                "the standard stream" if self.path == "-" else self.path,
                self._last_error,
            )

    def _write_waiting(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                piece = bytes(waiting) if self._regular else self._whole_piece()
                if self._torn:
                    piece = b"\n" + piece
                written = self._write_now(piece)
                if self._torn and written:
                    self._torn = False
                    written -= 1
                del waiting[:written]
        except BlockingIOError:
            self._watch()
        except OSError as error:
            # Disk full, reader gone: what waits is lost, and the half line already out is ended later.
            if waiting:
                self._torn = self._torn or self._half_line_out
                self.drop(waiting.count(b"\n"), (error.strerror or str(error)).lower())
                waiting.clear()
            self._unwatch()
        else:
            self._unwatch()

    def _whole_piece(self) -> bytes:
        """As many whole lines as a pipe takes at once; the first part of a line that is longer."""
        waiting = self._waiting
        if len(waiting) <= _WHOLE_BYTES - 1:
            return bytes(waiting)
        end = waiting.rfind(b"\n", 0, _WHOLE_BYTES - 1)
        return bytes(waiting[: end + 1 if end >= 0 else _WHOLE_BYTES - 1])

    def _write_now(self, piece: bytes) -> int:
        if self._socket is not None:
            written = self._socket.send(piece, socket.MSG_DONTWAIT)
        else:
            # A stream that could not be opened again would wait; writable means room for a whole piece.
            if self._blocking and not self._regular and not self._writable_within(0):
                raise BlockingIOError
            written = os.write(self._fd, piece)
        if written:
            self._half_line_out = piece[written - 1] != 0x0A
        return written

    def _writable_within(self, limit_s: float) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(int(limit_s * 1000)))

    def _watch(self) -> None:
        if not self._watching and self._loop is not None:
            self._loop.add_writer(self._fd, self._write_waiting)
            self._watching = True

    def _unwatch(self) -> None:
        if self._watching and self._loop is not None:
            self._loop.remove_writer(self._fd)
            self._watching = False

    def reopen(self) -> None:
        """Open the file anew (after a rotation). Keeps the old one, and raises, if that fails."""
        if self.path == "-":
            return
        old = (self._fd, self._socket)
        self._unwatch()
        try:
            self._open()
        except OSError:
            if self._waiting:
                self._watch()
            raise
        self._torn = self._half_line_out = False
        os.close(old[0])
        self._write_waiting()

    def drain(self, limit_s: float) -> None:
        """Give the reader ``limit_s`` seconds to take what waits. Blocks; only for the end of a process."""
        self._unwatch()
        self._loop, loop = None, self._loop
        self._write_waiting()
        while self._waiting and limit_s > 0:
            step = min(limit_s, 0.05)
            self._writable_within(step)
            limit_s -= step
            self._write_waiting()
        if self._waiting:
            self.drop(self._waiting.count(b"\n"), "the reader did not take them before the end")
            self._waiting.clear()
        self._loop = loop

    def close(self, limit_s: float = 1.0) -> None:
        """Write what waits, waiting at most ``limit_s`` for the reader, and close."""
        self.drain(limit_s)
        if self._report is not None:
            self._report.cancel()
        self._report_drops()
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self._fd)


def _open_path(path: str) -> int:
    # O_NONBLOCK: not to wait for the reader of a FIFO, neither here nor later.
    flags = os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, os.O_WRONLY | flags, 0o640)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a FIFO nobody reads yet
            return os.open(path, os.O_RDWR | flags)
        raise
