"""The shared memory of a group of processes: made by the supervisor, inherited by every fork.

It is a memfd, so that it has a descriptor to lock: record locks belong to a process and end with it, however it ends.
The descriptor is closed by an ``exec``: a program that replaces the supervisor makes a map of its own, and the
workers of the old one keep theirs until they are gone.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from time import monotonic, sleep
from typing import Final

from gatewayd.cells.block import UNSHARED, Block, unshared
from gatewayd.cells.directory import FULL, Directory

#: Blocks of a map unless told otherwise. Memory is taken as they are used: 240 bytes each with four columns.
CAPACITY: Final = 65536
#: How long the lock of the directory is waited for. It is held for microseconds, but a process can be stopped then.
LOCK_WAIT_S: Final = 0.05
_LOCK_STEP_S: Final = 0.0005
#: How long nothing is asked for after the lock was not to be had, or the map was full.
PAUSE_S: Final = 5.0

#: Which byte of the file is locked for the directory; the ones behind it are one for each block.
_DIRECTORY: Final = 0

_log = logging.getLogger("gatewayd.cells")


def columns_for(workers: int) -> int:
    """Enough for ``workers`` processes of which each may have a predecessor that is still draining."""
    return 2 * workers


class Cells:
    """The map, as one process sees it. Not for more than one thread of it.

    columns: how many processes can be attached at a time, those included that end while their successor serves
    already. capacity: blocks. fd: of a map that exists, made with the same two numbers.
    """

    def __init__(self, columns: int, capacity: int = CAPACITY, *, fd: int | None = None) -> None:
        size = 8 * Directory.size(columns, capacity)
        if fd is None:
            self._fd = os.memfd_create("gatewayd-cells")
            os.ftruncate(self._fd, size)
        else:
            self._fd = os.dup(fd)
        self._map = mmap.mmap(self._fd, size)
        self._cells = memoryview(self._map).cast("q")
        self._directory = Directory(self._cells, columns, capacity)
        self._reserved: set[int] = set()
        #: this process's; -1: it has none, and everything it holds is its own
        self.column = -1
        #: how often a block was asked for that could not be had; logged the first time
        self.refused = 0
        self._ask_again = 0.0

    @property
    def columns(self) -> int:
        """How many processes it is for."""
        return self._directory.columns

    @property
    def fd(self) -> int:
        """The descriptor of the memory."""
        return self._fd

    @property
    def held(self) -> int:
        """How many blocks anybody holds; looks at all of them."""
        return self._directory.held

    # --- the supervisor

    def reserve(self) -> int | None:
        """A column for a process that is about to be forked; None if all are taken."""
        for column in range(self.columns):
            if column not in self._reserved:
                self._reserved.add(column)
                return column
        return None

    def forget(self, column: int | None) -> None:
        """The process with ``column`` is gone: whatever it counted is taken back, and the column is free."""
        if column is not None:
            self._directory.clear_column(column)
            self._reserved.discard(column)

    def close(self) -> None:
        """Give the memory up, in this process."""
        self._cells.release()
        try:
            self._map.close()
        except BufferError:  # somebody still looks at a row
            self._cells = memoryview(b"")
        os.close(self._fd)

    # --- a worker

    def attach(self, column: int | None) -> None:
        """From now on this process is the one with ``column``; None: it shares nothing."""
        self.column = -1 if column is None else column
        if column is not None:
            self._directory.clear_column(column)

    def hold(self, key: str) -> Block:
        """The block of ``key``, which every process of the group finds under it; all 0 if nobody held it before.

        One that is this process's alone if it cannot be shared: the map is full, its lock is not to be had, or this
        process holds it already.
        """
        number = self._ask(key) if self.column >= 0 else UNSHARED
        if number < 0:
            return unshared()
        directory = self._directory
        return Block(
            self._cells,
            number,
            directory.words_at(number),
            directory.rows_at(number),
            directory.columns,
            self.column,
        )

    def release(self, block: Block) -> None:
        """This process counts in ``block`` no more."""
        if block.shared:
            self._directory.give_back(block.number, block.column)

    @contextmanager
    def deciding(self, block: Block) -> Iterator[bool]:
        """Whether this process, and no other, may change the words of ``block`` now. Never waits."""
        if not block.shared:
            yield True
        elif self._lock(block.number + 1):
            try:
                yield True
            finally:
                self._unlock(block.number + 1)
        else:
            yield False

    # --- inside

    def _ask(self, key: str) -> int:
        if monotonic() < self._ask_again:
            self.refused += 1
            return UNSHARED
        if not self._wait_for_lock():
            return self._refuse("their lock is not to be had")
        try:
            number = self._directory.hold(_digest(key), self.column)
        finally:
            self._unlock(_DIRECTORY)
        if number == FULL:
            return self._refuse(f"there is no room for more than {self._directory.capacity}")
        return number

    def _refuse(self, why: str) -> int:
        if not self.refused:
            _log.warning("shared counters: %s; what is new is counted by each worker for itself", why)
        self.refused += 1
        self._ask_again = monotonic() + PAUSE_S
        return UNSHARED

    def _wait_for_lock(self) -> bool:
        until = 0.0
        while not self._lock(_DIRECTORY):
            now = monotonic()
            until = until or now + LOCK_WAIT_S
            if now >= until:
                return False
            sleep(_LOCK_STEP_S)
        return True

    def _lock(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return False
        return True

    def _unlock(self, byte: int) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, byte)


def _digest(key: str) -> tuple[int, int]:
    """128 bits that stand for ``key``: no two keys share them, even if strangers choose them."""
    digest = blake2b(key.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little", signed=True), int.from_bytes(
        digest[8:], "little", signed=True
    )
