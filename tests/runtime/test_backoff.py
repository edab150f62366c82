"""How long a worker that died stays dead (hardening 9.8)."""

from __future__ import annotations

from gatewayd.runtime.backoff import WELL_S, Backoff


def test_a_death_now_and_then_is_no_reason_to_wait() -> None:
    backoff = Backoff()
    assert [backoff.died(now * 3.0) for now in range(20)] == [0.0] * 20


def test_five_in_ten_seconds_are_and_each_one_more_doubles_it_up_to_half_a_minute() -> None:
    backoff = Backoff()
    now = 100.0
    assert [backoff.died(now + index) for index in range(4)] == [0.0] * 4
    waits = []
    now += 4
    for _ in range(8):
        waits.append(backoff.died(now))
        now += waits[-1] + 0.1
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_who_lives_for_a_minute_is_well_again() -> None:
    backoff = Backoff()
    assert [backoff.died(float(index)) for index in range(6)][-2:] == [1.0, 2.0]
    assert backoff.died(5.0 + WELL_S + 1) == 0.0
