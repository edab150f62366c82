"""Resolution DYNAMIC_DNS in the configuration (semantics 11.3): a wildcard host as a destination."""

from __future__ import annotations

import pytest

from gatewayd.upstream.spec import DYNAMIC_DNS
from tests.compiler.support import Compiled, compile_yaml, gateway, server, to, virtual_service


def entry(protocol: str = "HTTP", number: int = 80) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: wild, namespace: default}}
spec:
  hosts: ["*.wild.test"]
  location: MESH_EXTERNAL
  ports: [{{number: {number}, name: p, protocol: {protocol}}}]
  resolution: DYNAMIC_DNS
"""


def serve(rule: str, *documents: str, block: str = "http") -> Compiled:
    edge = gateway("edge", server(80, "HTTP"), server(443, "TLS", tls="mode: PASSTHROUGH"))
    routes = virtual_service(f"- {rule}", block=block)
    return compile_yaml("---".join([edge, routes, *documents]))


WILD = to('"*.wild.test"')


def test_a_wildcard_destination_is_a_cluster_that_resolves_what_it_is_asked_for() -> None:
    compiled = serve(WILD, entry())
    cluster = compiled.cluster("outbound|80||*.wild.test")
    assert (cluster.discovery, cluster.host, cluster.endpoints) == (DYNAMIC_DNS, "*.wild.test", ())
    assert compiled.findings("GWD0102") == [], "no endpoints is as it should be"
    assert compiled.findings("GWD0014") == []


@pytest.mark.parametrize("written", ['"*.wild.test"', '"*.wild.test", port: {number: 8443}'])
def test_tls_routes_reach_the_port_of_the_service(written: str) -> None:
    rule = f'match: [{{sniHosts: ["*.wild.test"]}}]\n  {to(written)}'
    compiled = serve(rule, entry("TLS", 8443), block="tls")
    chain = compiled.chain(443, sni="a.wild.test")
    assert chain is not None
    assert chain.tcp is not None
    assert [found.cluster_name for found in chain.tcp.destinations] == ["outbound|8443||*.wild.test"]
    assert compiled.connect(443, sni="a.other.test") == "no chain"
    assert compiled.cluster("outbound|8443||*.wild.test").port == 8443


def test_a_name_below_the_wildcard_is_another_host() -> None:
    """Istio's gateways look services up by their host as written: this one nobody declares."""
    compiled = serve(to("a.wild.test"), entry())
    assert compiled.call("http://x.test/") == "503 NC"


def test_the_destination_rule_of_the_wildcard_is_in_force() -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: wild, namespace: default}
spec:
  host: "*.wild.test"
  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 3s}}}
"""
    assert serve(WILD, entry(), rule).cluster("outbound|80||*.wild.test").connect_timeout_s == 3.0
