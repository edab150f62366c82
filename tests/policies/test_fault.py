"""Fault injection as a decision (semantics 6.8)."""

from __future__ import annotations

import random

import pytest

from gatewayd.policies.fault import FaultPolicy, grpc_status_number, millionths

PICKS = 20_000


def three_sigma(share: float) -> float:
    return float(3 * (PICKS * share * (1 - share)) ** 0.5)


@pytest.mark.parametrize("percent", [0.5, 10.0, 50.0, 99.5])
def test_6_8_4_shares_are_kept(percent: float) -> None:
    draw = random.Random(7).random
    policy = FaultPolicy(delay_s=0.1, delay_millionths=millionths(percent), abort_status=500)
    hits = sum(policy.draw(draw)[0] == 0.1 for _ in range(PICKS))
    assert abs(hits - PICKS * percent / 100) <= three_sigma(percent / 100)


def test_6_8_4_delay_and_abort_are_drawn_independently() -> None:
    draw = random.Random(11).random
    half = millionths(50.0)
    policy = FaultPolicy(delay_s=0.1, delay_millionths=half, abort_status=500, abort_millionths=half)
    counts: dict[tuple[bool, bool], int] = {}
    for _ in range(PICKS):
        delay_s, abort = policy.draw(draw)
        key = (bool(delay_s), abort)
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 4
    for count in counts.values():
        assert abs(count - PICKS / 4) <= three_sigma(0.25)


def test_6_8_2_and_6_8_3_without_a_percentage_nothing_happens() -> None:
    policy = FaultPolicy(delay_s=1.0, abort_status=500)
    assert policy.idle
    assert policy.draw(lambda: 0.0) == (0.0, False)


def test_a_share_of_everything_always_happens() -> None:
    policy = FaultPolicy(1.0, millionths(100.0), 503, None, millionths(100.0))
    assert not policy.idle
    assert policy.draw(lambda: 0.9999999) == (1.0, True)


@pytest.mark.parametrize(
    ("percent", "expected"), [(0.0001, 1), (0.00005, 0), (0.00019, 1), (100.0, 1_000_000), (0.0, 0)]
)
def test_6_8_4_resolution_is_a_ten_thousandth_of_a_percent(percent: float, expected: int) -> None:
    assert millionths(percent) == expected


@pytest.mark.parametrize(("name", "number"), [("UNAVAILABLE", 14), ("OK", 0), ("7", 0), ("unavailable", 0)])
def test_6_8_3_grpc_statuses_are_names(name: str, number: int) -> None:
    assert grpc_status_number(name) == number
