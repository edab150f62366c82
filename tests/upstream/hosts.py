"""Endpoints as balancers see them, and how often each was picked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

PICKS = 20_000
SIGMAS = 3.0


@dataclass(slots=True, eq=False)
class Host:
    name: str
    weight: int = 1
    active: int = 0
    ready: bool = True
    address: str = "127.0.0.1"
    port: int = 80
    joined_at: float = 0.0


def hosts(*weights: int) -> list[Host]:
    return [Host(f"h{index}", weight, port=24101 + index) for index, weight in enumerate(weights)]


def counts(pick: Callable[[], Host | None], picks: int = PICKS) -> Counter[str]:
    """Names picked; those of nobody are left out."""
    return Counter(picked.name for picked in (pick() for _ in range(picks)) if picked)


def assert_shares(seen: Counter[str], expected: dict[str, float], total: int = PICKS) -> None:
    """Each count within three standard deviations of its share of ``total`` draws."""
    assert seen.total() == total
    for name, share in expected.items():
        sigma = math.sqrt(total * share * (1 - share))
        assert abs(seen[name] - total * share) <= SIGMAS * sigma, (name, seen, expected)
