"""Istio's standard metrics from finished exchanges (semantics 18.1 to 18.5), read by prometheus-client's parser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gatewayd.http.grpc_messages import MessageCounter
from gatewayd.http.message import Trailers
from gatewayd.observe.batches import BATCH, Batches
from gatewayd.observe.exposition import BOUNDS, GAUGE, PIECE, Family, labels, render
from gatewayd.observe.metrics import Source, Traffic
from gatewayd.proxy.connection_record import ConnectionRecord, log_refused
from tests.observe.infos import exchange, unparsed

CLUSTER = "outbound|80|v1|reviews.shop.svc.cluster.local"
Samples = list[tuple[str, dict[str, str], float]]


def traffic(own: Mapping[str, str] | None = None, **settings: Any) -> Traffic:
    return Traffic(Source(own, "istio-system"), **settings)


def samples(pieces: Iterator[bytes]) -> Samples:
    text = b"".join(pieces).decode()
    return [
        (sample.name, dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def of(found: Samples, name: str, **wanted: str) -> list[float]:
    """Values of the series of that name whose labels are such."""
    return [value for series, own, value in found if series == name and wanted.items() <= own.items()]


def scraped(*infos: Any) -> Samples:
    counters = traffic()
    counters.take(infos)
    return samples(counters.render({}))


def tcp(**facts: Any) -> ConnectionRecord:
    record = ConnectionRecord(exchange().connection)
    for name, value in facts.items():
        setattr(record, name, value)
    return record


def test_18_1_requests_are_counted_by_what_became_of_them() -> None:
    found = scraped(*[exchange()] * 3, exchange(status=503, flags="UF,URX"), unparsed())
    assert of(found, "istio_requests_total", response_code="200", response_flags="-") == [3]
    assert of(found, "istio_requests_total", response_code="503", response_flags="UF,URX") == [1]
    assert of(found, "istio_requests_total", response_code="400", response_flags="DPE") == [1]


def test_18_2_every_label_of_istio_is_there() -> None:
    ((_, own, _),) = [each for each in scraped(exchange()) if each[0] == "istio_requests_total"]
    sides = ["workload", "workload_namespace", "principal", "app", "version", "cluster"]
    sides += ["canonical_service", "canonical_revision"]
    expected = {f"{side}_{name}" for side in ("source", "destination") for name in sides}
    expected |= {"destination_service", "destination_service_name", "destination_service_namespace"}
    expected |= {"reporter", "request_protocol", "response_code", "response_flags"}
    expected |= {"connection_security_policy", "grpc_response_status"}
    assert set(own) == expected


def test_18_2_the_source_is_this_proxy() -> None:
    counters = traffic({"app": "edge", "version": "7"})
    counters.take([exchange()])
    ((_, own, _),) = [e for e in samples(counters.render({})) if e[0] == "istio_requests_total"]
    assert own["reporter"] == "source"
    assert (own["source_app"], own["source_version"]) == ("edge", "7")
    assert own["source_workload_namespace"] == "istio-system"


def test_18_3_the_side_of_the_source_knows_no_security_policy() -> None:
    assert of(scraped(exchange()), "istio_requests_total", connection_security_policy="unknown") == [1]


def test_18_4_the_destination_is_that_of_the_cluster() -> None:
    found = scraped(exchange(upstream_cluster=CLUSTER))
    assert of(
        found,
        "istio_requests_total",
        destination_service="reviews.shop.svc.cluster.local",
        destination_service_name="reviews",
        destination_service_namespace="shop",
    ) == [1]


def test_18_4_without_cluster_the_host_header_is_not_used() -> None:
    found = scraped(exchange(upstream_cluster="", status=404, flags="NR", authority=b"evil.test"))
    assert of(
        found, "istio_requests_total", destination_service="unknown", destination_service_name="unknown"
    ) == [1]
    assert not any("evil.test" in value for _, own, _ in found for value in own.values())


@pytest.mark.parametrize(
    ("duration_s", "bound"), [(0.0004, "0.5"), (0.001, "1.0"), (0.0011, "5.0"), (7200, "+Inf")]
)
def test_18_5_a_duration_is_in_the_first_bucket_that_holds_it(duration_s: float, bound: str) -> None:
    found = scraped(exchange(started_at=0.0, finished_at=duration_s))
    name = "istio_request_duration_milliseconds"
    edges = {own["le"]: value for series, own, value in found if series == f"{name}_bucket"}
    order = [*(float(each) for each in BOUNDS), float("inf")]
    assert len(edges) == len(order)
    assert {float(edge): value for edge, value in edges.items()} == {
        edge: float(edge >= float(bound)) for edge in order
    }
    assert of(found, f"{name}_sum") == [pytest.approx(duration_s * 1000)]


def test_18_1_sizes_of_bodies_are_summed() -> None:
    found = scraped(exchange(bytes_received=10, bytes_sent=2000), exchange(bytes_received=5, bytes_sent=0))
    assert of(found, "istio_request_bytes_sum") == [15]
    assert of(found, "istio_response_bytes_sum") == [2000]
    assert of(found, "istio_response_bytes_count") == [2]


def test_18_2_grpc_is_told_by_its_content_type() -> None:
    grpc = [(b"content-type", b"application/grpc+proto")]
    found = scraped(
        exchange(method=b"POST", headers=grpc, grpc_status=b"14"),
        exchange(method=b"POST", headers=grpc, response_trailers=Trailers([(b"grpc-status", b"0")])),
        exchange(method=b"POST", headers=grpc, response_trailers=Trailers([(b"grpc-status", b"made up")])),
        exchange(method=b"POST", headers=grpc, status=404),
        exchange(method=b"POST", headers=grpc, status=0),
        exchange(method=b"POST", headers=[(b"content-type", b"application/json")]),
    )
    assert of(found, "istio_requests_total", request_protocol="grpc", grpc_response_status="14") == [1]
    for status in ("0", "2", "12", ""):
        assert of(found, "istio_requests_total", request_protocol="grpc", grpc_response_status=status) == [1]
    assert of(found, "istio_requests_total", request_protocol="http", grpc_response_status="") == [1]


def test_18_1_messages_of_grpc_are_counted_where_the_server_speaks_it() -> None:
    def counter(count: int) -> MessageCounter:
        made = MessageCounter()
        made.add(b"\0\0\0\0\0" * count)
        return made

    facts: dict[str, Any] = {"method": b"POST", "headers": [(b"content-type", b"application/grpc")]}
    found = scraped(
        exchange(**facts, request_messages=counter(1), response_messages=counter(3)),
        exchange(**facts, request_messages=counter(2), response_messages=counter(0)),
        exchange(**facts),
        exchange(method=b"POST", request_messages=None, response_messages=None),
    )
    assert of(found, "istio_request_messages_total") == [3]
    assert of(found, "istio_response_messages_total") == [3]


def test_18_1_tcp_connections_and_their_bytes() -> None:
    counters = traffic()
    counters.take([tcp(upstream_cluster=CLUSTER, bytes_received=7, bytes_sent=9)] * 2)
    counters.take([tcp(upstream_cluster=CLUSTER, flags="UF,URX")])
    found = samples(counters.render({CLUSTER: 4}))
    assert of(found, "istio_tcp_connections_opened_total", request_protocol="tcp") == [7]
    assert sorted(of(found, "istio_tcp_connections_closed_total")) == [1, 2]
    assert of(found, "istio_tcp_received_bytes_total", response_flags="-") == [14]
    assert of(found, "istio_tcp_sent_bytes_total", response_flags="-") == [18]
    assert not [own for name, own, _ in found if name.startswith("istio_tcp") and "response_code" in own]


def test_a_connection_that_nobody_took_is_no_tcp_connection() -> None:
    taken: list[Any] = []
    log_refused(taken.append, exchange().connection, flags="NR", details="filter_chain_not_found")
    assert not of(scraped(*taken), "istio_tcp_connections_closed_total")


def test_further_attempts_are_counted_by_cluster() -> None:
    counters = traffic()
    counters.take([exchange(attempts=3, upstream_cluster="a"), exchange(upstream_cluster="b")])
    assert counters.retries == {"a": 2}


def test_series_are_bounded_and_what_is_beyond_is_counted() -> None:
    counters = traffic(max_series=10)
    counters.take([exchange(status=100 + n) for n in range(500)])
    counters.take([tcp(upstream_cluster=f"c{n}") for n in range(30)])
    counters.take([exchange(status=100)])
    found = samples(counters.render({}))
    assert len(of(found, "istio_requests_total")) == 10
    assert len(of(found, "istio_tcp_connections_closed_total")) == 10
    assert of(found, "istio_requests_total", response_code="100") == [2]
    assert of(found, "gatewayd_metrics_overflow_total", metric="http") == [490]
    assert of(found, "gatewayd_metrics_overflow_total", metric="tcp") == [20]


def test_a_label_may_hold_anything() -> None:
    strange = 'a"b\\c\nd'
    family = Family("x", GAUGE, "One.", [(labels(name=strange), 1.5)])
    assert samples(render([family])) == [("x", {"name": strange}, 1.5)]


def test_a_text_comes_in_pieces_of_bounded_size() -> None:
    family = Family("x", GAUGE, "Many.", [(labels(name=str(n)), n) for n in range(1000)])
    pieces = list(render([family]))
    assert len(pieces) == pytest.approx(1000 / PIECE, abs=2)
    assert len(samples(iter(pieces))) == 1000


async def test_each_taker_gets_each_exchange_once_and_one_that_fails_hurts_nobody() -> None:
    taken: list[Any] = []

    def broken(batch: Any) -> None:
        raise ValueError

    batches = Batches(asyncio.get_running_loop(), broken, taken.extend)
    infos = [exchange() for _ in range(BATCH + 5)]
    for info in infos:
        batches.append(info)
    assert len(taken) == BATCH
    batches.close()
    assert taken == infos


@given(st.lists(st.floats(0, 1e7), max_size=60))
def test_18_5_values_are_in_the_same_buckets_one_by_one_and_together(durations_ms: list[float]) -> None:
    infos = [exchange(started_at=0.0, finished_at=each / 1000.0) for each in durations_ms]
    together, one_by_one = traffic(), traffic()
    together.take(infos)
    for info in infos:
        one_by_one.take([info])
    for key, cell in together.http.items():
        assert cell[:-3] == one_by_one.http[key][:-3]
        assert sum(cell[: len(BOUNDS) + 1]) == len(infos)
    assert together.http.keys() == one_by_one.http.keys()
