"""``loadBalancer`` compiled: the balancer of a cluster, what of a request is hashed (semantics 9.1 to 9.7, 9.19)."""

from __future__ import annotations

from typing import Final

from gatewayd.policies.hash_policy import CookieHash, HashPolicy, HeaderHash, QueryHash, SourceIpHash
from gatewayd.resources.traffic_policy import (
    BackendUtilization,
    ConsistentHash,
    HTTPCookie,
    LoadBalancer,
    OutlierDetection,
    TrafficPolicy,
)
from gatewayd.upstream.balancers import BalancerOptions, HashOptions, LoadOptions, SlowStart

#: ``loadBalancer.simple`` -> row of ``BALANCERS`` (9.1)
_SIMPLE: Final = {
    "UNSPECIFIED": "LEAST_REQUEST",
    "LEAST_CONN": "LEAST_REQUEST",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "ROUND_ROBIN": "ROUND_ROBIN",
    "RANDOM": "RANDOM",
    "PASSTHROUGH": "LEAST_REQUEST",  # the original destination: a gateway has none
}

#: Those that know warm-up (9.7).
_WARMING: Final = frozenset({"LEAST_REQUEST", "ROUND_ROBIN"})

#: Weights are not worked out more often.
_SHORTEST_UPDATE_S: Final = 0.1
_DEFAULT_RING: Final = 1024
_DEFAULT_TABLE: Final = 65537
#: ``warmup.minimumPercent``
_DEFAULT_MINIMUM: Final = 10.0


def balancer_options(balancer: LoadBalancer | None, outliers: OutlierDetection | None) -> BalancerOptions:
    """The balancer asked for; ``minHealthPercent`` of the outlier detection is its panic threshold (9.12)."""
    panic = outliers.min_health_percent if outliers is not None else 0
    if balancer is None:
        return BalancerOptions(panic_threshold=panic)
    hashing = balancer.consistent_hash
    if hashing is not None:
        if hashing.maglev is not None:
            sizes = HashOptions(table_size=hashing.maglev.table_size or _DEFAULT_TABLE)
            return BalancerOptions("MAGLEV", sizes, panic_threshold=panic)
        written = hashing.ring_hash.minimum_ring_size if hashing.ring_hash else hashing.minimum_ring_size
        sizes = HashOptions(minimum_ring_size=written or _DEFAULT_RING)
        return BalancerOptions("RING_HASH", sizes, panic_threshold=panic)
    if balancer.backend_utilization is not None:
        return BalancerOptions(
            "LOAD", panic_threshold=panic, load=_load_options(balancer.backend_utilization)
        )
    policy = _SIMPLE[balancer.simple or "UNSPECIFIED"]
    slow_start = _slow_start(balancer) if policy in _WARMING else None
    return BalancerOptions(policy, slow_start=slow_start, panic_threshold=panic)


def _load_options(written: BackendUtilization) -> LoadOptions:
    """``backendUtilization`` (9.19)."""
    default = LoadOptions()

    def seconds(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else float(value)

    return LoadOptions(
        metrics=written.metric_names_for_computing_utilization,
        error_penalty=(written.error_utilization_penalty_percent or 0) / 100,
        blackout_s=seconds(written.weight_stabilization_period, default.blackout_s),
        expiration_s=seconds(written.weight_expiration_period, default.expiration_s),
        update_s=max(_SHORTEST_UPDATE_S, seconds(written.weight_update_period, default.update_s)),
    )


def _slow_start(balancer: LoadBalancer) -> SlowStart | None:
    """``warmup``, or ``warmupDurationSecs`` of older configuration (9.7)."""
    written = balancer.warmup
    if written is not None:
        minimum = _DEFAULT_MINIMUM if written.minimum_percent is None else written.minimum_percent
        return SlowStart(float(written.duration), minimum / 100, written.aggression or 1.0)
    if balancer.warmup_duration_secs is not None:
        return SlowStart(float(balancer.warmup_duration_secs), _DEFAULT_MINIMUM / 100)
    return None


def written_hash(
    top: TrafficPolicy | None, subset: TrafficPolicy | None, port: int, *, named: bool
) -> ConsistentHash | None:
    """The ``consistentHash`` of a destination: the last of top, port, subset and subset's port that has one (9.6).

    ``named``: the destination names ``port``; port levels count only then.
    """
    found: ConsistentHash | None = None
    for policy in (top, subset):
        if policy is None:
            continue
        levels = [policy.load_balancer]
        if named:
            levels += [
                entry.load_balancer
                for entry in policy.port_level_settings
                if entry.port is not None and entry.port.number == port
            ][:1]
        for balancer in levels:
            if balancer is not None and balancer.consistent_hash is not None:
                found = balancer.consistent_hash
    return found


def hash_policy(written: ConsistentHash | None) -> HashPolicy | None:
    """What to hash (9.2 to 9.5); None when nothing is named, then requests go anywhere (9.3)."""
    if written is None:
        return None
    if written.http_header_name:
        return HeaderHash(written.http_header_name.lower().encode())
    if written.http_cookie is not None:
        return _cookie(written.http_cookie)
    if written.use_source_ip:
        return SourceIpHash()
    if written.http_query_parameter_name:
        return QueryHash(written.http_query_parameter_name.encode())
    return None


def _cookie(written: HTTPCookie) -> CookieHash:
    return CookieHash(
        written.name.encode(),
        None if written.ttl is None else int(written.ttl),
        written.path.encode(),
        tuple((attribute.name.encode(), attribute.value.encode()) for attribute in written.attributes),
    )
