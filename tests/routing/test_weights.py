"""Weighted destinations, semantics 6.1.5."""

from __future__ import annotations

import pytest

from gatewayd.routing.route import Destination
from gatewayd.routing.weights import WeightedPick


def destinations(*weights: int) -> list[Destination]:
    return [Destination(None, f"d{i}", weight) for i, weight in enumerate(weights)]


@pytest.mark.parametrize(
    ("drawn", "name"),
    [(0.0, "d0"), (0.2499, "d0"), (0.25, "d2"), (0.99999, "d2")],
)
def test_share_is_weight_by_sum(drawn: float, name: str) -> None:
    pick = WeightedPick(destinations(10, 0, 30), lambda: drawn)
    assert pick().cluster_name == name


def test_weights_need_not_add_up_to_a_hundred() -> None:
    draws = iter(i / 1000 for i in range(1000))
    pick = WeightedPick(destinations(1, 2, 5), lambda: next(draws))
    names = [pick().cluster_name for _ in range(1000)]
    assert [names.count(n) for n in ("d0", "d1", "d2")] == [125, 250, 625]


def test_weight_zero_is_never_picked_wherever_it_stands() -> None:
    for weights in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        picked = set()
        for i in range(100):
            picked.add(WeightedPick(destinations(*weights), lambda i=i: i / 100)().weight)  # type: ignore[misc]
        assert picked == {1}


def test_all_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="every weight is 0"):
        WeightedPick(destinations(0, 0))
