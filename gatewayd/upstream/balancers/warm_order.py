"""Weighted rotation by earliest deadline while weights still move: some endpoints are warming up.

The same rotation as ``deadline_order``, but the step of an endpoint is worked out each time it is picked:
its weight, how busy it is, and how new (semantics 9.7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heapreplace
from itertools import islice
from typing import Protocol, TypeVar

from gatewayd.upstream.balancers.slow_start import SlowStart


class WarmingEndpoint(Protocol):
    """What the rotation reads of an endpoint."""

    @property
    def active(self) -> int:
        """Requests in progress there."""

    @property
    def weight(self) -> int:
        """Share of the selection; 0 counts as 1."""

    @property
    def joined_at(self) -> float:
        """When it joined its cluster, in monotonic seconds. An ejection does not change it."""


W = TypeVar("W", bound=WarmingEndpoint)


def anybody_warms(endpoints: Sequence[WarmingEndpoint], slow_start: SlowStart, now: float) -> bool:
    """Whether any of ``endpoints`` is still in its window at ``now``."""
    return any(now - endpoint.joined_at < slow_start.window_s for endpoint in endpoints)


def warm_order(
    endpoints: Sequence[W],
    random: Callable[[], float],
    slow_start: SlowStart,
    clock: Callable[[], float],
    cost: Callable[[W], int] | None = None,
) -> Callable[[], W]:
    """The next-function of an endless rotation over ``endpoints`` (at least one), begun at a random place."""

    def step(endpoint: W, now: float) -> float:
        weight = max(1, endpoint.weight) * slow_start.factor(now - endpoint.joined_at)
        return (1 if cost is None else cost(endpoint)) / weight

    def endless() -> Iterator[W]:
        now = clock()
        heap = [(step(endpoint, now) / 2, index, endpoint) for index, endpoint in enumerate(endpoints)]
        heapify(heap)
        while True:
            deadline, index, endpoint = heap[0]
            heapreplace(heap, (deadline + step(endpoint, clock()), index, endpoint))
            yield endpoint

    order = endless()
    for _ in islice(order, int(random() * len(endpoints))):
        pass
    return order.__next__
