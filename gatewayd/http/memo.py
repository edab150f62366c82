"""HOT: a bounded memory of parsed bytes.

Two generations of a dictionary: when the young one is full it becomes the old one, and what is still asked
for moves back. A key enters only when it is offered a second time, so traffic in which everything is new
does not churn the memory. The key is every byte of what was parsed, so an entry cannot be wrong.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final, Generic, TypeVar

V = TypeVar("V")

#: Entries of a generation.
GENERATION: Final = 2048
#: Bytes of a generation's keys: what is remembered of a key is a few times its size, and strangers choose it.
GENERATION_BYTES: Final = 8 * 1024 * 1024


class Memo(Generic[V]):
    """Remembers values by their bytes."""

    __slots__ = ("_bytes", "_generation", "_mark_bits", "_marks", "_old", "_young", "get", "max_key_bytes")

    def __init__(self, generation: int = GENERATION, max_key_bytes: int = 8192) -> None:
        self._generation = generation
        self.max_key_bytes = max_key_bytes
        self._young: dict[bytes, V] = {}
        self._old: dict[bytes, V] = {}
        self._bytes = 0  # of the young generation's keys
        #: parts of the hashes of keys offered lately, by their low bits; a collision only delays a key or lets it
        #: in early. An array: what every new head touches is to stay in the processor's caches.
        self._mark_bits = (1 << (2 * generation).bit_length()) - 1
        self._marks = array("I", [0]) * (self._mark_bits + 1)
        #: the young generation's own ``get``: the one look-up of the fast path
        self.get: Callable[[bytes], V | None] = self._young.get

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def recall(self, key: bytes) -> V | None:
        """The value of a key that ``get`` did not find, if the old generation has it."""
        value = self._old.get(key)
        if value is not None:
            self._put(key, value)
        return value

    def offer(self, key: bytes, value: V) -> None:
        """Remember ``value`` if ``key`` was offered before."""
        number = hash(key)
        marks = self._marks
        at = number & self._mark_bits
        mark = number >> 24 & 0xFFFFFFFF or 1  # 0: nothing was offered there
        if marks[at] != mark:
            marks[at] = mark
        elif len(key) <= self.max_key_bytes:
            self._put(key, value)

    def _put(self, key: bytes, value: V) -> None:
        if len(self._young) >= self._generation or self._bytes >= GENERATION_BYTES:
            self._old = self._young
            self._young = {}
            self._bytes = 0
            self.get = self._young.get
        self._bytes += len(key)
        self._young[key] = value
