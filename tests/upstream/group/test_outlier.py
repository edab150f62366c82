"""Outlier detection by several workers (semantics 9.8 to 9.12): they count together and agree on who is out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.upstream.group.outlier import GroupDetector, GroupStreak
from gatewayd.upstream.outlier import Detector, HostHealth, OutlierPolicy
from gatewayd.upstream.spec import DNS, EndpointSpec
from tests.upstream.group.workers import Worker, picked, spec, workers

ALL_OUT = OutlierPolicy(max_ejection_percent=100, interval_s=1.0)


def detector(worker: Worker) -> GroupDetector:
    found = worker.cluster.detector
    assert isinstance(found, GroupDetector)
    return found


def answers(worker: Worker, endpoint: int, *statuses: int, now: float = 1000.0) -> None:
    for status in statuses:
        detector(worker).response(health(worker, endpoint), status, now)


def health(worker: Worker, endpoint: int) -> Any:
    return worker.cluster.endpoints[endpoint].health


def out(worker: Worker) -> list[int]:
    """Who is ejected, as the worker knows."""
    return [index for index, endpoint in enumerate(worker.cluster.endpoints) if endpoint.health.ejected]


def test_9_8_failures_in_a_row_are_counted_over_all_workers() -> None:
    with workers(3, spec(outlier=ALL_OUT)) as (one, two, three):
        answers(one, 0, 500, 500)
        answers(two, 0, 500)
        answers(three, 0, 500)
        assert out(one) == []
        assert health(two, 0).errors.count == 4
        answers(two, 0, 500)
        assert out(two) == [0]


def test_9_11_a_success_in_any_worker_begins_the_row_anew() -> None:
    with workers(2, spec(outlier=ALL_OUT)) as (one, two):
        answers(one, 0, 500, 500, 500, 500)
        answers(two, 0, 200)
        answers(one, 0, 500, 500, 500, 500)
        assert out(one) == []
        answers(one, 0, 500)
        assert out(one) == [0]


@pytest.mark.parametrize("between", [200, 500])
def test_9_11_what_is_no_gateway_error_ends_a_row_of_those(between: int) -> None:
    policy = replace(ALL_OUT, consecutive_5xx=0, consecutive_gateway=3)
    with workers(2, spec(outlier=policy)) as (one, two):
        answers(one, 0, 502, 503)
        answers(two, 0, between, 504)
        assert out(two) == []
        answers(one, 0, 502, 504)
        assert out(one) == [0]


def test_an_ejection_is_in_force_everywhere_with_the_next_pick() -> None:
    with workers(2, spec(outlier=ALL_OUT)) as (one, two):
        assert picked(two.cluster) == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
        answers(one, 1, *[500] * 5)
        assert picked(one.cluster) == {"10.0.0.1", "10.0.0.3"}
        assert picked(two.cluster) == {"10.0.0.1", "10.0.0.3"}
        assert two.cluster.endpoints[1].health.ejections == 1
        assert detector(two).ejected == 1


def test_and_without_one_within_a_second() -> None:
    with workers(2, spec(outlier=ALL_OUT)) as (one, two):
        answers(one, 1, *[500] * 5)
        two.cluster.sweep(1000.0)
        assert out(two) == [1]


@pytest.mark.parametrize("hashed", [False, True])
def test_all_out_is_nobody_in_every_worker(hashed: bool) -> None:
    with workers(2, spec(2, outlier=ALL_OUT)) as (one, two):
        for endpoint in (0, 1):
            answers(one, endpoint, *[500] * 5)
        assert (two.cluster.pick_for(7) if hashed else two.cluster.pick()) is None


def test_9_10_the_share_is_the_group_s() -> None:
    with workers(2, spec(4, outlier=replace(ALL_OUT, max_ejection_percent=50))) as (one, two):
        answers(one, 0, *[500] * 5)
        answers(two, 1, *[500] * 5)
        answers(one, 2, *[500] * 5)
        answers(two, 3, *[500] * 5)
        for worker in (one, two):
            detector(worker).refresh()
            assert out(worker) == [0, 1]


def test_9_8_the_time_out_ends_for_all_and_grows_with_every_ejection() -> None:
    with workers(2, spec(outlier=ALL_OUT)) as (one, two):
        answers(one, 0, *[500] * 5, now=1000.0)
        two.cluster.sweep(1029.0)
        assert out(two) == [0]
        two.cluster.sweep(1030.0)
        assert out(two) == []
        assert "10.0.0.1" in picked(one.cluster)
        answers(two, 0, *[500] * 5, now=1031.0)
        for now in (1061.0, 1090.0):
            one.cluster.sweep(now)
            assert out(one) == [0], "the second time it is twice the base, whoever looks"
        one.cluster.sweep(1091.0)
        assert out(one) == []


def test_9_8_an_interval_counts_once_however_many_workers_look() -> None:
    with workers(3, spec(outlier=ALL_OUT)) as group:
        one = group[0]
        for now in (1000.0, 1031.0):
            answers(one, 0, *[500] * 5, now=now)
            one.cluster.sweep(now + 30.0 * health(one, 0).times)
        assert out(one) == []
        assert health(one, 0).times == 2
        for worker in group:
            worker.cluster.sweep(1092.5)
        detector(one)._load()
        assert health(one, 0).times == 1


def test_a_worker_that_comes_later_knows_who_is_out() -> None:
    there = spec(outlier=ALL_OUT)
    with workers(2, there) as (one, two):
        answers(one, 0, *[500] * 5)
        two.restart()
        two.reload(there)
        assert out(two) == [0]
        assert "10.0.0.1" not in picked(two.cluster)
        one.restart()
        one.reload(there)
        assert out(one) == [0], "even if the one who ejected it is gone"


def test_addresses_may_be_found_at_different_moments() -> None:
    named = spec(endpoints=(EndpointSpec("a.test", 80),), discovery=DNS, outlier=ALL_OUT)
    with workers(2, named) as (one, two):
        one.resolver.say("10.0.0.1", "10.0.0.2")
        answers(one, 0, *[500] * 5)
        assert two.cluster.endpoints == ()
        two.resolver.say("10.0.0.2", "10.0.0.1")
        assert picked(two.cluster) == {"10.0.0.2"}
        two.resolver.say("10.0.0.2")
        two.resolver.say("10.0.0.1", "10.0.0.2")
        assert picked(two.cluster) == {"10.0.0.2"}, "one still has it, and knows it"


def test_what_everybody_has_forgotten_is_forgotten() -> None:
    there = spec(outlier=ALL_OUT)
    with workers(2, there) as group:
        answers(group[0], 0, *[500] * 5)
        for worker in group:
            worker.reload()
        for worker in group:
            worker.reload(there)
            assert out(worker) == []


def test_while_somebody_else_decides_the_next_failure_asks_again() -> None:
    with workers(2, spec(outlier=ALL_OUT)) as (one, two):
        lock = type(one.cells)._lock
        taken = pytest.MonkeyPatch()
        taken.setattr(type(one.cells), "_lock", lambda self, byte: False)
        answers(one, 0, *[500] * 6)
        one.cluster.sweep(1001.0)
        assert out(one) == []
        taken.undo()
        assert type(one.cells)._lock is lock
        answers(two, 0, 500)
        assert out(two) == [0]


def test_9_11_local_failures_counted_apart() -> None:
    policy = replace(ALL_OUT, split=True, consecutive_local=3)
    with workers(2, spec(outlier=policy)) as (one, two):
        for worker in (one, two):
            detector(worker).local_failure(health(worker, 0), 1000.0)
        detector(two).connected(health(two, 0))
        for worker in (one, two, one):
            assert out(worker) == []
            detector(worker).local_failure(health(worker, 0), 1000.0)
        assert out(one) == [0]


# --- against one worker that sees everything

_EVENT = st.tuples(
    st.integers(0, 2), st.integers(0, 2), st.sampled_from([200, 404, 500, 500, 502, 503, -503, -504, 0])
)


@given(st.lists(_EVENT, max_size=80), st.booleans(), st.integers(30, 100))
def test_three_workers_are_as_one(events: list[tuple[int, int, int]], split: bool, percent: int) -> None:
    """Negative statuses are attempts without an answer; 0 is a connection that could be opened."""
    policy = OutlierPolicy(
        consecutive_5xx=4,
        consecutive_gateway=3,
        consecutive_local=2,
        split=split,
        max_ejection_percent=percent,
    )
    alone = [HostHealth() for _ in range(3)]
    lone: Detector[HostHealth] = Detector(policy, lambda: None)
    lone.use(alone)
    with workers(3, spec(outlier=policy)) as group:
        for index, endpoint, status in events:
            worker = group[index]
            told: list[tuple[Any, Any]] = [
                (lone, alone[endpoint]),
                (detector(worker), health(worker, endpoint)),
            ]
            for each, host in told:
                if status > 0:
                    each.response(host, status, 1000.0)
                elif status:
                    each.local_failure(host, 1000.0, status=-status)
                else:
                    each.connected(host)
            expected = [number for number, host in enumerate(alone) if host.ejected]
            for each_worker in group:
                detector(each_worker).refresh()
                assert out(each_worker) == expected
                assert detector(each_worker).ejected == len(expected)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 4), st.sampled_from([200, 500, 0]), st.floats(0, 20)),
        max_size=60,
    ),
    st.integers(0, 100),
)
def test_the_share_and_the_agreement_always_hold(
    steps: list[tuple[int, int, int, float]], percent: int
) -> None:
    policy = OutlierPolicy(
        consecutive_5xx=2, interval_s=1.0, base_ejection_s=5.0, max_ejection_percent=percent
    )
    now = 1000.0
    with workers(3, spec(5, outlier=policy)) as group:
        for index, endpoint, status, wait_s in steps:
            now += wait_s
            if status:
                answers(group[index], endpoint, status, now=now)
            else:
                group[index].cluster.sweep(now)
            for worker in group:
                detector(worker).refresh()
            assert out(group[0]) == out(group[1]) == out(group[2])
            assert 100 * len(out(group[0])) / 5 <= percent
        for _ in range(80):  # nobody stays out for ever, whoever is left to look
            now += 1.0
            group[2].cluster.sweep(now)
        assert out(group[2]) == []


def test_a_streak_counts_to_its_end_and_no_further() -> None:
    streak = GroupStreak()
    cells = memoryview(bytearray(16)).cast("q")
    streak.use(cells, 1)
    for _ in range(3):
        streak.failed()
    cells[1] |= ((1 << 23) - 1) << 20
    assert streak.failed() == streak.failed() == (1 << 23) - 1
    streak.end()
    assert streak.count == 0
