"""HOT: weighted rotation by earliest deadline first, as Envoy's weighted round robin.

Every endpoint has a deadline. The earliest is picked and moves on by its cost divided by its weight, so
an endpoint of weight 3 comes up three times while one of weight 1 comes up once, evenly spread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heapreplace
from itertools import islice
from math import lcm
from typing import Final, TypeVar

from gatewayd.upstream.balancers.base import BalancedEndpoint, weights_of

E = TypeVar("E", bound=BalancedEndpoint)

#: Deadlines are whole numbers, exact for weights whose least common multiple is below this.
_LARGEST_SCALE: Final = 1 << 60


def deadline_order(
    endpoints: Sequence[E],
    random: Callable[[], float],
    cost: Callable[[E], int] | None = None,
    weights: Sequence[int] | None = None,
) -> Callable[[], E]:
    """The next-function of an endless rotation over ``endpoints`` (at least one).

    ``cost`` is asked each time an endpoint is picked; without one every pick costs 1. ``weights``, 1 or more:
    in place of the endpoints' own. The rotation begins at a random place, so that workers do not all begin
    with the same endpoint.
    """
    order = _endless(endpoints, weights or weights_of(endpoints), cost)
    for _ in islice(order, int(random() * len(endpoints))):
        pass
    return order.__next__


def _endless(endpoints: Sequence[E], weights: Sequence[int], cost: Callable[[E], int] | None) -> Iterator[E]:
    scale = min(2 * lcm(*weights), _LARGEST_SCALE)
    # Half a step to begin with puts the light ones in the middle of a period, away from each other. The
    # index decides between equal deadlines, so endpoints themselves are never compared.
    heap = [
        (scale // weight // 2, index, scale // weight, endpoint)
        for index, (endpoint, weight) in enumerate(zip(endpoints, weights, strict=True))
    ]
    heapify(heap)
    while True:
        deadline, index, step, endpoint = heap[0]
        forward = step if cost is None else step * cost(endpoint)
        heapreplace(heap, (deadline + forward, index, step, endpoint))
        yield endpoint
