"""Istio's standard metrics of finished exchanges (semantics 18.1 to 18.5), read by prometheus-client's parser."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gatewayd.http.grpc_messages import MessageCounter
from gatewayd.http.message import Trailers
from gatewayd.observe.batches import BATCH, Batches
from gatewayd.observe.exposition import BOUNDS, GAUGE, PIECE, Family, family_of, labels, render, rows
from gatewayd.observe.istio_metrics import Source, http_families, tcp_families
from gatewayd.observe.sums import Sums, class_of, is_error, summed
from gatewayd.observe.traffic import DURATION, LENGTH, OVERFLOW, Traffic
from gatewayd.proxy.connection_record import ConnectionRecord, log_refused
from gatewayd.routing.route import FORWARD, Route, RouteSource
from tests.observe.infos import exchange

CLUSTER = "outbound|80|v1|reviews.shop.svc.cluster.local"
Samples = list[tuple[str, dict[str, str], float]]


def samples(pieces: Iterator[bytes]) -> Samples:
    text = b"".join(pieces).decode()
    return [
        (sample.name, dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def sums_of(traffic: Traffic, max_series: int = 1000) -> Sums:
    """All cells added up."""
    traffic.settle()
    pauses: Generator[None, None, Sums] = summed(traffic, max_series)
    while True:
        try:
            next(pauses)
        except StopIteration as end:
            found: Sums = end.value
            return found


def rendered(
    traffic: Traffic, own: Mapping[str, str] | None = None, opened: Mapping[str, int] | None = None
) -> Samples:
    source = Source(own, "istio-system")
    families = [
        *http_families(source, sums_of(traffic)),
        *tcp_families(source, traffic.tcp, opened or {}),
    ]
    return samples(render(families))


def of(found: Samples, name: str, **wanted: str) -> list[float]:
    """Values of the series of that name whose labels are such."""
    return [value for series, own, value in found if series == name and wanted.items() <= own.items()]


def scraped(*infos: Any) -> Samples:
    traffic = Traffic()
    traffic.take(infos)
    return rendered(traffic)


def tcp(**facts: Any) -> ConnectionRecord:
    record = ConnectionRecord(exchange().connection)
    for name, value in facts.items():
        setattr(record, name, value)
    return record


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
    traffic = Traffic()
    traffic.take([exchange()])
    found = rendered(traffic, {"app": "edge", "version": "7"})
    ((_, own, _),) = [each for each in found if each[0] == "istio_requests_total"]
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
        exchange(**facts, request_messages=counter(2), response_messages=counter(0), grpc_status=b"5"),
        exchange(**facts),
        exchange(method=b"POST", request_messages=None, response_messages=None),
    )
    assert of(found, "istio_request_messages_total") == [3]
    assert of(found, "istio_response_messages_total") == [3]


def test_18_1_tcp_connections_and_their_bytes() -> None:
    traffic = Traffic()
    traffic.take([tcp(upstream_cluster=CLUSTER, bytes_received=7, bytes_sent=9)] * 2)
    traffic.take([tcp(upstream_cluster=CLUSTER, flags="UF,URX")])
    found = rendered(traffic, opened={CLUSTER: 4})
    assert of(found, "istio_tcp_connections_opened_total", request_protocol="tcp") == [7]
    assert sorted(of(found, "istio_tcp_connections_closed_total")) == [1, 2]
    assert of(found, "istio_tcp_received_bytes_total", response_flags="-") == [14]
    assert of(found, "istio_tcp_sent_bytes_total", response_flags="-") == [18]
    assert not [own for name, own, _ in found if name.startswith("istio_tcp") and "response_code" in own]


def test_a_connection_that_nobody_took_is_no_tcp_connection() -> None:
    taken: list[Any] = []
    log_refused(taken.append, exchange().connection, flags="NR", details="filter_chain_not_found")
    assert not of(scraped(*taken), "istio_tcp_connections_closed_total")


def test_further_attempts_and_what_they_came_to_are_counted_by_cluster() -> None:
    traffic = Traffic()
    traffic.take(
        [
            exchange(attempts=3, upstream_cluster="a"),
            exchange(attempts=2, upstream_cluster="a", status=503, flags="URX,UF"),
            exchange(upstream_cluster="b"),
        ]
    )
    assert set(traffic.attempts) == {"a"}
    found = traffic.attempts["a"]
    assert (found.retries, found.rescued, found.exhausted) == (3, 1, 1)


def test_timeouts_of_requests_and_of_attempts_are_told_apart() -> None:
    traffic = Traffic()
    traffic.take(
        [
            exchange(status=504, flags="UT", details="response_timeout"),
            exchange(status=504, flags="UT", details="upstream_per_try_timeout"),
            exchange(status=504, flags="UT", details="upstream_per_try_timeout"),
        ]
    )
    (found,) = traffic.attempts.values()
    assert (found.timeouts, found.per_try_timeouts) == (1, 2)


def test_series_are_bounded_and_what_is_beyond_is_counted() -> None:
    traffic = Traffic()
    traffic.take([exchange(status=100 + n) for n in range(500)])
    traffic.take([exchange(status=100)])
    sums = sums_of(traffic, max_series=10)
    found = samples(render(http_families(Source(None, "istio-system"), sums)))
    assert len(of(found, "istio_requests_total")) == 10
    assert of(found, "istio_requests_total", response_code="100") == [2]
    assert sums.overflow == 490


def test_tcp_cells_are_bounded() -> None:
    traffic = Traffic()
    traffic.take([tcp(upstream_cluster=f"c{n}") for n in range(1200)])
    assert (len(traffic.tcp), traffic.overflow_tcp) == (1000, 200)


def test_what_has_no_cell_is_counted_by_chain_and_class() -> None:
    traffic = Traffic(max_cells=3)
    infos = [exchange(status=status) for status in (200, 201, 202, 203, 204, 404, 503)]
    for info in infos:
        info.connection.chain = "http.80"
    traffic.take(infos)
    sums = sums_of(traffic)
    classes: dict[int, int] = {}
    for status, count in sums.chains["http.80"].items():
        classes[class_of(status)] = classes.get(class_of(status), 0) + count
    assert classes == {2: 5, 4: 1, 5: 1}
    assert sums.overflow == 4
    assert len(traffic.cells) == 6, "three, and one for each class that had no room"
    assert is_error(OVERFLOW + 5)
    assert not is_error(OVERFLOW + 2)


def rule(name: str, line: int = 1) -> Route:
    written = SimpleNamespace(kind="VirtualService", namespace="shop", name=name, file="shop.yaml", line=line)
    return Route(name, FORWARD, source=RouteSource(written, 0))


def title(route: Route) -> str:
    assert route.source is not None
    return route.source.title


def test_hits_are_counted_by_rule_and_endpoint() -> None:
    cart, site = rule("cart"), rule("site")
    traffic = Traffic()
    traffic.take(
        [
            *[exchange(route_name=None, route=cart) for _ in range(30)],
            exchange(route_name=None, route=cart, status=503, upstream_host="10.0.0.8:80"),
            exchange(route_name=None, route=site, status=504, flags="UT"),
        ]
    )
    sums = sums_of(traffic)
    assert sums.rules == {("", title(cart)): [31, 1], ("", title(site)): [1, 1]}
    reached = {place: (each.total, each.errors, each.timeouts) for (_, place), each in sums.endpoints.items()}
    assert reached == {"10.0.0.7:8080": (31, 1, 1), "10.0.0.8:80": (1, 1, 0)}


def test_a_rule_that_stays_where_it_is_keeps_its_hits_over_a_reload() -> None:
    traffic = Traffic()
    traffic.take([exchange(route_name=None, route=rule("cart"))])
    traffic.take([exchange(route_name=None, route=rule("cart"))])  # compiled anew
    traffic.take([exchange(route_name=None, route=rule("cart", line=9))])  # something was written above it
    assert sums_of(traffic).rules == {("", "VirtualService shop/cart http[0]"): [3, 0]}


def test_making_room_folds_what_is_gone_and_loses_no_request() -> None:
    traffic = Traffic()
    stays = rule("stays")
    traffic.take([exchange(route_name=None, route=rule(f"r{n}"), upstream_host=f"h{n}") for n in range(20)])
    traffic.take([exchange(route_name=None, route=stays, upstream_host="here")])
    traffic.settle()
    assert len(traffic.cells) == 21
    traffic.retain({title(stays)}, lambda cluster, endpoint: endpoint == "here")
    assert len(traffic.cells) == 2
    sums = sums_of(traffic)
    assert sums.rules == {("", title(stays)): [1, 0]}
    assert sum(sums.clusters["outbound|8080|v2|shop.local"].values()) == 21
    assert set(sums.endpoints) == {("outbound|8080|v2|shop.local", "here")}


def test_what_a_fault_answered_is_no_request_of_the_cluster() -> None:
    traffic = Traffic()
    traffic.take(
        [
            exchange(status=555, flags="FI", upstream_host=""),
            exchange(status=503, flags="UH", upstream_host=""),
        ]
    )
    assert sums_of(traffic).clusters == {"outbound|8080|v2|shop.local": {503: 1}}


def test_a_label_may_hold_anything() -> None:
    strange = 'a"b\\c\nd'
    family = Family("x", GAUGE, "One.", [(labels(name=strange), 1.5)])
    assert samples(render([family])) == [("x", {"name": strange}, 1.5)]


def test_a_text_comes_in_pieces_of_bounded_size() -> None:
    family = Family("x", GAUGE, "Many.", [(labels(name=str(n)), n) for n in range(1000)])
    pieces = list(render([family]))
    assert len(pieces) == pytest.approx(1000 / PIECE, abs=2)
    assert len(samples(iter(pieces))) == 1000


def test_families_come_back_from_rows_as_they_were() -> None:
    traffic = Traffic()
    traffic.take([exchange(status=status) for status in range(200, 430)])
    families = list(http_families(Source(None, "istio-system"), sums_of(traffic)))
    made = [row for row in rows(families) if row is not None]
    assert max(len(row["samples"]) for row in made) == PIECE
    assert b"".join(render(map(family_of, made))) == b"".join(
        render(http_families(Source(None, "istio-system"), sums_of(traffic)))
    )


def test_histograms_know_no_grpc_status() -> None:
    grpc = [(b"content-type", b"application/grpc")]
    found = scraped(*[exchange(method=b"POST", headers=grpc, grpc_status=status) for status in (b"0", b"5")])
    assert of(found, "istio_requests_total") == [1, 1]
    assert of(found, "istio_request_duration_milliseconds_count") == [2]


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
    together, one_by_one = Traffic(), Traffic()
    together.take(infos)
    together.settle()
    for info in infos:
        one_by_one.take([info])
        one_by_one.settle()
    for key, cell in together.cells.items():
        assert cell[:-3] == one_by_one.cells[key][:-3]
        assert sum(cell[DURATION : len(BOUNDS) + 1]) == len(infos)
        assert len(cell) == LENGTH
    assert together.cells.keys() == one_by_one.cells.keys()
