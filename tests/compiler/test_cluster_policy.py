"""What a traffic policy makes of a cluster and of its routes: semantics 8.3, 9.2 to 9.13."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.policies.hash_policy import CookieHash, HeaderHash, QueryHash, SourceIpHash
from gatewayd.resources.mesh_config import DefaultTrafficPolicy, MeshConfig
from gatewayd.resources.traffic_policy import ConnectionPool, HTTPSettings, OutlierDetection, TCPSettings
from gatewayd.routing.l4 import TcpRoute
from gatewayd.upstream.balancers import BalancerOptions, HashOptions, LoadOptions, SlowStart
from gatewayd.upstream.outlier import OutlierPolicy
from gatewayd.upstream.spec import NO_LIMITS, KeepAlive, Limits
from tests.compiler.support import EDGE, compile_yaml, entry, gateway, server, to, virtual_service
from tests.compiler.test_destination_rules import cluster, rule


def with_policy(policy: str, more: str = "") -> str:
    return rule("a", f"{{host: cart.test, trafficPolicy: {policy}{more}}}")


def balancer(written: str, more: str = "") -> BalancerOptions:
    return cluster(with_policy(f"{{loadBalancer: {written}{more}}}")).balancer


# -- limits ------------------------------------------------------------------------------------------------


def test_8_3_6_a_retry_budget_takes_the_place_of_max_retries() -> None:
    pool = "connectionPool: {http: {maxRetries: 4}}"
    assert cluster(with_policy(f"{{{pool}}}")).limits == Limits(max_retries=4)
    assert cluster(with_policy(f"{{{pool}, retryBudget: {{}}}}")).limits == Limits(
        retry_budget_percent=20.0, min_retries=3
    )
    written = cluster(with_policy("{retryBudget: {percent: 0, minRetryConcurrency: 7}}"))
    assert written.limits == Limits(retry_budget_percent=0.0, min_retries=7)
    within = cluster(with_policy("{retryBudget: {budgetInterval: 10s}}"))  # 8.3.10
    assert within.limits == Limits(retry_budget_percent=20.0, min_retries=3, retry_interval_s=10.0)


def test_9_19_backend_utilization_is_a_balancer_of_its_own() -> None:
    assert balancer("{backendUtilization: {}}") == BalancerOptions("LOAD", load=LoadOptions())
    written = balancer(
        "{backendUtilization: {metricNamesForComputingUtilization: [named_metrics.q],"
        " errorUtilizationPenaltyPercent: 150, weightStabilizationPeriod: 0s, weightExpirationPeriod: 1m,"
        " weightUpdatePeriod: 10ms}}",
        ", outlierDetection: {minHealthPercent: 20}",
    )
    load = LoadOptions(("named_metrics.q",), 1.5, blackout_s=0.0, expiration_s=60.0, update_s=0.1)
    assert written == BalancerOptions("LOAD", load=load, panic_threshold=20)


def test_8_3_1_zeros_are_no_limits() -> None:
    zeros = "{connectionPool: {tcp: {maxConnections: 0}, http: {http1MaxPendingRequests: 0, maxRetries: 0}}}"
    assert cluster(with_policy(zeros)).limits == NO_LIMITS


def test_8_3_7_connections_have_a_longest_life() -> None:
    assert (
        cluster(with_policy("{connectionPool: {tcp: {maxConnectionDuration: 5s}}}")).max_connection_duration_s
        == 5
    )
    assert cluster().max_connection_duration_s == 0


@pytest.mark.parametrize(
    ("tcp", "expected"),
    [
        ("{maxConnections: 1}", None),
        ("{tcpKeepalive: {}}", KeepAlive()),
        ("{tcpKeepalive: {probes: 3, time: 600s, interval: 75s}}", KeepAlive(3, 600, 75)),
    ],
)
def test_8_3_9_keep_alive_is_off_unless_it_is_written(tcp: str, expected: KeepAlive | None) -> None:
    assert cluster(with_policy(f"{{connectionPool: {{tcp: {tcp}}}}}")).keepalive == expected


def test_8_2_3_the_meshs_limits_and_health_hold_where_nothing_is_written() -> None:
    mesh = MeshConfig(
        default_traffic_policy=DefaultTrafficPolicy(
            connection_pool=ConnectionPool(
                tcp=TCPSettings(max_connections=9), http=HTTPSettings(max_retries=2)
            ),
            outlier_detection=OutlierDetection(consecutive_5xx_errors=1),
        )
    )
    plain = cluster(mesh=mesh)
    assert plain.limits == Limits(max_connections=9, max_retries=2)
    assert plain.outlier == OutlierPolicy(consecutive_5xx=1)
    written = cluster(with_policy("{outlierDetection: {consecutive5xxErrors: 8}}"), mesh=mesh)
    assert written.limits == plain.limits
    assert written.outlier == OutlierPolicy(consecutive_5xx=8)


# -- health ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", OutlierPolicy()),
        ("{consecutive5xxErrors: 0}", OutlierPolicy(consecutive_5xx=0)),
        ("{consecutiveGatewayErrors: 0}", OutlierPolicy()),
        ("{consecutiveGatewayErrors: 2}", OutlierPolicy(consecutive_gateway=2)),
        ("{consecutiveErrors: 2}", OutlierPolicy()),
        (
            "{interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 100}",
            OutlierPolicy(interval_s=1.0, base_ejection_s=2.0, max_ejection_percent=100),
        ),
        ("{splitExternalLocalOriginErrors: true}", OutlierPolicy(split=True)),
        (
            "{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2}",
            OutlierPolicy(split=True, consecutive_local=2),
        ),
        ("{outlierDetectionHttpErrorCodes: [429, 500]}", OutlierPolicy(error_codes=frozenset({429, 500}))),
    ],
)
def test_9_8_9_9_9_11_outlier_detection(written: str, expected: OutlierPolicy) -> None:
    assert cluster(with_policy(f"{{outlierDetection: {written}}}")).outlier == expected
    assert cluster().outlier is None


def test_9_12_min_health_percent_is_the_panic_threshold() -> None:
    assert balancer("{simple: RANDOM}").panic_threshold == 0
    outliers = ", outlierDetection: {minHealthPercent: 40}"
    for written in (
        "{simple: RANDOM}",
        "{consistentHash: {useSourceIp: true}}",
        "{consistentHash: {maglev: {}}}",
    ):
        assert balancer(written, outliers).panic_threshold == 40
    assert cluster(with_policy("{outlierDetection: {minHealthPercent: 40}}")).balancer.panic_threshold == 40


@pytest.mark.parametrize(("outliers", "addresses"), [("{}", 2), ("{minHealthPercent: 1}", 1)])
def test_9_13_with_a_threshold_endpoints_that_are_not_ready_are_left_out(
    outliers: str, addresses: int
) -> None:
    service = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1]}
- {addresses: [10.0.0.2], conditions: {ready: false, terminating: false}}
"""
    host = "cart.shop.svc.cluster.local"
    policy = rule("a", f"{{host: {host}, trafficPolicy: {{outlierDetection: {outliers}}}}}")
    spec = compile_yaml("---".join([EDGE, service, virtual_service(f"- {to(host)}"), policy])).cluster(
        f"outbound|80||{host}"
    )
    assert len(spec.endpoints) == addresses


# -- balancers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{useSourceIp: true}", BalancerOptions("RING_HASH")),
        ("{useSourceIp: true, minimumRingSize: 64}", BalancerOptions("RING_HASH", HashOptions(64))),
        ("{useSourceIp: true, ringHash: {}}", BalancerOptions("RING_HASH")),
        ("{useSourceIp: true, ringHash: {minimumRingSize: 7}}", BalancerOptions("RING_HASH", HashOptions(7))),
        ("{useSourceIp: true, maglev: {}}", BalancerOptions("MAGLEV")),
        (
            "{useSourceIp: true, maglev: {tableSize: 1021}}",
            BalancerOptions("MAGLEV", HashOptions(table_size=1021)),
        ),
    ],
)
def test_9_2_tables(written: str, expected: BalancerOptions) -> None:
    assert balancer(f"{{consistentHash: {written}}}") == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("warmupDurationSecs: 30s", SlowStart(30.0, 0.1, 1.0)),
        ("warmup: {duration: 30s}", SlowStart(30.0, 0.1, 1.0)),
        ("warmup: {duration: 5s, minimumPercent: 0, aggression: 2.5}", SlowStart(5.0, 0.0, 2.5)),
        ("warmup: {duration: 5s, minimumPercent: 50}", SlowStart(5.0, 0.5, 1.0)),
    ],
)
def test_9_7_warm_up(written: str, expected: SlowStart) -> None:
    assert balancer(f"{{simple: ROUND_ROBIN, {written}}}").slow_start == expected
    assert balancer(f"{{{written}}}") == BalancerOptions("LEAST_REQUEST", slow_start=expected)
    assert balancer(f"{{simple: RANDOM, {written}}}").slow_start is None


# -- what is hashed ----------------------------------------------------------------------------------------


def hashes(policy: str, more: str = "", route: str = "") -> tuple[Any, ...]:
    """Of a route to cart.test."""
    routes = virtual_service(f"- {route or to('cart.test')}")
    compiled = compile_yaml(
        "---".join([EDGE, entry("cart.test", namespace="shop"), routes, with_policy(policy, more)])
    )
    found = compiled.route("http://a.test/")
    assert found is not None
    return found.policies.hashes if found.policies is not None else ()


HASH_A = "{loadBalancer: {consistentHash: {httpHeaderName: X-User}}}"
HASH_B = "{consistentHash: {httpQueryParameterName: User}}"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{httpHeaderName: X-User}", HeaderHash(b"x-user")),
        ("{useSourceIp: true}", SourceIpHash()),
        ("{httpQueryParameterName: User}", QueryHash(b"User")),
        ("{httpCookie: {name: Sess}}", CookieHash(b"Sess")),
        (
            "{httpCookie: {name: s, ttl: 90s, path: /a, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}}",
            CookieHash(b"s", 90, b"/a", ((b"SameSite", b"Lax"), (b"Secure", b""))),
        ),
        ("{httpCookie: {name: s, ttl: 0s}}", CookieHash(b"s", 0)),
    ],
)
def test_9_2_9_4_9_5_keys(written: str, expected: object) -> None:
    assert hashes(f"{{loadBalancer: {{consistentHash: {written}}}}}") == (expected,)


def test_9_3_without_a_key_nothing_is_hashed() -> None:
    assert hashes("{loadBalancer: {consistentHash: {maglev: {}}}}") == ()
    assert hashes("{loadBalancer: {simple: RANDOM}}") == ()


def test_9_6_a_port_counts_only_where_the_destination_names_it() -> None:
    policy = HASH_A[:-1] + f", portLevelSettings: [{{port: {{number: 80}}, loadBalancer: {HASH_B}}}]}}"
    assert hashes(policy) == (HeaderHash(b"x-user"),)
    assert hashes(policy, route=to("cart.test", port="{number: 80}")) == (QueryHash(b"User"),)


def test_9_6_a_subset_goes_before_the_rest() -> None:
    subset = f", subsets: [{{name: v1, trafficPolicy: {{loadBalancer: {HASH_B}}}}}, {{name: v2}}]"
    assert hashes(HASH_A, subset, to("cart.test", subset="v1")) == (QueryHash(b"User"),)
    assert hashes(HASH_A, subset, to("cart.test", subset="v2")) == (HeaderHash(b"x-user"),)


def test_9_6_a_route_hashes_for_all_of_its_destinations_in_order() -> None:
    subset = f", subsets: [{{name: v1, trafficPolicy: {{loadBalancer: {HASH_B}}}}}]"
    shares = [("v1", 30), ("", 70), ("v1", 0)]
    route = (
        "route: ["
        + ", ".join(
            f"{{destination: {{host: cart.test{f', subset: {name}' if name else ''}}}, weight: {weight}}}"
            for name, weight in shares
        )
        + "]"
    )
    assert hashes(HASH_A, subset, route) == (QueryHash(b"User"), HeaderHash(b"x-user"))


@pytest.mark.parametrize(("key", "expected"), [("useSourceIp: true", True), ("httpHeaderName: x", False)])
def test_9_5_tcp_routes_hash_the_source_address_and_nothing_else(key: str, expected: bool) -> None:
    edge = gateway("edge", server(9000, "TCP"))
    routes = virtual_service(f"- {to('cart.test', port='{number: 80}')}", block="tcp")
    policy = with_policy(f"{{loadBalancer: {{consistentHash: {{{key}}}}}}}")
    compiled = compile_yaml("---".join([edge, entry("cart.test", namespace="shop"), routes, policy]))
    chain = compiled.chain(9000)
    assert chain is not None
    assert isinstance(chain.tcp, TcpRoute)
    assert chain.tcp.hash_source_ip is expected
