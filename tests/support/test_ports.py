"""Ports for other processes: different ones each time, and never those of another test process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.ports import BLOCK, HIGHEST, LOWEST, PortReservation

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_number_given_back_is_not_given_again_soon() -> None:
    numbers = []
    for _ in range(BLOCK // 2):
        held = PortReservation()
        numbers.append(held.port)
        held.release()
    assert len(set(numbers)) == len(numbers)
    assert all(LOWEST <= number < HIGHEST for number in numbers)


def test_a_number_in_use_on_one_of_the_hosts_is_passed_over() -> None:
    first = PortReservation(["127.0.0.2"])
    numbers = []
    for _ in range(BLOCK - 1):
        held = PortReservation(["127.0.0.1", "127.0.0.2"])
        numbers.append(held.port)
        held.release()
    first.release()
    assert first.port not in numbers


def test_processes_have_blocks_of_their_own() -> None:
    """Also after release, when only the number is left of a reservation."""
    code = "from tests.support.ports import *\nheld = PortReservation()\nheld.release()\nprint(held.port)\ninput()"
    command = [sys.executable, "-c", code]
    others = [
        subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    blocks = set()
    for other in others:
        assert other.stdout is not None
        blocks.add((int(other.stdout.readline()) - LOWEST) // BLOCK)
    held = PortReservation()
    held.release()
    blocks.add((held.port - LOWEST) // BLOCK)
    for other in others:
        other.communicate("\n", timeout=60)
    assert len(blocks) == 4
