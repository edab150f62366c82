"""The last ten minutes second by second: what is kept, for how long, and what quantiles of it are worth."""

from __future__ import annotations

from statistics import quantiles as exact_quantiles
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.observe.timeline import (
    BOUNDS_MS,
    BUCKETS,
    COLUMNS,
    MAX_CLUSTERS,
    MAX_ROUTES,
    SECONDS,
    Series,
    Timeline,
    quantiles,
    spread_of,
)
from gatewayd.observe.traffic import Traffic
from tests.observe.infos import exchange

NOW = 1_800_000_000


def total(series: Series, first: int, last: int) -> dict[str, Any]:
    return series.read(first, last)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_every_duration_is_in_the_bucket_whose_bounds_hold_it(durations_ms: list[float]) -> None:
    durations_ms.sort()
    found = dict(spread_of(durations_ms))
    assert sum(found.values()) == len(durations_ms)
    for bucket, count in found.items():
        low = BOUNDS_MS[bucket - 1] if bucket else -1.0
        high = BOUNDS_MS[bucket] if bucket < BUCKETS - 1 else float("inf")
        assert count == sum(low < each <= high for each in durations_ms)


def test_a_second_holds_what_ended_in_it() -> None:
    series = Series()
    series.add(NOW, 3, 1, 1, 10, 2000, [(5, 2), (9, 1)])
    series.add(NOW, 1, 0, 0, 0, 5, [(5, 1)])
    series.add(NOW + 2, 1, 0, 0, 0, 5, [(1, 1)])
    series.sample(NOW + 1, 17)
    found = total(series, NOW - 1, NOW + 2)
    assert set(found) == {*COLUMNS, "latencies"}
    assert found["requests"] == [0, 4, 0, 1]
    assert found["errors"] == [0, 1, 0, 0]
    assert found["rejected"] == [0, 1, 0, 0]
    assert found["bytes_received"] == [0, 10, 0, 0]
    assert found["bytes_sent"] == [0, 2005, 0, 5]
    assert found["connections"] == [0, 0, 17, 0]
    assert found["latencies"] == [[], [(5, 3), (9, 1)], [], [(1, 1)]]


def test_what_is_older_than_the_ring_is_gone_and_nothing_else() -> None:
    series = Series()
    for second in range(NOW, NOW + SECONDS + 3):
        series.add(second, 1, 0, 0, 0, 0, [(0, 1)])
    found = total(series, NOW, NOW + SECONDS + 2)
    assert found["requests"] == [0, 0, 0] + [1] * SECONDS


@given(st.lists(st.floats(0.2, 60_000), min_size=200, max_size=400))
def test_quantiles_are_within_a_bucket_of_the_true_ones(durations_ms: list[float]) -> None:
    durations_ms.sort()
    cuts = exact_quantiles(durations_ms, n=100, method="inclusive")
    for share, cut in ((0.5, cuts[49]), (0.95, cuts[94]), (0.99, cuts[98])):
        (found,) = quantiles([spread_of(durations_ms)], [share])
        assert found is not None
        at = min(len(durations_ms) - 1, int(share * len(durations_ms)))
        near = durations_ms[max(0, at - 1) : at + 2]
        assert min(near) / 1.26 <= found <= max(*near, cut) * 1.26


def test_quantiles_of_nothing_are_nothing() -> None:
    assert quantiles([[], []], [0.5, 0.99]) == [None, None]


def test_quantiles_of_many_rows_are_those_of_all_requests() -> None:
    one, other = spread_of([1.0] * 99), spread_of([1000.0])
    (p50, p999) = quantiles([one, other], [0.5, 0.999])
    assert p50 == pytest.approx(1.0, rel=0.25)
    assert p999 == pytest.approx(1000.0, rel=0.25)


def ended(second: float, **facts: Any) -> Any:
    return exchange(started_at=second - 0.004, finished_at=second, **facts)


def test_a_batch_over_several_seconds_is_cut_where_they_begin() -> None:
    timeline = Timeline(float(NOW))
    traffic = Traffic(timeline)
    traffic.take([ended(each) for each in (10.1, 10.9, 11.0, 11.5, 11.99, 12.3)])
    traffic.take([ended(12.4)])
    traffic.settle()
    assert total(timeline.total, NOW + 9, NOW + 13)["requests"] == [0, 2, 3, 2, 0]


def test_a_cluster_and_a_rule_have_series_of_their_own() -> None:
    timeline = Timeline(float(NOW))
    traffic = Traffic(timeline)
    traffic.take([ended(10.5, upstream_cluster="a"), ended(10.6, upstream_cluster="b", status=500)])
    traffic.settle()
    assert set(timeline.clusters.series) == {"a", "b"}
    assert total(timeline.clusters.series["b"], NOW + 10, NOW + 10)["errors"] == [1]
    assert total(timeline.total, NOW + 10, NOW + 10)["requests"] == [2]


def test_series_are_bounded_and_idle_ones_make_room() -> None:
    timeline = Timeline(0.0)
    for number in range(MAX_CLUSTERS + 10):
        timeline.add(NOW, f"c{number}", f"r{number}", 200, 0, 0, [1.0])
    assert len(timeline.clusters.series) == MAX_CLUSTERS
    assert len(timeline.routes.series) == min(MAX_ROUTES, MAX_CLUSTERS + 10)
    assert total(timeline.total, NOW, NOW)["requests"] == [MAX_CLUSTERS + 10]
    timeline.add(NOW + 1, "late", "r0", 200, 0, 0, [1.0])
    assert "late" not in timeline.clusters.series
    timeline.add(NOW + SECONDS, "c0", "r0", 200, 0, 0, [1.0])
    timeline.add(NOW + SECONDS, "late", "r0", 200, 0, 0, [1.0])
    assert set(timeline.clusters.series) == {"c0", "late"}


def test_no_answer_is_an_error() -> None:
    timeline = Timeline(0.0)
    timeline.add(NOW, "", "", 0, 0, 0, [1.0])
    timeline.add(NOW, "", "", 404, 0, 0, [1.0])
    found = total(timeline.total, NOW, NOW)
    assert (found["errors"], found["rejected"]) == ([1], [1])
