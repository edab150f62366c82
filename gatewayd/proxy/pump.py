"""HOT: bulk bytes from a plain socket into a transport that encrypts them; what :mod:`gatewayd.proxy.splice` cannot do.

A :class:`Pump` reads past the source's transport, which is paused, from a copy of its descriptor into one buffer that
all pumps of a process share, and writes what it read at once. Large pieces are what it is for: each costs the kernel
two wake-ups whatever its size, and 1 MiB at a time takes half of the CPU time that 256 KiB take. How large they
may be depends on how much of the last one the target took, and on what all targets together have not taken: the piece
a reader stops at waits in memory until it reads on.

An owner (``splice.Owner``) is told what became of it; after any of the last three calls it is over and holds nothing.
"""

from __future__ import annotations

import asyncio
import os
from functools import cache
from typing import Any, Final

from gatewayd.proxy.splice import CALM_EVENTS, SHORT_ROUND, Owner

#: The first piece, and the least there is.
_LEAST_BYTES: Final = 1 << 17
_MOST_BYTES: Final = 1 << 20
#: With so much waiting for readers that have stopped all pieces are small.
MOST_WAITING_BYTES: Final = 64 << 20


class _Shared:
    """What the pumps of a process share."""

    __slots__ = ("buffer", "waiting")

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(_MOST_BYTES))
        #: bytes that the targets of paused pumps have not taken
        self.waiting = 0


@cache
def shared() -> _Shared:
    """Made when first used."""
    return _Shared()


class Pump:
    """One direction of two connections in bulk; see the module."""

    __slots__ = (
        "_calm",
        "_left",
        "_loop",
        "_moved",
        "_owner",
        "_paused",
        "_shared",
        "_size",
        "_source",
        "_target",
        "_waiting",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, source: int, target: Any, owner: Owner, limit: int
    ) -> None:
        """Move ``limit`` bytes from the descriptor ``source``, of a socket that does not block, to a transport.

        Raises OSError when the process is out of descriptors.
        """
        self._source = os.dup(source)
        self._shared = shared()
        self._size = _LEAST_BYTES
        self._target = target
        self._owner = owner
        self._left = limit
        self._moved = 0  # since the last look
        self._calm = 0
        self._paused = False
        self._waiting = 0  # what the target had not taken when it paused us
        self._loop = loop
        loop.add_reader(self._source, self._move)

    def _move(self) -> None:
        """One piece."""
        if self._source < 0:
            return
        shared = self._shared
        size = self._size if shared.waiting < MOST_WAITING_BYTES else _LEAST_BYTES
        try:
            count = os.readv(self._source, [shared.buffer[: min(size, self._left)]])
        except BlockingIOError:
            return
        except OSError:
            self.stop()
            self._owner.on_splice_broken(at_source=True)
            return
        owner = self._owner
        if count:
            self._left -= count
            self._moved += count
            self._target.write(shared.buffer[:count])
            owner.on_spliced(count)
        if self._source < 0:  # the target was lost
            return
        if not count or not self._left:
            self.stop()
            owner.on_splice_end()
            return
        if count == self._size:
            behind = self._target.get_write_buffer_size()
            if not behind:
                self._size = min(2 * count, _MOST_BYTES)
            elif behind > count // 2:
                self._size = max(count // 2, _LEAST_BYTES)
        self._calm = 0 if count >= SHORT_ROUND else self._calm + 1
        if self._calm >= CALM_EVENTS:
            self.stop()
            owner.on_splice_calm()

    def pause(self, paused: bool) -> None:
        """The target cannot take more, or can again."""
        if self._source >= 0 and paused != self._paused:
            self._paused = paused
            if paused:
                self._waiting = self._target.get_write_buffer_size()
                self._shared.waiting += self._waiting
                self._loop.remove_reader(self._source)
            else:
                self._go_on()
                self._loop.add_reader(self._source, self._move)

    def _go_on(self) -> None:
        self._shared.waiting -= self._waiting
        self._waiting = 0

    def look(self) -> None:
        """Called about once a second: give the stream back if nothing has moved since the last time."""
        if not self._moved and not self._paused:
            self.stop()
            self._owner.on_splice_calm()
        self._moved = 0

    def stop(self) -> None:
        """Hold nothing any more. May be called again."""
        source, self._source = self._source, -1
        self._go_on()
        if source >= 0:
            if not self._paused:
                self._loop.remove_reader(source)
            os.close(source)
