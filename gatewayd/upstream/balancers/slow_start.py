"""Warm-up: how much less a new endpoint gets, by the time since it came (semantics 9.7). Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlowStart:
    """``warmup``: over ``window_s`` seconds the weight of a new endpoint grows from ``minimum`` to all of it.

    minimum: share of the weight below which it never is, 0 to 1. aggression: 1 is a straight line, more
    begins faster, less begins slower.
    """

    window_s: float
    minimum: float = 0.1
    aggression: float = 1.0

    def factor(self, age_s: float) -> float:
        """What the weight of an endpoint is multiplied with ``age_s`` seconds after it came.

        Whole milliseconds, as Envoy counts them; at least one of them has passed.
        """
        age_ms, window_ms = int(age_s * 1000), int(self.window_s * 1000)
        if age_ms >= window_ms:
            return 1.0
        share = max(1, age_ms) / window_ms
        aggression = self.aggression if self.aggression > 0 else 1.0
        if aggression != 1.0:
            share = share ** (1.0 / aggression)
        return max(share, self.minimum)
