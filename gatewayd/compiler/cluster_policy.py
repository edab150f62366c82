"""A resolved traffic policy as the numbers of a cluster (semantics 8.3, 9.7 to 9.13)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gatewayd.compiler.load_balancing import balancer_options
from gatewayd.compiler.policy import Policy
from gatewayd.compiler.protocols import HTTP2_UPSTREAM, HTTP_UPSTREAM
from gatewayd.resources.traffic_policy import OutlierDetection, RetryBudget, TcpKeepalive
from gatewayd.upstream.outlier import OutlierPolicy
from gatewayd.upstream.spec import AS_CLIENT, HTTP1, HTTP2, ClusterSpec, KeepAlive, Limits

#: ``retryBudget.percent`` and ``minRetryConcurrency`` (8.3.6)
_BUDGET_PERCENT: Final = 20.0
_BUDGET_MINIMUM: Final = 3


def apply_policy(
    spec: ClusterSpec, policy: Policy, connect_timeout_s: float, metadata: dict[str, str]
) -> ClusterSpec:
    """``spec`` with the policy's numbers; 0 and absent mean the default (8.3.1)."""
    pool = policy.connection_pool
    tcp = pool.tcp if pool is not None else None
    http = pool.http if pool is not None else None
    outliers = policy.outlier_detection
    endpoints = spec.endpoints
    if outliers is not None and outliers.min_health_percent > 0:
        endpoints = tuple(
            endpoint for endpoint in endpoints if endpoint.ready
        )  # 9.13: panic shall not use them
    idle = (http.idle_timeout if http else None) or (tcp.idle_timeout if tcp else None)
    pings = http.http2_keep_alive if http else None
    longest = tcp.max_connection_duration if tcp else None
    return replace(
        spec,
        endpoints=endpoints,
        balancer=balancer_options(policy.load_balancer, outliers),
        outlier=outlier_policy(outliers) if outliers is not None else None,
        connect_timeout_s=float(tcp.connect_timeout if tcp and tcp.connect_timeout else connect_timeout_s),
        idle_timeout_s=float(idle or spec.idle_timeout_s),
        max_requests_per_connection=http.max_requests_per_connection if http else 0,
        max_connection_duration_s=float(longest or 0.0),
        max_concurrent_streams=http.max_concurrent_streams if http else 0,
        ping_interval_s=float(pings.interval or 0.0) if pings else 0.0,
        ping_timeout_s=float(pings.timeout or 0.0) if pings else 0.0,
        limits=_with_budget(
            Limits(
                max_connections=tcp.max_connections if tcp else 0,
                max_pending=http.http1_max_pending_requests if http else 0,
                max_requests=http.http2_max_requests if http else 0,
                max_retries=http.max_retries if http else 0,
            ),
            policy.retry_budget,
        ),
        keepalive=_keep_alive(tcp.tcp_keepalive if tcp else None),
        proxy_protocol=policy.proxy_protocol.version if policy.proxy_protocol is not None else "",
        metadata=metadata,
    )


def upstream_protocol(declared: str, policy: Policy, mesh_upgrade: str) -> str:
    """In which HTTP requests go there (8.3.8): ``declared`` is the port's protocol, a word of 2.4.1 or "".

    ``mesh_upgrade``: the mesh's ``h2UpgradePolicy``, for ports that are known to speak HTTP.
    """
    http = policy.connection_pool.http if policy.connection_pool is not None else None
    if http is not None and http.use_client_protocol:
        return AS_CLIENT
    wish = http.h2_upgrade_policy if http is not None else "DEFAULT"
    if wish == "UPGRADE" or declared in HTTP2_UPSTREAM:
        return HTTP2
    upgraded = wish == "DEFAULT" and mesh_upgrade == "UPGRADE" and declared in HTTP_UPSTREAM
    return HTTP2 if upgraded else HTTP1


def outlier_policy(written: OutlierDetection) -> OutlierPolicy:
    """``outlierDetection`` with Envoy's defaults (9.8, 9.9).

    An explicit 0 switches a check of its own off; ``consecutiveErrors`` has no effect in Istio either.
    """
    default = OutlierPolicy()

    def count(value: int | None, otherwise: int) -> int:
        return otherwise if value is None else value

    base_s = float(written.base_ejection_time or default.base_ejection_s)
    return OutlierPolicy(
        consecutive_5xx=count(written.consecutive_5xx_errors, default.consecutive_5xx),
        consecutive_gateway=count(written.consecutive_gateway_errors, default.consecutive_gateway),
        consecutive_local=written.consecutive_local_origin_failures or default.consecutive_local,
        split=written.split_external_local_origin_errors,
        interval_s=float(written.interval or default.interval_s),
        base_ejection_s=base_s,
        max_ejection_percent=written.max_ejection_percent or default.max_ejection_percent,
        error_codes=frozenset(written.outlier_detection_http_error_codes),
    )


def _with_budget(limits: Limits, budget: RetryBudget | None) -> Limits:
    """``retryBudget`` takes the place of ``maxRetries`` (8.3.6)."""
    if budget is None:
        return limits
    return replace(
        limits,
        max_retries=0,
        retry_budget_percent=_BUDGET_PERCENT if budget.percent is None else float(budget.percent),
        min_retries=budget.min_retry_concurrency or _BUDGET_MINIMUM,
        retry_interval_s=float(budget.budget_interval or 0.0),
    )


def _keep_alive(written: TcpKeepalive | None) -> KeepAlive | None:
    """``tcpKeepalive``; an empty one switches keep-alive on with the system's own times (8.3.9)."""
    if written is None:
        return None
    return KeepAlive(written.probes, int(written.time or 0), int(written.interval or 0))
