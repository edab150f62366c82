"""Which block belongs to which key: a table in the shared memory, changed by one process at a time.

Whose a block is stands in the block alone: its key, and in its first row who holds it. The index and the list of free
blocks only say that again, and are made anew from it (:meth:`Directory.rebuild`) when somebody died while changing
them, or when there is no free block any more. Giving a block back is therefore nothing but the holder's own cell
set to 0: nobody has to be waited for, and no order of deaths leaves anything that cannot be read.

::

    head     CHANGING  USED  FREE
    index    2 x capacity or more: number of a block + 1, or 0; linear probing
    blocks   key (2 words)  words  holders (a cell per column)  rows (a cell per column each)
"""

from __future__ import annotations

from array import array
from typing import Final

#: Rows of a block that its holders count in.
ROWS: Final = 6
#: Words of a block beside its rows.
WORDS: Final = 4

#: Words of the head: whether somebody is changing the table (or died at it), how many blocks were ever used, and the
#: first free one of those + 1, whose key is the next one.
_CHANGING: Final = 0
_USED: Final = 1
_FREE: Final = 2
_HEAD: Final = 8

_KEY: Final = 2

#: What :meth:`Directory.hold` says instead of a block.
FULL: Final = -1
HELD_ALREADY: Final = -2


class Directory:
    """The table over ``cells``, shared memory as 64-bit numbers. Only whoever holds the lock may change it.

    columns: processes. capacity: blocks.
    """

    __slots__ = ("_base", "_block", "_buckets", "_cells", "_mask", "capacity", "columns")

    def __init__(self, cells: memoryview[int], columns: int, capacity: int) -> None:
        self._cells = cells
        self.columns = columns
        self.capacity = capacity
        self._buckets = _buckets(capacity)
        self._mask = self._buckets - 1
        self._base = _HEAD + self._buckets
        self._block = _block_size(columns)

    @staticmethod
    def size(columns: int, capacity: int) -> int:
        """How many 64-bit numbers the memory must have."""
        return _HEAD + _buckets(capacity) + capacity * _block_size(columns)

    def words_at(self, number: int) -> int:
        """Where the words of a block are."""
        return self._base + number * self._block + _KEY

    def holders_at(self, number: int) -> int:
        """Where the cells are that say who holds a block."""
        return self._base + number * self._block + _KEY + WORDS

    def rows_at(self, number: int) -> int:
        """Where the rows of a block are."""
        return self.holders_at(number) + self.columns

    @property
    def held(self) -> int:
        """How many blocks anybody holds."""
        return sum(self._is_held(number) for number in range(self._cells[_USED]))

    # --- changes, under the lock

    def hold(self, key: tuple[int, int], column: int) -> int:
        """The block of ``key``, now held by ``column`` too; empty if nobody held it before. FULL or HELD_ALREADY."""
        cells = self._cells
        if cells[_CHANGING]:
            self.rebuild()
        cells[_CHANGING] = 1
        number = self._find(key)
        if number < 0:
            number = self._add(key)
        elif not self._is_held(number):
            self._clear_words(number)
        if number >= 0:
            holder = self.holders_at(number) + column
            if cells[holder]:
                number = HELD_ALREADY
            else:
                cells[holder] = 1
        cells[_CHANGING] = 0
        return number

    def rebuild(self) -> None:
        """Index and free list from what the blocks say of themselves; blocks that nobody holds become free."""
        cells = self._cells
        cells[_CHANGING] = 1
        cells[_HEAD : self._base] = _zeros(self._buckets)
        free = 0
        for number in range(cells[_USED]):
            at = self._base + number * self._block
            if self._is_held(number):
                self._file(number, cells[at])
            else:
                cells[at] = free
                free = number + 1
        cells[_FREE] = free
        cells[_CHANGING] = 0

    # --- changes that need no lock: a column has one writer

    def give_back(self, number: int, column: int) -> None:
        """``column`` holds a block no more."""
        cells = self._cells
        for at in range(self.rows_at(number) + column, self._base + (number + 1) * self._block, self.columns):
            cells[at] = 0
        cells[self.holders_at(number) + column] = 0

    def clear_column(self, column: int) -> None:
        """``column`` holds nothing and has counted nothing: its process is gone, or has not begun."""
        cells = self._cells
        used = cells[_USED]
        zeros = _zeros(used)
        first = self.holders_at(0) + column
        for row in reversed(range(ROWS + 1)):  # that it holds the block is taken away last
            at = first + row * self.columns
            cells[at : at + used * self._block : self._block] = zeros

    # --- inside

    def _find(self, key: tuple[int, int]) -> int:
        cells = self._cells
        bucket = key[0] & self._mask
        for _ in range(self._buckets):
            number = cells[_HEAD + bucket] - 1
            if number < 0:
                break
            at = self._base + number * self._block
            if (cells[at], cells[at + 1]) == key:
                return number
            bucket = (bucket + 1) & self._mask
        return -1

    def _add(self, key: tuple[int, int]) -> int:
        cells = self._cells
        number = self._allot()
        if number < 0:
            self.rebuild()
            cells[_CHANGING] = 1
            number = self._allot()
        if number >= 0:
            at = self._base + number * self._block
            cells[at], cells[at + 1] = key
            self._clear_words(number)
            self._file(number, key[0])
        return number

    def _allot(self) -> int:
        cells = self._cells
        number = cells[_FREE] - 1
        if number >= 0:
            cells[_FREE] = cells[self._base + number * self._block]
        elif cells[_USED] < self.capacity:
            number = cells[_USED]
            cells[_USED] = number + 1
        return number

    def _file(self, number: int, hashed: int) -> None:
        cells = self._cells
        bucket = hashed & self._mask
        while cells[_HEAD + bucket]:
            bucket = (bucket + 1) & self._mask
        cells[_HEAD + bucket] = number + 1

    def _is_held(self, number: int) -> bool:
        at = self.holders_at(number)
        return any(self._cells[at : at + self.columns])

    def _clear_words(self, number: int) -> None:
        at = self.words_at(number)
        self._cells[at : at + WORDS] = _zeros(WORDS)


def _buckets(capacity: int) -> int:
    """A power of two, so that at least half of the index is empty."""
    return 1 << (2 * capacity - 1).bit_length()


def _block_size(columns: int) -> int:
    return _KEY + WORDS + (1 + ROWS) * columns


def _zeros(count: int) -> memoryview[int]:
    return memoryview(array("q", bytes(8 * count)))
