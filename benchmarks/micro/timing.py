"""How a call is timed: CPU time of this thread over many calls, in small batches of inputs just made."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

REPEATS = 5
BATCH = 100
"""Inputs made at a time: few, so that they are as warm in the caches as bytes just received."""

Make = Callable[[int], Sequence[Any]]


@dataclass(frozen=True)
class Timing:
    """us per call: the median of the runs, and the best, which noise has touched least."""

    name: str
    median_us: float
    best_us: float


def run_once(call: Callable[[Any], object], make: Make, seconds: float) -> float:
    """CPU time in us per call over about `seconds`; making the inputs is not counted."""
    clock = time.thread_time
    used = 0.0
    calls = 0
    while used < seconds:
        inputs = make(BATCH)
        began = clock()
        for each in inputs:
            call(each)
        used += clock() - began
        calls += len(inputs)
    return used / calls * 1e6


def empty_call(_: Any) -> None:
    """What a loop and a call cost by themselves."""


def measure(name: str, call: Callable[[Any], object], make: Make, seconds: float) -> Timing:
    """Time `call(input)` on what `make(count)` gives; the price of a loop and an empty call is taken off.

    The garbage collector runs as in a process that serves: rarely, and not over what was there before.
    """
    gc.collect()
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, 50, 50)
    try:
        run_once(call, make, seconds / 10)
        runs = [run_once(call, make, seconds / REPEATS) for _ in range(REPEATS)]
        floor = run_once(empty_call, make, seconds / 20)
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    return Timing(name, max(0.0, statistics.median(runs) - floor), max(0.0, min(runs) - floor))
