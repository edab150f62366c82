"""Kubernetes Services and their endpoints: semantics 12, 9.13, 11.8."""

from __future__ import annotations

import pytest

from gatewayd.compiler.protocols import of_service_port, parse
from gatewayd.upstream.spec import EndpointSpec
from tests.compiler.support import EDGE, Compiled, compile_yaml, entry, to, virtual_service

HOST = "cart.default.svc.cluster.local"


def service(
    ports: str = "[{name: http, port: 80}]", more: str = "", name: str = "cart", metadata: str = ""
) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default{metadata}}}
spec: {{ports: {ports}{more}}}
"""


def endpoint_slice(
    endpoints: str,
    ports: str = "[{name: http, port: 8080}]",
    name: str = "cart-1",
    address_type: str = "IPv4",
) -> str:
    return f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: default, labels: {{kubernetes.io/service-name: cart}}}}
addressType: {address_type}
ports: {ports}
endpoints: {endpoints}
"""


def pod(name: str, ip: str, labels: str = "{app: cart}", more: str = "") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {labels}}}
spec: {{containers: [{{name: c, ports: [{{name: web, containerPort: 8081}}]}}]}}
status: {{podIP: {ip}, phase: Running{more}}}
"""


ONE = "[{addresses: [10.0.0.1]}]"


def compiled(*documents: str, host: str = "cart", **options: object) -> Compiled:
    return compile_yaml("---".join([EDGE, virtual_service(f"- {to(host)}"), *documents]), **options)


def endpoints(*documents: str) -> list[str]:
    return [f"{e.address}:{e.port}" for e in compiled(*documents).cluster(f"outbound|80||{HOST}").endpoints]


def test_12_1_the_host_of_a_service() -> None:
    assert compiled(service(), endpoint_slice(ONE)).call("http://x.test/") == f"{HOST}:80"
    other = compiled(service(), endpoint_slice(ONE), cluster_domain="example.local")
    assert other.call("http://x.test/") == "cart.default.svc.example.local:80"


@pytest.mark.parametrize(
    ("number", "name", "transport", "app_protocol", "protocol"),
    [
        (80, "http", "TCP", "", "HTTP"),
        (80, "HTTP-web", "TCP", "", "HTTP"),
        (80, "http2", "TCP", "", "HTTP2"),
        (80, "grpc-x", "TCP", "", "GRPC"),
        (80, "grpc-web", "TCP", "", "GRPC-WEB"),
        (80, "grpc-web-x", "TCP", "", "GRPC-WEB"),
        (80, "https-x", "TCP", "", "HTTPS"),
        (80, "httpx", "TCP", "", ""),
        (80, "", "TCP", "", ""),
        (80, "tcp", "TCP", "http", "HTTP"),
        (80, "x", "TCP", "kubernetes.io/h2c", "HTTP2"),
        (80, "x", "TCP", "kubernetes.io/ws", "HTTP"),
        (80, "x", "TCP", "kubernetes.io/wss", "HTTPS"),
        (80, "http", "UDP", "", "UDP"),
        (3306, "x", "TCP", "", "TCP"),
        (3306, "http", "TCP", "", "HTTP"),
    ],
)
def test_12_2_12_3_the_protocol_of_a_port(
    number: int, name: str, transport: str, app_protocol: str, protocol: str
) -> None:
    assert of_service_port(number, name, transport, app_protocol) == protocol


def test_2_4_1_protocol_words_are_case_insensitive() -> None:
    assert parse("Grpc-Web") == "GRPC-WEB"
    assert parse("quic") == ""


@pytest.mark.parametrize(("name", "protocol"), [("http", "http/1.1"), ("grpc", "h2"), ("x", "http/1.1")])
def test_12_4_the_upstream_protocol(name: str, protocol: str) -> None:
    found = compiled(
        service(f"[{{name: {name}, port: 80}}]"), endpoint_slice(ONE, f"[{{name: {name}, port: 1}}]")
    )
    assert found.cluster(f"outbound|80||{HOST}").protocol == protocol


def test_12_5_a_slices_number_is_final_and_names_are_matched() -> None:
    assert endpoints(service("[{name: http, port: 80, targetPort: 9}]"), endpoint_slice(ONE)) == [
        "10.0.0.1:8080"
    ]
    assert endpoints(service(), endpoint_slice(ONE, "[{name: other, port: 8080}]")) == []
    assert endpoints(service("[{port: 80}]"), endpoint_slice(ONE, "[{port: 8080}]")) == ["10.0.0.1:8080"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [("", 80), (", targetPort: 9", 9), (", targetPort: web", 8081), (", targetPort: none", None)],
)
def test_12_5_with_pods_only_the_target_port_decides(target: str, expected: int | None) -> None:
    found = endpoints(
        service(f"[{{name: http, port: 80{target}}}]", ", selector: {app: cart}"),
        pod("p1", "10.0.0.1"),
        pod("p2", "10.0.0.2", "{app: other}"),
    )
    assert found == ([f"10.0.0.1:{expected}"] if expected else [])


def test_12_6_a_headless_service_is_balanced_like_any_other() -> None:
    headless = service(more=", clusterIP: None")
    assert compiled(headless, endpoint_slice(ONE)).call("http://x.test/") == f"{HOST}:80"


def test_12_7_legacy_endpoints_are_read_too() -> None:
    legacy = """
apiVersion: v1
kind: Endpoints
metadata: {name: cart, namespace: default}
subsets:
- addresses: [{ip: 10.0.0.1}]
  notReadyAddresses: [{ip: 10.0.0.2}]
  ports: [{name: http, port: 8080}]
"""
    spec = compiled(service(), legacy).cluster(f"outbound|80||{HOST}")
    assert spec.endpoints == (
        EndpointSpec("10.0.0.1", 8080),
        EndpointSpec("10.0.0.2", 8080, ready=False),
    )
    mirrored = compiled(service(), legacy, endpoint_slice(ONE)).cluster(f"outbound|80||{HOST}")
    assert len(mirrored.endpoints) == 2


def test_12_7_an_address_counts_once_per_port_name_whatever_its_number() -> None:
    second = endpoint_slice(ONE, "[{name: http, port: 9090}]", name="cart-2")
    assert endpoints(service(), endpoint_slice(ONE), second) == ["10.0.0.1:8080"]


def test_12_7_fqdn_slices_are_ignored() -> None:
    assert endpoints(service(), endpoint_slice("[{addresses: [a.b]}]", address_type="FQDN")) == []


def test_12_7_8_4_1_labels_come_from_the_pod_behind_an_address() -> None:
    text = endpoint_slice(
        "[{addresses: [10.0.0.1], targetRef: {kind: Pod, name: p1}}, "
        "{addresses: [10.0.0.2], targetRef: {kind: Pod, name: unknown}}, {addresses: [10.0.0.3]}]"
    )
    found = compiled(service(), text, pod("p1", "10.0.0.1", "{version: v1}"))
    spec = found.cluster(f"outbound|80||{HOST}")
    assert [dict(e.labels) for e in spec.endpoints] == [{"version": "v1"}, {}, {}]


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        ("{}", True),
        ("{ready: true}", True),
        ("{ready: false}", None),
        ("{ready: false, terminating: true, serving: true}", None),
        ("{ready: false, terminating: false}", False),
    ],
)
def test_9_13_readiness(conditions: str, ready: bool | None) -> None:
    text = endpoint_slice(f"[{{addresses: [10.0.0.1], conditions: {conditions}}}]")
    spec = compiled(service(), text).cluster(f"outbound|80||{HOST}")
    assert [endpoint.ready for endpoint in spec.endpoints] == ([] if ready is None else [ready])


@pytest.mark.parametrize(
    ("status", "usable"),
    [
        ("", ["10.0.0.1:80"]),
        (", conditions: [{type: Ready, status: 'True'}]", ["10.0.0.1:80"]),
        (", conditions: [{type: Ready, status: 'False'}]", []),
        (", conditions: [{type: Initialized, status: 'False'}]", ["10.0.0.1:80"]),
    ],
)
def test_9_13_readiness_of_pods(status: str, usable: list[str]) -> None:
    found = compiled(service(more=", selector: {app: cart}"), pod("p", "10.0.0.1", more=status))
    assert found.endpoints(f"outbound|80||{HOST}") == usable


def test_pods_that_ended_have_no_endpoints() -> None:
    done = pod("p", "10.0.0.1").replace("Running", "Succeeded")
    assert endpoints(service(more=", selector: {app: cart}"), done) == []


def test_pods_do_not_count_where_slices_speak() -> None:
    found = endpoints(service(more=", selector: {app: cart}"), endpoint_slice(ONE), pod("p", "10.0.0.9"))
    assert found == ["10.0.0.1:8080"]


def test_11_8_a_selector_also_selects_workload_entries_with_addresses() -> None:
    def workload(name: str, address: str) -> str:
        return f"""
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: default}}
spec: {{address: {address}, labels: {{app: cart}}, ports: {{http: 7}}}}
"""

    found = endpoints(
        service(more=", selector: {app: cart}"), workload("a", "10.0.0.1"), workload("b", "vm.example.com")
    )
    assert found == ["10.0.0.1:7"]


def alias(name: str, target: str) -> str:
    return service(more=f", type: ExternalName, externalName: {target}", name=name)


def test_12_8_external_names_are_aliases_that_may_chain() -> None:
    target = entry("svc.test")
    chain = [alias("cart", "second.default.svc.cluster.local"), alias("second", "svc.test")]
    found = compiled(*chain, target)
    assert found.call("http://x.test/") == "svc.test:80"
    assert list(found.snapshot.clusters) == ["outbound|80||svc.test"]


def test_12_8_the_port_stays_the_one_asked_for() -> None:
    rule = virtual_service("- route: [{destination: {host: cart, port: {number: 81}}}]")
    text = "---".join(
        [EDGE, alias("cart", "svc.test"), entry("svc.test"), entry("svc.test", 81, name="b"), rule]
    )
    assert compile_yaml(text).call("http://x.test/") == "svc.test:81"


def test_12_8_loops_and_unknown_targets_are_unknown() -> None:
    assert compiled(alias("cart", HOST)).call("http://x.test/") == "503 NC"
    loop = [alias("cart", "b.default.svc.cluster.local"), alias("b", HOST)]
    found = compiled(*loop, unknown_hosts="dns")
    assert found.call("http://x.test/") == "503 NC"
    assert "leads back to itself" in found.findings("IST0101")[0]
    assert compiled(alias("cart", "api.example.com")).call("http://x.test/") == "503 NC"


def test_an_alias_of_an_undeclared_host_is_resolved_by_dns() -> None:
    found = compiled(alias("cart", "api.example.com"), unknown_hosts="dns")
    assert found.endpoints("outbound|80||api.example.com") == ["api.example.com:80"]


@pytest.mark.parametrize(
    ("export_to", "outcome"), [(".", "503 NC"), ("istio-system,other", f"{HOST}:80"), ("*", f"{HOST}:80")]
)
def test_12_10_the_export_annotation(export_to: str, outcome: str) -> None:
    metadata = f", annotations: {{networking.istio.io/exportTo: '{export_to}'}}"
    assert compiled(service(metadata=metadata), endpoint_slice(ONE)).call("http://x.test/") == outcome


def test_6_1_3_known_but_without_endpoints() -> None:
    found = compiled(service(), endpoint_slice("[]"))
    assert found.call("http://x.test/") == "503 UH"
    assert found.findings("GWD0102") == [
        "warning VirtualService default/routes spec.http[0].route[0].destination.host: "
        f'"{HOST}" has no endpoints for port 80, so its requests get 503'
    ]
