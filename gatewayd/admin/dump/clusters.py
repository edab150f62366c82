"""Clusters as Envoy's Cluster and ClusterLoadAssignment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from gatewayd.admin.dump.tls import upstream_socket
from gatewayd.admin.dump.values import TYPE, Message, address, any_of, duration
from gatewayd.upstream.outlier import OutlierPolicy
from gatewayd.upstream.spec import (
    AS_CLIENT,
    DNS,
    DNS_ROUND_ROBIN,
    DYNAMIC_DNS,
    HTTP1,
    HTTP2,
    ClusterSpec,
    EndpointSpec,
    Limits,
)

#: What istiod writes where there is no limit.
UNLIMITED: Final = 4294967295
_TYPES: Final = {DNS: "STRICT_DNS", DNS_ROUND_ROBIN: "LOGICAL_DNS"}
_HTTP: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster_message(spec: ClusterSpec) -> Message:
    """What the configuration says of a cluster."""
    made: Message = {"name": spec.name}
    if spec.discovery == DYNAMIC_DNS:
        cache = {"name": spec.name, "dns_lookup_family": "V4_PREFERRED"}
        made["cluster_type"] = {
            "name": "envoy.clusters.dynamic_forward_proxy",
            "typed_config": any_of("clusters.dynamic_forward_proxy.v3.ClusterConfig", dns_cache_config=cache),
        }
        made["lb_policy"] = "CLUSTER_PROVIDED"
    else:
        made["type"] = _TYPES.get(spec.discovery, "STATIC")
        if spec.balancer.policy != "ROUND_ROBIN":  # which is what none means
            made["lb_policy"] = spec.balancer.policy
        made["load_assignment"] = {
            "cluster_name": spec.name,
            "endpoints": _localities(spec.endpoints, dict(spec.locality_weights)),
        }
    made["connect_timeout"] = duration(spec.connect_timeout_s)
    if spec.discovery in _TYPES:
        made["respect_dns_ttl"] = True
        made["dns_lookup_family"] = "V4_PREFERRED"
    made |= _hashing(spec)
    if spec.discovery != DYNAMIC_DNS:
        made["common_lb_config"] = {
            "healthy_panic_threshold": {"value": float(spec.balancer.panic_threshold)}
        }
        if spec.locality_weighted:
            made["common_lb_config"]["locality_weighted_lb_config"] = {}
    made["circuit_breakers"] = {"thresholds": [thresholds(spec.limits)]}
    if spec.outlier is not None:
        made["outlier_detection"] = _outliers(spec.outlier)
    if spec.keepalive is not None:
        probes = {
            name: value
            for name, value in (
                ("keepalive_probes", spec.keepalive.probes),
                ("keepalive_time", spec.keepalive.time_s),
                ("keepalive_interval", spec.keepalive.interval_s),
            )
            if value
        }
        made["upstream_connection_options"] = {"tcp_keepalive": probes}
    made["typed_extension_protocol_options"] = {_HTTP: _protocol(spec)}
    socket = upstream_socket(spec)
    if socket is not None:
        made["transport_socket"] = socket
    made["metadata"] = {"filter_metadata": _origin(spec)}
    return made


def _localities(endpoints: Iterable[EndpointSpec], weights: dict[str, int]) -> list[Message]:
    groups: dict[tuple[int, str], list[Message]] = {}
    for each in endpoints:
        made: Message = {"endpoint": {"address": address(each.address, each.port)}}
        made["load_balancing_weight"] = max(1, each.weight)
        if not each.ready:
            made["health_status"] = "UNHEALTHY"
        groups.setdefault((each.priority, each.locality), []).append(made)
    localities = []
    for (priority, locality), members in sorted(groups.items(), key=lambda item: item[0]):
        made = {"lb_endpoints": members}
        if locality:
            made["locality"] = locality_message(locality)
        if priority:
            made["priority"] = priority
        weight = weights.get(locality) or sum(member["load_balancing_weight"] for member in members)
        made["load_balancing_weight"] = weight
        localities.append(made)
    return localities


def locality_message(locality: str) -> Message:
    """``region/zone/subzone``."""
    parts = zip(("region", "zone", "sub_zone"), locality.split("/", 2), strict=False)
    return {name: part for name, part in parts if part}


def thresholds(limits: Limits) -> Message:
    """Limits as circuit breakers (semantics 8.3)."""
    made: Message = {
        "max_connections": limits.max_connections or UNLIMITED,
        "max_pending_requests": limits.max_pending or UNLIMITED,
        "max_requests": limits.max_requests or UNLIMITED,
        "max_retries": limits.max_retries or UNLIMITED,
        "track_remaining": True,
    }
    if limits.retry_budget_percent >= 0:
        made["retry_budget"] = {
            "budget_percent": {"value": limits.retry_budget_percent},
            "min_retry_concurrency": limits.min_retries,
        }
    return made


def _outliers(policy: OutlierPolicy) -> Message:
    made: Message = {
        "consecutive_5xx": policy.consecutive_5xx,
        "interval": duration(policy.interval_s),
        "base_ejection_time": duration(policy.base_ejection_s),
        "max_ejection_time": duration(policy.max_ejection_s),
        "max_ejection_percent": policy.max_ejection_percent,
        "enforcing_consecutive_5xx": 100 if policy.consecutive_5xx else 0,
        "enforcing_success_rate": 0,
    }
    if policy.consecutive_gateway:
        made["consecutive_gateway_failure"] = policy.consecutive_gateway
        made["enforcing_consecutive_gateway_failure"] = 100
    if policy.split:
        made["split_external_local_origin_errors"] = True
        made["consecutive_local_origin_failure"] = policy.consecutive_local
        made["enforcing_consecutive_local_origin_failure"] = 100
    return made


def _hashing(spec: ClusterSpec) -> Message:
    options = spec.balancer.hashing
    if spec.balancer.policy == "RING_HASH":
        sizes = {
            "minimum_ring_size": options.minimum_ring_size,
            "maximum_ring_size": options.maximum_ring_size,
        }
        return {"ring_hash_lb_config": {name: str(size) for name, size in sizes.items()}}
    if spec.balancer.policy == "MAGLEV":
        return {"maglev_lb_config": {"table_size": str(options.table_size)}}
    slow = spec.balancer.slow_start
    if slow is None or spec.balancer.policy not in ("LEAST_REQUEST", "ROUND_ROBIN"):
        return {}
    config = {
        "slow_start_window": duration(slow.window_s),
        "aggression": {"default_value": slow.aggression, "runtime_key": ""},
        "min_weight_percent": {"value": round(slow.minimum * 100, 6)},
    }
    config["aggression"]["runtime_key"] = "gatewayd.slow_start.aggression"  # type: ignore[index]  # just made
    return {f"{spec.balancer.policy.lower()}_lb_config": {"slow_start_config": config}}


def _protocol(spec: ClusterSpec) -> Message:
    made: Message = {"@type": TYPE + _HTTP}
    common: Message = {"idle_timeout": duration(spec.idle_timeout_s)} if spec.idle_timeout_s else {}
    if spec.max_requests_per_connection:
        common["max_requests_per_connection"] = spec.max_requests_per_connection
    if spec.max_connection_duration_s:
        common["max_connection_duration"] = duration(spec.max_connection_duration_s)
    if common:
        made["common_http_protocol_options"] = common
    versions: Message = {}
    if spec.protocol != HTTP2:
        versions["http_protocol_options"] = {}
    if spec.protocol != HTTP1:
        versions["http2_protocol_options"] = _http2(spec)
    chosen = "use_downstream_protocol_config" if spec.protocol == AS_CLIENT else "explicit_http_config"
    made[chosen] = versions
    return made


def _http2(spec: ClusterSpec) -> Message:
    made: Message = {}
    if spec.max_concurrent_streams:
        made["max_concurrent_streams"] = spec.max_concurrent_streams
    if spec.ping_interval_s:
        made["connection_keepalive"] = {"interval": duration(spec.ping_interval_s)}
        if spec.ping_timeout_s:
            made["connection_keepalive"]["timeout"] = duration(spec.ping_timeout_s)
    return made


def _origin(spec: ClusterSpec) -> Message:
    name, _, rest = spec.host.partition(".")
    namespace = rest.partition(".")[0] if ".svc." in spec.host else ""
    services = [{"host": spec.host, "name": name if namespace else spec.host, "namespace": namespace}]
    istio: dict[str, Any] = {"services": services}
    rule = spec.metadata.get("destination_rule", "").partition(",")[0]
    if rule:
        owner, _, own = rule.partition("/")
        istio["config"] = f"/apis/networking.istio.io/v1/namespaces/{owner}/destination-rule/{own}"
    if spec.subset:
        istio["subset"] = spec.subset
    return {"istio": istio}
