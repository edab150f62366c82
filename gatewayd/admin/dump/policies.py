"""Policies of a route in Envoy's words."""

from __future__ import annotations

from typing import Any

from gatewayd.admin.dump.values import Message, any_of, duration, millionths, string_match, text
from gatewayd.policies.cors import CorsPolicy
from gatewayd.policies.fault import FaultPolicy
from gatewayd.policies.hash_policy import CookieHash, HeaderHash, QueryHash, SourceIpHash
from gatewayd.routing.route import Mirror


def cors_filter(policy: CorsPolicy) -> Message:
    """``corsPolicy``."""
    made = any_of("filters.http.cors.v3.CorsPolicy")
    made["allow_origin_string_match"] = [string_match(kind, origin) for kind, origin in policy.origins]
    for name, value in (
        ("allow_methods", policy.methods),
        ("allow_headers", policy.headers),
        ("expose_headers", policy.expose),
        ("max_age", policy.max_age),
    ):
        if value:
            made[name] = text(value)
    made["allow_credentials"] = policy.credentials
    made["forward_not_matching_preflights"] = policy.forward_unmatched
    return made


def fault_filter(policy: FaultPolicy) -> Message:
    """``fault``."""
    made = any_of("filters.http.fault.v3.HTTPFault")
    if policy.delay_millionths:
        made["delay"] = {
            "fixed_delay": duration(policy.delay_s),
            "percentage": millionths(policy.delay_millionths),
        }
    if policy.abort_millionths:
        made["abort"] = {"percentage": millionths(policy.abort_millionths)}
        if policy.grpc_status is not None:
            made["abort"]["grpc_status"] = policy.grpc_status
        else:
            made["abort"]["http_status"] = policy.abort_status
    return made


def mirror(target: Mirror) -> Message:
    """One mirror."""
    return {
        "cluster": target.cluster.name,
        "runtime_fraction": {"default_value": millionths(target.millionths)},
        "disable_shadow_host_suffix_append": True,
    }


def hash_policy(policy: Any) -> Message:
    """One way to get a hash."""
    made: Message = {}
    if isinstance(policy, HeaderHash):
        made["header"] = {"header_name": text(policy.name)}
    elif isinstance(policy, CookieHash):
        made["cookie"] = {"name": text(policy.name)}
        if policy.ttl_s is not None:
            made["cookie"]["ttl"] = duration(policy.ttl_s)
        if policy.path:
            made["cookie"]["path"] = text(policy.path)
    elif isinstance(policy, SourceIpHash):
        made["connection_properties"] = {"source_ip": True}
    elif isinstance(policy, QueryHash):
        made["query_parameter"] = {"name": text(policy.name)}
    if policy.terminal:
        made["terminal"] = True
    return made
