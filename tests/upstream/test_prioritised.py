"""Priorities and localities (semantics 9.12 to 9.15): failover, weights, panic, and nobody left."""

from __future__ import annotations

from random import Random

import pytest

from gatewayd.upstream.balancers import Balancer, BalancerOptions, Locality, make_balancer, make_prioritised
from tests.upstream.hosts import PICKS, Host, assert_shares, counts

POLICIES = ["LEAST_REQUEST", "MAGLEV", "RANDOM", "RING_HASH", "ROUND_ROBIN"]
policies = pytest.mark.parametrize("policy", POLICIES)
spreading = pytest.mark.parametrize("policy", ["LEAST_REQUEST", "MAGLEV", "RANDOM", "ROUND_ROBIN"])


def group(name: str, ready: int, total: int, weight: int = 1) -> Locality[Host]:
    """``total`` endpoints called ``name``, of which the first ``ready`` are ready."""
    start = 1000 * (ord(name) - ord("a") + 1)
    return Locality(tuple(Host(name, ready=n < ready, port=start + n) for n in range(total)), weight)


def make(
    policy: str, priorities: list[list[Locality[Host]]], *, weighted: bool = True, panic_threshold: int = 0
) -> Balancer[Host]:
    options = BalancerOptions(policy, panic_threshold=panic_threshold)
    return make_prioritised(options, priorities, weighted=weighted, random=Random(11).random)


@policies
def test_the_first_priority_gets_everything_while_it_can_take_it(policy: str) -> None:
    balancer = make(policy, [[group("a", 8, 10)], [group("b", 10, 10)]])
    assert set(counts(balancer.pick, 2000)) == {"a"}


@policies
def test_the_next_priority_gets_what_the_first_cannot_take(policy: str) -> None:
    balancer = make(policy, [[group("a", 5, 10)], [group("b", 10, 10)]])
    assert_shares(counts(balancer.pick), {"a": 0.7, "b": 0.3})


@policies
def test_a_priority_with_nobody_ready_is_skipped(policy: str) -> None:
    balancer = make(policy, [[group("a", 0, 3)], [group("b", 0, 1)], [group("c", 1, 1)]])
    assert set(counts(balancer.pick, 100)) == {"c"}


@policies
def test_nobody_ready_anywhere_is_nobody_9_12(policy: str) -> None:
    balancer = make(policy, [[group("a", 0, 3)], [group("b", 0, 1)]])
    assert balancer.pick() is None
    assert balancer.pick_for(77) is None
    assert balancer.pick_other_for(77, []) is None
    assert make(policy, []).pick() is None
    assert make(policy, []).pick_for(1) is None


@spreading
def test_localities_share_by_weight_9_15(policy: str) -> None:
    balancer = make(policy, [[group("a", 3, 3, 70), group("b", 2, 2, 20), group("c", 4, 4, 10)]])
    assert_shares(counts(balancer.pick), {"a": 0.7, "b": 0.2, "c": 0.1})


@policies
def test_a_locality_of_weight_0_gets_nothing(policy: str) -> None:
    balancer = make(policy, [[group("a", 3, 3, 0), group("b", 2, 2, 20)]])
    assert set(counts(balancer.pick, 500)) == {"b"}


@pytest.mark.parametrize("policy", ["LEAST_REQUEST", "RANDOM", "ROUND_ROBIN"])
def test_a_locality_that_is_half_ready_gets_1_4_times_half_of_its_weight(policy: str) -> None:
    balancer = make(policy, [[group("a", 5, 10, 10), group("b", 10, 10, 10)]])
    assert_shares(counts(balancer.pick), {"a": 0.7 / 1.7, "b": 1 / 1.7})


def test_with_maglev_a_locality_keeps_its_weight_while_anybody_is_ready() -> None:
    balancer = make("MAGLEV", [[group("a", 1, 10, 10), group("b", 10, 10, 10)], [group("c", 0, 1)]])
    assert_shares(counts(balancer.pick), {"a": 0.5, "b": 0.5})


@spreading
def test_without_weighting_a_priority_is_one_set(policy: str) -> None:
    balancer = make(policy, [[group("a", 3, 3, 70), group("b", 1, 1, 1)]], weighted=False)
    assert_shares(counts(balancer.pick), {"a": 0.75, "b": 0.25})


@policies
def test_in_panic_everybody_is_used(policy: str) -> None:
    balancer = make(policy, [[group("a", 1, 4)]], panic_threshold=50)
    assert {balancer.pick().port for _ in range(500)} == {1000, 1001, 1002, 1003}  # type: ignore[union-attr]


@policies
def test_a_cluster_without_localities_panics_too(policy: str) -> None:
    everybody = group("a", 1, 4).endpoints
    calm = make_balancer(BalancerOptions(policy), everybody, random=Random(1).random)
    assert set(counts(calm.pick, 50)) == {"a"}
    assert len(calm.ready) == 1
    options = BalancerOptions(policy, panic_threshold=30)
    assert len(make_balancer(options, everybody, random=Random(1).random).ready) == 4


@policies
def test_all_in_panic_share_by_their_number(policy: str) -> None:
    balancer = make(policy, [[group("a", 0, 3)], [group("b", 0, 1)]], panic_threshold=50)
    assert_shares(counts(balancer.pick), {"a": 0.75, "b": 0.25})


@pytest.mark.parametrize("policy", ["MAGLEV", "RING_HASH"])
def test_a_hash_decides_the_priority_too(policy: str) -> None:
    """h % 100 + 1 against the loads added up, as Envoy."""
    balancer = make(policy, [[group("a", 5, 10)], [group("b", 10, 10)]])
    for request_hash in range(5_000, 5_000 + 300):
        chosen = balancer.pick_for(request_hash)
        assert chosen is not None
        assert chosen.name == ("a" if request_hash % 100 < 70 else "b")
        assert balancer.pick_for(request_hash) is chosen


@policies
def test_a_retry_reaches_another_priority_when_all_of_one_were_tried(policy: str) -> None:
    first, second = group("a", 2, 2), group("b", 1, 1)
    balancer = make(policy, [[first], [second]])
    assert balancer.pick_other(first.endpoints) is second.endpoints[0]
    assert balancer.pick_other_for(99, first.endpoints) is second.endpoints[0]


def test_turns_of_localities_are_spread_evenly() -> None:
    balancer = make("ROUND_ROBIN", [[group("a", 1, 1, 2), group("b", 1, 1, 1)]])
    picked = "".join(picked.name for picked in (balancer.pick() for _ in range(PICKS)) if picked)
    assert "aaa" not in picked
    assert "bb" not in picked
