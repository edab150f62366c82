"""Warm-up (semantics 9.7): the factor as Envoy works it out, and what it does to shares."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from gatewayd.upstream.balancers import Balancer, BalancerOptions, SlowStart, make_balancer
from tests.upstream.hosts import PICKS, Host, assert_shares, counts

rotating = pytest.mark.parametrize("policy", ["LEAST_REQUEST", "ROUND_ROBIN"])
NOW_S = 1000.0


@pytest.mark.parametrize(
    ("slow_start", "age_s", "factor"),
    [
        (SlowStart(10.0), 0.0, 0.1),  # the least share
        (SlowStart(10.0), 1.0, 0.1),
        (SlowStart(10.0), 2.5, 0.25),
        (SlowStart(10.0), 9.999, 0.9999),
        (SlowStart(10.0), 10.0, 1.0),
        (SlowStart(10.0), 1e9, 1.0),
        (SlowStart(10.0, minimum=0.0), 0.0, 0.0001),  # never nothing: a millisecond has passed
        (SlowStart(10.0, minimum=0.5), 2.5, 0.5),
        (SlowStart(10.0, aggression=2.0), 2.5, 0.5),
        (SlowStart(10.0, aggression=0.5), 5.0, 0.25),
        (SlowStart(10.0, aggression=0.0), 5.0, 0.5),  # not a number to raise to: as if it were 1
        (SlowStart(0.0), 0.0, 1.0),
    ],
)
def test_the_factor(slow_start: SlowStart, age_s: float, factor: float) -> None:
    assert slow_start.factor(age_s) == pytest.approx(factor)


def make(policy: str, endpoints: list[Host], clock: list[float]) -> Balancer[Host]:
    options = BalancerOptions(policy, slow_start=SlowStart(10.0))
    return make_balancer(options, endpoints, random=Random(5).random, clock=lambda: clock[0])


def pair(age_s: float) -> list[Host]:
    """One that has been there for long, and one that came ``age_s`` seconds ago."""
    return [Host("old"), Host("new", joined_at=NOW_S - age_s)]


@rotating
@pytest.mark.parametrize(("age_s", "factor"), [(0.0, 0.1), (2.5, 0.25), (5.0, 0.5), (9.0, 0.9)])
def test_a_new_endpoint_gets_its_factor_of_a_share(policy: str, age_s: float, factor: float) -> None:
    seen = counts(make(policy, pair(age_s), [NOW_S]).pick)
    assert_shares(seen, {"old": 1 / (1 + factor), "new": factor / (1 + factor)})


@rotating
def test_the_share_grows_while_time_passes_and_ends_whole(policy: str) -> None:
    clock = [NOW_S]
    balancer = make(policy, pair(0.0), clock)
    shares = []
    for _ in range(12):
        shares.append(counts(balancer.pick, 1000)["new"])
        clock[0] += 1.0
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(91, abs=3)
    assert shares[-1] == pytest.approx(500, abs=3)


@rotating
def test_those_who_all_came_together_share_alike(policy: str) -> None:
    endpoints = [Host(f"h{n}", joined_at=NOW_S) for n in range(4)]
    seen = counts(make(policy, endpoints, [NOW_S + 1.0]).pick, 4000)
    assert seen == Counter({f"h{n}": 1000 for n in range(4)})


@rotating
def test_weights_and_warm_up_multiply(policy: str) -> None:
    endpoints = [Host("old", weight=2), Host("new", weight=4, joined_at=NOW_S - 5.0)]
    assert_shares(counts(make(policy, endpoints, [NOW_S]).pick), {"old": 0.5, "new": 0.5})


def test_least_request_still_avoids_who_is_busy_meanwhile() -> None:
    endpoints = pair(5.0)
    endpoints[0].active = 3
    seen = counts(make("LEAST_REQUEST", endpoints, [NOW_S]).pick)
    assert_shares(seen, {"old": 0.25 / 0.75, "new": 0.5 / 0.75})


@pytest.mark.parametrize("policy", ["RANDOM", "MAGLEV"])
def test_other_policies_do_not_warm_up(policy: str) -> None:
    seen = counts(make(policy, pair(0.0), [NOW_S]).pick)
    assert_shares(seen, {"old": 0.5, "new": 0.5})


@rotating
def test_once_all_are_warm_a_new_balancer_is_the_plain_one(policy: str) -> None:
    clock = [NOW_S]
    warm = make(policy, pair(10.0), clock)
    clock[0] = -1e9  # a rotation that asks the clock would now give "new" the least share
    assert abs(counts(warm.pick)["new"] - PICKS / 2) < 300
