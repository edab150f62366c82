"""Distributions: a recorded share is a sample, a rotation or an ejection is exact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

SIGMAS = 4.0


def deviation(expected: float, came: float, total: int) -> float:
    """How far two counts of ``total`` are apart, in standard deviations of the difference of two samples.

    Both the recording and this run are samples. The arcsine of a share has the same deviation whatever the
    share, so that a small one cannot vanish within its own tolerance. Nothing and all are exact.
    """
    if not 0 < expected < total:
        return 0.0 if expected == came else math.inf
    angles = (2 * math.asin(math.sqrt(min(count / total, 1.0))) for count in (expected, came))
    return abs(next(angles) - next(angles)) * math.sqrt(total / 2)


def counts_alike(expected: Mapping[str, int], came: Mapping[str, int], total: int, *, exact: bool) -> bool:
    """Whether each key was met as often, within 4 standard deviations unless ``exact``."""
    keys = expected.keys() | came.keys()
    if exact:
        return all(expected.get(key, 0) == came.get(key, 0) for key in keys)
    return all(deviation(expected.get(key, 0), came.get(key, 0), total) <= SIGMAS for key in keys)


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
