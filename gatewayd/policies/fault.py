"""Fault injection: what befalls a request before its upstream is contacted (semantics 6.8). Pure.

Delay and abort are drawn independently, once per request and not per retry (6.8.4, 6.8.5); a delay comes first
(6.8.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import random as random_float
from typing import Final

from gatewayd.grpc_status import GRPC_STATUSES

#: Shares are kept in millionths: 0.0001 % (6.8.4).
MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class FaultPolicy:
    """``fault`` of a rule; a share of 0 millionths never happens."""

    delay_s: float = 0.0
    delay_millionths: int = 0
    #: HTTP status of the abort; 0 when ``grpc_status`` is meant
    abort_status: int = 0
    grpc_status: int | None = None
    abort_millionths: int = 0

    @property
    def idle(self) -> bool:
        """Whether it can never do anything."""
        return not ((self.delay_millionths and self.delay_s) or self.abort_millionths)

    def draw(self, random: Callable[[], float] = random_float) -> tuple[float, bool]:
        """Seconds to wait (0.0: none) and whether to abort then; ``random`` gives numbers in [0, 1)."""
        delay_s = 0.0
        if self.delay_millionths and self.delay_s and random() * MILLION < self.delay_millionths:
            delay_s = self.delay_s
        abort = self.abort_millionths > 0 and random() * MILLION < self.abort_millionths
        return delay_s, abort


def millionths(percent: float) -> int:
    """A percentage of the configuration as millionths, cut off after 0.0001 % (6.8.4)."""
    return min(MILLION, int(percent * 10_000))


def grpc_status_number(name: str) -> int:
    """The number of a gRPC status name; 0 for anything else, numbers included, as Istio has it (6.8.3)."""
    return GRPC_STATUSES.index(name) if name in GRPC_STATUSES else 0
