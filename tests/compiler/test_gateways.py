"""Which servers are served, where, and how they merge: semantics 2.1, 2.3 to 2.6."""

from __future__ import annotations

import pytest

from tests.compiler.support import (
    BASE,
    SERVICES,
    Compiled,
    compile_yaml,
    gateway,
    routes_of,
    to,
    virtual_service,
)

LABELS = {"istio": "ingressgateway", "app": "edge"}


def http(port: int = 80, hosts: str = '["*"]', more: str = "", protocol: str = "HTTP", name: str = "") -> str:
    named = name or f"p{port}"
    return f"{{port: {{number: {port}, name: {named}, protocol: {protocol}}}, hosts: {hosts}{more}}}"


def serve(*gateways: str, **options: object) -> Compiled:
    """The gateways, with a VirtualService for everything on each of them."""
    names = ["istio-system/a", "istio-system/b", "team/a"]
    everything = virtual_service(f"- {to('alpha.test')}", gateways=f"[{', '.join(names)}]")
    return compile_yaml("---".join([*gateways, SERVICES, everything]), **options)


def binds(compiled: Compiled) -> list[tuple[tuple[str, int], ...]]:
    return [listener.bind for listener in compiled.snapshot.listeners]


@pytest.mark.parametrize(
    ("selector", "served"),
    [
        ("{}", True),
        ("{istio: ingressgateway}", True),
        ("{istio: ingressgateway, app: edge}", True),
        ("{istio: ingressgateway, app: other}", False),
        ("{istio: egressgateway}", False),
    ],
)
def test_2_1_1_every_selector_label_must_be_on_the_proxy(selector: str, served: bool) -> None:
    compiled = serve(gateway("a", http(), selector=selector), labels=LABELS)
    assert bool(compiled.snapshot.listeners) is served
    assert bool(compiled.findings("GWD0105")) is not served


def test_2_1_1_without_labels_every_gateway_is_served_and_a_finding_says_so() -> None:
    compiled = serve(gateway("a", http(), selector="{istio: anything}"))
    assert compiled.call("http://x.test/") == "alpha.test:80"
    assert compiled.findings("GWD0101") == [
        "info: this proxy has no labels, so every Gateway is served whatever its selector"
    ]
    assert serve(gateway("a", http())).findings("GWD0101") == []


def test_2_1_2_gateways_of_every_namespace_count() -> None:
    compiled = serve(gateway("a", http(8080), namespace="team"), labels=LABELS)
    assert compiled.call("http://x.test:8080/") == "alpha.test:80"


def test_2_3_2_http_like_servers_of_one_port_merge() -> None:
    compiled = serve(
        gateway("a", http(80, "[a.test]"), http(80, "[g.test]", protocol="GRPC", name="g")),
        gateway("b", http(80, "[b.test]", protocol="http2")),
    )
    (listener,) = compiled.snapshot.listeners
    assert listener.gateways == (
        ("istio-system", "a", 0),
        ("istio-system", "a", 1),
        ("istio-system", "b", 0),
    )
    for host in ("a.test", "g.test", "b.test"):
        assert compiled.call(f"http://{host}/") == "alpha.test:80"


def test_2_3_2_tcp_cannot_share_a_port_with_http_and_the_first_wins() -> None:
    compiled = serve(gateway("a", http(80)), gateway("b", http(80, protocol="TCP")))
    assert compiled.call("http://x.test/") == "alpha.test:80"
    (finding,) = compiled.findings("IST0145")
    assert (
        "server 0 of Gateway istio-system/b is left out: port 80 is HTTP of Gateway istio-system/a" in finding
    )

    compiled = serve(gateway("a", http(80, protocol="TCP")), gateway("b", http(80)))
    assert compiled.call("http://x.test/") == "refused"
    assert len(compiled.findings("IST0145")) == 1


def test_2_3_1_the_oldest_gateway_claims_the_port() -> None:
    newer = ', creationTimestamp: "2024-01-02T00:00:00Z"'
    older = ', creationTimestamp: "2024-01-01T00:00:00Z"'
    compiled = serve(
        gateway("a", http(80, protocol="TCP"), metadata=newer), gateway("b", http(80), metadata=older)
    )
    assert compiled.call("http://x.test/") == "alpha.test:80"


def test_2_3_3_two_plain_tcp_servers_never_merge() -> None:
    compiled = serve(gateway("a", http(80, protocol="TCP")), gateway("b", http(80, protocol="TCP")))
    assert len(compiled.findings("IST0145")) == 1


TLS = ", tls: {mode: SIMPLE, credentialName: c}"


def test_2_3_4_2_3_5_tls_servers_stand_side_by_side_unless_a_host_is_taken() -> None:
    compiled = serve(
        gateway("a", http(443, '["*.x.test"]', TLS, "HTTPS")),
        gateway("b", http(443, "[a.x.test]", TLS, "HTTPS"), http(443, '["*.x.test"]', TLS, "TLS", "t")),
    )
    (finding,) = compiled.findings("IST0145")
    assert 'server 1 of Gateway istio-system/b is left out: host "*.x.test" is already served' in finding


def test_2_3_7_different_binds_are_different_listeners() -> None:
    compiled = compile_yaml(
        gateway("a", http(80, more=", bind: 127.0.0.1"))
        + "---"
        + gateway("b", http(80, more=", bind: 127.0.0.2"))
        + f"---{SERVICES}---"
        + virtual_service(f"- {to('alpha.test')}", name="a", gateways="[istio-system/a]")
        + "---"
        + virtual_service(f"- {to('beta.test')}", name="b", gateways="[istio-system/b]")
    )
    assert binds(compiled) == [(("127.0.0.1", 80),), (("127.0.0.2", 80),)]
    hosts = [routes_of(listener).virtual_hosts[0] for listener in compiled.snapshot.listeners]
    names = [host.rules[0].route.destinations[0].cluster_name for host in hosts]
    assert names == ["outbound|80||alpha.test", "outbound|80||beta.test"]


def test_2_3_7_without_bind_every_address_of_both_families() -> None:
    assert binds(serve(gateway("a", http(80)))) == [(("0.0.0.0", 80), ("::", 80))]
    assert binds(serve(gateway("a", http(80)), bind=("127.0.0.1",))) == [(("127.0.0.1", 80),)]
    assert serve(gateway("a", http(80))).snapshot.listeners[0].name == "0.0.0.0_80"


def test_2_3_8_a_unix_socket() -> None:
    compiled = serve(gateway("a", http(0, more=", bind: 'unix:///run/edge.sock'")))
    assert binds(compiled) == [(("unix:/run/edge.sock", 0),)]
    assert compiled.snapshot.listeners[0].name == "unix:/run/edge.sock"


def test_2_3_9_plain_servers_of_one_port_share_one_route_table() -> None:
    compiled = compile_yaml(
        gateway("a", http(80, "[a.test, both.test]"))
        + "---"
        + gateway("b", http(80, "[b.test, both.test]"))
        + f"---{SERVICES}---"
        + virtual_service(
            f"- match: [{{uri: {{prefix: /a}}}}]\n  {to('alpha.test')}",
            name="a",
            hosts='["*"]',
            gateways="[istio-system/a]",
        )
        + "---"
        + virtual_service(f"- {to('beta.test')}", name="b", hosts='["*"]', gateways="[istio-system/b]")
    )
    assert compiled.call("http://a.test/a") == "alpha.test:80"
    assert compiled.call("http://b.test/a") == "beta.test:80"
    assert compiled.call("http://both.test/a") == "alpha.test:80"
    assert compiled.call("http://both.test/x") == "beta.test:80"


def test_port_map_and_offset_change_the_bind_and_nothing_routes_see() -> None:
    rules = f"- match: [{{port: 80}}]\n  {to('alpha.test')}\n- match: [{{port: 81}}]\n  {to('beta.test')}"
    compiled = compile_yaml(
        gateway("a", http(80), http(81))
        + f"---{SERVICES}---"
        + virtual_service(rules, gateways="[istio-system/a]"),
        port_map={80: 8080},
        port_offset=10000,
    )
    assert compiled.call("http://x.test:8080/") == "alpha.test:80"
    assert compiled.call("http://x.test:10081/") == "beta.test:80"
    assert [listener.port for listener in compiled.snapshot.listeners] == [80, 81]


def test_two_server_ports_mapped_to_one_are_an_error_and_the_first_stays() -> None:
    compiled = serve(gateway("a", http(80), http(81)), port_map={80: 8080, 81: 8080})
    assert len(compiled.snapshot.listeners) == 1
    (finding,) = compiled.findings("GWD0103")
    assert "port 81 comes to 0.0.0.0:8080, which port 80 of Gateway istio-system/a has already" in finding


def test_2_5_1_a_server_without_virtual_services_listens_and_answers_404() -> None:
    compiled = compile_yaml(gateway("a", http(80)))
    assert compiled.call("http://x.test/") == "404"
    (finding,) = compiled.findings("GWD0105")
    assert finding.endswith("no VirtualService is bound to Gateway istio-system/a: its ports answer 404")


# -- 2.6 httpsRedirect ---------------------------------------------------------------------------------

REDIRECT = ", tls: {httpsRedirect: true}"


def test_2_6_1_2_6_6_every_path_is_redirected_before_routes_are_looked_at() -> None:
    compiled = serve(gateway("a", http(80, more=REDIRECT)))
    assert compiled.call("http://x.test/anything?q=1") == "301 https"


def test_2_6_2_the_test_is_on_the_scheme_the_request_came_by() -> None:
    compiled = serve(gateway("a", http(80, more=REDIRECT)))
    assert compiled.call("http://x.test/", scheme="https") == "alpha.test:80"


def test_2_6_3_also_without_any_virtual_service() -> None:
    compiled = compile_yaml(gateway("a", http(80, "[a.test, ./b.test]", REDIRECT)))
    assert compiled.call("http://a.test/") == "301 https"
    assert compiled.call("http://b.test/") == "301 https"
    assert compiled.call("http://c.test/") == "404"
    assert compiled.call("http://a.test/", scheme="https") == "404"
    assert compiled.findings("GWD0105") == []


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_2_6_4_it_sticks_to_host_and_port_for_routes_of_other_gateways(order: str) -> None:
    plain, redirecting = order
    compiled = compile_yaml(
        "---".join(
            [
                gateway(redirecting, http(80, "[a.test]", REDIRECT)),
                gateway(plain, http(80, "[a.test, b.test]"), http(81, "[a.test]")),
                SERVICES,
                virtual_service(
                    f"- {to('alpha.test')}", hosts="[a.test, b.test]", gateways=f"[istio-system/{plain}]"
                ),
            ]
        )
    )
    assert compiled.call("http://a.test/") == "301 https"
    assert compiled.call("http://b.test/") == "alpha.test:80"
    assert compiled.call("http://a.test:81/") == "alpha.test:80"


# -- 2.1.3 the Service in front of the gateway ----------------------------------------------------------


def front(
    ports: str, name: str = "front", selector: str = "{istio: ingressgateway}", metadata: str = ""
) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: istio-system{metadata}}}
spec:
  selector: {selector}
  ports: {ports}
"""


def test_2_1_3_the_listener_binds_the_target_port_and_2_1_4_routes_see_the_servers() -> None:
    rules = f"- match: [{{port: 80}}]\n  {to('alpha.test')}\n- match: [{{port: 8080}}]\n  {to('beta.test')}"
    compiled = compile_yaml(
        "---".join(
            [
                gateway("a", http(80)),
                front("[{name: http, port: 80, targetPort: 8080}]"),
                SERVICES,
                virtual_service(rules, gateways="[istio-system/a]"),
            ]
        ),
        labels=LABELS,
    )
    assert compiled.call("http://x.test:8080/") == "alpha.test:80"
    assert compiled.call("http://x.test/") == "refused"


@pytest.mark.parametrize(
    ("service", "port"),
    [
        (front("[{name: http, port: 81, targetPort: 8080}]"), 80),  # no such Service port
        (front("[{name: http, port: 80, targetPort: 8080}]", selector="{istio: other}"), 80),
        (front("[{name: http, port: 80, targetPort: 8080}]", selector="{}"), 80),
        (front("[{name: http, port: 80}]"), 80),
        (front("[{name: http, port: 80, targetPort: web}]"), 8443),  # named: see the Pod
        (
            front(
                "[{name: http, port: 80, targetPort: 8080}]",
                metadata=", labels: {experimental.istio.io/disable-gateway-port-translation: 'true'}",
            ),
            80,
        ),
    ],
)
def test_2_1_3_2_1_5_when_the_number_itself_is_bound(service: str, port: int) -> None:
    pod = """
apiVersion: v1
kind: Pod
metadata: {name: edge-1, namespace: istio-system, labels: {istio: ingressgateway, app: edge}}
spec: {containers: [{name: proxy, ports: [{name: web, containerPort: 8443}]}]}
"""
    compiled = serve(gateway("a", http(80)), service, pod, labels=LABELS)
    assert [listener.bind[0][1] for listener in compiled.snapshot.listeners] == [port]


def test_2_1_3_of_several_services_the_first_by_age_decides() -> None:
    compiled = serve(
        gateway("a", http(80)),
        front(
            "[{name: http, port: 80, targetPort: 9001}]",
            name="a",
            metadata=', creationTimestamp: "2024-01-02T00:00:00Z"',
        ),
        front(
            "[{name: http, port: 80, targetPort: 9002}]",
            name="b",
            metadata=', creationTimestamp: "2024-01-01T00:00:00Z"',
        ),
        labels=LABELS,
    )
    assert [listener.bind[0][1] for listener in compiled.snapshot.listeners] == [9002]


def test_2_1_3_without_labels_nothing_is_translated() -> None:
    compiled = serve(gateway("a", http(80)), front("[{name: http, port: 80, targetPort: 8080}]"))
    assert [listener.bind[0][1] for listener in compiled.snapshot.listeners] == [80]


def test_2_1_3_inline_endpoint_labels_of_a_service_entry_select_no_gateway() -> None:
    """Recorded: golden 02, gateway-service-target-port."""
    service = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: front, namespace: istio-system}
spec:
  hosts: [gw.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, targetPort: 8080, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, labels: {istio: ingressgateway}}]
"""
    compiled = serve(gateway("a", http(80)), service, labels=LABELS)
    assert [listener.bind[0][1] for listener in compiled.snapshot.listeners] == [80]


def test_2_1_3_a_generated_gateway_names_its_services_and_has_no_other_ports() -> None:
    services = front("[{name: http, port: 80, targetPort: 8080}]", selector="{}")
    named = ', annotations: {"internal.istio.io/gateway-service": front.istio-system.svc.cluster.local}'
    compiled = serve(gateway("a", http(80), http(82), metadata=named), services, labels=LABELS)
    assert [listener.bind[0][1] for listener in compiled.snapshot.listeners] == [8080]
    assert len(compiled.findings("IST0104")) == 1


def test_listeners_carry_the_settings_of_the_mesh() -> None:
    from gatewayd.resources.mesh_config import MeshConfig, PathNormalization

    mesh = MeshConfig(path_normalization=PathNormalization(normalization="MERGE_SLASHES"))
    compiled = compile_yaml(BASE, mesh=mesh)
    assert compiled.snapshot.listeners[0].chains[0].options.path_normalization == "MERGE_SLASHES"
    assert compile_yaml(BASE).snapshot.listeners[0].chains[0].options.path_normalization == "BASE"
