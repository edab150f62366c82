"""HOT: the turns of localities: by earliest deadline, weights being fractions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heapreplace
from typing import TypeVar

T = TypeVar("T")


def locality_order(items: Sequence[T], weights: Sequence[float]) -> Callable[[], T]:
    """The next-function of an endless rotation over ``items`` (at least one) in proportion to ``weights``."""
    return _endless(items, weights).__next__


def _endless(items: Sequence[T], weights: Sequence[float]) -> Iterator[T]:
    heap = [
        (1 / weight, index, 1 / weight, item)
        for index, (item, weight) in enumerate(zip(items, weights, strict=True))
    ]
    heapify(heap)
    while True:
        deadline, index, step, item = heap[0]
        heapreplace(heap, (deadline + step, index, step, item))
        yield item
