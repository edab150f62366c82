"""``tcp`` blocks: the one route of a TCP server. Semantics 2.3.6, 2.4.3, 2.5.3, 7.6 to 7.11."""

from __future__ import annotations

from collections import Counter

import pytest

from gatewayd.routing.l4 import TcpRoute
from tests.compiler.support import SERVICES, Compiled, compile_yaml, gateway, server, to, virtual_service

AGED = ', creationTimestamp: "2024-01-0{}T00:00:00Z"'


def tcp(rules: str, name: str = "routes", **more: str) -> str:
    return virtual_service(rules, name=name, block="tcp", **more)


def serve(*documents: str, servers: tuple[str, ...] = (), **options: object) -> Compiled:
    edge = gateway("edge", *(servers or (server(9000, "TCP"),)))
    return compile_yaml("---".join([edge, SERVICES, *documents]), **options)


def route(compiled: Compiled, port: int = 9000) -> TcpRoute:
    chain = compiled.chain(port)
    assert chain is not None
    assert chain.tcp is not None
    return chain.tcp


# -- which rule ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["TCP", "tcp", "MONGO", "REDIS", "MySQL"])
def test_2_4_3_every_protocol_that_is_not_http_is_plain_tcp(protocol: str) -> None:
    compiled = serve(tcp(f"- {to('alpha.test')}"), servers=(server(9000, protocol),))
    assert compiled.connect(9000) == "alpha.test:80"
    listener = compiled.listener(9000)
    assert listener is not None
    assert listener.protocol == "TCP"
    (chain,) = listener.chains
    assert (chain.tls, chain.routes, chain.server_names) == (None, None, ())


def test_7_6_a_rule_is_for_its_port_and_a_port_without_rule_is_closed() -> None:
    """Recorded: golden 07, tcp-match-port-first-wins."""
    compiled = serve(
        tcp(
            f"- match: [{{port: 9000}}]\n  {to('alpha.test')}\n"
            f"- match: [{{port: 9001}}]\n  {to('beta.test')}\n"
            f"- match: [{{port: 9002}}]\n  {to('who.test')}"
        ),
        servers=tuple(server(port, "TCP") for port in (9000, 9001, 9002, 9003)),
    )
    assert [compiled.connect(port) for port in (9000, 9001, 9002, 9003)] == [
        "alpha.test:80",
        "beta.test:80",
        "503 NC",
        "refused",
    ]
    assert compiled.findings("GWD0105") == [
        "warning Gateway istio-system/edge spec.servers[3]: no tcp rule of a VirtualService routes server 3 of "
        "Gateway istio-system/edge, so nothing listens for it"
    ]
    (unknown,) = compiled.findings("IST0101")
    assert unknown.startswith("error VirtualService default/routes spec.tcp[2].route[0].destination.host: ")
    assert unknown.endswith(
        "declared by no Service or ServiceEntry this proxy sees: its connections are closed"
    )


def test_7_6_one_condition_that_holds_is_enough() -> None:
    rules = f"- match: [{{port: 1}}, {{port: 9000}}]\n  {to('alpha.test')}\n- {to('beta.test')}"
    assert serve(tcp(rules)).connect(9000) == "alpha.test:80"


@pytest.mark.parametrize(
    ("listed", "met"), [("istio-system/edge", "alpha.test:80"), ("other", "beta.test:80")]
)
def test_7_1_gateways_of_a_match(listed: str, met: str) -> None:
    rules = f"- match: [{{gateways: [{listed}]}}]\n  {to('alpha.test')}\n- {to('beta.test')}"
    assert serve(tcp(rules)).connect(9000) == met


def test_7_6_a_match_names_gateways_as_its_own_namespace_sees_them() -> None:
    rules = f"- match: [{{gateways: [edge]}}]\n  {to('alpha.test.default')}\n- {to('beta.test')}"
    compiled = serve(tcp(rules, namespace="istio-system"), unknown_hosts="dns")
    assert compiled.connect(9000).startswith("alpha.test.default")


def test_7_6_of_two_virtual_services_the_first_by_name_provides_the_route() -> None:
    """Recorded: golden 07, tcp-two-virtual-services."""
    compiled = serve(tcp(f"- {to('beta.test')}", "bbb"), tcp(f"- {to('alpha.test')}", "aaa"))
    assert compiled.connect(9000) == "alpha.test:80"
    (finding,) = compiled.findings("IST0130")
    assert finding.startswith(
        "warning VirtualService default/bbb spec.tcp[0]: tcp[0] can never match: tcp[0] of "
    )
    assert "VirtualService default/aaa" in finding


def test_7_6_the_oldest_and_the_private_one_go_before() -> None:
    old = tcp(f"- {to('alpha.test')}", "zzz", metadata=AGED.format(1))
    new = tcp(f"- {to('beta.test')}", "aaa", metadata=AGED.format(2))
    own = tcp(
        f"- {to('gamma.test')}",
        "own",
        namespace="istio-system",
        metadata=AGED.format(3),
        more='  exportTo: ["."]\n',
    )
    assert serve(old, new).connect(9000) == "alpha.test:80"
    assert serve(old, new, own).connect(9000) == "gamma.test:80"


def test_7_6_a_second_rule_of_one_virtual_service_has_no_effect_and_is_named() -> None:
    compiled = serve(tcp(f"- {to('alpha.test')}\n- {to('beta.test')}"))
    assert compiled.connect(9000) == "alpha.test:80"
    (finding,) = compiled.findings("IST0130")
    assert "spec.tcp[1]: tcp[1] can never match: tcp[0] of VirtualService default/routes" in finding


def test_7_6_a_rule_hidden_on_one_port_that_serves_another_is_no_finding() -> None:
    rules = f"- match: [{{port: 9000}}]\n  {to('alpha.test')}\n- {to('beta.test')}"
    compiled = serve(tcp(rules), servers=(server(9000, "TCP"), server(9001, "TCP")))
    assert (compiled.connect(9000), compiled.connect(9001)) == ("alpha.test:80", "beta.test:80")
    assert compiled.findings("IST0130") == []


@pytest.mark.parametrize(
    ("taken", "hosts", "met"),
    [
        ('["*"]', "[a.test]", True),
        ("[a.test]", '["*.test"]', True),
        ('["*.test"]', "[a.test]", True),
        ("[b.test]", "[a.test]", False),
        ("[other/a.test]", "[a.test]", False),
        ("[default/a.test]", "[a.test]", True),
    ],
)
def test_7_6_hosts_must_overlap_and_mean_nothing_else(taken: str, hosts: str, met: bool) -> None:
    compiled = serve(tcp(f"- {to('alpha.test')}", hosts=hosts), servers=(server(9000, "TCP", taken),))
    assert compiled.connect(9000) == ("alpha.test:80" if met else "refused")
    assert bool(compiled.findings("IST0132")) is not met


def test_2_5_3_a_tcp_server_nothing_is_bound_to_does_not_listen() -> None:
    compiled = serve()
    assert compiled.snapshot.listeners == ()
    assert len(compiled.findings("GWD0105")) == 1


def test_2_3_3_the_first_server_keeps_the_port_even_without_a_route() -> None:
    first = gateway("a", server(9000, "TCP"))
    second = gateway("b", server(9000, "TCP"))
    routes = tcp(f"- {to('alpha.test')}", gateways="[istio-system/b]")
    assert compile_yaml("---".join([first, second, SERVICES, routes])).connect(9000) == "refused"


def test_2_3_7_tcp_and_http_stand_on_one_port_with_different_binds() -> None:
    compiled = serve(
        tcp(f"- {to('alpha.test')}"),
        servers=(
            server(9000, "TCP", more=", bind: 127.0.0.1"),
            server(9000, "HTTP", name="web", more=", bind: 127.0.0.2"),
        ),
    )
    assert [(spec.name, spec.protocol) for spec in compiled.snapshot.listeners] == [
        ("127.0.0.1_9000", "TCP"),
        ("127.0.0.2_9000", "HTTP"),
    ]


def test_a_port_that_nothing_listens_on_is_free_for_another_server() -> None:
    servers = server(9000, "TCP"), server(9001, "HTTP")
    compiled = serve(servers=servers, port_map={9000: 8080, 9001: 8080})
    assert [spec.protocol for spec in compiled.snapshot.listeners] == ["HTTP"]


def test_7_11_behind_terminated_tls_tcp_rules_count_and_tls_rules_do_not() -> None:
    terminating = server(9000, "TLS", "[a.test]", "mode: SIMPLE, credentialName: c")
    both = virtual_service(
        f"- match: [{{sniHosts: [a.test]}}]\n  {to('beta.test')}",
        hosts="[a.test]",
        block="tls",
        more=f"  tcp:\n  - {to('alpha.test')}\n",
    )
    compiled = serve(both, servers=(terminating,))
    assert compiled.connect(9000, "a.test") == "alpha.test:80"
    (finding,) = compiled.findings("GWD0103")
    assert finding.startswith(
        "warning VirtualService default/routes spec.tls: tls of VirtualService default/routes "
    )
    assert finding.endswith(
        "has no effect on its gateways: none of the servers that take its hosts has TLS mode PASSTHROUGH"
    )


# -- where to (7.5, 7.8) --------------------------------------------------------------------------------------


def test_7_8_weights_are_drawn_per_connection_and_0_is_left_out() -> None:
    shares = ", ".join(
        f"{{destination: {{host: {host}.test}}, weight: {weight}}}"
        for host, weight in (("alpha", 20), ("beta", 80), ("gamma", 0))
    )
    made = route(serve(tcp(f"- route: [{shares}]")))
    assert [(d.cluster.host, d.weight) for d in made.destinations] == [("alpha.test", 20), ("beta.test", 80)]
    drawn = Counter(made.pick().cluster.host for _ in range(2000))
    assert set(drawn) == {"alpha.test", "beta.test"}
    assert 250 < drawn["alpha.test"] < 550


def test_7_8_the_weight_of_a_single_destination_means_nothing() -> None:
    made = route(serve(tcp("- route: [{destination: {host: alpha.test}, weight: 7}]")))
    assert [(d.cluster_name, d.weight) for d in made.destinations] == [("outbound|80||alpha.test", 1)]
    assert made.pick() is made.destinations[0]


SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: alpha, namespace: default}
spec: {host: alpha.test, subsets: [{name: v1}]}
"""


def test_7_5_subset_and_port_as_in_http() -> None:
    compiled = serve(tcp(f"- {to('alpha.test', subset='v1', port='{number: 80}')}"), SUBSETS)
    assert compiled.connect(9000) == "alpha.test:80 v1"
    assert serve(tcp(f"- {to('alpha.test', port='{number: 81}')}")).connect(9000) == "503 NC"


def entry(ports: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: db, namespace: default}}
spec: {{hosts: [db.test], resolution: STATIC, ports: [{ports}], endpoints: [{{address: 10.0.0.9}}]}}
"""


def test_6_1_1_without_a_port_the_services_only_one_else_the_servers() -> None:
    one = "{number: 3306, name: tcp, protocol: TCP}"
    assert serve(tcp(f"- {to('db.test')}"), entry(one)).connect(9000) == "db.test:3306"
    two = f"{one}, {{number: 9000, name: tcp-own, protocol: TCP}}"
    assert serve(tcp(f"- {to('db.test')}"), entry(two)).connect(9000) == "db.test:9000"


def test_a_host_nobody_declares_is_reached_on_the_servers_port() -> None:
    compiled = serve(tcp(f"- {to('db.example')}"), servers=(server(3306, "MYSQL"),), unknown_hosts="dns")
    assert compiled.endpoints("outbound|3306||db.example") == ["db.example:3306"]


def test_7_10_a_host_without_endpoints_is_named_as_what_it_is_for_connections() -> None:
    empty = entry("{number: 1, name: tcp, protocol: TCP}").replace(
        "endpoints: [{address: 10.0.0.9}]", "endpoints: []"
    )
    compiled = serve(tcp(f"- {to('db.test')}"), empty)
    assert compiled.connect(9000) == "503 UH"
    (finding,) = compiled.findings("GWD0102")
    assert finding.endswith("so its connections are closed")


def test_the_route_knows_where_it_is_written() -> None:
    source = route(serve(tcp(f"- match: [{{port: 1}}]\n  {to('beta.test')}\n- {to('alpha.test')}"))).source
    assert source is not None
    assert (source.kind, source.namespace, source.name) == ("VirtualService", "default", "routes")
    assert (source.block, source.rule) == ("tcp", 1)
    assert source.line > 0


# -- how long (7.9) -------------------------------------------------------------------------------------------


def rule(host: str, pool: str, more: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host.partition(".")[0]}, namespace: default}}
spec:
  host: {host}
  trafficPolicy:
    connectionPool: {{tcp: {{{pool}}}}}
{more}"""


@pytest.mark.parametrize(
    ("pool", "idle", "longest"),
    [
        ("connectTimeout: 1s", 3600.0, 0.0),
        ("idleTimeout: 500ms", 0.5, 0.0),
        ("idleTimeout: 0s", 0.0, 0.0),
        ("maxConnectionDuration: 90s", 3600.0, 90.0),
    ],
)
def test_7_9_times_come_from_the_destination_rule(pool: str, idle: float, longest: float) -> None:
    made = route(serve(tcp(f"- {to('alpha.test')}"), rule("alpha.test", pool)))
    assert (made.idle_timeout_s, made.max_duration_s) == (idle, longest)


def test_7_9_of_several_destinations_the_first_ones_rule() -> None:
    shares = (
        "- route: [{destination: {host: alpha.test}, weight: 0}, {destination: {host: beta.test}, weight: 1}]"
    )
    made = route(
        serve(tcp(shares), rule("alpha.test", "idleTimeout: 5s"), rule("beta.test", "idleTimeout: 6s"))
    )
    assert made.idle_timeout_s == 5.0


def test_7_9_only_the_general_part_of_the_rule_counts() -> None:
    """Istio reads it without looking at ports and subsets."""
    special = """\
    portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {idleTimeout: 2s}}}]
  subsets:
  - {name: v1, trafficPolicy: {connectionPool: {tcp: {idleTimeout: 3s}}}}
"""
    documents = rule("alpha.test", "idleTimeout: 4s", special)
    assert route(serve(tcp(f"- {to('alpha.test', subset='v1')}"), documents)).idle_timeout_s == 4.0


def test_7_9_without_a_rule_it_is_an_hour() -> None:
    made = route(serve(tcp(f"- {to('alpha.test')}")))
    assert (made.idle_timeout_s, made.max_duration_s) == (3600.0, 0.0)


# -- what is not looked at ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        ("sourceLabels: {app: x}", "sourceLabels"),
        ("sourceNamespace: x", "sourceNamespace"),
        ("sourceSubnet: 10.0.0.0/8", "sourceSubnet"),
        ("destinationSubnets: [10.0.0.0/8]", "destinationSubnets"),
    ],
)
def test_7_1_source_and_subnets_are_not_looked_at_and_that_is_said(condition: str, name: str) -> None:
    compiled = serve(tcp(f"- match: [{{{condition}}}]\n  {to('alpha.test')}"), labels={"app": "edge"})
    assert compiled.connect(9000) == "alpha.test:80"
    (finding,) = compiled.findings("GWD0104")
    assert finding.startswith(
        f"warning VirtualService default/routes spec.tcp[0].match[0]: {name} is not looked at"
    )


def test_blocks_no_server_of_the_gateway_looks_at_are_named() -> None:
    http = virtual_service(f"- {to('alpha.test')}", name="web")
    compiled = serve(http, tcp(f"- {to('alpha.test')}"))
    assert [f.partition(": ")[2] for f in compiled.findings("GWD0103")] == [
        "http of VirtualService default/web has no effect on its gateways: none of the servers that take "
        "its hosts speaks HTTP"
    ]


def test_what_is_for_sidecars_too_is_not_named() -> None:
    http = virtual_service(
        f"- {to('alpha.test')}", name="web", hosts="[a.test]", gateways="[istio-system/edge, mesh]"
    )
    assert serve(http, tcp(f"- {to('alpha.test')}")).findings("GWD0103") == []


def test_a_virtual_service_bound_by_tcp_alone_is_in_use() -> None:
    compiled = serve(tcp(f"- {to('alpha.test')}", hosts="[db.example]"))
    assert compiled.findings() == []


def test_a_rule_whose_conditions_fit_no_server_is_named() -> None:
    rules = f"- match: [{{port: 1}}]\n  {to('beta.test')}\n- {to('alpha.test')}"
    compiled = serve(tcp(rules))
    assert compiled.findings("GWD0105") == [
        "info VirtualService default/routes spec.tcp[0]: tcp[0] applies nowhere: its port and gateways fit no server "
        "this VirtualService is bound to"
    ]
