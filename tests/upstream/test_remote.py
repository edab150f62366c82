"""Retries that leave localities behind (semantics 6.7.7)."""

from __future__ import annotations

from dataclasses import dataclass

from gatewayd.upstream.balancers import BalancerOptions, Locality, make_prioritised
from gatewayd.upstream.balancers.base import Balancer
from gatewayd.upstream.remote import pick_remote


@dataclass(eq=False)
class Host:
    priority: int
    ready: bool = True
    active: int = 0
    weight: int = 1
    joined_at: float = 0.0


def balancer(*levels: list[Host]) -> Balancer[Host]:
    options = BalancerOptions("ROUND_ROBIN")
    return make_prioritised(options, [[Locality(tuple(level))] for level in levels])


def test_the_second_attempt_stays_and_the_third_leaves() -> None:
    near, far = [Host(0), Host(0)], [Host(1)]
    chosen = balancer(near, far)
    assert pick_remote(chosen, [near[0]]) is near[1]
    assert pick_remote(chosen, near) is far[0]
    assert pick_remote(chosen, [*near, far[0]]) is far[0]


def test_with_every_priority_given_up_all_count_again() -> None:
    near, far = [Host(0)], [Host(1)]
    chosen = balancer(near, far)
    assert pick_remote(chosen, [near[0], near[0], far[0], far[0]]) is near[0]


def test_a_priority_with_nobody_ready_is_passed_over() -> None:
    near, middle, far = [Host(0)], [Host(1, ready=False)], [Host(2)]
    assert pick_remote(balancer(near, middle, far), [near[0], near[0]]) is far[0]


def test_untried_endpoints_of_the_next_priority_go_first() -> None:
    near, far = [Host(0)], [Host(1), Host(1)]
    chosen = balancer(near, far)
    tried = [near[0], near[0], far[0]]
    assert all(pick_remote(chosen, tried) is far[1] for _ in range(20))


def test_nobody_ready_is_nobody() -> None:
    assert pick_remote(balancer([Host(0, ready=False)]), []) is None
