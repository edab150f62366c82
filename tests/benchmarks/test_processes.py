"""CPU time and memory of process trees, as the benchmarks read them from the kernel."""

import os
import subprocess
import sys
import time

from benchmarks.macro import processes
from benchmarks.macro.processes import ProcessStat, descendants, parse_kib, parse_stat


def stat(pid: int, parent: int) -> ProcessStat:
    return ProcessStat(pid, parent, own_ticks=0, reaped_ticks=0)


def test_stat_line_whose_name_holds_spaces_and_parentheses() -> None:
    line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 11 12 13 14 20 0 1 0 99"
    assert parse_stat(line) == ProcessStat(pid=42, parent=7, own_ticks=23, reaped_ticks=27)


def test_descendants_are_found_whatever_the_order_of_pids() -> None:
    # A child may have a lower number than its parent once the numbers have wrapped around.
    stats = [stat(1, 0), stat(5, 90), stat(90, 100), stat(100, 1), stat(101, 1)]
    assert {each.pid for each in descendants(100, stats)} == {100, 90, 5}


def test_descendants_of_a_process_that_ended_are_none() -> None:
    assert descendants(9, [stat(1, 0), stat(2, 9)]) == []


def test_memory_field_in_kib() -> None:
    text = "VmHWM:\t   2000 kB\nVmRSS:\t    1234 kB\nVmRSSx: 1 kB\n"
    assert parse_kib(text, "VmRSS") == 1234
    assert parse_kib(text, "Pss") == 0


def test_cpu_of_the_tree_agrees_with_the_clock_of_this_process() -> None:
    before, tree_before = time.process_time_ns(), processes.process_cpu_ns(stat(os.getpid(), 0))
    while time.process_time_ns() < before + 30_000_000:
        pass
    used = processes.process_cpu_ns(stat(os.getpid(), 0)) - tree_before
    # The two clocks are read one after the other and rounded apart.
    assert 29_000_000 <= used <= 31_000_000 + (time.process_time_ns() - before)


def test_cpu_of_a_child_that_ended_still_counts() -> None:
    burn = "import time\nwhile time.process_time() < 0.1: pass"
    before = processes.tree_cpu_ns(os.getpid())
    subprocess.run([sys.executable, "-c", burn], check=True)
    # The kernel counts children that ended in ticks of 10 ms.
    assert processes.tree_cpu_ns(os.getpid()) - before >= 90_000_000


def test_memory_of_a_running_tree_is_more_than_nothing() -> None:
    memory = processes.tree_memory(os.getpid())
    assert memory.rss_kib >= memory.pss_kib > 1000


def test_free_ports_are_different() -> None:
    assert len(set(processes.free_ports(20))) == 20


def test_until_gives_up() -> None:
    assert processes.until(lambda: True, 0)
    assert not processes.until(lambda: False, 0, step_s=0)
