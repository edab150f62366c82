"""What several processes do with one map; each function is played by a process of its own (``test_processes.py``)."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import deque
from contextlib import ExitStack
from itertools import count

from gatewayd.cells import Cells
from tests.support.forked import Channel, Child


def every_addition_counts() -> None:
    workers, additions = 4, 20_000
    cells = Cells(workers + 1)
    cells.attach(cells.reserve())
    block = cells.hold("requests")

    def add(channel: Channel, column: int) -> None:
        cells.attach(column)
        mine = cells.hold("requests")
        assert mine.shared
        row = mine.row(0)
        for _ in range(additions):
            row[column] += 1
        channel.say(row[column])
        channel.hear()

    with ExitStack() as stack:
        columns = [cells.reserve() for _ in range(workers)]
        children = [stack.enter_context(Child(add, column)) for column in columns]
        assert [child.hear() for child in children] == [additions] * workers
        assert sum(block.row(0)) == workers * additions
        children[0].kill()
        cells.forget(columns[0])
        assert sum(block.row(0)) == (workers - 1) * additions
        assert cells.reserve() == columns[0], "its column is free again"


def no_read_is_torn() -> None:
    """All eight bytes of what is written are alike."""
    cells = Cells(2)
    cells.attach(0)
    row = cells.hold("x").row(0)

    def write(channel: Channel) -> None:
        cells.attach(1)
        mine = cells.hold("x").row(0)
        channel.say()
        for number in count():
            mine[1] = (number & 0x7F) * 0x0101010101010101

    with Child(write) as child:
        child.hear()
        seen = set()
        reads = 0
        while reads < 300_000 or len(seen) < 50:
            value = row[1]
            seen.add(value & 0x7F)
            assert value == (value & 0x7F) * 0x0101010101010101
            reads += 1


def killed_anywhere() -> None:
    """A process that holds and releases without end is killed, again and again."""
    cells = Cells(3, 32)
    cells.attach(cells.reserve())
    mine = {name: cells.hold(name) for name in (f"kept {number}" for number in range(8))}
    for number, block in enumerate(mine.values()):
        block.row(2)[block.column] = number
        block.words[1] = -number

    def churn(channel: Channel, column: int) -> None:
        cells.attach(column)
        channel.say()
        held = deque([cells.hold(f"churned {number}") for number in range(10)])
        for number in count(10):
            block = cells.hold(f"churned {number % 40}")
            block.row(1)[block.column] = number
            held.append(block)
            cells.release(held.popleft())

    pauses = random.Random(5)
    for life in range(80):
        column = cells.reserve()
        assert column == 1
        with Child(churn, column) as child:
            child.hear()
            time.sleep(pauses.random() * 0.003)
            child.kill()
        cells.forget(column)
        later = cells.hold(f"later {life}")
        assert later.shared, "nothing stays locked"
        assert not any(later.row(1))
        cells.release(later)
    assert [sum(block.row(2)) for block in mine.values()] == list(range(8))
    assert [block.words[1] for block in mine.values()] == [-number for number in range(8)]
    assert cells.held == 8
    cells.attach(2)
    again = {name: cells.hold(name) for name in mine}
    assert [block.number for block in again.values()] == [block.number for block in mine.values()]


def a_stopped_process_is_not_waited_for() -> None:
    cells = Cells(2)
    cells.attach(0)
    shared = cells.hold("before")

    def stop(channel: Channel) -> None:
        cells.attach(1)
        mine = cells.hold("before")
        with cells.deciding(mine) as may:
            assert may
            assert cells._wait_for_lock()
            channel.say()
            os.kill(os.getpid(), signal.SIGSTOP)

    with Child(stop) as child:
        child.hear()
        with cells.deciding(shared) as may:
            assert not may
        assert not cells.hold("now").shared
        assert cells.refused == 1
        child.kill()
        with cells.deciding(shared) as may:
            assert may, "what it had locked is free with its death"
    assert not cells.hold("now").shared, (
        "for a while nobody asks: a thousand clusters do not wait a thousand times"
    )
    cells._ask_again = 0.0
    assert cells.hold("now").shared


def a_process_without_a_column_shares_nothing() -> None:
    cells = Cells(1)
    assert cells.reserve() == 0
    column = cells.reserve()
    assert column is None
    cells.attach(column)
    block = cells.hold("x")
    block.row(0)[block.column] += 3
    assert not block.shared
    assert sum(block.row(0)) == 3
    assert cells.held == cells.refused == 0
    cells.forget(column)
