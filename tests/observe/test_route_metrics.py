"""Statistics of routes (semantics 18.7); beside Envoy in ``differential/test_route_statistics.py``."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatewayd.observe import route_metrics
from gatewayd.observe.exposition import render
from gatewayd.observe.route_metrics import RouteMetrics
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.routing.route import FORWARD, Route
from tests.observe.infos import exchange, unparsed

ROUTE = Route("r", FORWARD, statistics="vhost.shop.test:80.route.a")
BEFORE = "envoy_vhost_shop_test_80_route_a_upstream_rq"


def ended(**facts: Any) -> StreamInfo:
    return exchange(route=ROUTE, **facts)


def samples(metrics: RouteMetrics) -> dict[str, float]:
    """What a scrape finds and is not 0, by name and labels, buckets left out."""
    text = b"".join(render(metrics.families())).decode()
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_bucket") and sample.value
    }


def counted(*infos: StreamInfo) -> dict[str, float]:
    """Without what all names begin with, and without times."""
    metrics = RouteMetrics(lambda: True)
    metrics.take(infos)
    found = {name.removeprefix(BEFORE): value for name, value in samples(metrics).items()}
    return {name: value for name, value in found.items() if "_time_" not in name}


ONE = {"_completed_total": 1, "_total": 1}
LOST = {"_completed_total": 1, "_total 503": 1, "_total 5xx": 1}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, {**ONE, "_total 200": 1, "_total 2xx": 1}),
        ({"status": 404}, {**ONE, "_total 404": 1, "_total 4xx": 1}),
        (
            {"attempts": 3},
            {"_completed_total": 1, "_total": 3, "_retry_total": 2, "_retry_success_total": 1}
            | {"_total 200": 1, "_total 2xx": 1},
        ),
        (
            {"attempts": 3, "status": 503, "flags": "URX"},
            {**LOST, "_total": 3, "_retry_total": 2, "_retry_limit_exceeded_total": 1},
        ),
        ({"status": 503, "flags": "UO"}, {**LOST, "_total": 1, "_retry_overflow_total": 1}),
        ({"status": 503, "flags": "UO", "details": "upstream_reset_before_response_started{overflow}"}, LOST),
        ({"status": 503, "flags": "UF", "details": "upstream_reset_before_response_started{x}"}, LOST),
        ({"status": 503, "flags": "UH", "details": "no_healthy_upstream", "attempts": 0}, LOST),
        ({"status": 503, "flags": "NC", "details": "cluster_not_found", "attempts": 0}, {}),
        ({"status": 418, "flags": "FI", "details": "fault_filter_abort", "attempts": 0}, {}),
        (
            {"status": 504, "flags": "UT", "details": "response_timeout"},
            {**ONE, "_total 504": 1, "_total 5xx": 1, "_timeout_total": 1},
        ),
        (
            {"status": 504, "flags": "UT", "details": "upstream_per_try_timeout"},
            {**ONE, "_total 504": 1, "_total 5xx": 1},
        ),
        ({"status": 0, "flags": "DC", "details": "downstream_remote_disconnect"}, {"_total": 1}),
    ],
)
def test_what_an_exchange_counts_for(facts: dict[str, Any], expected: dict[str, float]) -> None:
    # The reader calls every counter "_total".
    assert counted(ended(**facts)) == expected


def test_times_are_those_of_answers() -> None:
    metrics = RouteMetrics(lambda: True)
    late = ended(started_at=1.0, finished_at=3.0)
    lost = ended(status=503, flags="UF", details="upstream_reset_before_response_started{x}")
    metrics.take([ended(started_at=1.0, finished_at=1.004), late, lost])
    found = samples(metrics)
    assert found[f"{BEFORE}_time_count"] == 2
    assert found[f"{BEFORE}_time_sum"] == pytest.approx(2004)
    text = b"".join(render(metrics.families())).decode()
    assert f'{BEFORE}_time_bucket{{le="5"}} 1' in text


def test_other_routes_are_not_counted() -> None:
    metrics = RouteMetrics(lambda: True)
    metrics.take([exchange(), unparsed(), exchange(route_name=None)])
    assert samples(metrics) == {}


def test_while_no_route_wants_it_nobody_is_looked_at() -> None:
    metrics = RouteMetrics(lambda: False)
    batch: Any = [None]
    metrics.take(batch)
    assert samples(metrics) == {}


def test_names_that_are_one_for_prometheus_are_counted_as_one() -> None:
    metrics = RouteMetrics(lambda: True)
    for prefix in ("a b", "a.b", "a_b"):
        metrics.take([exchange(route=Route("r", FORWARD, statistics=f"vhost.x:1.route.{prefix}"))])
    assert samples(metrics)["envoy_vhost_x_1_route_a_b_upstream_rq_total 200"] == 3


def test_there_is_an_end_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_metrics, "MAX_ROUTES", 2)
    metrics = RouteMetrics(lambda: True)
    for number in range(4):
        metrics.take([exchange(route=Route("r", FORWARD, statistics=f"r{number}")) for _ in range(2)])
    assert {name.partition("_upstream")[0] for name in samples(metrics)} == {"envoy_r0", "envoy_r1"}
