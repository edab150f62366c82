"""HOT: bulk bytes from a plain socket into a transport that encrypts them; what :mod:`gatewayd.proxy.splice` cannot do.

A :class:`Pump` reads past the source's transport, which is paused, from a copy of its descriptor into one buffer that
all pumps of a process share, and writes what it read at once. Large pieces are what it is for: each costs the kernel
two wake-ups whatever its size, and 1 MiB at a time takes half of the CPU time that 256 KiB take. No piece is much
larger than what the kernel has room for on the other side, so that little waits here for a slow reader.

An owner (``splice.Owner``) is told what became of it; after any of the last three calls it is over and holds nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from functools import cache
from typing import Any, Final

from gatewayd.proxy.splice import CALM_EVENTS, SHORT_ROUND, Owner

#: A piece this small is read whether there is room or not.
LEAST_BYTES: Final = 1 << 16
_MOST_BYTES: Final = 1 << 20
#: getsockopt of Linux: nine numbers, of which the 4th and the 6th say how much may wait to be sent, and how much does.
_SO_MEMINFO: Final = 55
_meminfo: Final = struct.Struct("=9I")


@cache
def _buffer() -> memoryview:
    """Made when first used."""
    return memoryview(bytearray(_MOST_BYTES))


def room(target: Any) -> int:
    """How many bytes the kernel would take now; :data:`LEAST_BYTES` where it does not say."""
    try:
        told = target.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _meminfo.size)
        _, _, _, most, _, waiting, _, _, _ = _meminfo.unpack(told)
    except (OSError, struct.error):
        return LEAST_BYTES
    return (int(most) - int(waiting)) * 5 // 8  # bytes weigh more there than they are


class Pump:
    """One direction of two connections in bulk; see the module."""

    __slots__ = (
        "_calm",
        "_left",
        "_loop",
        "_moved",
        "_owner",
        "_paused",
        "_source",
        "_target",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, source: int, target: Any, owner: Owner, limit: int
    ) -> None:
        """Move ``limit`` bytes from the descriptor ``source``, of a socket that does not block, to a transport.

        Raises OSError when the process is out of descriptors.
        """
        self._source = os.dup(source)
        self._target = target
        self._owner = owner
        self._left = limit
        self._moved = 0  # since the last look
        self._calm = 0
        self._paused = False
        self._loop = loop
        loop.add_reader(self._source, self._move)

    def _move(self) -> None:
        """One piece."""
        if self._source < 0:
            return
        buffer = _buffer()
        size = min(max(room(self._target), LEAST_BYTES), self._left)
        try:
            count = os.readv(self._source, [buffer[:size]])
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
            self._target.write(buffer[:count])
            owner.on_spliced(count)
        if self._source < 0:  # the target was lost
            return
        if not count or not self._left:
            self.stop()
            owner.on_splice_end()
            return
        self._calm = 0 if count >= SHORT_ROUND else self._calm + 1
        if self._calm >= CALM_EVENTS:
            self.stop()
            owner.on_splice_calm()

    def pause(self, paused: bool) -> None:
        """The target cannot take more, or can again."""
        if self._source >= 0 and paused != self._paused:
            self._paused = paused
            if paused:
                self._loop.remove_reader(self._source)
            else:
                self._loop.add_reader(self._source, self._move)

    def look(self) -> None:
        """Called about once a second: give the stream back if nothing has moved since the last time."""
        if not self._moved and not self._paused:
            self.stop()
            self._owner.on_splice_calm()
        self._moved = 0

    def stop(self) -> None:
        """Hold nothing any more. May be called again."""
        source, self._source = self._source, -1
        if source >= 0:
            if not self._paused:
                self._loop.remove_reader(source)
            os.close(source)
