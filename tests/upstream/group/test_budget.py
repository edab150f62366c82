"""Limits of a group of workers (semantics 8.3): one budget for all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.upstream.group.budget import GroupBudget
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.spec import Limits
from tests.upstream.group.workers import Worker, spec, workers

COUNTS = ("connections", "pending", "requests", "retries")
_ROOM: dict[str, Any] = {
    "connections": lambda budget, active: budget.room_for_connection(),
    "pending": lambda budget, active: budget.room_for_pending(),
    "requests": lambda budget, active: budget.room_to_send(),
    "retries": lambda budget, active: budget.room_for_retry(active),
    "sessions": lambda budget, active: budget.room_for_session(active),
}


def budget(worker: Worker) -> GroupBudget:
    found = worker.cluster.budget
    assert isinstance(found, GroupBudget)
    return found


def room(worker: Worker, kind: str) -> bool:
    return bool(_ROOM[kind](budget(worker), worker.cluster.active))


@pytest.mark.parametrize(
    ("kind", "limits"),
    [
        ("connections", Limits(max_connections=3)),
        ("pending", Limits(max_pending=3)),
        ("requests", Limits(max_requests=3)),
        ("retries", Limits(max_retries=3)),
    ],
)
def test_8_3_what_all_workers_have_taken_counts(kind: str, limits: Limits) -> None:
    with workers(3, spec(limits=limits)) as (one, two, three):
        for worker in (one, two, one):
            assert room(worker, kind)
            setattr(budget(worker), kind, getattr(budget(worker), kind) + 1)
        assert not any(room(worker, kind) for worker in (one, two, three))
        assert getattr(budget(one), kind) == 2, "what a worker shows as its own is its own"
        setattr(budget(two), kind, 0)
        assert all(room(worker, kind) for worker in (one, two, three))


def test_8_3_2_tcp_connections_of_all_workers_count() -> None:
    with workers(2, spec(limits=Limits(max_connections=2))) as (one, two):
        one.cluster.active += 1
        assert room(two, "sessions")
        two.cluster.active += 1
        assert not room(one, "sessions")
        assert (one.cluster.active, two.cluster.active) == (1, 1)


def test_8_3_6_a_retry_budget_is_a_share_of_what_all_workers_have_under_way() -> None:
    limits = Limits(retry_budget_percent=20.0, min_retries=1)
    with workers(2, spec(limits=limits)) as (one, two):
        one.cluster.active = 6
        two.cluster.active = 4
        budget(two).retries = 1
        assert room(one, "retries"), "2 of 10"
        budget(one).retries = 1
        assert not room(one, "retries")
        assert not room(two, "retries")


def test_8_3_10_with_an_interval_what_began_in_any_of_them_counts() -> None:
    limits = Limits(retry_budget_percent=20.0, min_retries=1, retry_interval_s=60.0)
    with workers(2, spec(limits=limits)) as (one, two):
        budget(one).retries = 1
        one.cluster.total = 6
        assert not room(one, "retries"), "1 of 6"
        two.cluster.total = 4
        room(two, "retries")  # which tells the others
        assert room(one, "retries"), "2 of 10"


def test_what_a_dead_worker_had_taken_is_free() -> None:
    with workers(2, spec(limits=Limits(max_requests=2))) as (one, two):
        budget(one).requests = 2
        assert not room(two, "requests")
        one.restart()
        assert room(two, "requests")
        one.reload(spec(limits=Limits(max_requests=2)))
        budget(one).requests = 2
        assert not room(two, "requests"), "and its successor counts with the others"


def test_a_changed_cluster_counts_anew_and_the_old_one_for_itself() -> None:
    """As within one worker: it is another cluster."""
    before, after = (spec(limits=Limits(max_connections=1, max_requests=limit)) for limit in (2, 1))
    with workers(2, before) as (one, two):
        old, old_cluster = budget(one), one.cluster
        old.requests = 2
        old_cluster.active = 1
        assert not room(two, "requests")
        one.reload(after)
        assert not old.room_to_send()
        assert not old.room_for_session(old_cluster.active)
        for worker in (one, two):
            assert room(worker, "requests"), "what is under way in the retired cluster is not in the way"
            assert room(worker, "sessions")
        old.requests -= 1
        old_cluster.active -= 1
        assert (old.requests, old_cluster.active) == (1, 0)
        two.reload(after)
        budget(two).requests = 1
        assert not room(one, "requests"), "they meet again in the new one"


def test_a_cluster_that_comes_back_begins_with_nothing() -> None:
    there = spec(limits=Limits(max_requests=2))
    with workers(2, there) as (one, two):
        old = budget(one)
        old.requests = 2
        one.reload()
        one.reload(there)
        assert room(two, "requests")
        budget(one).requests = 1
        old.requests = 0
        budget(two).requests = 1
        assert not room(one, "requests"), "the retired one no longer writes where the new one counts"


def test_where_there_is_no_room_in_the_map_each_worker_counts_for_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = spec(1, limits=Limits(max_requests=1)), spec(1, name="d", limits=Limits(max_requests=1))
    with workers(2, first, capacity=1) as (one, two):
        for worker in (one, two):
            worker.reload(first, second, replace(second, name="e"))
        budgets = [worker.registry.clusters["d"].budget for worker in (one, two)]  # type: ignore[union-attr]
        budgets[0].requests = 1
        assert not budgets[0].room_to_send(), "its own still count"
        assert budgets[1].room_to_send()
        assert (one.cells.refused, two.cells.refused) == (2, 2)
        assert len(caplog.messages) == 2, "each says so once"
        assert "no room for more than 1" in caplog.text


_STEP = st.tuples(st.integers(0, 2), st.sampled_from([*COUNTS, "active"]), st.booleans())


@given(st.lists(_STEP, max_size=60), st.sampled_from([-1.0, 50.0]))
def test_three_workers_are_as_one(steps: list[tuple[int, str, bool]], percent: float) -> None:
    """Whatever they take and give back in turn: there is room where one budget for all would have it."""
    limits = Limits(3, 2, 4, 2, retry_budget_percent=percent, min_retries=1)
    alone = Budget(limits)
    active = 0
    with workers(3, spec(limits=limits)) as group:
        for index, kind, take in steps:
            worker = group[index]
            holder = worker.cluster if kind == "active" else budget(worker)
            own = getattr(holder, kind)
            if not take and not own:
                continue
            change = 1 if take else -1
            setattr(holder, kind, own + change)
            if kind == "active":
                active += change
            else:
                setattr(alone, kind, getattr(alone, kind) + change)
            for asked in _ROOM:
                expected = bool(_ROOM[asked](alone, active))
                assert [room(each, asked) for each in group] == [expected] * 3
