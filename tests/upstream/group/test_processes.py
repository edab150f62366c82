"""A group of real processes: limits hold for all, and what one ejects nobody picks (semantics 8.3, 9.8)."""

from __future__ import annotations

from tests.support.forked import play_apart
from tests.upstream.group import scenarios


def test_8_3_a_limit_holds_while_all_take_and_give_back() -> None:
    play_apart(scenarios.a_limit_holds_while_all_take_and_give_back)


def test_9_8_an_ejection_is_seen_by_all() -> None:
    play_apart(scenarios.an_ejection_is_seen_by_all)
