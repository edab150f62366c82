"""How the load is dealt out to priorities, and which of them panic (semantics 9.12, 9.14). Pure arithmetic.

A priority is given as (ready endpoints, all endpoints). All numbers are whole per cent, cut off where
Envoy cuts them off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: A priority counts as whole until fewer than 100/140 of its endpoints are ready.
OVERPROVISIONING: Final = 140


def availability(ready: int, total: int) -> int:
    """How much of its load a priority can take, 0 to 100."""
    return min(100, OVERPROVISIONING * ready // total) if total else 0


def panics(ready: int, total: int, threshold: int) -> bool:
    """Whether fewer than ``threshold`` per cent are ready; never with a threshold of 0."""
    return (100.0 * ready / total if total else 0.0) < threshold


def priority_loads(levels: Sequence[tuple[int, int]], threshold: int = 0) -> tuple[list[int], list[bool]]:
    """(per cent of the load of each priority, whether each panics); the loads add up to 100.

    ``levels`` is not empty. Without anybody ready and without panic the first priority gets everything,
    where nobody will be found.
    """
    able = [availability(*level) for level in levels]
    together = min(100, sum(able))
    loads = _dealt(able, together)
    if not together and not threshold:
        return [100] + [0] * (len(levels) - 1), [False] * len(levels)
    # As long as all of the load can be taken, a priority with few ready endpoints is no reason to panic.
    panic = [together < 100 and panics(*level, threshold) for level in levels]
    if all(panic):
        loads = _by_size([total for _, total in levels])
    return loads, panic


def _dealt(able: list[int], together: int) -> list[int]:
    """To each priority in turn what it can take, in proportion where all together cannot take 100."""
    loads = [0] * len(able)
    if not together:
        return loads
    left = 100
    for level, percent in enumerate(able):
        loads[level] = min(left, percent * 100 // together)
        left -= loads[level]
    loads[next(level for level, percent in enumerate(able) if percent)] += left  # what rounding left over
    return loads


def _by_size(totals: list[int]) -> list[int]:
    """When all panic readiness says nothing: by the number of endpoints."""
    everybody = sum(totals)
    if not everybody:
        return [100] + [0] * (len(totals) - 1)
    loads = [100 * total // everybody for total in totals]
    loads[next(level for level, total in enumerate(totals) if total)] += 100 - sum(loads)
    return loads
