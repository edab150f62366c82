"""DestinationRules: semantics 8.1 and 8.2, with the balancer and the pool of 8.3 and 9.1."""

from __future__ import annotations

import pytest

from gatewayd.compiler.policy import resolve_policy
from gatewayd.resources.mesh_config import DefaultTrafficPolicy, MeshConfig
from gatewayd.resources.traffic_policy import (
    ConnectionPool,
    LoadBalancer,
    OutlierDetection,
    PortTrafficPolicy,
    TCPSettings,
    TrafficPolicy,
    Tunnel,
)
from gatewayd.resources.virtual_service import PortSelector
from gatewayd.upstream.spec import NO_LIMITS, ClusterSpec, Limits
from tests.compiler.support import EDGE, compile_yaml, entry, to, virtual_service

OLD = ', creationTimestamp: "2024-01-01T00:00:00Z"'
NEW = ', creationTimestamp: "2024-01-02T00:00:00Z"'


def rule(name: str, body: str, namespace: str = "shop", metadata: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}{metadata}}}
spec: {body}
"""


def with_balancer(simple: str, host: str = "cart.test", more: str = "") -> str:
    return f"{{host: '{host}', trafficPolicy: {{loadBalancer: {{simple: {simple}}}}}{more}}}"


def cluster(*documents: str, host: str = "cart.test", subset: str = "", **options: object) -> ClusterSpec:
    """The cluster of a route to the service ``host`` of namespace shop."""
    more = {"subset": subset} if subset else {}
    text = "---".join(
        [EDGE, entry(host, namespace="shop"), virtual_service(f"- {to(host, **more)}"), *documents]
    )
    return compile_yaml(text, **options).cluster(f"outbound|80|{subset}|{host}")


def test_8_1_1_the_proxys_own_namespace_comes_first() -> None:
    own = rule("a", with_balancer("RANDOM"), namespace="gateways")
    services = rule("b", with_balancer("ROUND_ROBIN"))
    assert cluster(own, services, namespace="gateways").balancer.policy == "RANDOM"
    assert cluster(services, namespace="gateways").balancer.policy == "ROUND_ROBIN"


def test_8_1_1_then_the_services_namespace_then_the_root_and_no_other() -> None:
    services = rule("b", with_balancer("ROUND_ROBIN"))
    root = rule("c", with_balancer("RANDOM"), namespace="istio-system")
    other = rule("d", with_balancer("RANDOM"), namespace="other")
    assert cluster(services, root, namespace="gateways").balancer.policy == "ROUND_ROBIN"
    assert cluster(root, namespace="gateways").balancer.policy == "RANDOM"
    assert cluster(other, namespace="gateways").balancer.policy == "LEAST_REQUEST"


def test_8_1_1_a_proxy_in_the_root_namespace_puts_only_private_rules_first() -> None:
    services = rule("b", with_balancer("ROUND_ROBIN"))
    public = rule("c", with_balancer("RANDOM"), namespace="istio-system")
    private = rule("c", with_balancer("RANDOM", more=', exportTo: ["."]'), namespace="istio-system")
    assert cluster(services, public).balancer.policy == "ROUND_ROBIN"
    assert cluster(services, private).balancer.policy == "RANDOM"


def test_8_1_1_a_rule_that_is_not_exported_here_does_not_count() -> None:
    private = rule("b", with_balancer("ROUND_ROBIN", more=', exportTo: ["."]'))
    named = rule("b", with_balancer("ROUND_ROBIN", more=", exportTo: [istio-system]"))
    assert cluster(private).balancer.policy == "LEAST_REQUEST"
    assert cluster(named).balancer.policy == "ROUND_ROBIN"


def test_8_1_2_exact_before_wildcard_and_the_longest_wildcard_first() -> None:
    exact = rule("a", with_balancer("RANDOM"))
    short = rule("b", with_balancer("ROUND_ROBIN", "*.test"))
    longer = rule("c", with_balancer("RANDOM", "*.cart.test"))
    assert cluster(short, exact).balancer.policy == "RANDOM"
    assert cluster(short, exact, host="a.cart.test").balancer.policy == "ROUND_ROBIN"
    assert cluster(short, longer, host="a.cart.test").balancer.policy == "RANDOM"


def test_8_1_2_wildcard_and_exact_are_not_merged() -> None:
    exact = rule("a", "{host: cart.test, subsets: [{name: v1}]}")
    wild = rule("b", with_balancer("RANDOM", "*.test"))
    assert cluster(exact, wild).balancer.policy == "LEAST_REQUEST"


def test_8_1_3_rules_of_one_host_are_merged_by_age() -> None:
    older = rule("z", "{host: cart.test, subsets: [{name: v1, labels: {version: v1}}]}", metadata=OLD)
    newer = rule(
        "a",
        "{host: cart.test, subsets: [{name: v1}, {name: v2}], "
        "trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
        metadata=NEW,
    )
    newest = rule("b", with_balancer("ROUND_ROBIN"), metadata=', creationTimestamp: "2024-01-03T00:00:00Z"')
    documents = (newest, newer, older)
    assert cluster(*documents).balancer.policy == "RANDOM"  # the first that has a policy
    assert cluster(*documents, subset="v2").endpoints != ()  # appended
    assert cluster(*documents, subset="v1").endpoints == ()  # the duplicate name is ignored


def test_8_1_4_a_workload_selector_limits_a_rule_to_matching_proxies_of_its_namespace() -> None:
    chosen = rule(
        "a",
        with_balancer("RANDOM", more=", workloadSelector: {matchLabels: {app: edge}}"),
        namespace="istio-system",
    )
    everyone = rule("b", with_balancer("ROUND_ROBIN"))
    assert cluster(chosen, everyone, labels={"app": "edge"}).balancer.policy == "RANDOM"
    assert cluster(chosen, everyone, labels={"app": "other"}).balancer.policy == "ROUND_ROBIN"
    assert cluster(chosen, everyone).balancer.policy == "ROUND_ROBIN"
    elsewhere = chosen.replace("istio-system", "shop")
    assert cluster(elsewhere, labels={"app": "edge"}).balancer.policy == "LEAST_REQUEST"


def test_1_5_a_short_host_belongs_to_the_rules_namespace() -> None:
    host = "cart.shop.svc.cluster.local"
    assert cluster(rule("a", with_balancer("RANDOM", "cart")), host=host).balancer.policy == "RANDOM"
    elsewhere = rule("a", with_balancer("RANDOM", "cart"), namespace="other")
    assert cluster(elsewhere, host=host).balancer.policy == "LEAST_REQUEST"


def test_8_1_1_an_undeclared_host_has_the_namespace_its_full_name_says() -> None:
    text = "---".join(
        [
            EDGE,
            virtual_service(f"- {to('cart')}", namespace="shop"),
            rule("a", with_balancer("RANDOM", "cart")),
        ]
    )
    name = "outbound|80||cart.shop.svc.cluster.local"
    assert compile_yaml(text, unknown_hosts="dns").cluster(name).balancer.policy == "RANDOM"


@pytest.mark.parametrize(
    ("simple", "balancer"),
    [
        ("UNSPECIFIED", "LEAST_REQUEST"),
        ("LEAST_CONN", "LEAST_REQUEST"),
        ("LEAST_REQUEST", "LEAST_REQUEST"),
        ("ROUND_ROBIN", "ROUND_ROBIN"),
        ("RANDOM", "RANDOM"),
        ("PASSTHROUGH", "LEAST_REQUEST"),
    ],
)
def test_9_1_simple_balancers(simple: str, balancer: str) -> None:
    assert cluster(rule("a", with_balancer(simple))).balancer.policy == balancer


def test_8_3_the_connection_pool() -> None:
    spec = cluster(
        rule(
            "a",
            "{host: cart.test, trafficPolicy: {connectionPool: {"
            "tcp: {connectTimeout: 250ms, idleTimeout: 9s, maxConnections: 7}, "
            "http: {idleTimeout: 3s, maxRequestsPerConnection: 1, http1MaxPendingRequests: 5, "
            "http2MaxRequests: 6}}}}",
        )
    )
    assert (spec.connect_timeout_s, spec.idle_timeout_s) == (0.25, 3.0)
    assert spec.max_requests_per_connection == 1
    assert spec.limits == Limits(max_connections=7, max_pending=5, max_requests=6)


def test_8_3_2_8_3_7_defaults_of_the_pool() -> None:
    spec = cluster()
    assert (spec.connect_timeout_s, spec.limits) == (10.0, NO_LIMITS)
    idle = "{host: cart.test, trafficPolicy: {connectionPool: {tcp: {idleTimeout: 9s}}}}"
    assert cluster(rule("a", idle)).idle_timeout_s == 9.0
    mesh = MeshConfig(connect_timeout=1.0)  # type: ignore[arg-type]
    assert cluster(mesh=mesh).connect_timeout_s == 1.0


# -- 8.2 as a pure function ----------------------------------------------------------------------------

POOL_A = ConnectionPool(tcp=TCPSettings(max_connections=1))
POOL_B = ConnectionPool(tcp=TCPSettings(max_connections=2))
BALANCER_A = LoadBalancer(simple="RANDOM")
BALANCER_B = LoadBalancer(simple="ROUND_ROBIN")
OUTLIER = OutlierDetection(max_ejection_percent=50)
TUNNEL = Tunnel(target_host="t.test", target_port=1)


def at_port(number: int, **blocks: object) -> PortTrafficPolicy:
    return PortTrafficPolicy(port=PortSelector(number=number), **blocks)  # type: ignore[arg-type]


def test_8_2_1_without_port_settings_the_general_policy_holds() -> None:
    top = TrafficPolicy(connection_pool=POOL_A, tunnel=TUNNEL, port_level_settings=(at_port(81),))
    policy = resolve_policy(top, None, 80)
    assert (policy.connection_pool, policy.load_balancer, policy.tunnel) == (POOL_A, None, TUNNEL)


def test_8_2_1_port_settings_replace_all_four_blocks_and_lose_the_others() -> None:
    top = TrafficPolicy(
        connection_pool=POOL_A,
        outlier_detection=OUTLIER,
        tunnel=TUNNEL,
        port_level_settings=(at_port(80, load_balancer=BALANCER_A),),
    )
    policy = resolve_policy(top, None, 80)
    assert policy.load_balancer == BALANCER_A
    assert policy.connection_pool is None
    assert policy.outlier_detection is None
    assert policy.tunnel is None


def test_8_2_2_a_subset_replaces_the_blocks_it_writes() -> None:
    top = TrafficPolicy(connection_pool=POOL_A, load_balancer=BALANCER_A)
    policy = resolve_policy(top, TrafficPolicy(load_balancer=BALANCER_B), 80)
    assert (policy.connection_pool, policy.load_balancer) == (POOL_A, BALANCER_B)


def test_8_2_2_a_subset_writes_over_the_port_settings_of_the_rule() -> None:
    top = TrafficPolicy(load_balancer=BALANCER_A, port_level_settings=(at_port(80, connection_pool=POOL_A),))
    policy = resolve_policy(top, TrafficPolicy(connection_pool=POOL_B), 80)
    assert (policy.connection_pool, policy.load_balancer) == (POOL_B, None)


def test_8_2_2_port_settings_of_a_subset_replace_all_four_blocks() -> None:
    top = TrafficPolicy(connection_pool=POOL_A, tunnel=TUNNEL)
    subset = TrafficPolicy(
        outlier_detection=OUTLIER, port_level_settings=(at_port(80, load_balancer=BALANCER_B),)
    )
    policy = resolve_policy(top, subset, 80)
    assert policy.load_balancer == BALANCER_B
    assert policy.connection_pool is None
    assert policy.outlier_detection is None
    assert policy.tunnel == TUNNEL


def test_8_2_3_the_mesh_fills_pool_and_outlier_detection_only_where_absent() -> None:
    mesh = DefaultTrafficPolicy(connection_pool=POOL_B, outlier_detection=OUTLIER)
    policy = resolve_policy(TrafficPolicy(connection_pool=POOL_A), None, 80, mesh)
    assert (policy.connection_pool, policy.outlier_detection) == (POOL_A, OUTLIER)
    assert resolve_policy(None, None, 80, mesh).connection_pool == POOL_B


def test_8_2_4_to_8_2_6_each_subset_is_a_cluster_with_its_own_policy() -> None:
    text = "---".join(
        [
            EDGE,
            entry("cart.test", namespace="shop"),
            rule(
                "a",
                "{host: cart.test, trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1}, "
                "{name: v2, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]}",
            ),
            virtual_service(
                "- match: [{uri: {prefix: /1}}]\n  route: [{destination: {host: cart.test, subset: v1}}]\n"
                "- match: [{uri: {prefix: /2}}]\n  route: [{destination: {host: cart.test, subset: v2}}]\n"
                "- route: [{destination: {host: cart.test}}]"
            ),
        ]
    )
    clusters = compile_yaml(text).snapshot.clusters
    assert {name: spec.balancer.policy for name, spec in clusters.items()} == {
        "outbound|80|v1|cart.test": "RANDOM",
        "outbound|80|v2|cart.test": "ROUND_ROBIN",
        "outbound|80||cart.test": "RANDOM",
    }
