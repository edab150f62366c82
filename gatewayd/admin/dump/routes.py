"""Route tables as Envoy's RouteConfiguration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gatewayd.admin.dump.matches import route_match
from gatewayd.admin.dump.policies import cors_filter, fault_filter, hash_policy, mirror
from gatewayd.admin.dump.values import Message, duration, text, typed
from gatewayd.policies.header_ops import HeaderOps
from gatewayd.policies.rewrite import PrefixRewrite, RegexRewrite, WholeRewrite
from gatewayd.routing.index import Rule
from gatewayd.routing.route import (
    DIRECT_RESPONSE,
    REDIRECT,
    Destination,
    RedirectAction,
    RetryPolicy,
    Route,
    RouteSource,
)
from gatewayd.routing.table import VirtualHost
from gatewayd.snapshot import FilterChain

_STATUSES: Final = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
_PREVIOUS_HOSTS: Final = typed(
    "envoy.retry_host_predicates.previous_hosts", "retry.host.previous_hosts.v3.PreviousHostsPredicate"
)


def route_configuration(chain: FilterChain) -> Message:
    """The table of an HTTP chain without its virtual hosts, which come by themselves: there may be thousands."""
    return {"name": chain.name, "validate_clusters": False, "ignore_port_in_host_matching": True}


def virtual_hosts(chain: FilterChain) -> Iterator[Message]:
    """The virtual hosts of an HTTP chain, in order."""
    assert chain.routes is not None
    for host in chain.routes.virtual_hosts:
        yield virtual_host(host)


def virtual_host(host: VirtualHost) -> Message:
    """One virtual host with its routes."""
    made: Message = {
        "name": host.name,
        "domains": list(host.domains),
        "routes": [route_message(rule) for rule in host.rules],
        "include_request_attempt_count": True,
    }
    if host.require_tls:
        made["require_tls"] = "ALL"
    return made


def route_message(rule: Rule) -> Message:
    """One alternative of a rule."""
    route = rule.route
    made: Message = {"name": route.name} if route.name else {}
    made["match"] = route_match(rule.conditions)
    if route.action == REDIRECT and route.redirect is not None:
        made["redirect"] = _redirect(route.redirect)
    elif route.action == DIRECT_RESPONSE and route.direct is not None:
        made["direct_response"] = {"status": route.direct.status}
        if route.direct.body:
            made["direct_response"]["body"] = {"inline_string": text(route.direct.body)}
    else:
        made["route"] = _action(route)
        if len(route.destinations) == 1:
            made |= _operations(route.destinations[0])
        if route.decorator:
            made["decorator"] = {"operation": text(route.decorator)}
    if route.source is not None:
        made["metadata"] = {"filter_metadata": _origin(route.source)}
    if route.response_ops is not None:
        made |= _of_response(route.response_ops)
    filters = _filters(route)
    if filters:
        made["typed_per_filter_config"] = filters
    return made


def _origin(source: RouteSource) -> Message:
    """Where it was written: as Istio says it, and the very line."""
    own = {"file": source.file, "line": source.line, "rule": f"{source.block}[{source.rule}]"}
    return {"istio": {"config": source.config}, "gatewayd": own}


def _action(route: Route) -> Message:
    made: Message
    if len(route.destinations) == 1:
        (only,) = route.destinations
        made = {"cluster": only.cluster_name}
        if only.authority is not None:
            made["host_rewrite_literal"] = text(only.authority)
    else:
        made = {"weighted_clusters": {"clusters": [_weighted(each) for each in route.destinations]}}
    made["timeout"] = duration(route.timeout_s)
    made["max_grpc_timeout"] = duration(route.timeout_s)
    made |= _rewrite(route.rewrite)
    if route.retry is not None:
        made["retry_policy"] = retry_policy(route.retry)
    policies = route.policies
    if policies is not None:
        if policies.mirrors:
            made["request_mirror_policies"] = [mirror(each) for each in policies.mirrors]
        if policies.hashes:
            made["hash_policy"] = [hash_policy(each) for each in policies.hashes]
    return made


def _weighted(destination: Destination) -> Message:
    made: Message = {"name": destination.cluster_name, "weight": destination.weight}
    if destination.authority is not None:
        made["host_rewrite_literal"] = text(destination.authority)
    return made | _operations(destination)


def _rewrite(rewrite: Any) -> Message:
    what = getattr(rewrite, "__self__", None)
    if isinstance(what, PrefixRewrite):
        return {"prefix_rewrite": text(what.new)}
    if isinstance(what, WholeRewrite):
        return {"regex_rewrite": {"pattern": {"regex": "^/.*$"}, "substitution": _literal(text(what.new))}}
    if isinstance(what, RegexRewrite):
        return {"regex_rewrite": {"pattern": {"regex": what.pattern}, "substitution": what.template}}
    return {}


def _literal(template: str) -> str:
    return template.replace("\\", "\\\\")


def _operations(destination: Destination) -> Message:
    made: Message = {}
    if destination.request_ops is not None:
        added, removed = _levels(destination.request_ops)
        made |= {"request_headers_to_add": added} if added else {}
        made |= {"request_headers_to_remove": removed} if removed else {}
    return made | _of_response(destination.response_ops)


def _of_response(ops: Any) -> Message:
    if ops is None:
        return {}
    added, removed = _levels(ops)
    made: Message = {"response_headers_to_add": added} if added else {}
    return made | ({"response_headers_to_remove": removed} if removed else {})


def _levels(ops: HeaderOps) -> tuple[list[Message], list[str]]:
    """All levels one after the other: (what to add, what to remove)."""
    added: list[Message] = []
    removed: list[str] = []
    for level in ops.written:
        for pairs, action in (
            (level.set, "OVERWRITE_IF_EXISTS_OR_ADD"),
            (level.add, "APPEND_IF_EXISTS_OR_ADD"),
        ):
            added += [
                {"header": {"key": name, "value": value}, "append_action": action} for name, value in pairs
            ]
        removed += level.remove
    return added, removed


def retry_policy(retry: RetryPolicy) -> Message:
    """``retries`` as istiod writes them (semantics 6.7)."""
    made: Message = {
        "retry_on": ",".join(sorted(retry.retry_on)),
        "num_retries": retry.attempts,
        "host_selection_retry_max_attempts": "5",
    }
    if retry.ignore_previous_hosts:
        made["retry_host_predicate"] = [_PREVIOUS_HOSTS]
    if retry.status_codes:
        made["retriable_status_codes"] = sorted(retry.status_codes)
    if retry.per_try_timeout_s:
        made["per_try_timeout"] = duration(retry.per_try_timeout_s)
    if retry.base_interval_s != RetryPolicy().base_interval_s:
        made["retry_back_off"] = {"base_interval": duration(retry.base_interval_s)}
    return made


def _redirect(action: RedirectAction) -> Message:
    made: Message = {"response_code": _STATUSES.get(action.status, "MOVED_PERMANENTLY")}
    if action.scheme is not None:
        made["scheme_redirect"] = text(action.scheme)
    if action.authority is not None:
        made["host_redirect"] = text(action.authority)
    if action.port is not None:
        made["port_redirect"] = action.port
    if action.uri is not None:
        made["path_redirect"] = text(action.uri)
    elif action.prefix_rewrite is not None:
        made["prefix_rewrite"] = text(action.prefix_rewrite)
    return made


def _filters(route: Route) -> Message:
    policies = route.policies
    if policies is None:
        return {}
    made: Message = {}
    if policies.cors is not None:
        made["envoy.filters.http.cors"] = cors_filter(policies.cors)
    if policies.fault is not None:
        made["envoy.filters.http.fault"] = fault_filter(policies.fault)
    return made
