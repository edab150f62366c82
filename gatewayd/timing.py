"""HOT: the worker's deadlines, in coarse buckets, so that a timeout is a slot in a list.

An owner arms a deadline by :meth:`DeadlineWheel.arm` and gets a :class:`Deadline` back; cancelling is
setting one attribute. One loop timer serves all of them, and none runs while nothing is armed. Time is
the monotonic clock in seconds; a deadline fires at most ``GRANULARITY_S`` late and never early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from time import monotonic
from typing import Final

#: Width of a bucket. Route timeouts are given in milliseconds, so this stays small.
GRANULARITY_S: Final = 0.005


class Deadline:
    """An armed deadline. ``callback`` is None once it fired or was cancelled."""

    __slots__ = ("at", "callback")

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Forget it; the slot is swept with its bucket."""
        self.callback = None


class DeadlineWheel:
    """Deadlines of one event loop, in buckets of ``GRANULARITY_S``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = monotonic) -> None:
        self._loop = loop
        self._clock = clock
        self._buckets: dict[int, list[Deadline]] = {}
        self._ticks: list[int] = []  # a heap of the keys: long timeouts leave thousands of buckets waiting
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0

    def arm(self, delay_s: float, callback: Callable[[], None]) -> Deadline:
        """Call ``callback`` once, ``delay_s`` seconds from now, unless it is cancelled."""
        now = self._clock()
        deadline = Deadline(now + delay_s, callback)
        tick = int(deadline.at / GRANULARITY_S) + 1
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.append(deadline)
            return deadline
        self._buckets[tick] = [deadline]
        heappush(self._ticks, tick)
        if self._timer is None or tick < self._timer_tick:
            self._schedule(tick, now)
        return deadline

    def _schedule(self, tick: int, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_tick = tick
        self._timer = self._loop.call_later(max(0.0, tick * GRANULARITY_S - now), self.sweep)

    def sweep(self) -> None:
        """Fire what is due and wait for the next bucket. Public for tests that turn the clock by hand."""
        self._timer = None
        now = self._clock()
        due = int(now / GRANULARITY_S)
        ticks = self._ticks
        while ticks and ticks[0] <= due:
            for deadline in self._buckets.pop(heappop(ticks)):
                callback = deadline.callback
                if callback is not None:
                    deadline.callback = None
                    try:
                        callback()
                    except Exception as error:
                        # One broken owner must not cost the others their timeouts.
                        self._loop.call_exception_handler(
                            {"message": f"deadline callback {callback!r} failed", "exception": error}
                        )
        if ticks:
            self._schedule(ticks[0], self._clock())

    @property
    def armed(self) -> int:
        """How many deadlines wait, cancelled but unswept ones included."""
        return sum(map(len, self._buckets.values()))
