"""DestinationRule ``tunnel`` in routes for bytes (semantics 10.10): whose it is, and where it is not looked at."""

from __future__ import annotations

import pytest

from gatewayd.routing.l4 import Tunnel
from tests.compiler.support import SERVICES, Compiled, compile_yaml, gateway, server, to, virtual_service

TUNNEL = "tunnel: {targetHost: far.test, targetPort: 443}"


def rule(policy: str = "", subsets: str = "", host: str = "alpha.test") -> str:
    """A DestinationRule with these blocks of its policy and these subsets, in flow style."""
    lines = [f"  trafficPolicy: {{{policy}}}"] if policy else []
    lines += [f"  subsets: [{subsets}]"] if subsets else []
    head = "\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: rule, namespace: default}"
    return "\n".join([head, "spec:", f"  host: {host}", *lines, ""])


def serve(*documents: str, block: str = "tcp", route: str = to("alpha.test")) -> Compiled:
    routes = virtual_service(f"- {route}", block=block)
    edge = gateway("edge", server(9000, "TCP" if block == "tcp" else "HTTP"))
    return compile_yaml("---".join([edge, SERVICES, routes, *documents]))


def tunnel(compiled: Compiled) -> Tunnel | None:
    chain = compiled.chain(9000)
    assert chain is not None
    assert chain.tcp is not None
    return chain.tcp.tunnel


def test_without_a_rule_there_is_none() -> None:
    assert tunnel(serve()) is None
    assert tunnel(serve(rule("connectionPool: {tcp: {maxConnections: 3}}"))) is None


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("targetHost: far.test, targetPort: 443", Tunnel(b"far.test:443")),
        ("targetHost: far.test, targetPort: 443, protocol: CONNECT", Tunnel(b"far.test:443")),
        ("targetHost: far.test, targetPort: 443, protocol: POST", Tunnel(b"far.test:443", post=True)),
        ("targetHost: 10.1.2.3, targetPort: 80", Tunnel(b"10.1.2.3:80")),
        ('targetHost: "2001:db8::1", targetPort: 80', Tunnel(b"[2001:db8::1]:80")),
    ],
)
def test_what_is_asked_of_the_proxy(written: str, made: Tunnel) -> None:
    compiled = serve(rule(f"tunnel: {{{written}}}"))
    assert tunnel(compiled) == made
    assert compiled.findings("GWD0014") == []


def test_it_is_for_tls_routes_as_well() -> None:
    passthrough = server(443, "TLS", tls="mode: PASSTHROUGH")
    routes = virtual_service(f'- match: [{{sniHosts: ["a.test"]}}]\n  {to("alpha.test")}', block="tls")
    compiled = compile_yaml("---".join([gateway("edge", passthrough), SERVICES, routes, rule(TUNNEL)]))
    chain = compiled.chain(443, sni="a.test")
    assert chain is not None
    assert chain.tcp is not None
    assert chain.tcp.tunnel == Tunnel(b"far.test:443")


SUBSETS = f"{{name: far, trafficPolicy: {{{TUNNEL}}}}}, {{name: near}}"


@pytest.mark.parametrize(("subset", "host"), [("far", b"far.test:443"), ("near", None)])
def test_a_subset_has_its_own_or_none_never_the_rule_s(subset: str, host: bytes | None) -> None:
    top = "tunnel: {targetHost: top.test, targetPort: 1}"
    made = tunnel(serve(rule(top, SUBSETS), route=to("alpha.test", subset=subset)))
    assert (made.authority if made else None) == host


def test_a_port_s_settings_do_not_take_it_away() -> None:
    ports = "portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]"
    assert tunnel(serve(rule(f"{TUNNEL}, {ports}"))) == Tunnel(b"far.test:443")


def test_requests_know_of_no_tunnel_and_that_is_said() -> None:
    compiled = serve(rule(TUNNEL), block="http")
    (finding,) = compiled.findings("GWD0104")
    assert "only of TCP and TLS routes" in finding


SEVERAL = (
    "route: [{destination: {host: alpha.test, subset: far}, weight: 50}, "
    "{destination: {host: beta.test}, weight: 50}]"
)


def test_with_several_destinations_a_subset_s_is_ignored_and_said() -> None:
    compiled = serve(rule("", SUBSETS), route=SEVERAL)
    assert tunnel(compiled) is None
    (finding,) = compiled.findings("GWD0104")
    assert 'the tunnel of subset "far" is ignored' in finding


def test_with_several_destinations_the_first_rule_s_is_for_all() -> None:
    compiled = serve(rule("tunnel: {targetHost: top.test, targetPort: 1}", SUBSETS), route=SEVERAL)
    assert tunnel(compiled) == Tunnel(b"top.test:1")
