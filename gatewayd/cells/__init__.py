"""Counts that a group of processes shares: memory in which each cell has one writer.

A process of the group has a *column*. What is counted is a *block*, found by its key: a few rows with one cell for each
column, and a few *words* for what is decided rather than counted. Whoever counts writes its own cell and nobody
else's, so an addition needs no lock; whoever wants the whole adds up a row. An aligned 64-bit store is seen whole or
not at all. Words are written under a lock that dies with its holder.

``map.py`` is the memory and who has which column, ``directory.py`` finds and allots blocks, ``block.py`` is what a
holder of a block has of it.
"""

from __future__ import annotations

from gatewayd.cells.block import Block, unshared
from gatewayd.cells.directory import ROWS, WORDS
from gatewayd.cells.map import Cells, columns_for

__all__ = ["ROWS", "WORDS", "Block", "Cells", "columns_for", "unshared"]
