"""The table of blocks: a dictionary that several processes share, whoever dies while changing it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.cells.directory import FULL, HELD_ALREADY, ROWS, WORDS, Directory

COLUMNS = 3
CAPACITY = 4

#: Few keys, some of which begin at the same place of the index.
KEYS = [(number % 4, number) for number in range(8)]


class Death(Exception):
    """The process is gone, wherever it was."""


class MortalMemory:
    """Memory whose writer dies instead of its ``stores``-th next store."""

    def __init__(self, size: int) -> None:
        self.cells = memoryview(array("q", bytes(8 * size)))
        self.stores = -1

    def __getitem__(self, at: Any) -> Any:
        return self.cells[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        if self.stores == 0:
            raise Death
        self.stores -= 1
        self.cells[at] = value


class World:
    """A directory, and what should be in it: who holds which key, and the words somebody left there."""

    def __init__(self) -> None:
        self.memory = MortalMemory(Directory.size(COLUMNS, CAPACITY))
        memory: Any = self.memory
        self.directory = Directory(memory, COLUMNS, CAPACITY)
        self.blocks: dict[tuple[int, int], int] = {}
        self.holders: dict[tuple[int, int], set[int]] = {}

    def hold(self, key: tuple[int, int], column: int) -> int:
        number = self.directory.hold(key, column)
        if number >= 0:
            self.blocks[key] = number
            self.holders.setdefault(key, set()).add(column)
        return number

    def give_back(self, key: tuple[int, int], column: int) -> None:
        self.directory.give_back(self.blocks[key], column)
        self._left(key, column)

    def clear(self, column: int) -> None:
        self.directory.clear_column(column)
        for key in list(self.holders):
            self._left(key, column)

    def _left(self, key: tuple[int, int], column: int) -> None:
        self.holders[key].discard(column)
        if not self.holders[key]:
            del self.holders[key], self.blocks[key]

    def cell(self, key: tuple[int, int], row: int, column: int) -> int:
        return self.directory.rows_at(self.blocks[key]) + row * COLUMNS + column

    def words(self, key: tuple[int, int]) -> list[int]:
        at = self.directory.words_at(self.blocks[key])
        return list(self.memory[at : at + WORDS])

    def check(self) -> None:
        assert len(set(self.blocks.values())) == len(self.blocks), "no block has two keys"
        assert self.directory.held == len(self.holders)
        for key, holders in self.holders.items():
            at = self.directory.holders_at(self.blocks[key])
            assert [number for number in range(COLUMNS) if self.memory[at + number]] == sorted(holders)


@pytest.fixture
def world() -> World:
    return World()


def test_all_who_hold_a_key_have_the_same_block(world: World) -> None:
    one = world.hold(KEYS[0], 0)
    assert world.hold(KEYS[0], 2) == one
    assert world.hold(KEYS[4], 1) != one, "another key, though it begins at the same place of the index"
    world.check()


def test_nobody_holds_a_key_twice(world: World) -> None:
    world.hold(KEYS[0], 0)
    assert world.hold(KEYS[0], 0) == HELD_ALREADY


def test_a_block_that_somebody_still_holds_keeps_what_is_in_it(world: World) -> None:
    world.hold(KEYS[0], 0)
    world.hold(KEYS[0], 1)
    world.memory[world.cell(KEYS[0], 1, 1)] = 7
    world.memory[world.directory.words_at(world.blocks[KEYS[0]])] = 8
    world.give_back(KEYS[0], 0)
    world.hold(KEYS[0], 0)
    assert world.memory[world.cell(KEYS[0], 1, 1)] == 7
    assert world.words(KEYS[0])[0] == 8


def test_what_nobody_holds_is_empty_for_whoever_comes_next(world: World) -> None:
    world.hold(KEYS[0], 0)
    world.memory[world.directory.words_at(world.blocks[KEYS[0]])] = 8
    for row in range(ROWS):
        world.memory[world.cell(KEYS[0], row, 0)] = row + 1
    world.give_back(KEYS[0], 0)
    world.hold(KEYS[0], 1)
    assert world.words(KEYS[0]) == [0] * WORDS
    assert not any(
        world.memory[world.cell(KEYS[0], row, column)] for row in range(ROWS) for column in range(COLUMNS)
    )


def test_nor_does_another_key_find_anything_in_a_block_that_is_used_again(world: World) -> None:
    for key in KEYS[:CAPACITY]:
        world.hold(key, 0)
        at = world.directory.words_at(world.blocks[key])
        world.memory[at : at + WORDS] = array("q", [8] * WORDS)
    world.clear(0)
    for key in KEYS[CAPACITY : 2 * CAPACITY]:
        world.hold(key, 1)
        assert world.words(key) == [0] * WORDS
    world.check()


def test_full_is_full_until_somebody_leaves(world: World) -> None:
    for key in KEYS[:CAPACITY]:
        assert world.hold(key, 0) >= 0
    assert world.hold(KEYS[CAPACITY], 1) == FULL
    world.give_back(KEYS[1], 0)
    assert world.hold(KEYS[CAPACITY], 1) >= 0
    world.check()


def test_a_process_that_is_gone_holds_nothing_and_has_counted_nothing(world: World) -> None:
    for key in KEYS[:3]:
        world.hold(key, 0)
        world.memory[world.cell(key, 2, 0)] = 5
    world.hold(KEYS[0], 1)
    world.memory[world.cell(KEYS[0], 2, 1)] = 6
    world.clear(0)
    world.check()
    at = world.cell(KEYS[0], 2, 0)
    assert list(world.memory[at : at + COLUMNS]) == [0, 6, 0]


_STEP = st.tuples(
    st.sampled_from(["hold", "hold", "hold", "leave", "clear"]),
    st.integers(0, len(KEYS) - 1),
    st.integers(0, COLUMNS - 1),
)


@given(st.lists(_STEP, max_size=60))
def test_it_is_a_dictionary(steps: list[tuple[str, int, int]]) -> None:
    world = World()
    for action, index, column in steps:
        key = KEYS[index]
        mine = column in world.holders.get(key, ())
        if action == "hold":
            known, full = key in world.blocks, len(world.holders) == CAPACITY
            before = world.blocks.get(key)
            number = world.hold(key, column)
            if known and not mine:
                assert number == before
            assert (number == HELD_ALREADY) == mine
            assert (number == FULL) == (full and not known)
        elif action == "leave" and mine:
            world.give_back(key, column)
        elif action == "clear":
            world.clear(column)
        world.check()


def _deaths(world: World, key: tuple[int, int], column: int) -> Iterator[int]:
    """``column`` asks for ``key`` again and again, and dies at its first store, its second, and so on."""
    for stores in range(10_000):
        world.memory.stores = stores
        try:
            world.directory.hold(key, column)
        except Death:
            world.memory.stores = -1
            yield stores
        else:
            world.memory.stores = -1
            return


@pytest.mark.parametrize("full", [False, True], ids=["a new block", "after a search for free ones"])
def test_whoever_dies_while_it_changes_the_table_leaves_it_whole(full: bool) -> None:
    """At every single store; what is left over belongs to the dead one until its column is cleared."""
    for dead_after in range(200):
        world = World()
        for key in KEYS[:CAPACITY] if full else KEYS[:2]:
            world.hold(key, 0)
        world.memory[world.cell(KEYS[0], 3, 0)] = 9
        if full:
            world.give_back(KEYS[1], 0)
        world.memory.stores = dead_after
        try:
            world.directory.hold(KEYS[7], 1)
        except Death:
            world.memory.stores = -1
        else:
            assert dead_after > 5
            break
        assert world.hold(KEYS[0], 2) == world.blocks[KEYS[0]]
        assert world.memory[world.cell(KEYS[0], 3, 0)] == 9
        world.clear(1)
        world.check()
        assert world.hold(KEYS[7], 2) >= 0
        assert world.hold(KEYS[7], 1) == world.blocks[KEYS[7]]
        world.check()
    else:
        pytest.fail("it never got to the end")


def test_nor_do_many_deaths_use_it_up(world: World) -> None:
    world.hold(KEYS[0], 0)
    for _ in _deaths(world, KEYS[1], 1):
        world.directory.clear_column(1)
    world.directory.clear_column(1)
    for key in KEYS[1:CAPACITY]:
        assert world.hold(key, 2) >= 0
    world.check()
