"""When a worker that died is started again: at once, unless it keeps dying (hardening 9.8)."""

from __future__ import annotations

from collections import deque
from typing import Final

#: So many deaths in so many seconds, and the next start waits: one second, then twice as long each time, up to a limit.
DEATHS: Final = 5
WINDOW_S: Final = 10.0
LONGEST_S: Final = 30.0
#: Who lives for so long is well again.
WELL_S: Final = 60.0


class Backoff:
    """The deaths in one slot. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._waits = 0

    def died(self, now: float) -> float:
        """A worker died: after how many seconds the next one may be started."""
        if self._deaths and now - self._deaths[-1] > WELL_S:
            self._waits = 0
        self._deaths.append(now)
        many = len(self._deaths) == DEATHS and now - self._deaths[0] <= WINDOW_S
        if not many and not self._waits:
            return 0.0
        self._waits += 1
        return float(min(LONGEST_S, 2.0 ** (self._waits - 1)))
