"""Where log lines go: a file, or a stream somebody reads, and never a moment of waiting (hardening 9.11).

What its outlet (:mod:`gatewayd.observe.outlets`) does not take waits in a bounded buffer; beyond it lines are dropped,
counted and told of.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
import threading
from typing import Final

from gatewayd.observe.outlets import MAX_WAITING_BYTES, DiskOutlet, StreamOutlet, open_path, reason

__all__ = ["MAX_WAITING_BYTES", "REPORT_INTERVAL_S", "LogSink"]

_log = logging.getLogger("gatewayd.log")

#: When lines were dropped, that is said after this time, and from then on at most once in the interval.
REPORT_AFTER_S: Final = 1.0
REPORT_INTERVAL_S: Final = 10.0

#: Paths that mean a stream we have already. A socket (systemd's journal) cannot be opened by its path.
_STREAMS: Final = {"/dev/stdout": 1, "/dev/fd/1": 1, "/dev/stderr": 2, "/dev/fd/2": 2}


class LogSink:
    """One open destination, of one thread. ``path`` is a file's path, or ``-`` for the descriptor ``stream_fd``.

    Opening raises ``OSError``. Without a running ``loop`` a disk is waited for, and what a stream does not take waits
    for :meth:`drain`. ``own``: drops are reported through this very sink, so only when it takes lines again.
    """

    def __init__(
        self,
        path: str,
        loop: asyncio.AbstractEventLoop | None = None,
        stream_fd: int = 1,
        *,
        own: bool = False,
    ) -> None:
        self._loop = loop
        #: of the loop
        self._thread = threading.get_ident()
        self._stream_fd = _STREAMS.get(path, stream_fd)
        self._own = own
        self.path = "-" if path in _STREAMS else path
        self._report: asyncio.TimerHandle | None = None
        self._unreported = 0
        self._last_error = ""
        self.dropped_lines = 0
        self._outlet = self._open()

    def _open(self) -> StreamOutlet | DiskOutlet:
        fd = open_path(self.path) if self.path != "-" else self._open_stream()
        kind = DiskOutlet if stat.S_ISREG(os.fstat(fd).st_mode) else StreamOutlet
        return kind(fd, self.drop, self._loop)

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
        """Bytes that are not out yet."""
        return self._outlet.waiting_bytes

    @property
    def full(self) -> bool:
        """Whether further lines would be dropped; then there is no need to format them."""
        return self._outlet.waiting_bytes >= MAX_WAITING_BYTES

    def write(self, lines: bytes) -> None:
        """Write whole lines, now or as soon as they are taken."""
        if self._has_room(lines):
            self._outlet.put(lines)

    def gather(self, lines: bytes) -> None:
        """Write whole lines, with others that follow if that is cheaper; :meth:`settle` when none follow soon."""
        if self._has_room(lines):
            self._outlet.gather(lines)

    def settle(self) -> None:
        """Write what was gathered."""
        self._outlet.settle()

    def _has_room(self, lines: bytes) -> bool:
        if self._outlet.waiting_bytes + len(lines) <= MAX_WAITING_BYTES:
            return True
        self.drop(lines.count(b"\n"))
        return False

    def write_from_anywhere(self, lines: bytes) -> None:
        """The same from any thread: beside a loop, the loop does it."""
        loop = self._loop
        if loop is None or threading.get_ident() == self._thread:
            self.write(lines)
            return
        with contextlib.suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(self.write, lines)

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """From now on work beside ``loop``; None: not any more (before it is closed)."""
        if self._report is not None:
            self._report.cancel()
            self._report = None
        self._outlet.attach(loop)
        self._loop = loop
        self._thread = threading.get_ident()
        if self._unreported:
            self._report_later(REPORT_AFTER_S)

    # What is lost

    def drop(self, lines: int, reason: str = "") -> None:
        """Count lines as lost, for ``reason`` or because it is full; the program's log says so at most once in
        ``REPORT_INTERVAL_S``, and when it is over.
        """
        self.dropped_lines += lines
        self._unreported += lines
        self._last_error = reason or self._outlet.slow
        self._report_later(REPORT_AFTER_S)

    def _report_later(self, delay_s: float) -> None:
        if self._report is None and self._loop is not None:
            self._report = self._loop.call_later(delay_s, self._report_drops)

    def _report_drops(self) -> None:
        self._report = None
        name = "the standard stream" if self.path == "-" else self.path
        if self._own and self.full:
            self._report_later(REPORT_INTERVAL_S)  # the report itself would be lost
        elif self._unreported:
            lines, self._unreported = self._unreported, 0
            _log.warning("%d lines for %s were dropped: %s", lines, name, self._last_error)
            self._report_later(REPORT_INTERVAL_S)
        else:
            _log.info("lines for %s are written again, none was dropped since", name)

    # The end of a file, and of the process

    def reopen(self) -> None:
        """Open the file anew (after a rotation). If that fails the old one stays, and it is said or raised."""
        if self.path == "-":
            return
        outlet = self._outlet
        if isinstance(outlet, DiskOutlet):
            outlet.reopen(self.path, self._say_failed)
            return
        self._outlet = self._open()  # may raise
        outlet.attach(None)
        outlet.drain(0.0)
        outlet.close()

    def _say_failed(self, error: OSError) -> None:
        _log.error("%s was not reopened, the old file stays in use: %s", self.path, reason(error))

    def leave(self) -> None:
        """Nothing more is written: what waits still goes out, if it can without anybody waiting for it."""
        outlet = self._outlet
        if self._report is not None:
            self._report.cancel()
        if isinstance(outlet, DiskOutlet):
            outlet.finish()
        else:
            outlet.drain(0.0)
            outlet.close()

    def drain(self, limit_s: float) -> None:
        """Give reader or disk ``limit_s`` seconds to take what waits. Blocks; only for the end of a process."""
        self._outlet.drain(limit_s)

    def close(self, limit_s: float = 1.0) -> None:
        """Write what waits, waiting at most ``limit_s`` for it to be taken, and close."""
        self._outlet.drain(limit_s)
        if self._report is not None:
            self._report.cancel()
        self._outlet.close()
        if self._unreported and not self._own:
            self._report_drops()
