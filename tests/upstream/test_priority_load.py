"""Arithmetic of priorities (semantics 9.12, 9.14): health, overprovisioning 1.4, rounding, panic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.upstream.balancers.priority_load import availability, panics, priority_loads


@pytest.mark.parametrize(
    ("ready", "total", "percent"),
    [
        (10, 10, 100),
        (8, 10, 100),
        (72, 100, 100),
        (71, 100, 99),
        (5, 10, 70),
        (1, 3, 46),
        (0, 10, 0),
        (0, 0, 0),
    ],
)
def test_a_priority_is_whole_until_fewer_than_five_in_seven_are_ready(
    ready: int, total: int, percent: int
) -> None:
    assert availability(ready, total) == percent


@pytest.mark.parametrize(
    ("levels", "loads"),
    [
        ([(10, 10), (10, 10)], [100, 0]),
        ([(8, 10), (10, 10)], [100, 0]),
        ([(5, 10), (10, 10)], [70, 30]),
        ([(25, 100), (25, 100)], [50, 50]),  # 35 and 35 of 70: in proportion
        ([(0, 10), (10, 10)], [0, 100]),
        ([(0, 10), (5, 10), (10, 10)], [0, 70, 30]),
        ([(1, 14), (2, 14), (1, 14)], [25, 50, 25]),
        ([(1, 10), (1, 10), (1, 10)], [34, 33, 33]),  # what rounding leaves goes to the first
        ([(0, 3), (1, 10), (1, 10), (1, 10)], [0, 34, 33, 33]),
        ([(0, 0), (3, 3)], [0, 100]),
        ([(0, 5), (0, 5)], [100, 0]),  # nobody: the first, where nobody is found
        ([(0, 0)], [100]),
    ],
)
def test_loads_without_panic(levels: list[tuple[int, int]], loads: list[int]) -> None:
    assert priority_loads(levels) == (loads, [False] * len(levels))


@pytest.mark.parametrize(
    ("levels", "threshold", "loads", "panic"),
    [
        ([(4, 10)], 50, [100], [True]),
        ([(5, 10)], 50, [100], [False]),
        ([(1, 10), (10, 10)], 50, [14, 86], [False, False]),  # the second can take all of it
        ([(1, 10), (3, 10)], 50, [50, 50], [True, True]),  # all panic: by the number of endpoints
        ([(1, 30), (0, 10)], 50, [75, 25], [True, True]),
        ([(1, 10), (6, 10)], 50, [15, 85], [True, False]),  # 14 and 84 of 98
        ([(0, 1), (0, 2)], 50, [34, 66], [True, True]),  # the rest of rounding to the first
        ([(0, 0), (0, 2)], 50, [0, 100], [True, True]),
        ([(0, 0), (0, 0)], 50, [100, 0], [True, True]),
    ],
)
def test_loads_with_a_panic_threshold(
    levels: list[tuple[int, int]], threshold: int, loads: list[int], panic: list[bool]
) -> None:
    assert priority_loads(levels, threshold) == (loads, panic)


def test_a_threshold_of_zero_is_never_below() -> None:
    assert not panics(0, 10, 0)
    assert not panics(0, 0, 0)


LEVELS = st.lists(
    st.integers(0, 40).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))),
    min_size=1,
    max_size=5,
)


@given(levels=LEVELS, threshold=st.integers(0, 100))
def test_all_of_the_load_goes_somewhere(levels: list[tuple[int, int]], threshold: int) -> None:
    loads, panic = priority_loads(levels, threshold)
    assert sum(loads) == 100
    assert min(loads) >= 0
    if any(ready for ready, _ in levels) and not all(panic):
        # one with nobody ready gets nothing; it would be lost there
        assert all(load == 0 for load, (ready, _) in zip(loads, levels, strict=True) if not ready)
