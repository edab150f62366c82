"""``tls`` blocks: TLS passed through by SNI. Semantics 7.1 to 7.5, and AUTO_PASSTHROUGH, 3.1."""

from __future__ import annotations

import pytest

from gatewayd.compiler import CompileOptions, compile_snapshot
from gatewayd.resources.gateway import Gateway, Port, Server
from gatewayd.resources.meta import ObjectMeta, Resource
from gatewayd.resources.virtual_service import (
    Destination,
    RouteDestination,
    TCPRoute,
    VirtualService,
)
from tests.compiler.support import SERVICES, Compiled, compile_yaml, gateway, server, to, virtual_service

PASS = "mode: PASSTHROUGH"
AGED = ', creationTimestamp: "2024-01-0{}T00:00:00Z"'


def tls(*rules: tuple[str, str], name: str = "routes", hosts: str = '["*"]', **more: str) -> str:
    """A VirtualService with a rule per (match, host of the destination)."""
    listed = "\n".join(f"- match: {match}\n  {to(host)}" for match, host in rules)
    return virtual_service(listed, name=name, hosts=hosts, block="tls", **more)


def sni(*names: str) -> str:
    return f"[{{sniHosts: [{', '.join(repr(name) for name in names)}]}}]"


def serve(*documents: str, servers: tuple[str, ...] = (), **options: object) -> Compiled:
    edge = gateway("edge", *(servers or (server(443, "TLS", tls=PASS),)))
    return compile_yaml("---".join([edge, SERVICES, *documents]), **options)


# -- by name ------------------------------------------------------------------------------------------------


def test_7_1_each_name_has_its_route_the_exact_one_before_the_suffix() -> None:
    compiled = serve(tls((sni("*.test"), "alpha.test"), (sni("b.test", "c.test"), "beta.test")))
    assert compiled.connect(443, "a.test") == "alpha.test:80"
    assert compiled.connect(443, "b.test") == "beta.test:80"
    assert compiled.connect(443, "C.test") == "beta.test:80"
    assert compiled.connect(443, "test") == "no chain"
    assert compiled.connect(443) == "no chain"


def test_7_1_a_star_is_every_name_and_none_at_all() -> None:
    compiled = serve(tls((sni("*"), "alpha.test")))
    assert compiled.connect(443, "whatever.example") == "alpha.test:80"
    assert compiled.connect(443) == "alpha.test:80"


def test_7_1_a_wildcard_that_is_no_whole_label_is_left_out_and_named() -> None:
    """Envoy takes no such server name and would refuse the listener for it."""
    compiled = serve(
        tls((sni("*-a.test", "b.test"), "alpha.test"), (sni("*c.test"), "beta.test"), hosts='["*"]')
    )
    assert compiled.connect(443, "b.test") == "alpha.test:80"
    assert compiled.connect(443, "x-a.test") == "no chain"
    assert compiled.connect(443, "xc.test") == "no chain"
    assert [finding.partition(": ")[0] for finding in compiled.findings("GWD0104")] == [
        "error VirtualService default/routes spec.tls[0].match[0].sniHosts[0]",
        "error VirtualService default/routes spec.tls[1].match[0].sniHosts[0]",
    ]
    assert compiled.findings("GWD0105") == []


def test_7_2_the_names_of_the_match_count_not_the_servers_hosts() -> None:
    narrow = (server(443, "TLS", "[a.test]", PASS),)
    compiled = serve(tls((sni("z.test"), "alpha.test"), hosts='["*.test"]'), servers=narrow)
    assert compiled.connect(443, "z.test") == "alpha.test:80"
    assert compiled.connect(443, "a.test") == "no chain"


@pytest.mark.parametrize(
    ("taken", "hosts", "met"),
    [
        ('["*.test"]', "[a.test]", True),
        ("[a.test]", '["*.test"]', True),
        ("[b.test]", "[a.test]", False),
        ("[other/a.test]", "[a.test]", False),
    ],
)
def test_7_2_hosts_must_overlap(taken: str, hosts: str, met: bool) -> None:
    servers = (server(443, "TLS", taken, PASS),)
    compiled = serve(tls((sni("a.test"), "alpha.test"), hosts=hosts), servers=servers)
    assert compiled.connect(443, "a.test") == ("alpha.test:80" if met else "refused")


def test_7_1_port_and_gateways_of_a_match() -> None:
    servers = server(443, "TLS", tls=PASS), server(444, "TLS", tls=PASS)
    compiled = serve(
        tls(
            ("[{sniHosts: [a.test], port: 443}]", "alpha.test"),
            ("[{sniHosts: [a.test], port: 444}]", "beta.test"),
            ("[{sniHosts: [b.test], gateways: [istio-system/edge]}]", "gamma.test"),
            ("[{sniHosts: [c.test], gateways: [istio-system/other]}]", "delta.test"),
        ),
        servers=servers,
    )
    assert compiled.connect(443, "a.test") == "alpha.test:80"
    assert compiled.connect(444, "a.test") == "beta.test:80"
    assert compiled.connect(444, "b.test") == "gamma.test:80"
    assert compiled.connect(444, "c.test") == "no chain"
    assert compiled.findings("IST0130") == []
    (nowhere,) = compiled.findings("GWD0105")
    assert nowhere.startswith(
        "info VirtualService default/routes spec.tls[3].match[0]: tls[3].match[0] applies nowhere"
    )


def test_7_1_source_and_subnets_are_not_looked_at_and_that_is_said() -> None:
    compiled = serve(
        tls(("[{sniHosts: [a.test], sourceLabels: {a: b}, destinationSubnets: [10.0.0.0/8]}]", "alpha.test"))
    )
    assert compiled.connect(443, "a.test") == "alpha.test:80"
    (finding,) = compiled.findings("GWD0104")
    assert "spec.tls[0].match[0]: destinationSubnets, sourceLabels are not looked at on a gateway" in finding


def test_7_5_weights_subsets_and_times_are_those_of_tcp() -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: alpha, namespace: default}
spec: {host: alpha.test, trafficPolicy: {connectionPool: {tcp: {idleTimeout: 7s}}}, subsets: [{name: v1}]}
"""
    shares = (
        "- match: [{sniHosts: [a.test]}]\n  route: [{destination: {host: alpha.test, subset: v1}, weight: 1}, "
        "{destination: {host: beta.test}, weight: 3}]"
    )
    compiled = serve(virtual_service(shares, block="tls"), rule)
    assert compiled.connect(443, "a.test") == "alpha.test:80 v1 | beta.test:80"
    chain = compiled.chain(443, "a.test")
    assert chain is not None
    assert chain.tcp is not None
    assert chain.tcp.idle_timeout_s == 7.0
    assert chain.tls is None
    assert chain.gateways == (("istio-system", "edge", 0),)


# -- names that are taken -----------------------------------------------------------------------------------


def test_7_4_the_first_virtual_service_keeps_a_name_and_the_later_match_is_skipped_whole() -> None:
    compiled = serve(
        tls((sni("b.test", "c.test"), "beta.test"), name="new", metadata=AGED.format(2)),
        tls((sni("a.test", "b.test"), "alpha.test"), name="old", metadata=AGED.format(1)),
    )
    assert compiled.connect(443, "b.test") == "alpha.test:80"
    assert compiled.connect(443, "c.test") == "no chain"
    (finding,) = compiled.findings("IST0130")
    assert finding.startswith(
        "warning VirtualService default/new spec.tls[0].match[0]: tls[0].match[0] can never match: "
        "tls[0].match[0] of VirtualService default/old"
    )
    assert finding.endswith('takes SNI host "b.test" first')


def test_7_4_other_matches_of_the_rule_stay() -> None:
    compiled = serve(
        tls((sni("a.test"), "alpha.test"), ("[{sniHosts: [a.test]}, {sniHosts: [d.test]}]", "delta.test"))
    )
    assert compiled.connect(443, "a.test") == "alpha.test:80"
    assert compiled.connect(443, "d.test") == "delta.test:80"


def test_7_4_names_are_taken_per_port_and_bind() -> None:
    servers = (
        server(443, "TLS", tls=PASS, name="a", more=", bind: 127.0.0.1"),
        server(443, "TLS", tls=PASS, name="b", more=", bind: 127.0.0.2"),
    )
    compiled = serve(tls((sni("a.test"), "alpha.test")), servers=servers)
    assert [len(spec.chains) for spec in compiled.snapshot.listeners] == [1, 1]
    assert compiled.findings("IST0130") == []


def test_7_4_two_servers_of_a_port_share_the_names_of_one_virtual_service() -> None:
    servers = server(443, "TLS", "[a.test]", PASS, "a"), server(443, "TLS", "[b.test]", PASS, "b")
    compiled = serve(tls((sni("a.test"), "alpha.test"), hosts="[a.test, b.test]"), servers=servers)
    assert compiled.connect(443, "a.test") == "alpha.test:80"
    assert compiled.findings("IST0130") == []


def test_a_name_another_server_ends_tls_for_is_not_passed_through() -> None:
    """Istio sends Envoy both, and Envoy refuses the listener; here the server that was first stays."""
    compiled = serve(
        tls((sni("t.test"), "alpha.test")),
        servers=(
            server(443, "HTTPS", "[t.test]", "mode: SIMPLE, credentialName: c", "t"),
            server(443, "TLS", "[p.test]", PASS, "p"),
        ),
    )
    assert compiled.connect(443, "t.test") == "https.443.t.edge.istio-system"
    (finding,) = compiled.findings("IST0145")
    assert finding.startswith("error Gateway istio-system/edge spec.servers[1]: server 1 of Gateway ")


# -- nothing to route ---------------------------------------------------------------------------------------


def test_2_5_3_without_any_route_nothing_listens() -> None:
    compiled = serve()
    assert compiled.snapshot.listeners == ()
    assert compiled.findings("GWD0105") == [
        "warning Gateway istio-system/edge spec.servers[0]: no tls rule of a VirtualService routes server 0 of "
        "Gateway istio-system/edge, so connections for its hosts are closed"
    ]


def test_http_and_tcp_rules_do_not_route_a_server_that_passes_tls_through() -> None:
    compiled = serve(virtual_service(f"- {to('alpha.test')}", more=f"  tcp:\n  - {to('beta.test')}\n"))
    assert compiled.snapshot.listeners == ()
    assert [finding.partition(" has no effect")[0] for finding in compiled.findings("GWD0103")] == [
        "warning VirtualService default/routes spec.tcp: tcp of VirtualService default/routes",
        "warning VirtualService default/routes spec.http: http of VirtualService default/routes",
    ]


def test_7_7_a_tcp_rule_without_a_destination_is_skipped() -> None:
    """Validation refuses it; one that comes past it must not end the process, as it ends Istio's."""
    route = (RouteDestination(destination=Destination(host="alpha.test")),)
    edge = Server(port=Port(number=9000, protocol="TCP", name="tcp"), hosts=("*",))
    service = VirtualService(
        hosts=("*",), gateways=("default/edge",), tcp=(TCPRoute(), TCPRoute(route=route))
    )

    def resource(kind: str, spec: object) -> Resource[object]:
        meta = ObjectMeta(name="edge", namespace="default")
        return Resource(kind=kind, api_version="networking.istio.io/v1", metadata=meta, spec=spec)

    resources = [resource("Gateway", Gateway(servers=(edge,))), resource("VirtualService", service)]
    compiled = Compiled(compile_snapshot(resources, CompileOptions(), adopt=lambda spec: spec), ())
    assert compiled.connect(9000) == "alpha.test:9000"
    assert compiled.findings("GWD0104") == [
        "error VirtualService default/edge spec.tcp[0]: tcp[0] is left out: it has no route"
    ]


def test_3_2_tls_rules_for_a_host_whose_server_ends_tls_are_named() -> None:
    """Another server of the port passes TLS through, but not for this host."""
    compiled = serve(
        tls((sni("p.test"), "alpha.test"), name="p", hosts="[p.test]"),
        tls((sni("t.test"), "beta.test"), name="t", hosts="[t.test]"),
        servers=(
            server(443, "TLS", "[p.test]", PASS, "p"),
            server(443, "HTTPS", "[t.test]", "mode: SIMPLE, credentialName: c", "t"),
        ),
    )
    assert compiled.call("https://t.test/") == "404"
    (finding,) = compiled.findings("GWD0103")
    assert finding.startswith(
        "warning VirtualService default/t spec.tls: tls of VirtualService default/t has no effect"
    )


# -- AUTO_PASSTHROUGH ---------------------------------------------------------------------------------------

AUTO = (server(15443, "TLS", '["*.local"]', "mode: AUTO_PASSTHROUGH"),)
MESH = ("istio",)
REVIEWS = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: grpc, port: 81}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: reviews, namespace: shop}
subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{name: http, port: 8080}, {name: grpc, port: 8081}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec: {host: reviews, subsets: [{name: v1}], trafficPolicy: {connectionPool: {tcp: {idleTimeout: 9s}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec: {hosts: [outside.local], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: inside, namespace: shop}
spec:
  hosts: [inside.local]
  location: MESH_INTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: example.com, ports: [{name: http, port: 80}]}
"""


@pytest.mark.parametrize(
    ("name", "met"),
    [
        ("outbound_.80_._.reviews.shop.svc.cluster.local", "reviews.shop.svc.cluster.local:80"),
        ("outbound_.81_._.reviews.shop.svc.cluster.local", "reviews.shop.svc.cluster.local:81"),
        ("outbound_.80_.v1_.reviews.shop.svc.cluster.local", "reviews.shop.svc.cluster.local:80 v1"),
        ("outbound_.80_._.inside.local", "inside.local:80"),
        ("outbound_.80_.v2_.reviews.shop.svc.cluster.local", "no chain"),
        ("outbound_.53_._.reviews.shop.svc.cluster.local", "no chain"),
        ("outbound_.80_._.outside.local", "no chain"),
        ("outbound_.80_._.alias.shop.svc.cluster.local", "no chain"),
        ("outbound_.80_._.alpha.test", "no chain"),
        ("reviews.shop.svc.cluster.local", "no chain"),
        ("", "no chain"),
    ],
)
def test_3_1_auto_passthrough_has_a_chain_per_cluster_of_the_mesh(name: str, met: str) -> None:
    compiled = serve(REVIEWS, servers=AUTO)
    answer = compiled.connect(15443, name, MESH)
    assert answer.replace("503 UH", "inside.local:80") == met


@pytest.mark.parametrize("alpn", [(), ("h2", "http/1.1"), ("istio-other",)])
def test_3_1_auto_passthrough_takes_nobody_from_outside_of_the_mesh(alpn: tuple[str, ...]) -> None:
    compiled = serve(REVIEWS, servers=AUTO)
    assert compiled.connect(15443, "outbound_.80_._.reviews.shop.svc.cluster.local", alpn) == "no chain"


@pytest.mark.parametrize(
    "offered", ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"]
)
def test_3_1_any_alpn_of_the_mesh_opens_it(offered: str) -> None:
    name = "outbound_.80_._.reviews.shop.svc.cluster.local"
    assert serve(REVIEWS, servers=AUTO).connect(15443, name, ("x", offered)).startswith("reviews.")


def test_3_1_auto_passthrough_clusters_are_named_by_their_sni_and_have_the_rules_times() -> None:
    compiled = serve(REVIEWS, servers=AUTO)
    name = "outbound_.80_._.reviews.shop.svc.cluster.local"
    assert compiled.endpoints(name) == ["10.0.0.1:8080"]
    chain = compiled.chain(15443, name, MESH)
    assert chain is not None
    assert chain.tcp is not None
    assert chain.tcp.idle_timeout_s == 9.0
    assert compiled.findings() == []


def test_3_1_auto_passthrough_looks_at_no_virtual_service() -> None:
    compiled = serve(REVIEWS, tls((sni("a.local"), "alpha.test"), hosts="[a.local]"), servers=AUTO)
    assert compiled.connect(15443, "a.local", MESH) == "no chain"
    (finding,) = compiled.findings("GWD0103")
    assert finding.endswith("none of the servers that take its hosts has TLS mode PASSTHROUGH")


def test_3_1_auto_passthrough_without_a_service_does_not_listen() -> None:
    compiled = serve(servers=AUTO)
    assert compiled.connect(15443) == "refused"
    (finding,) = compiled.findings("GWD0105")
    assert "spec.servers[0]: no service of the mesh is among the hosts of server 0 of Gateway" in finding
