"""Distributions: a recorded share is a sample, a rotation or an ejection is exact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

SIGMAS = 4.0


def tolerance(count: float, total: int) -> float:
    """How far another count may be from ``count`` of ``total``: 4 sigma of the difference of two samples.

    Both the recording and this run are samples, so the variance counts twice; nothing and all are exact.
    """
    share = count / total if total else 0.0
    return SIGMAS * math.sqrt(2 * total * share * (1 - share)) if 0 < share < 1 else 0.0


def counts_alike(expected: Mapping[str, int], came: Mapping[str, int], total: int, *, exact: bool) -> bool:
    """Whether each key was met as often, within the tolerance unless ``exact``."""
    keys = expected.keys() | came.keys()
    if exact:
        return all(expected.get(key, 0) == came.get(key, 0) for key in keys)
    return all(
        abs(expected.get(key, 0) - came.get(key, 0)) <= tolerance(min(expected.get(key, 0), total), total)
        for key in keys
    )


def same_shape(expected: Mapping[str, int], came: Mapping[str, int]) -> bool:
    """Equal but for the names: which host a hash picks, or a rotation begins with, is not told."""
    return sorted(filter(None, expected.values())) == sorted(filter(None, came.values()))


def rotated(expected: Sequence[object], came: Sequence[object], most: int) -> bool:
    """Whether the sequences agree after leaving out up to ``most`` steps at the start of one of them."""
    if len(expected) != len(came):
        return False
    whole = len(expected)
    return any(
        list(expected[step:]) == list(came[: whole - step])
        or list(came[step:]) == list(expected[: whole - step])
        for step in range(min(most, whole) + 1)
    )
