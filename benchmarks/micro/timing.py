"""How a call is timed: CPU time of this thread over many calls, the best of several runs."""

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

REPEATS = 5
FRESH_BATCH = 250


@dataclass(frozen=True)
class Timing:
    """us per call: the median of the runs, and the best, which noise has touched least."""

    name: str
    median_us: float
    best_us: float


def run_once(call: Callable[[Any], object], endless: Iterator[Any], seconds: float) -> float:
    """CPU time in us per call over about `seconds`, taking inputs from an iterator without end."""
    clock = time.thread_time
    used = 0.0
    calls = 0
    while used < seconds:
        batch = list(itertools.islice(endless, 2000))
        began = clock()
        for each in batch:
            call(each)
        used += clock() - began
        calls += len(batch)
    return used / calls * 1e6


def empty_call(_: Any) -> None:
    """What a loop and a call cost by themselves."""


def measure(name: str, call: Callable[[Any], object], inputs: Sequence[Any], seconds: float) -> Timing:
    """Time `call(input)`, the inputs in turn; the price of the loop and of an empty call is taken off."""
    # One iterator for all runs: each goes on where the last one ended, or a short run would repeat itself.
    endless = itertools.cycle(inputs)
    gc.collect()
    gc.disable()
    try:
        run_once(call, endless, seconds / 10)
        runs = [run_once(call, endless, seconds / REPEATS) for _ in range(REPEATS)]
        floor = run_once(empty_call, endless, seconds / 20)
    finally:
        gc.enable()
    return Timing(name, max(0.0, statistics.median(runs) - floor), max(0.0, min(runs) - floor))


def measure_fresh(
    name: str, call: Callable[[Any], object], make: Callable[[int, int], Sequence[Any]], seconds: float
) -> Timing:
    """Time `call` on inputs it has never met: `make(number, count)` gives `count` new ones for each number.

    They are made `FRESH_BATCH` at a time, so that they are as warm in the caches as bytes just received.
    """
    clock = time.thread_time
    runs = []
    numbers = itertools.count()
    gc.collect()
    gc.disable()
    try:
        for _ in range(REPEATS + 1):
            used = 0.0
            calls = 0
            while used < seconds / REPEATS:
                inputs = make(next(numbers), FRESH_BATCH)
                began = clock()
                for each in inputs:
                    call(each)
                used += clock() - began
                calls += FRESH_BATCH
            runs.append(used / calls * 1e6)
            gc.collect()
        floor = run_once(empty_call, itertools.cycle(inputs), 0.02)
    finally:
        gc.enable()
    runs = runs[1:]  # the first one warms up
    return Timing(name, max(0.0, statistics.median(runs) - floor), max(0.0, min(runs) - floor))
