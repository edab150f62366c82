"""Destinations: semantics 6.1, 1.5, 8.4.2, 17.3, and the flags --unknown-hosts and --endpoint."""

from __future__ import annotations

import io

import pytest

from gatewayd.compiler import CompileOptions, compile_snapshot
from gatewayd.sources import load
from gatewayd.upstream.spec import DNS, STATIC, ClusterSpec
from tests.compiler.support import BASE, EDGE, Compiled, compile_yaml, entry, routes_of, virtual_service

POOL = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pool, namespace: default}
spec:
  hosts: [pool.test]
  ports: [{number: 8000, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints:
  - {address: 10.0.0.1, ports: {http: 1}, labels: {version: v1, zone: a}}
  - {address: 10.0.0.2, ports: {http: 2}, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: two, namespace: default}
spec:
  hosts: [two.test]
  ports: [{number: 80, name: a, protocol: HTTP}, {number: 81, name: b, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.3}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pool, namespace: default}
spec:
  host: pool.test
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: all}
  - {name: none, labels: {version: v9}}
"""


def going_to(*destinations: str, config: str = POOL, gateway: str = EDGE, **options: object) -> Compiled:
    listed = ", ".join(destinations)
    rule = virtual_service(f"- route: [{listed}]", namespace="default")
    return compile_yaml("---".join([gateway, config, rule]), **options)


def destination(host: str, more: str = "") -> str:
    return f"{{destination: {{host: {host}{more}}}}}"


@pytest.mark.parametrize(
    ("wanted", "outcome"),
    [
        (destination("pool.test"), "pool.test:8000"),  # 6.1.1: its only port
        (destination("pool.test", ", port: {number: 8000}"), "pool.test:8000"),
        (destination("two.test", ", port: {number: 81}"), "two.test:81"),
        (destination("two.test"), "two.test:80"),  # 6.1.1: else the listener's
        (destination("pool.test", ", port: {number: 81}"), "503 NC"),  # 6.1.2
        (destination("who.test"), "503 NC"),
        (destination("pool.test", ", subset: v1"), "pool.test:8000 v1"),
        (destination("pool.test", ", subset: all"), "pool.test:8000 all"),
        (destination("pool.test", ", subset: nope"), "503 NC"),
        (destination("pool.test", ", subset: none"), "503 UH"),  # 6.1.3
    ],
)
def test_6_1_1_to_6_1_3_ports_and_subsets(wanted: str, outcome: str) -> None:
    assert going_to(wanted).call("http://x.test/") == outcome


def test_6_1_1_the_listeners_port_usually_does_not_exist_on_the_service() -> None:
    gateway = EDGE.replace("number: 80", "number: 8080")
    compiled = going_to(destination("two.test"), gateway=gateway)
    assert compiled.call("http://x.test:8080/") == "503 NC"
    assert compiled.findings() == [
        "error VirtualService default/routes spec.http[0].route[0].destination.host: destination "
        '"two.test" names no port, the service has 80, 81, and the listener\'s 8080 is not among them: '
        "requests get 503"
    ]


def test_8_2_5_subset_members_carry_every_label() -> None:
    compiled = going_to(destination("pool.test", ", subset: v1"))
    assert compiled.endpoints("outbound|8000|v1|pool.test") == ["10.0.0.1:1"]
    compiled = going_to(destination("pool.test", ", subset: all"))
    assert compiled.endpoints("outbound|8000|all|pool.test") == ["10.0.0.1:1", "10.0.0.2:2"]


def test_6_1_4_one_destinations_weight_is_irrelevant() -> None:
    for weight in (0, 10, 100):
        compiled = going_to(f"{{destination: {{host: pool.test}}, weight: {weight}}}")
        route = compiled.route("http://x.test/")
        assert route is not None
        assert compiled.call("http://x.test/") == "pool.test:8000"
        assert route.pick is None


def test_6_1_5_weight_zero_receives_nothing_and_weights_are_shares_of_their_sum() -> None:
    compiled = going_to(
        "{destination: {host: pool.test, subset: v1}, weight: 1}",
        "{destination: {host: pool.test, subset: all}, weight: 3}",
        "{destination: {host: two.test}}",
    )
    route = compiled.route("http://x.test/")
    assert route is not None
    assert [(d.cluster_name, d.weight) for d in route.destinations] == [
        ("outbound|8000|v1|pool.test", 1),
        ("outbound|8000|all|pool.test", 3),
    ]
    assert route.pick is not None
    assert "outbound|80||two.test" not in compiled.snapshot.clusters


def test_6_1_5_a_weighted_share_may_be_unknown_while_the_others_work() -> None:
    compiled = going_to(
        "{destination: {host: pool.test}, weight: 50}", "{destination: {host: who.test}, weight: 50}"
    )
    assert compiled.call("http://x.test/") == "pool.test:8000 | 503 NC"


def test_unknown_host_subset_and_port_are_errors_with_the_nearest_word() -> None:
    compiled = going_to(
        "{destination: {host: pol.test}, weight: 1}",
        "{destination: {host: pool.test, subset: v11}, weight: 1}",
        "{destination: {host: pool.test, port: {number: 1}}, weight: 1}",
    )
    at = "error VirtualService default/routes spec.http[0].route"
    assert sorted(compiled.findings("IST0101")) == [
        f'{at}[0].destination.host: host "pol.test" is declared by no Service or ServiceEntry this proxy '
        'sees (did you mean "pool.test"?): its requests get 503',
        f'{at}[1].destination.host: subset "v11" of "pool.test" does not exist, DestinationRule default/pool '
        'has no such subset (did you mean "v1"?): requests get 503',
        f'{at}[2].destination.host: "pool.test" has no port 1 (it has 8000): requests get 503',
    ]


def test_17_3_equal_destinations_share_one_cluster_which_is_adopted_once() -> None:
    rules = "- match: [{uri: {prefix: /a}}]\n  route: [{destination: {host: pool.test}}]\n"
    text = "---".join([EDGE, POOL, virtual_service(rules + "- route: [{destination: {host: pool.test}}]")])
    adopted: list[str] = []

    def adopt(spec: ClusterSpec) -> str:
        adopted.append(spec.name)
        return f"runtime {spec.name}"

    resources = load(["-"], io.BytesIO(text.encode())).resources
    snapshot = compile_snapshot(resources, CompileOptions(), adopt)
    assert adopted == ["outbound|8000||pool.test"]
    assert list(snapshot.clusters) == adopted
    assert snapshot.adopted == {"outbound|8000||pool.test": "runtime outbound|8000||pool.test"}
    routes = [rule.route for rule in routes_of(snapshot.listeners[0]).virtual_hosts[0].rules]
    assert [route.destinations[0].cluster for route in routes] == ["runtime outbound|8000||pool.test"] * 2


def test_clusters_no_route_names_do_not_exist() -> None:
    assert list(compile_yaml(BASE).snapshot.clusters) == []


def test_everyone_who_names_a_missing_host_is_told() -> None:
    rules = "- match: [{uri: {prefix: /a}}]\n  route: [{destination: {host: who.test}}]\n"
    rules += "- route: [{destination: {host: who.test}}]"
    compiled = compile_yaml("---".join([EDGE, virtual_service(rules), virtual_service(rules, name="more")]))
    assert [finding.partition(".destination")[0] for finding in compiled.findings("IST0101")] == [
        "error VirtualService default/routes spec.http[0].route[0]",
        "error VirtualService default/routes spec.http[1].route[0]",
        "error VirtualService default/more spec.http[0].route[0]",
        "error VirtualService default/more spec.http[1].route[0]",
    ]


# -- --unknown-hosts dns -------------------------------------------------------------------------------


def test_an_undeclared_host_is_resolved_as_written_and_named_in_full() -> None:
    compiled = going_to(destination("productpage", ", port: {number: 9080}"), unknown_hosts="dns")
    name = "outbound|9080||productpage.default.svc.cluster.local"
    assert compiled.endpoints(name) == ["productpage:9080"]
    assert compiled.cluster(name).discovery == DNS
    (finding,) = compiled.findings("GWD0102")
    assert finding.endswith(
        'host "productpage" is declared by no Service or ServiceEntry: resolved by DNS, port 9080'
    )


@pytest.mark.parametrize(
    ("host", "discovery", "endpoint"),
    [("api.example.com", DNS, "api.example.com:80"), ("10.1.2.3", STATIC, "10.1.2.3:80")],
)
def test_an_undeclared_host_without_port_means_port_80(host: str, discovery: str, endpoint: str) -> None:
    compiled = going_to(
        destination(host), unknown_hosts="dns", gateway=EDGE.replace("number: 80", "number: 81")
    )
    assert compiled.cluster(f"outbound|80||{host}").discovery == discovery
    assert compiled.endpoints(f"outbound|80||{host}") == [endpoint]


def test_8_4_2_a_name_found_by_dns_has_no_labels_so_its_labelled_subsets_are_empty() -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: any}]}
"""
    compiled = going_to(destination("reviews", ", subset: v1"), config=rule, unknown_hosts="dns")
    assert compiled.call("http://x.test/") == "503 UH"
    compiled = going_to(destination("reviews", ", subset: any"), config=rule, unknown_hosts="dns")
    assert compiled.call("http://x.test/") == "reviews.default.svc.cluster.local:80 any"
    compiled = going_to(destination("reviews", ", subset: other"), config=rule, unknown_hosts="dns")
    assert compiled.call("http://x.test/") == "503 NC"


def test_a_declared_service_is_never_looked_up_by_dns() -> None:
    service = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: default}
spec: {selector: {app: cart}, ports: [{port: 80}]}
"""
    compiled = going_to(destination("cart"), config=service, unknown_hosts="dns")
    assert compiled.call("http://x.test/") == "503 UH"
    finding = next(f for f in compiled.snapshot.findings if f.code == "GWD0102")
    assert "no Endpoints, EndpointSlice, Pod or WorkloadEntry document speaks of it" in finding.message
    assert finding.help == "add the documents, or give addresses with --endpoint cart=ADDRESS:PORT"


# -- --endpoint ----------------------------------------------------------------------------------------

PIN = [("127.0.0.1", 9080)]


@pytest.mark.parametrize(
    "key", ["reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local"]
)
def test_a_pin_declares_a_host_by_any_spelling_of_its_name(key: str) -> None:
    compiled = going_to(destination("reviews", ", port: {number: 9080}"), endpoint_pins={key: PIN})
    assert compiled.endpoints("outbound|9080||reviews.default.svc.cluster.local") == ["127.0.0.1:9080"]
    assert compiled.findings() == []


def test_a_pin_of_another_namespace_is_another_host() -> None:
    compiled = going_to(destination("reviews"), endpoint_pins={"reviews.team": PIN})
    assert compiled.call("http://x.test/") == "503 NC"


def test_the_longest_spelling_wins() -> None:
    pins = {"reviews": PIN, "reviews.default": [("127.0.0.1", 1)]}
    compiled = going_to(destination("reviews"), endpoint_pins=pins)
    assert compiled.endpoints("outbound|80||reviews.default.svc.cluster.local") == ["127.0.0.1:1"]


def test_a_pin_beats_what_the_documents_say() -> None:
    compiled = going_to(destination("pool.test"), endpoint_pins={"pool.test": PIN})
    assert compiled.endpoints("outbound|8000||pool.test") == ["127.0.0.1:9080"]


def test_a_subsets_own_pin_declares_the_subset() -> None:
    pins = {"reviews:v1": [("127.0.0.1", 1)], "reviews:v2": [("127.0.0.1", 2)]}
    compiled = going_to(
        "{destination: {host: reviews, subset: v1}, weight: 1}",
        "{destination: {host: reviews, subset: v2}, weight: 1}",
        "{destination: {host: reviews, subset: v3}, weight: 1}",
        "{destination: {host: reviews}, weight: 1}",
        endpoint_pins=pins,
    )
    host = "reviews.default.svc.cluster.local"
    assert compiled.endpoints(f"outbound|80|v1|{host}") == ["127.0.0.1:1"]
    assert compiled.endpoints(f"outbound|80|v2|{host}") == ["127.0.0.1:2"]
    assert compiled.endpoints(f"outbound|80||{host}") == ["127.0.0.1:1", "127.0.0.1:2"]
    assert f"outbound|80|v3|{host}" not in compiled.snapshot.clusters


def test_a_hosts_pin_stands_for_the_subsets_a_rule_declares() -> None:
    compiled = going_to(destination("pool.test", ", subset: none"), endpoint_pins={"pool.test": PIN})
    assert compiled.endpoints("outbound|8000|none|pool.test") == ["127.0.0.1:9080"]
    compiled = going_to(destination("pool.test", ", subset: nope"), endpoint_pins={"pool.test": PIN})
    assert compiled.call("http://x.test/") == "503 NC"


def test_a_pinned_name_is_resolved_by_dns() -> None:
    compiled = going_to(destination("reviews"), endpoint_pins={"reviews": [("backend", 9080)]})
    assert compiled.cluster("outbound|80||reviews.default.svc.cluster.local").discovery == DNS


def test_1_5_short_destinations_belong_to_the_virtual_services_namespace() -> None:
    config = entry("cart.default.svc.cluster.local")
    assert going_to(destination("cart"), config=config).call("http://x.test/") == (
        "cart.default.svc.cluster.local:80"
    )
    assert going_to(destination("cart.default"), config=config).call("http://x.test/") == "503 NC"
