"""Balancers: distribution, exactness, weights, readiness and retries (semantics 6.7.6, 9.1, 9.13, 9.17)."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.upstream.balancers import BALANCERS, Balancer
from gatewayd.upstream.balancers.deadline_order import deadline_order
from tests.upstream.hosts import PICKS, Host, assert_shares, counts, hosts

POLICIES = ["LEAST_REQUEST", "RANDOM", "ROUND_ROBIN"]


def make(policy: str, endpoints: list[Host], seed: int = 7) -> Balancer[Host]:
    return BALANCERS[policy](endpoints, Random(seed).random)


policies = pytest.mark.parametrize("policy", POLICIES)


def test_the_table_lists_the_policies_of_9_1_9_2_and_9_19() -> None:
    assert sorted(BALANCERS) == ["LEAST_REQUEST", "LOAD", "MAGLEV", "RANDOM", "RING_HASH", "ROUND_ROBIN"]


@policies
def test_nobody_to_pick(policy: str) -> None:
    balancer = make(policy, [])
    assert balancer.pick() is None
    assert balancer.pick_other([]) is None


@policies
def test_not_ready_is_never_selected_9_13(policy: str) -> None:
    down = Host("down", weight=50, ready=False)
    up = hosts(1, 1)
    assert set(counts(make(policy, [down, *up]).pick, 500)) == {"h0", "h1"}
    assert make(policy, [down]).pick() is None


@policies
def test_a_single_ready_endpoint_is_picked_without_drawing(policy: str) -> None:
    def never() -> float:
        raise AssertionError("one endpoint needs no random number")

    only = Host("only", weight=3)
    balancer = BALANCERS[policy]([Host("down", ready=False), only], never)
    assert [balancer.pick() for _ in range(3)] == [only] * 3
    assert balancer.pick_other([only]) is only


@policies
def test_equal_weights_get_equal_shares(policy: str) -> None:
    assert_shares(counts(make(policy, hosts(1, 1, 1, 1)).pick), dict.fromkeys(("h0", "h1", "h2", "h3"), 0.25))


weighing = pytest.mark.parametrize("policy", ["LEAST_REQUEST", "ROUND_ROBIN"])


@weighing
def test_weights_scale_the_share_9_17(policy: str) -> None:
    seen = counts(make(policy, hosts(1, 3, 6)).pick)
    assert_shares(seen, {"h0": 0.1, "h1": 0.3, "h2": 0.6})


def test_weights_have_no_say_in_a_random_choice() -> None:
    """As Envoy: 1 to 9 gives halves."""
    assert_shares(counts(make("RANDOM", hosts(1, 9)).pick), {"h0": 0.5, "h1": 0.5})


@weighing
def test_weight_zero_counts_as_one_9_17(policy: str) -> None:
    assert_shares(counts(make(policy, hosts(0, 1, 2)).pick), {"h0": 0.25, "h1": 0.25, "h2": 0.5})


@policies
@given(weights=st.lists(st.integers(0, 1000), min_size=2, max_size=12))
def test_any_weights_select_only_given_endpoints_and_starve_none(policy: str, weights: list[int]) -> None:
    endpoints = hosts(*weights)
    balancer = make(policy, endpoints)
    for _ in range(50):
        assert balancer.pick() in endpoints


@given(weights=st.lists(st.integers(1, 40), min_size=2, max_size=8), offset=st.floats(0, 0.999))
def test_round_robin_serves_each_period_in_exact_proportion(weights: list[int], offset: float) -> None:
    balancer = BALANCERS["ROUND_ROBIN"](hosts(*weights), lambda: offset)
    period = sum(weights)
    seen = counts(balancer.pick, period)
    for index, weight in enumerate(weights):
        # a period that begins in the middle of the rotation may cut one turn off or add one
        assert abs(seen[f"h{index}"] - weight) <= 1


@given(count=st.integers(2, 9), offset=st.floats(0, 0.999))
def test_round_robin_of_equal_weights_is_an_exact_rotation(count: int, offset: float) -> None:
    endpoints = hosts(*[5] * count)
    balancer = BALANCERS["ROUND_ROBIN"](endpoints, lambda: offset)
    first = int(offset * count)
    expected = [endpoints[(first + step) % count] for step in range(3 * count)]
    assert [balancer.pick() for _ in range(3 * count)] == expected


def test_weighted_round_robin_is_spread_evenly_not_in_bursts() -> None:
    balancer = BALANCERS["ROUND_ROBIN"](hosts(5, 1, 1), lambda: 0.0)
    picked = "".join(balancer.pick().name[1] for _ in range(70))
    assert picked == "0001200" * 10


def test_deadline_order_stays_exact_over_many_periods() -> None:
    pick = deadline_order(hosts(3, 7, 11), lambda: 0.0)
    seen = Counter(pick().name for _ in range(21 * 1000))
    assert all(abs(seen[name] - share * 1000) <= 1 for name, share in (("h0", 3), ("h1", 7), ("h2", 11)))


def test_least_request_prefers_the_less_busy_of_two() -> None:
    busy, idle = Host("busy", active=5), Host("idle", active=0)
    seen = counts(make("LEAST_REQUEST", [busy, idle]).pick)
    assert_shares(seen, {"busy": 0.25, "idle": 0.75})  # busy only when drawn twice: 1/2 x 1/2


def test_least_request_evens_out_the_load_of_slow_hosts() -> None:
    """Requests that never end: the counts may differ by little, whatever the draws."""
    endpoints = hosts(1, 1, 1, 1, 1)
    balancer = make("LEAST_REQUEST", endpoints)
    for _ in range(5_000):
        balancer.pick().active += 1
    assert max(host.active for host in endpoints) - min(host.active for host in endpoints) < 20


def test_least_request_with_weights_keeps_load_in_proportion_to_weight() -> None:
    endpoints = hosts(1, 2, 5)
    balancer = make("LEAST_REQUEST", endpoints)
    running: list[Host] = []
    rng = Random(3)
    for _ in range(PICKS):
        host = balancer.pick()
        host.active += 1
        running.append(host)
        if len(running) > 80:
            running.pop(rng.randrange(len(running))).active -= 1
    loads = [host.active for host in endpoints]
    assert loads[0] < loads[1] < loads[2]
    assert loads[2] > 30


def test_random_with_two_equal_endpoints_is_not_a_rotation() -> None:
    balancer = make("RANDOM", hosts(1, 1))
    picked = "".join(balancer.pick().name[1] for _ in range(200))
    assert "00" in picked
    assert "11" in picked


@policies
def test_a_retry_avoids_the_hosts_already_tried_6_7_6(policy: str) -> None:
    endpoints = hosts(1, 1, 1, 1)
    balancer = make(policy, endpoints)
    for _ in range(500):
        assert balancer.pick_other(endpoints[:3]) is endpoints[3]


@policies
def test_a_retry_with_every_host_tried_takes_one_again(policy: str) -> None:
    endpoints = hosts(1, 2)
    assert make(policy, endpoints).pick_other(endpoints) in endpoints


@policies
def test_a_hash_is_ignored_by_policies_that_do_not_hash(policy: str) -> None:
    balancer = make(policy, hosts(1, 1, 1))
    assert {balancer.pick_for(12345).name for _ in range(100)} == {"h0", "h1", "h2"}  # type: ignore[union-attr]
    assert balancer.pick_other_for(12345, balancer.ready[:2]) is balancer.ready[2]


@policies
def test_in_panic_readiness_says_nothing_9_12(policy: str) -> None:
    endpoints = [Host("down", ready=False), Host("up")]
    balancer = BALANCERS[policy](endpoints, Random(7).random, panic=True)
    assert set(counts(balancer.pick, 100)) == {"down", "up"}


def test_a_retry_escapes_a_dead_host_that_is_never_busy() -> None:
    dead, alive = Host("dead", weight=1000, active=0), Host("alive", weight=1, active=90)
    balancer = make("LEAST_REQUEST", [dead, alive])
    for _ in range(50):
        assert balancer.pick_other({dead}) is alive
