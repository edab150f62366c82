"""ServiceEntries and WorkloadEntries: semantics 11.1 to 11.11, 11.16, 8.4.1."""

from __future__ import annotations

import msgspec
import pytest

from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.upstream.spec import DNS, DNS_ROUND_ROBIN, STATIC, EndpointSpec
from tests.compiler.support import EDGE, Compiled, compile_yaml, entry, to, virtual_service


def service(
    body: str, ports: str = "[{number: 80, name: http, protocol: HTTP}]", host: str = "svc.test"
) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: svc, namespace: default}}
spec: {{hosts: [{host}], ports: {ports}, {body}}}
"""


def compiled(*documents: str, host: str = "svc.test", **options: object) -> Compiled:
    return compile_yaml("---".join([EDGE, virtual_service(f"- {to(host)}"), *documents]), **options)


def endpoints(*documents: str) -> tuple[EndpointSpec, ...]:
    return compiled(*documents).cluster("outbound|80||svc.test").endpoints


@pytest.mark.parametrize(
    ("resolution", "discovery", "address"),
    [
        ("STATIC", STATIC, "10.0.0.1"),
        ("DNS", DNS, "backend.example.com"),
        ("DNS", DNS, "10.0.0.1"),
        ("DNS_ROUND_ROBIN", DNS_ROUND_ROBIN, "backend.example.com"),
    ],
)
def test_11_3_resolution(resolution: str, discovery: str, address: str) -> None:
    spec = compiled(service(f"resolution: {resolution}, endpoints: [{{address: {address}}}]")).cluster(
        "outbound|80||svc.test"
    )
    assert spec.discovery == discovery
    assert spec.endpoints == (EndpointSpec(address, 80),)


def test_11_2_none_at_a_gateway_is_static_without_endpoints() -> None:
    found = compiled(service("resolution: NONE"))
    assert found.call("http://x.test/") == "503 UH"
    assert found.cluster("outbound|80||svc.test").discovery == STATIC


@pytest.mark.parametrize("resolution", ["DNS", "DNS_ROUND_ROBIN"])
def test_11_4_the_host_itself_is_the_endpoint_of_a_dns_entry(resolution: str) -> None:
    ports = "[{number: 80, name: http, protocol: HTTP, targetPort: 8080}]"
    assert endpoints(service(f"resolution: {resolution}", ports)) == (EndpointSpec("svc.test", 8080),)


@pytest.mark.parametrize(
    ("ports", "endpoint", "expected"),
    [
        ("{number: 80, name: http}", "{address: 10.0.0.1}", ("10.0.0.1", 80)),
        ("{number: 80, name: http, targetPort: 81}", "{address: 10.0.0.1}", ("10.0.0.1", 81)),
        (
            "{number: 80, name: http, targetPort: 81}",
            "{address: 10.0.0.1, ports: {http: 82}}",
            ("10.0.0.1", 82),
        ),
        ("{number: 80, name: http}", "{address: 'unix:///run/a.sock'}", ("unix:/run/a.sock", 0)),
    ],
)
def test_11_6_the_endpoints_port(ports: str, endpoint: str, expected: tuple[str, int]) -> None:
    (found,) = endpoints(service(f"resolution: STATIC, endpoints: [{endpoint}]", f"[{ports}]"))
    assert (found.address, found.port) == expected


def test_11_1_ports_are_shared_by_all_hosts() -> None:
    text = service("resolution: STATIC, endpoints: [{address: 10.0.0.1}]", host="svc.test, other.test")
    for host in ("svc.test", "other.test"):
        assert compiled(text, host=host).call("http://x.test/") == f"{host}:80"


def workload(
    name: str, address: str, labels: str, metadata: str = "", more: str = "", namespace: str = "default"
) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: {namespace}{metadata}}}
spec: {{address: {address}, labels: {labels}{more}}}
"""


SELECTING = service("resolution: STATIC, location: MESH_INTERNAL, workloadSelector: {labels: {app: a}}")


def test_11_7_a_selector_picks_workload_entries_of_its_namespace() -> None:
    found = endpoints(
        SELECTING,
        workload("w1", "10.0.0.1", "{app: a}", more=", ports: {http: 8080}, weight: 3, locality: r/z/s"),
        workload("w2", "10.0.0.2", "{app: b}"),
        workload("w3", "10.0.0.3", "{app: a}", namespace="other"),
    )
    assert found == (EndpointSpec("10.0.0.1", 8080, 3, (("app", "a"),), "r/z/s"),)


def test_8_4_1_labels_of_the_metadata_win_over_those_of_the_spec() -> None:
    found = endpoints(
        SELECTING, workload("w1", "10.0.0.1", "{app: a, version: v1}", metadata=", labels: {version: v2}")
    )
    assert found[0].labels == (("app", "a"), ("version", "v2"))


POD = """
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: default, labels: {app: a}}
spec: {containers: [{name: c}]}
status: {podIP: 10.0.1.1, phase: Running}
"""


def test_11_7_pods_count_for_mesh_internal_entries() -> None:
    assert [e.address for e in endpoints(SELECTING, POD)] == ["10.0.1.1"]
    assert endpoints(SELECTING.replace("MESH_INTERNAL", "MESH_EXTERNAL"), POD) == ()


def test_11_3_a_name_among_static_endpoints_is_left_out_with_a_finding() -> None:
    found = compiled(SELECTING, workload("w1", "vm.example.com", "{app: a}"))
    assert found.call("http://x.test/") == "503 UH"
    assert 'endpoint "vm.example.com" of svc.test is left out' in found.findings("GWD0104")[0]


def test_11_2_none_with_a_selector_has_what_the_selector_picks() -> None:
    body = "resolution: NONE, location: MESH_INTERNAL, workloadSelector: {labels: {app: a}}"
    found = compiled(service(body), workload("w1", "10.0.0.1", "{app: a}"))
    assert found.call("http://x.test/") == "svc.test:80"
    assert found.cluster("outbound|80||svc.test").discovery == STATIC


def test_11_7_names_of_workload_entries_are_resolved_where_dns_is_asked_for() -> None:
    body = "resolution: DNS, workloadSelector: {labels: {app: a}}"
    found = endpoints(service(body), workload("w1", "vm.example.com", "{app: a}", more=", ports: {http: 81}"))
    assert found == (EndpointSpec("vm.example.com", 81, labels=(("app", "a"),)),)


def test_11_7_a_selector_that_picks_nobody_leaves_no_endpoint_not_even_the_host() -> None:
    found = compiled(service("resolution: DNS, workloadSelector: {labels: {app: a}}"))
    assert found.call("http://x.test/") == "503 UH"


def test_11_9_11_10_location_and_addresses_change_nothing() -> None:
    plain = "resolution: STATIC, endpoints: [{address: 10.0.0.1}]"
    expected = endpoints(service(plain))
    assert expected == (EndpointSpec("10.0.0.1", 80),)
    for more in ("location: MESH_INTERNAL", "location: MESH_EXTERNAL", "addresses: [240.0.0.9, 10.1.0.0/16]"):
        found = compiled(service(f"{plain}, {more}"))
        assert found.cluster("outbound|80||svc.test").endpoints == expected
        assert found.findings("GWD0014") == []


@pytest.mark.parametrize("mode", ["REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"])
def test_11_13_outbound_traffic_policy_changes_nothing_at_a_gateway(mode: str) -> None:
    """What no route names is not found, and a destination nobody declares is 503, in every mode."""
    mesh = msgspec.convert({"outboundTrafficPolicy": {"mode": mode}}, MeshConfig)
    routes = virtual_service(f"- {to('nobody.test')}", hosts="[a.test]")
    found = compile_yaml("---".join([EDGE, routes, entry("svc.test")]), mesh=mesh)
    assert found.call("http://a.test/") == "503 NC"
    assert found.call("http://svc.test/") == "404"
    assert found.call("http://anywhere.test/") == "404"


def test_11_11_the_protocol_decides_and_the_ports_name_does_not() -> None:
    body = "resolution: STATIC, endpoints: [{address: 10.0.0.1}]"

    def protocol(port: str) -> str:
        return compiled(service(body, f"[{port}]")).cluster("outbound|80||svc.test").protocol

    assert protocol("{number: 80, name: http2-x}") == "http/1.1"
    assert protocol("{number: 80, name: x, protocol: HTTP2}") == "h2"
    assert protocol("{number: 80, name: x, protocol: grpc}") == "h2"
    assert protocol("{number: 80, name: x, protocol: TCP}") == "http/1.1"


OLD = '2024-01-01T00:00:00Z"'
NEW = '2024-01-02T00:00:00Z"'


def at(address: str, namespace: str, created: str = "", **more: str) -> str:
    text = entry("svc.test", namespace=namespace, **more).replace("10.0.0.1", address)
    return text.replace("metadata: {", f'metadata: {{creationTimestamp: "{created}, ') if created else text


def test_11_16_the_first_by_namespace_supplies_the_endpoints_at_equal_age() -> None:
    """Recorded: golden 11, same-host-two-namespaces; the VirtualService lives in the other namespace."""
    found = compiled(at("10.0.0.2", "default"), at("10.0.0.1", "aaa"))
    assert found.endpoints("outbound|80||svc.test") == ["10.0.0.1:8080"]


def test_11_16_the_oldest_supplies_the_endpoints() -> None:
    found = compiled(at("10.0.0.2", "zzz", OLD), at("10.0.0.1", "aaa", NEW))
    assert found.endpoints("outbound|80||svc.test") == ["10.0.0.2:8080"]


def test_11_16_entries_of_one_namespace_add_their_ports() -> None:
    second = entry("svc.test", port=81, name="second").replace("10.0.0.1", "10.0.0.2")
    text = "---".join(
        [
            EDGE,
            at("10.0.0.1", "default"),
            second,
            virtual_service("- route: [{destination: {host: svc.test, port: {number: 81}}}]"),
        ]
    )
    assert compile_yaml(text).endpoints("outbound|81||svc.test") == ["10.0.0.2:8080"]


def test_11_16_entries_of_other_namespaces_do_not() -> None:
    elsewhere = entry("svc.test", port=81, namespace="zzz")
    text = "---".join(
        [
            EDGE,
            at("10.0.0.1", "default"),
            elsewhere,
            virtual_service("- route: [{destination: {host: svc.test, port: {number: 81}}}]"),
        ]
    )
    assert compile_yaml(text).call("http://x.test/") == "503 NC"


def test_11_16_a_kubernetes_service_beats_an_entry() -> None:
    kube = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, creationTimestamp: "2024-02-01T00:00:00Z"}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: cart, namespace: shop}
subsets: [{addresses: [{ip: 10.9.9.9}], ports: [{port: 1}]}]
"""
    host = "cart.shop.svc.cluster.local"
    found = compiled(entry(host, namespace="aaa"), kube, host=host)
    assert found.endpoints(f"outbound|80||{host}") == ["10.9.9.9:1"]


def test_1_10_a_service_that_is_not_exported_here_is_unknown() -> None:
    hidden = entry("svc.test").replace("spec:\n", 'spec:\n  exportTo: ["."]\n')
    named = entry("svc.test").replace("spec:\n", "spec:\n  exportTo: [istio-system]\n")
    assert compiled(hidden).call("http://x.test/") == "503 NC"
    assert compiled(named).call("http://x.test/") == "svc.test:80"


def test_11_16_a_service_exported_to_the_proxy_by_name_comes_before_public_ones() -> None:
    public = at("10.0.0.1", "aaa")
    named = at("10.0.0.2", "zzz").replace("spec:\n", "spec:\n  exportTo: [istio-system]\n")
    assert compiled(public, named).endpoints("outbound|80||svc.test") == ["10.0.0.2:8080"]


def test_static_endpoints_with_one_address_and_port_count_once() -> None:
    body = "resolution: STATIC, endpoints: [{address: 10.0.0.1, labels: {a: b}}, {address: 10.0.0.1}]"
    assert endpoints(service(body)) == (EndpointSpec("10.0.0.1", 80, 1, (("a", "b"),)),)
