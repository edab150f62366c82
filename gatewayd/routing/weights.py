"""HOT: one of several weighted destinations (semantics 6.1.5)."""

from __future__ import annotations

import random as _random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from gatewayd.routing.route import Destination


class WeightedPick:
    """Callable that picks a destination with probability weight/sum; weight 0 is never picked.

    ``random`` gives numbers in [0, 1); tests pass their own. Raises ValueError when all weights are 0.
    """

    __slots__ = ("_bounds", "_choices", "_random", "_total")

    def __init__(
        self, destinations: Sequence[Destination], random: Callable[[], float] = _random.random
    ) -> None:
        self._choices = tuple(d for d in destinations if d.weight > 0)
        if not self._choices:
            raise ValueError("every weight is 0: at least one destination needs a weight above 0")
        self._bounds = list(accumulate(d.weight for d in self._choices))
        self._total = self._bounds.pop()
        self._random = random

    def __call__(self) -> Destination:
        """Draw one."""
        return self._choices[bisect_right(self._bounds, self._random() * self._total)]
