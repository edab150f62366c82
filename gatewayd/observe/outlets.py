"""Where a log's bytes leave the process: a stream that somebody reads, or a file on a disk.

A stream tells whether it would take bytes now, so the loop writes to it and watches for its reader. A disk never
tells: a write to one that is slow takes as long as it takes. So a thread of its own does that, and the loop only
hands over. What neither takes waits, and is lost beyond ``MAX_WAITING_BYTES``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import stat
import threading
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, Protocol

#: Bytes that may wait for a reader or a disk that does not keep up.
MAX_WAITING_BYTES: Final = 1024 * 1024
#: A pipe takes this much whole or not at all (POSIX PIPE_BUF), so writers that share it never mix lines.
_WHOLE_BYTES: Final = select.PIPE_BUF
#: So much is written to a file at once.
_PIECE_BYTES: Final = 256 * 1024
#: So much is gathered before the thread of a file is woken, which costs as much as to make a hundred lines.
_GATHERED_BYTES: Final = 128 * 1024
#: How long the end waits for a disk that has nothing left to write.
_END_S: Final = 1.0

#: Told of lines that are lost, and why.
Lost = Callable[[int, str], None]


class Outlet(Protocol):
    """One open destination. Nothing of it waits but :meth:`drain`, for the end of a process."""

    #: why lines are lost that came while it was full
    slow: str

    @property
    def waiting_bytes(self) -> int:
        """Bytes handed over that are not out yet."""

    def put(self, lines: bytes) -> None:
        """Take whole lines."""

    def gather(self, lines: bytes) -> None:
        """The same, but they may wait for :meth:`settle`."""

    def settle(self) -> None:
        """Write what was gathered."""

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """From now on work beside ``loop``; None: in the calls alone."""

    def drain(self, limit_s: float) -> None:
        """Write what waits, for at most ``limit_s`` seconds; what waits then is lost."""

    def close(self) -> None:
        """Close; what waits is lost."""


class Ends:
    """What is known of the line under way: the first part of one whose rest was lost must be ended."""

    __slots__ = ("half_out", "torn")

    def __init__(self) -> None:
        #: the last byte written was not the end of a line
        self.half_out = False
        #: and the rest of that line is lost
        self.torn = False

    def next(self, piece: bytes) -> bytes:
        """``piece`` as it is to be written."""
        return b"\n" + piece if self.torn else piece

    def wrote(self, piece: bytes, written: int) -> int:
        """How many bytes of what was meant ``written`` bytes of ``piece`` are."""
        if not written:
            return 0
        self.half_out = piece[written - 1] != 0x0A
        if self.torn:
            self.torn = False
            return written - 1
        return written

    def lost(self) -> None:
        """What was under way is given up."""
        self.torn = self.torn or self.half_out


class StreamOutlet:
    """A pipe, FIFO, terminal or socket: written when it takes bytes."""

    slow = "the reader does not keep up"

    def __init__(self, fd: int, lost: Lost, loop: asyncio.AbstractEventLoop | None) -> None:
        self._fd = fd
        self._lost = lost
        self._loop = loop
        self._waiting = bytearray()
        self._ends = Ends()
        self._watching = False
        self._blocking = os.get_blocking(fd)
        self._socket: socket.socket | None = None
        if stat.S_ISSOCK(os.fstat(fd).st_mode):  # systemd's journal
            self._socket = socket.socket(fileno=fd)

    @property
    def waiting_bytes(self) -> int:
        """See :class:`Outlet`."""
        return len(self._waiting)

    def put(self, lines: bytes) -> None:
        """See :class:`Outlet`."""
        self._waiting += lines
        if not self._watching:
            self._write_waiting()

    def gather(self, lines: bytes) -> None:
        """See :class:`Outlet`."""
        self.put(lines)

    def settle(self) -> None:
        """See :class:`Outlet`."""

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """See :class:`Outlet`."""
        self._unwatch()
        self._loop = loop
        if self._waiting:
            self._write_waiting()

    def _write_waiting(self) -> None:
        waiting, ends = self._waiting, self._ends
        try:
            while waiting:
                piece = ends.next(self._whole_piece())
                del waiting[: ends.wrote(piece, self._write(piece))]
        except BlockingIOError:
            self._watch()
            return
        except OSError as error:  # the reader is gone
            ends.lost()
            self._lost(waiting.count(b"\n"), reason(error))
            waiting.clear()
        self._unwatch()

    def _whole_piece(self) -> bytes:
        """As many whole lines as a pipe takes at once; the first part of a line that is longer."""
        waiting = self._waiting
        if len(waiting) <= _WHOLE_BYTES - 1:
            return bytes(waiting)
        end = waiting.rfind(b"\n", 0, _WHOLE_BYTES - 1)
        return bytes(waiting[: end + 1 if end >= 0 else _WHOLE_BYTES - 1])

    def _write(self, piece: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(piece, socket.MSG_DONTWAIT)
        # A stream that could not be opened again would wait; writable means room for a whole piece.
        if self._blocking and not self._writable_within(0):
            raise BlockingIOError
        return os.write(self._fd, piece)

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

    def drain(self, limit_s: float) -> None:
        """See :class:`Outlet`."""
        self._unwatch()
        self._loop, loop = None, self._loop
        self._write_waiting()
        while self._waiting and limit_s > 0:
            step = min(limit_s, 0.05)
            self._writable_within(step)
            limit_s -= step
            self._write_waiting()
        if self._waiting:
            self._ends.lost()
            self._lost(self._waiting.count(b"\n"), "the reader did not take them before the end")
            self._waiting.clear()
        self._loop = loop

    def close(self) -> None:
        """See :class:`Outlet`."""
        self._unwatch()
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self._fd)


class DiskOutlet:
    """A regular file: written by a thread while there is a loop, else in the calls."""

    slow = "the disk does not keep up"

    def __init__(self, fd: int, lost: Lost, loop: asyncio.AbstractEventLoop | None) -> None:
        self._fd = fd
        self._lost = lost
        self._loop = loop
        self._ends = Ends()
        self._jobs: SimpleQueue[bytes | Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        # Each has one writer, so neither needs a lock.
        self._put_bytes = 0
        self._done_bytes = 0

    @property
    def waiting_bytes(self) -> int:
        """See :class:`Outlet`."""
        return self._put_bytes - self._done_bytes

    def put(self, lines: bytes) -> None:
        """See :class:`Outlet`."""
        if self._loop is None:
            self._write(lines, self._lost)
        else:
            self.settle()
            self._put_bytes += len(lines)
            self._give(lines)

    def gather(self, lines: bytes) -> None:
        """See :class:`Outlet`."""
        if self._loop is None:
            self._write(lines, self._lost)
            return
        self._put_bytes += len(lines)
        self._gathered.append(lines)
        self._gathered_bytes += len(lines)
        if self._gathered_bytes >= _GATHERED_BYTES:
            self.settle()

    def settle(self) -> None:
        """See :class:`Outlet`."""
        if self._gathered:
            lines = b"".join(self._gathered)
            self._gathered.clear()
            self._gathered_bytes = 0
            self._give(lines)

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """See :class:`Outlet`."""
        self.settle()
        if loop is None:
            self._end_thread(_END_S)
        self._loop = loop

    def reopen(self, path: str, failed: Callable[[OSError], None]) -> None:
        """Go on in a new file of that name, behind what was put so far; if it cannot be, in the old one."""

        def change() -> None:
            try:
                fd = open_path(path)
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    os.close(fd)
                    raise OSError(errno.EINVAL, "it is no file any more")
            except OSError as error:
                self._on_loop(failed, error)
                return
            old, self._fd = self._fd, fd
            self._ends = Ends()
            os.close(old)

        self.settle()
        self._give(change)

    def drain(self, limit_s: float) -> None:
        """See :class:`Outlet`."""
        self.settle()
        if self._thread is not None:
            done = threading.Event()
            self._give(done.set)
            done.wait(limit_s)

    def finish(self) -> None:
        """Close behind what was put; nothing waits for it."""
        self.settle()
        self._give(lambda: os.close(self._fd))
        self._give(None)

    def close(self) -> None:
        """See :class:`Outlet`."""
        self.settle()
        ended = self._end_thread(0.0 if self.waiting_bytes else _END_S)
        lost = 0
        with contextlib.suppress(Empty):
            while True:
                job = self._jobs.get_nowait()
                lost += job.count(b"\n") if isinstance(job, bytes) else 0
        if lost:
            self._lost(lost, "the disk did not take them before the end")
        if ended:
            os.close(self._fd)
        else:  # the disk holds it
            self._jobs.put(None)

    # The thread

    def _give(self, job: bytes | Callable[[], None] | None) -> None:
        if self._thread is None or not self._thread.is_alive():  # no thread outlives a fork
            self._jobs = SimpleQueue()
            self._thread = threading.Thread(target=self._run, args=(self._jobs,), name="log", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _end_thread(self, limit_s: float) -> bool:
        """Whether it has ended, or there was none."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            self._jobs.put(None)
            thread.join(limit_s)
            return not thread.is_alive()
        return True

    def _run(self, jobs: SimpleQueue[bytes | Callable[[], None] | None]) -> None:
        while (job := jobs.get()) is not None:
            if isinstance(job, bytes):
                self._write(job, partial(self._on_loop, self._lost))
                self._done_bytes += len(job)
            else:
                job()

    def _write(self, lines: bytes, tell: Lost) -> None:
        """Write all of it, or lose the rest; ``tell`` hears of that."""
        ends, at = self._ends, 0
        try:
            while at < len(lines):
                piece = ends.next(lines[at : at + _PIECE_BYTES])
                at += ends.wrote(piece, os.write(self._fd, piece))
        except OSError as error:
            ends.lost()
            tell(lines.count(b"\n", at), reason(error))

    def _on_loop(self, call: Callable[..., None], *values: object) -> None:
        with contextlib.suppress(RuntimeError, AttributeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call, *values)  # type: ignore[union-attr]  # suppressed


def reason(error: OSError) -> str:
    """An error in a word or two."""
    return (error.strerror or str(error)).lower()


def open_path(path: str) -> int:
    """A descriptor to append to ``path``; raises OSError."""
    # O_NONBLOCK: not to wait for the reader of a FIFO, neither here nor later.
    flags = os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, os.O_WRONLY | flags, 0o640)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a FIFO nobody reads yet
            return os.open(path, os.O_RDWR | flags)
        raise
