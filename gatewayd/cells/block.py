"""What a process has of a block: its own cell in each row, the sight of all others', and the words."""

from __future__ import annotations

from typing import Final

from gatewayd.cells.directory import ROWS, WORDS

#: ``Block.number`` of one that nobody else sees.
UNSHARED: Final = -1


class Block:
    """A held block. Its memory belongs to somebody else once it is released."""

    __slots__ = ("_cells", "_columns", "_rows_at", "_words_at", "column", "number")

    def __init__(
        self, cells: memoryview[int], number: int, words_at: int, rows_at: int, columns: int, column: int
    ) -> None:
        """``cells``: all memory, as 64-bit numbers; ``words_at``, ``rows_at``: where in it this block's are."""
        self._cells = cells
        self._words_at = words_at
        self._rows_at = rows_at
        self._columns = columns
        self.number = number
        #: which cell of each row is this process's to write
        self.column = column

    def row(self, index: int) -> memoryview[int]:
        """One of the ``ROWS`` rows: a cell for each process. ``sum()`` is the group's."""
        assert 0 <= index < ROWS
        at = self._rows_at + index * self._columns
        return self._cells[at : at + self._columns]

    @property
    def words(self) -> memoryview[int]:
        """The ``WORDS`` words, all 0 at first; written only inside ``Cells.deciding``."""
        return self._cells[self._words_at : self._words_at + WORDS]

    @property
    def shared(self) -> bool:
        """Whether the group sees it."""
        return self.number != UNSHARED


def unshared() -> Block:
    """A block that is this process's alone."""
    cells = memoryview(bytearray(8 * (WORDS + ROWS))).cast("q")
    return Block(cells, UNSHARED, 0, WORDS, 1, 0)
