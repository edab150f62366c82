"""HOT: bulk bytes from one socket to another inside the kernel, by ``splice`` and a pipe (Linux).

A :class:`Splice` moves one direction of two connections whose transports stay alive, paused and empty: it works
on copies of their descriptors, which the event loop watches as descriptors of their own. Bytes go source to
pipe to target; the source is read again when the pipe is empty, so no more waits than one pipe holds. Each
readiness event does a bounded piece of work, and a stream that is no longer bulk is given back. With a limit
not a byte more is taken, so that whoever reads the source afterwards finds what follows.

Whoever starts one is told what became of it (:class:`Owner`); after any of the last three it is over and holds
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import socket
import sys
from typing import Any, Final, Protocol

#: ``os.splice`` is there from Linux and Python 3.10 on.
AVAILABLE: Final = hasattr(os, "splice")

#: Bytes a pipe should hold; the kernel allows less when a user has many.
PIPE_BYTES: Final = 1 << 20
#: A pipe that holds less is not worth it.
_LEAST_PIPE_BYTES: Final = 1 << 16
#: Rounds per readiness event, each of at most a pipe full.
_ROUNDS: Final = 4
#: A round that moved less has emptied the socket: the next one would find nothing.
SHORT_ROUND: Final = 1 << 14
#: So many short events in a row, and the stream is no longer bulk.
CALM_EVENTS: Final = 64
#: Pipes kept for the next stream.
_MOST_FREE: Final = 16
#: One stream in bulk holds four descriptors; so many of all may be used for that (one in N).
_DESCRIPTOR_SHARE: Final = 16

_F_SETPIPE_SZ: Final = getattr(fcntl, "F_SETPIPE_SZ", 1031)
_F_GETPIPE_SZ: Final = getattr(fcntl, "F_GETPIPE_SZ", 1032)
_FLAGS: Final = getattr(os, "SPLICE_F_MOVE", 1) | getattr(os, "SPLICE_F_NONBLOCK", 2)

_PLAIN: Final = (socket.AF_INET, socket.AF_INET6)


def is_plain(transport: Any) -> bool:
    """Whether ``transport`` is a TCP socket and nothing else."""
    if transport.get_extra_info("tls") is not None or transport.get_extra_info("sslcontext") is not None:
        return False
    sock = transport.get_extra_info("socket")
    return sock is not None and sock.family in _PLAIN and not transport.get_extra_info("coded")


class Owner(Protocol):
    """Who started a splice."""

    def on_spliced(self, count: int) -> None:
        """``count`` more bytes were taken from the source, or, if it is 0, some more reached the target."""

    def on_splice_end(self) -> None:
        """The source ended, or the limit is reached, and the target has everything."""

    def on_splice_broken(self, *, at_source: bool) -> None:
        """One of the connections broke."""

    def on_splice_calm(self) -> None:
        """There is little to move, and nothing in the pipe: go on without."""


class Pipe:
    """A pipe that does not block. ``size``: bytes it holds."""

    __slots__ = ("read_end", "size", "write_end")

    def __init__(self) -> None:
        """Raises OSError when the process is out of descriptors."""
        self.read_end, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # over the user's limit: it stays as it is
            fcntl.fcntl(self.write_end, _F_SETPIPE_SZ, PIPE_BYTES)
        self.size = fcntl.fcntl(self.write_end, _F_GETPIPE_SZ)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read_end)
        os.close(self.write_end)


class PipePool:
    """The pipes of a worker: at most ``most`` are lent at a time, a few empty ones are kept."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.lent = 0
        self._free: list[Pipe] = []

    def take(self) -> Pipe | None:
        """A pipe, or None when there is none to be had."""
        if self.lent >= self.most:
            return None
        if self._free:
            pipe = self._free.pop()
        else:
            try:
                pipe = Pipe()
            except OSError:
                return None
            if pipe.size < _LEAST_PIPE_BYTES:
                pipe.close()
                return None
        self.lent += 1
        return pipe

    def give_back(self, pipe: Pipe, *, empty: bool) -> None:
        """A pipe with bytes in it is never used again: they are somebody's."""
        self.lent -= 1
        if empty and len(self._free) < _MOST_FREE:
            self._free.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        """Close what is kept."""
        while self._free:
            self._free.pop().close()


def _most_pipes() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(2, min(soft // _DESCRIPTOR_SHARE // 4, 256))


_pool: PipePool | None = None


def pipes() -> PipePool:
    """The pool of this process, sized by its descriptor limit when first asked for."""
    global _pool
    if _pool is None:
        _pool = PipePool(_most_pipes())
    return _pool


class Splice:
    """One direction of two connections in bulk; see the module."""

    __slots__ = (
        "_calm", "_finishing", "_left", "_loop", "_moved", "_owner", "_pipe", "_pool", "_source", "_target",
        "_waits_for_room", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: PipePool,
        pipe: Pipe,
        source: int,
        target: int,
        owner: Owner,
        *,
        limit: int = sys.maxsize,
    ) -> None:
        """Move ``limit`` bytes at most from descriptor ``source`` to ``target``, both of sockets that do not block.

        Both are copied. Raises OSError when the process is out of descriptors; the pipe is the caller's then.
        """
        self._source = os.dup(source)
        try:
            self._target = os.dup(target)
        except OSError:
            os.close(self._source)
            raise
        self._loop = loop
        self._pool = pool
        self._pipe: Pipe | None = pipe
        self._owner = owner
        #: bytes in the pipe
        self.waiting = 0
        self._left = limit  # bytes that may still be taken
        self._moved = 0  # since the last look
        self._calm = 0
        self._finishing = False
        self._waits_for_room = False
        loop.add_reader(self._source, self._move)

    def _move(self) -> None:
        """Some rounds of source to pipe to target."""
        pipe = self._pipe
        if pipe is None:
            return
        taken = 0
        waited = self.waiting
        count = pipe.size
        at_source = broken = False
        ended = self._finishing or not self._left
        try:
            for _ in range(_ROUNDS):
                if not self.waiting:
                    if ended:
                        break
                    at_source = True
                    count = os.splice(self._source, pipe.write_end, min(pipe.size, self._left), flags=_FLAGS)
                    at_source = False
                    if not count:
                        ended = True
                        break
                    taken += count
                    self._left -= count
                    ended = not self._left
                    self.waiting = count
                self.waiting -= os.splice(pipe.read_end, self._target, self.waiting, flags=_FLAGS)
                if self.waiting or count < SHORT_ROUND:
                    break
        except BlockingIOError:
            pass  # nothing there, or no room
        except OSError:
            broken = True
        owner = self._owner
        if taken or self.waiting < waited:
            self._moved += taken
            owner.on_spliced(taken)
        if broken:
            self.stop()
            owner.on_splice_broken(at_source=at_source)
        elif ended and not self.waiting:
            self.stop()
            owner.on_splice_end()
        else:
            self._go_on(taken)

    def _go_on(self, taken: int) -> None:
        """Watch for what is wanted next, or give the stream back."""
        if self.waiting:
            if not self._waits_for_room:
                self._waits_for_room = True
                self._loop.remove_reader(self._source)
                self._loop.add_writer(self._target, self._move)
            return
        if self._waits_for_room:
            self._waits_for_room = False
            self._loop.remove_writer(self._target)
            self._loop.add_reader(self._source, self._move)
        if taken >= SHORT_ROUND:
            self._calm = 0
            return
        self._calm += 1
        if self._calm >= CALM_EVENTS:
            self.stop()
            self._owner.on_splice_calm()

    def look(self) -> None:
        """Called about once a second: give the stream back if nothing has moved since the last time."""
        if not self._moved and not self.waiting:
            self.stop()
            self._owner.on_splice_calm()
        self._moved = 0

    def finish(self) -> None:
        """Take nothing more and let go of the source; the end comes when the pipe, now not empty, is."""
        if not self._finishing and self._pipe is not None:
            self._finishing = True
            os.close(self._source)

    def stop(self) -> None:
        """Hold nothing any more; what is in the pipe is lost. May be called again."""
        pipe = self._pipe
        if pipe is None:
            return
        self._pipe = None
        if self._waits_for_room:
            self._loop.remove_writer(self._target)
        else:
            self._loop.remove_reader(self._source)
        if not self._finishing:
            os.close(self._source)
        os.close(self._target)
        self._pool.give_back(pipe, empty=not self.waiting)
