"""How many requests began within a while: what a retry budget with an interval is a share of (semantics 8.3.10)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

#: Requests are forgotten in so many steps, as in Envoy: what counts is between 0.9 and 1.0 intervals long.
STEPS: Final = 10
_SHORTEST_S: Final = 0.001


class RecentRequests:
    """Looks at a counter ten times in an interval."""

    __slots__ = ("_begun", "_loop", "_seen", "_step_s", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_s: float, begun: Callable[[], int]) -> None:
        """``begun``: how many have begun, ever."""
        self._loop = loop
        self._begun = begun
        self._step_s = max(interval_s / STEPS, _SHORTEST_S)
        #: the counter at the last looks
        self._seen = deque([begun()], maxlen=STEPS)
        self._timer = loop.call_later(self._step_s, self._look)

    def count(self) -> int:
        """How many began within the interval; a counter may fall, if it is a group's and somebody left it."""
        return max(0, self._begun() - self._seen[0])

    def _look(self) -> None:
        self._seen.append(self._begun())
        self._timer = self._loop.call_later(self._step_s, self._look)

    def stop(self) -> None:
        """No more looks."""
        self._timer.cancel()
