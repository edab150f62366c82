"""The pulse of workers: each beats about once a second in a place of memory that it shares with its supervisor."""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final

_TIME: Final = struct.Struct("d")
#: Room for all workers there may be, and several generations of them that leave.
_PAGES: Final = 4


class Pulse:
    """Places for beats. Made by the supervisor before it forks; there is one writer for each place."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _PAGES * mmap.PAGESIZE)
        #: the process that feels it
        self.owner = os.getpid()
        self._free = list(range(len(self._memory) // _TIME.size))

    def reserve(self, now: float) -> int:
        """A place for one more worker, which counts as having beaten at ``now``."""
        place = self._free.pop()
        self.beat(place, now)
        return place

    def release(self, place: int) -> None:
        """The worker is gone."""
        self._free.append(place)

    def beat(self, place: int, now: float) -> None:
        """Alive at ``now`` (monotonic seconds)."""
        _TIME.pack_into(self._memory, place * _TIME.size, now)

    def last(self, place: int) -> float:
        """When it beat last."""
        return float(_TIME.unpack_from(self._memory, place * _TIME.size)[0])
