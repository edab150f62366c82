"""In which HTTP an upstream is spoken to, and what that offers by ALPN (semantics 8.3.5, 8.3.8, 8.3.9, 10.7, 12.4)."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.compiler.cluster_policy import upstream_protocol
from gatewayd.compiler.policy import Policy
from gatewayd.resources.mesh_config import DefaultTrafficPolicy, MeshConfig
from gatewayd.resources.traffic_policy import ConnectionPool, HTTPSettings
from gatewayd.upstream.spec import AS_CLIENT, HTTP1, HTTP2, ClusterSpec
from tests.compiler.support import compile_yaml

NAME = "outbound|80||cart.test"
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes, namespace: default}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http: [{route: [{destination: {host: cart.test}}]}]
---
"""


def entry(protocol: str = "HTTP") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: cart, namespace: default}}
spec:
  hosts: [cart.test]
  location: MESH_EXTERNAL
  ports: [{{number: 80, name: p, protocol: {protocol}}}]
  resolution: STATIC
  endpoints: [{{address: 10.0.0.1}}]
---
"""


def rule(policy: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: cart, namespace: default}}
spec: {{host: cart.test, trafficPolicy: {{{policy}}}}}
"""


def http_pool(settings: str) -> str:
    return f"connectionPool: {{http: {{{settings}}}}}"


def cluster(*documents: str, **options: Any) -> ClusterSpec:
    compiled = compile_yaml(EDGE + "".join(documents), **options)
    assert not [finding for finding in compiled.snapshot.findings if finding.level != "info"]
    return compiled.cluster(NAME)


UPGRADE, KEEP = HTTPSettings(h2_upgrade_policy="UPGRADE"), HTTPSettings(h2_upgrade_policy="DO_NOT_UPGRADE")
CLIENT = HTTPSettings(use_client_protocol=True)


@pytest.mark.parametrize(
    ("declared", "settings", "mesh", "spoken"),
    [
        ("HTTP", None, "DO_NOT_UPGRADE", HTTP1),
        ("", None, "DO_NOT_UPGRADE", HTTP1),
        ("HTTP2", None, "DO_NOT_UPGRADE", HTTP2),
        ("GRPC", None, "DO_NOT_UPGRADE", HTTP2),
        ("GRPC-WEB", None, "DO_NOT_UPGRADE", HTTP2),
        # the rule's word goes before the mesh's, and a port that says HTTP/2 means it
        ("HTTP", UPGRADE, "DO_NOT_UPGRADE", HTTP2),
        ("", UPGRADE, "DO_NOT_UPGRADE", HTTP2),
        ("HTTP", KEEP, "UPGRADE", HTTP1),
        ("GRPC", KEEP, "DO_NOT_UPGRADE", HTTP2),
        # the mesh's is for ports that are known to speak HTTP
        ("HTTP", None, "UPGRADE", HTTP2),
        ("HTTP", HTTPSettings(), "UPGRADE", HTTP2),
        ("", None, "UPGRADE", HTTP1),
        ("TCP", None, "UPGRADE", HTTP1),
        # the client's protocol goes before all
        ("HTTP", CLIENT, "UPGRADE", AS_CLIENT),
        ("GRPC", CLIENT, "DO_NOT_UPGRADE", AS_CLIENT),
    ],
)
def test_8_3_8_who_decides(declared: str, settings: HTTPSettings | None, mesh: str, spoken: str) -> None:
    pool = ConnectionPool(http=settings) if settings is not None else None
    assert upstream_protocol(declared, Policy(connection_pool=pool), mesh) == spoken


def test_8_3_8_a_rule_upgrades_without_a_warning() -> None:
    assert cluster(entry(), rule(http_pool("h2UpgradePolicy: UPGRADE"))).protocol == HTTP2
    assert cluster(entry(), rule(http_pool("useClientProtocol: true"))).protocol == AS_CLIENT
    assert cluster(entry("GRPC")).protocol == HTTP2


def test_8_3_8_the_mesh_upgrades_and_its_default_policy_speaks_too() -> None:
    assert cluster(entry(), mesh=MeshConfig(h2_upgrade_policy="UPGRADE")).protocol == HTTP2
    default = DefaultTrafficPolicy(connection_pool=ConnectionPool(http=UPGRADE))
    assert cluster(entry(), mesh=MeshConfig(default_traffic_policy=default)).protocol == HTTP2


def test_8_3_5_8_3_9_streams_and_signs_of_life() -> None:
    settings = "maxConcurrentStreams: 7, http2KeepAlive: {interval: 10s, timeout: 2500ms}"
    made = cluster(entry("HTTP2"), rule(http_pool(settings)))
    assert (made.max_concurrent_streams, made.ping_interval_s, made.ping_timeout_s) == (7, 10.0, 2.5)
    plain = cluster(entry("HTTP2"))
    assert (plain.max_concurrent_streams, plain.ping_interval_s, plain.ping_timeout_s) == (0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("protocol", "settings", "mode", "offered"),
    [
        ("HTTP", "", "SIMPLE", ("http/1.1",)),
        ("HTTP2", "", "SIMPLE", ("h2",)),
        ("HTTP", "h2UpgradePolicy: UPGRADE", "SIMPLE", ("h2",)),
        ("HTTP", "useClientProtocol: true", "SIMPLE", ("http/1.1",)),
        ("HTTP", "", "ISTIO_MUTUAL", ("istio",)),
        ("GRPC", "", "ISTIO_MUTUAL", ("istio", "h2")),
    ],
)
def test_10_7_alpn_follows_the_protocol(
    protocol: str, settings: str, mode: str, offered: tuple[str, ...]
) -> None:
    policy = f"tls: {{mode: {mode}}}" + (f", {http_pool(settings)}" if settings else "")
    compiled = compile_yaml(EDGE + entry(protocol) + rule(policy))
    spec = compiled.cluster(NAME).tls_spec
    assert spec is not None
    assert spec.alpn == offered


def test_10_7_a_cluster_with_both_kinds_has_a_context_for_each() -> None:
    both = cluster(entry(), rule(f"tls: {{mode: SIMPLE}}, {http_pool('useClientProtocol: true')}"))
    assert both.tls_http2 is not None
    assert both.tls_http2 is not both.tls
    assert cluster(entry("HTTP2"), rule("tls: {mode: SIMPLE}")).tls_http2 is None
