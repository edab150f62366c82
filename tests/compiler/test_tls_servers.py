"""Which server a TLS connection meets, and what routes it: semantics 2.3.4 to 2.3.11, 2.6.5, 3.2 to 3.5."""

from __future__ import annotations

import pytest

from gatewayd.compiler import CompileOptions, compile_snapshot
from gatewayd.resources.gateway import Gateway, Port, Server, ServerTLS
from gatewayd.resources.mesh_config import GatewayTopology, MeshConfig, MeshProxyConfig
from gatewayd.resources.meta import ObjectMeta, Resource
from tests.compiler.support import SERVICES, Compiled, compile_yaml, gateway, server, to, virtual_service

SIMPLE = "mode: SIMPLE, credentialName: c"


def serve(*servers: str, routes: str = "", **options: object) -> Compiled:
    """One Gateway, with a VirtualService for every host unless others are given."""
    routes = routes or virtual_service(f"- {to('alpha.test')}")
    return compile_yaml("---".join([gateway("edge", *servers), SERVICES, routes]), **options)


# -- which chain ------------------------------------------------------------------------------------------


def sni_selection() -> Compiled:
    """Recorded: golden 03, sni-selection."""
    return serve(
        server(443, "HTTPS", "[a.test]", SIMPLE, "h1"),
        server(443, "HTTPS", '["*.w.test"]', SIMPLE, "h2"),
        server(443, "HTTPS", '["*"]', SIMPLE, "h3"),
    )


@pytest.mark.parametrize(
    ("sni", "name"),
    [
        ("a.test", "h1"),
        ("A.Test", "h1"),
        ("x.w.test", "h2"),
        ("x.y.w.test", "h2"),
        ("w.test", "h3"),
        ("zzz.test", "h3"),
        ("", "h3"),
    ],
)
def test_3_3_the_exact_name_then_the_suffix_then_the_server_for_every_host(sni: str, name: str) -> None:
    assert sni_selection().connect(443, sni) == f"https.443.{name}.edge.istio-system"


def test_3_3_no_way_back_a_host_the_chosen_server_lacks_is_404() -> None:
    compiled = sni_selection()
    assert compiled.call("https://a.test/", sni="x.w.test") == "404"
    assert compiled.call("https://a.test/", sni="zzz.test") == "alpha.test:80"


def test_2_5_4_without_a_server_for_every_host_other_names_meet_no_chain() -> None:
    compiled = serve(server(443, "HTTPS", "[a.test, '*.w.test']", SIMPLE))
    assert compiled.connect(443, "b.test") == "no chain"
    assert compiled.connect(443, "") == "no chain"
    assert compiled.connect(443, "w.test") == "no chain"


def test_3_3_server_names_are_lower_case_and_without_namespace() -> None:
    compiled = serve(server(443, "HTTPS", "[Shop.Test, ./b.test, default/c.test, '*/d.test']", SIMPLE))
    chain = compiled.chain(443, "shop.test")
    assert chain is not None
    assert chain.server_names == ("shop.test", "b.test", "c.test", "d.test")


@pytest.mark.parametrize("hosts", ['["*"]', '["*/*"]', '[a.test, "*"]', '["default/*"]'])
def test_3_3_a_server_for_every_host_has_no_names(hosts: str) -> None:
    chain = serve(server(443, "HTTPS", hosts, SIMPLE)).chain(443)
    assert chain is not None
    assert chain.server_names == ()


def test_2_2_2_a_namespace_before_a_host_says_who_may_bind_and_is_no_part_of_the_name() -> None:
    def routes(namespace: str, cluster: str, host: str) -> str:
        return virtual_service(
            f"- {to(cluster)}",
            name=namespace,
            namespace=namespace,
            hosts=f"[{host}]",
            gateways="[istio-system/edge]",
        )

    compiled = serve(
        server(9443, "HTTPS", '["test/*.bookinfo.com"]', SIMPLE),
        routes=routes("test", "alpha.test", "a.bookinfo.com")
        + "---"
        + routes("other", "beta.test", "b.bookinfo.com"),
    )
    assert compiled.call("https://a.bookinfo.com:9443/") == "alpha.test:80"
    assert compiled.call("https://b.bookinfo.com:9443/") == "404"
    assert compiled.connect(9443, "bookinfo.com") == "no chain"
    assert len(compiled.findings("IST0132")) == 1


# -- what routes it ---------------------------------------------------------------------------------------


def separate_tables() -> Compiled:
    """Recorded: golden 02, https-route-tables-are-separate."""
    redirect = f"{SIMPLE}, httpsRedirect: true"
    return serve(
        server(443, "HTTPS", "[a.test]", SIMPLE, "ha"),
        server(443, "HTTPS", "[b.test]", SIMPLE, "hb"),
        server(443, "HTTPS", '["*.w.test", c.test]', redirect, "hw"),
        routes="---".join(
            [
                virtual_service(f"- {to('alpha.test')}", name="v1", hosts="[a.test]"),
                virtual_service(f"- {to('beta.test')}", name="v2", hosts="[b.test]"),
                virtual_service(f"- {to('gamma.test')}", name="v3", hosts="[x.w.test, c.test]"),
            ]
        ),
    )


def test_2_3_10_each_https_server_has_its_own_route_table() -> None:
    compiled = separate_tables()
    assert compiled.call("https://a.test/") == "alpha.test:80"
    assert compiled.call("https://b.test/") == "beta.test:80"
    assert compiled.call("https://b.test/", sni="a.test") == "404"
    assert compiled.call("https://y.w.test/") == "404"


def test_3_4_sni_and_host_are_independent_within_a_server() -> None:
    assert separate_tables().call("https://c.test/", sni="x.w.test") == "gamma.test:80"


def test_2_6_5_https_redirect_means_nothing_on_https_servers() -> None:
    assert separate_tables().call("https://c.test/") == "gamma.test:80"


def test_2_6_1_an_http_server_redirects_beside_the_https_server_that_serves() -> None:
    """Recorded: golden 02, redirect-all-then-https."""
    compiled = serve(
        server(80, "HTTP", "[a.test]", "httpsRedirect: true"),
        server(443, "HTTPS", "[a.test]", SIMPLE),
        routes=virtual_service(f"- {to('alpha.test')}", hosts="[a.test]"),
    )
    assert compiled.call("http://a.test/") == "301 https"
    assert compiled.call("https://a.test/") == "alpha.test:80"


def test_2_3_10_chains_are_named_as_istio_names_their_routes() -> None:
    compiled = serve(
        server(8443, "HTTPS", "[a.test]", SIMPLE, "web"),
        server(9443, "HTTPS", "[a.test]", SIMPLE, "own", more=", bind: 127.0.0.1"),
        port_map={8443: 443},
    )
    assert compiled.connect(443, "a.test") == "https.8443.web.edge.istio-system"
    assert compiled.connect(9443, "a.test") == "https.9443.own.edge.istio-system.127.0.0.1"


def test_2_1_4_matches_see_the_servers_port_number() -> None:
    rules = f"- match: [{{port: 8443}}]\n  {to('alpha.test')}\n- {to('beta.test')}"
    compiled = serve(
        server(8443, "HTTPS", tls=SIMPLE),
        server(9443, "HTTPS", tls=SIMPLE),
        routes=virtual_service(rules),
        port_map={8443: 443},
    )
    assert compiled.call("https://a.test/") == "alpha.test:80"
    assert compiled.call("https://a.test:9443/") == "beta.test:80"
    assert compiled.chain(443) is not None
    assert compiled.chain(443).port == 8443  # type: ignore[union-attr]


def test_14_2_requests_that_came_by_tls_are_https() -> None:
    rules = f"- match: [{{scheme: {{exact: https}}}}]\n  {to('alpha.test')}\n- {to('beta.test')}"
    compiled = serve(server(80, "HTTP"), server(443, "HTTPS", tls=SIMPLE), routes=virtual_service(rules))
    assert compiled.call("https://a.test/") == "alpha.test:80"
    assert compiled.call("http://a.test/") == "beta.test:80"


def test_3_2_a_tls_server_that_terminates_is_routed_by_tcp_blocks() -> None:
    compiled = serve(
        server(443, "TLS", "[a.test]", SIMPLE),
        routes=virtual_service(f"- {to('alpha.test')}", hosts="[a.test]", block="tcp"),
    )
    assert compiled.connect(443, "a.test") == "alpha.test:80"
    assert compiled.connect(443, "b.test") == "no chain"
    assert compiled.tls(443, "a.test").mode == "SIMPLE"


def test_3_2_passing_tls_through_is_the_same_on_https_and_tls_ports() -> None:
    """Recorded: golden 07, passthrough-and-terminate-one-port."""
    for protocol in ("HTTPS", "TLS"):
        compiled = serve(
            server(443, protocol, "[p.test]", "mode: PASSTHROUGH", "p"),
            server(443, "HTTPS", "[t.test]", SIMPLE, "t"),
            routes=virtual_service(
                f"- match: [{{sniHosts: [p.test]}}]\n  {to('beta.test')}",
                name="p",
                hosts="[p.test]",
                block="tls",
            )
            + "---"
            + virtual_service(f"- {to('alpha.test')}", name="t", hosts="[t.test]"),
        )
        assert compiled.connect(443, "p.test") == "beta.test:80"
        assert compiled.call("https://t.test/") == "alpha.test:80"
        passed = compiled.chain(443, "p.test")
        assert passed is not None
        assert passed.tls is None
        assert compiled.listener(443).protocol == "TLS"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("protocol", "mode", "offered"),
    [
        ("HTTPS", "SIMPLE", ("h2", "http/1.1")),
        ("TLS", "SIMPLE", ("h2", "http/1.1")),
        ("TLS", "ISTIO_MUTUAL", ("h2", "http/1.1")),
    ],
)
def test_3_5_alpn_is_what_can_be_served_behind_it(protocol: str, mode: str, offered: tuple[str, ...]) -> None:
    tls = f"mode: {mode}" + (", credentialName: c" if mode == "SIMPLE" else "")
    compiled = serve(
        server(443, protocol, tls=tls), routes=virtual_service(f"- {to('alpha.test')}", block="tcp")
    )
    assert compiled.tls(443).alpn == offered


# -- servers that stand in each other's way -----------------------------------------------------------------


def test_2_3_5_a_host_that_is_taken_drops_the_whole_later_server() -> None:
    compiled = serve(
        server(443, "HTTPS", "[a.test, b.test]", SIMPLE, "one"),
        server(443, "HTTPS", "[b.test, c.test]", SIMPLE, "two"),
    )
    assert compiled.connect(443, "b.test") == "https.443.one.edge.istio-system"
    assert compiled.connect(443, "c.test") == "no chain"
    assert len(compiled.findings("IST0145")) == 1


def test_2_3_5_a_wildcard_beside_a_name_it_covers_is_no_double() -> None:
    compiled = serve(
        server(443, "HTTPS", "['*.a.test']", SIMPLE, "wild"),
        server(443, "HTTPS", "[b.a.test]", SIMPLE, "own"),
    )
    assert compiled.connect(443, "b.a.test") == "https.443.own.edge.istio-system"
    assert compiled.connect(443, "c.a.test") == "https.443.wild.edge.istio-system"
    assert compiled.findings("IST0145") == []


def test_2_3_7_the_same_host_on_another_bind_is_another_listener() -> None:
    compiled = serve(
        server(443, "HTTPS", "[a.test]", SIMPLE, "one", more=", bind: 127.0.0.1"),
        server(443, "HTTPS", "[a.test]", SIMPLE, "two", more=", bind: 127.0.0.2"),
    )
    assert [listener.name for listener in compiled.snapshot.listeners] == ["127.0.0.1_443", "127.0.0.2_443"]


def test_two_servers_that_mean_one_sni_host_by_different_words_are_one_too_many() -> None:
    """Istio takes them for different hosts, and Envoy then refuses the whole listener; here the first stays."""
    compiled = serve(
        server(443, "HTTPS", "[default/a.test]", SIMPLE, "one"),
        server(443, "HTTPS", "[a.test, b.test]", SIMPLE, "two"),
    )
    assert compiled.connect(443, "a.test") == "https.443.one.edge.istio-system"
    assert compiled.connect(443, "b.test") == "no chain"
    (finding,) = compiled.findings("IST0145")
    assert finding.startswith("error Gateway istio-system/edge spec.servers[1]: server 1 of Gateway")
    assert 'SNI host "a.test" of port 443 is server 0 of Gateway istio-system/edge\'s already' in finding


@pytest.mark.parametrize("first", ["HTTP", "TCP", "TLS"])
def test_2_3_4_2_3_6_only_tls_stands_beside_tls(first: str) -> None:
    tls = server(443, "HTTPS", "[a.test]", SIMPLE, "tls")
    other = server(443, first, "[b.test]", name="other", tls=SIMPLE if first == "TLS" else "")
    tcp = virtual_service(f"- {to('beta.test')}", name="t", block="tcp")
    routes = virtual_service(f"- {to('alpha.test')}") + "---" + tcp
    assert len(serve(tls, other, routes=routes).findings("IST0145")) == (first != "TLS")
    assert len(serve(other, tls, routes=routes).findings("IST0145")) == (first != "TLS")


def test_2_3_4_the_second_gateway_brings_its_servers_to_the_port() -> None:
    compiled = compile_yaml(
        "---".join(
            [
                gateway("a", server(443, "HTTPS", "[a.test]", SIMPLE, "https")),
                gateway("b", server(443, "HTTPS", "[b.test]", SIMPLE, "https")),
                SERVICES,
                virtual_service(f"- {to('alpha.test')}", gateways="[istio-system/a]"),
            ]
        )
    )
    (listener,) = compiled.snapshot.listeners
    assert listener.gateways == (("istio-system", "a", 0), ("istio-system", "b", 0))
    assert compiled.call("https://a.test/") == "alpha.test:80"
    assert compiled.call("https://b.test/") == "404"


def test_10_12_the_proxy_protocol_of_the_mesh_is_on_every_listener() -> None:
    topology = GatewayTopology(proxy_protocol={})
    mesh = MeshConfig(default_config=MeshProxyConfig(gateway_topology=topology))
    servers = server(80, "HTTP"), server(443, "HTTPS", tls=SIMPLE)
    assert [spec.proxy_protocol for spec in serve(*servers, mesh=mesh).snapshot.listeners] == [True, True]
    assert [spec.proxy_protocol for spec in serve(*servers).snapshot.listeners] == [False, False]


def test_2_3_11_two_https_servers_of_one_port_name_the_later_is_dropped() -> None:
    """Validation refuses such a Gateway; one that comes past it must not mix the routes of two servers."""
    tls = ServerTLS(mode="SIMPLE", credential_name="c")
    port = Port(number=443, protocol="HTTPS", name="https")
    servers = tuple(Server(port=port, hosts=(host,), tls=tls) for host in ("a.test", "b.test"))
    resource: Resource[Gateway] = Resource(
        kind="Gateway",
        api_version="networking.istio.io/v1",
        metadata=ObjectMeta(name="edge", namespace="istio-system"),
        spec=Gateway(servers=servers),
    )
    compiled = Compiled(compile_snapshot([resource], CompileOptions(), adopt=lambda spec: spec), ())
    assert compiled.connect(443, "a.test") == "https.443.https.edge.istio-system"
    assert compiled.connect(443, "b.test") == "no chain"
    (finding,) = compiled.findings("IST0145")
    assert 'port name "https" is already that of server 0' in finding
