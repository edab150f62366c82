"""Outlier detection (semantics 9.8 to 9.12), driven with a clock of its own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.upstream.outlier import Detector, HostHealth, OutlierPolicy


class World:
    """Endpoints, and how often the cluster was told of a change."""

    def __init__(self, count: int = 10, **policy: Any) -> None:
        self.changes = 0
        self.hosts = [HostHealth() for _ in range(count)]
        self.detector = Detector(OutlierPolicy(**policy), self._changed)
        self.detector.use(self.hosts)

    def _changed(self) -> None:
        self.changes += 1

    def answers(self, host: int, *statuses: int, now: float = 0.0) -> None:
        for status in statuses:
            self.detector.response(self.hosts[host], status, now)

    @property
    def out(self) -> list[int]:
        return [index for index, host in enumerate(self.hosts) if host.ejected]


def test_9_8_five_5xx_in_a_row_eject() -> None:
    world = World()
    world.answers(3, 500, 503, 599, 500)
    assert world.out == []
    world.answers(3, 502)
    assert world.out == [3]
    assert world.changes == 1


def test_9_11_a_success_begins_the_row_anew() -> None:
    world = World()
    world.answers(0, 500, 500, 500, 500, 200, 500, 500, 500, 500)
    assert world.out == []


def test_9_9_zero_switches_a_check_off() -> None:
    world = World(consecutive_5xx=0)
    world.answers(0, *[500] * 100)
    assert world.out == []


def test_9_11_gateway_errors_are_502_503_504() -> None:
    world = World(consecutive_5xx=0, consecutive_gateway=2)
    world.answers(0, 500, 500, 500, 502, 500, 503)
    assert world.out == []
    world.answers(0, 504)
    assert world.out == [0]


@pytest.mark.parametrize(("count", "percent", "ejected"), [(9, 10, 0), (10, 10, 1), (2, 50, 1), (3, 100, 3)])
def test_9_10_the_share_is_strict(count: int, percent: int, ejected: int) -> None:
    world = World(count, max_ejection_percent=percent)
    for host in range(count):
        world.answers(host, *[503] * 5)
    assert len(world.out) == ejected


def test_9_8_the_time_out_grows_with_every_ejection() -> None:
    world = World(interval_s=1.0, base_ejection_s=30.0)
    world.answers(0, *[500] * 5, now=0.0)
    world.detector.sweep(29.0)
    assert world.out == [0]
    world.detector.sweep(30.0)
    assert world.out == []
    world.answers(0, *[500] * 5, now=30.5)
    world.detector.sweep(60.5)
    assert world.out == [0], "the second time it is twice the base"
    world.detector.sweep(90.5)
    assert world.out == []
    assert world.changes == 4


def test_9_8_quiet_intervals_make_it_shorter_again() -> None:
    world = World(interval_s=1.0)
    world.answers(0, *[500] * 5, now=0.0)
    world.detector.sweep(30.0)
    world.detector.sweep(31.0)  # one quiet interval
    world.answers(0, *[500] * 5, now=31.5)
    world.detector.sweep(61.5)
    assert world.out == []


def test_9_8_at_most_300_seconds() -> None:
    world = World(interval_s=1.0, base_ejection_s=200.0)
    now = 0.0
    for expected in (200.0, 300.0, 300.0):
        world.answers(0, *[500] * 5, now=now)
        world.detector.sweep(now + expected - 1.5)
        assert world.out == [0]
        world.detector.sweep(now + expected)
        assert world.out == []
        now += expected + 0.5


def test_9_11_local_failures_count_as_5xx_unless_split() -> None:
    world = World()
    for _ in range(5):
        world.detector.local_failure(world.hosts[0], 0.0)
    assert world.out == [0]
    split = World(split=True, consecutive_local=3)
    for _ in range(2):
        split.detector.local_failure(split.hosts[0], 0.0)
    split.detector.connected(split.hosts[0])
    for _ in range(2):
        split.detector.local_failure(split.hosts[0], 0.0)
    assert split.out == []
    split.detector.local_failure(split.hosts[0], 0.0)
    assert split.out == [0]


def test_9_11_a_list_of_statuses_replaces_the_5xx_test() -> None:
    world = World(error_codes=frozenset({429}))
    world.answers(0, *[500] * 9)
    assert world.out == []
    world.answers(0, *[429] * 5)
    assert world.out == [0]


def test_what_is_known_stays_when_endpoints_come_and_go() -> None:
    world = World()
    world.answers(4, *[500] * 5)
    stay = [world.hosts[4], HostHealth()]
    world.detector.use(stay)
    assert world.detector.ejected == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([200, 404, 500, 502, 0]), st.floats(0, 20)), max_size=80
    ),
    st.integers(0, 100),
)
def test_the_count_and_the_share_always_hold(steps: list[tuple[int, int, float]], percent: int) -> None:
    world = World(5, consecutive_5xx=2, interval_s=1.0, base_ejection_s=5.0, max_ejection_percent=percent)
    now = 0.0
    for host, status, wait_s in steps:
        now += wait_s
        if status:
            world.answers(host, status, now=now)
        else:
            world.detector.sweep(now)
        assert world.detector.ejected == len(world.out)
        assert 100 * len(world.out) / 5 <= percent
