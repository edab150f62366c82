"""Requests of a while, for retry budgets (semantics 8.3.10)."""

from __future__ import annotations

from typing import Any

from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.recent import RecentRequests
from gatewayd.upstream.spec import ClusterSpec, EndpointSpec, Limits


class Clock:
    """A loop whose time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Any] = []

    def call_later(self, delay_s: float, callback: Any) -> Any:
        timer = Timer(self, self.now + delay_s, callback)
        self.timers.append(timer)
        return timer

    def pass_(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.at <= end + 1e-9]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = first.at
            first.callback()
        self.now = end


class Timer:
    def __init__(self, clock: Clock, at: float, callback: Any) -> None:
        self.clock, self.at, self.callback = clock, at, callback

    def cancel(self) -> None:
        self.clock.timers.remove(self)


def test_8_3_10_what_began_counts_for_nine_to_ten_tenths_of_the_interval() -> None:
    clock: Any = Clock()
    begun = 7
    recent = RecentRequests(clock, 10.0, lambda: begun)
    assert recent.count() == 0, "those before the cluster was in force"
    clock.pass_(0.5)
    begun += 5
    assert recent.count() == 5
    clock.pass_(8.4)
    assert recent.count() == 5
    clock.pass_(1.2)
    assert recent.count() == 0
    begun += 2
    assert recent.count() == 2
    recent.stop()
    assert clock.timers == []


def test_a_counter_that_falls_counts_nothing() -> None:
    """It is a group's, and a worker is gone."""
    clock: Any = Clock()
    begun = [100]
    recent = RecentRequests(clock, 1.0, lambda: begun[0])
    begun[0] = 40
    assert recent.count() == 0
    clock.pass_(1.0)
    begun[0] = 43
    assert recent.count() == 3


def test_looks_are_not_endlessly_close() -> None:
    clock: Any = Clock()
    recent = RecentRequests(clock, 0.001, lambda: 0)
    clock.pass_(0.5 / 1000)
    assert [timer.at for timer in clock.timers] == [0.001]
    recent.stop()


def test_8_3_10_requests_and_retries_of_a_cluster_are_the_base_of_its_budget() -> None:
    clock: Any = Clock()
    nobody: Any = None
    limits = Limits(retry_budget_percent=20.0, min_retries=1, retry_interval_s=10.0)
    cluster = Cluster(
        clock, nobody, ClusterSpec("c", "h", 80, endpoints=(EndpointSpec("10.0.0.1", 80),), limits=limits)
    )
    budget = cluster.budget
    assert budget is not None
    budget.retries = 2
    assert budget.room_for_retry(active=15), "it is not in force: 20 % of what is in progress"
    cluster.start()
    assert not budget.room_for_retry(active=15)
    cluster.total += 10
    assert not budget.room_for_retry(active=0), "2 of 10"
    budget.retried += 5
    assert budget.room_for_retry(active=0), "3 of 15"
    clock.pass_(11)
    assert not budget.room_for_retry(active=15)
    cluster.stop()
    assert clock.timers == []
