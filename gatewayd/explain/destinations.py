"""Where a route leads: weights, clusters, endpoints, and what becomes of the request on its way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from gatewayd.explain.steps import NO_CLUSTER, ROUTE, Explanation
from gatewayd.explain.upstream import Routed, upstream_request
from gatewayd.resources.validate.http_actions import RETRY_CONDITIONS
from gatewayd.routing.route import Destination, Route
from gatewayd.upstream.spec import DYNAMIC_DNS, STATIC, ClusterSpec

_MAX_CONDITIONS: Final = 2


def say_destinations(told: Explanation, destinations: Sequence[Destination], routed: Routed | None) -> None:
    """All of a route's; ``routed``: the HTTP request, None for TCP."""
    chosen = [each for each in destinations if each.weight > 0] or list(destinations)
    told.destinations = [_json(each) for each in chosen]
    if routed is not None:
        head = routed.parsed.head
        assert head is not None
        told.outcome = ROUTE
        told.upstream = upstream_request(routed, chosen[0])
        _say_changes(told, routed.route, head.target.decode("utf-8", "replace"))
    if len(chosen) > 1:
        total = sum(each.weight for each in chosen)
        parts = [f"{_name(each)} {100 * each.weight / total:g} %" for each in chosen]
        told.add("split", None, "  |  ".join(parts))
    for each in chosen:
        _say_cluster(told, each)
    told.usable = any(one["endpoints"] or one["discovery"] == DYNAMIC_DNS for one in told.destinations)
    known = [each for each in chosen if each.cluster is not None]
    if routed is None:
        return
    if not known:
        told.outcome, told.status = NO_CLUSTER, 503
        told.result = f"503 NC: no such destination as {chosen[0].cluster_name}"
    elif not told.usable:
        told.status = 503
        told.result = "503 UH: no usable endpoint"


def _say_changes(told: Explanation, route: Route, target: str) -> None:
    upstream = told.upstream
    parts = []
    if upstream["path"] != target:
        parts.append(f"{target.partition('?')[0]} -> {upstream['path'].partition('?')[0]}")
    if route.timeout_s:
        parts.append(f"timeout {route.timeout_s:g}s")
    retry = route.retry
    if retry is not None and retry.attempts:
        words = [word for word in RETRY_CONDITIONS if word in retry.retry_on]
        on = ", ".join(words[:_MAX_CONDITIONS]) + (", ..." if len(words) > _MAX_CONDITIONS else "")
        parts.append(f"retries {retry.attempts} ({on})")
    if parts:
        told.add("rewrite" if upstream["path"] != target else "route", None, "    ".join(parts))
    if upstream["headers_set"] or upstream["headers_removed"]:
        changes = [f"{name}: {value}" for name, value in upstream["headers_set"]]
        changes += [f"without {name}" for name in upstream["headers_removed"]]
        told.add("headers", None, ", ".join(changes))


def _spec(cluster: Any) -> ClusterSpec | None:
    """Of a cluster that serves, or of one that was only compiled."""
    spec: ClusterSpec | None = getattr(cluster, "spec", cluster)
    return spec


def _endpoints(cluster: Any) -> list[str]:
    """Those that may be asked: as they are known now, else as they are written."""
    live = getattr(cluster, "spec", None) is not None
    if live and (cluster.endpoints or cluster.spec.discovery == STATIC):
        return [each.host_port for each in cluster.endpoints if each.ready]
    spec = _spec(cluster)
    return list(_written(spec.endpoints)) if spec is not None else []


def _written(endpoints: Iterable[Any]) -> Iterable[str]:
    for each in endpoints:
        if each.ready:
            bracketed = f"[{each.address}]" if ":" in each.address and each.port else each.address
            yield f"{bracketed}:{each.port}" if each.port else each.address


def _json(destination: Destination) -> dict[str, Any]:
    spec = _spec(destination.cluster)
    _, port, subset, host = (destination.cluster_name.split("|", 3) + [""] * 4)[:4]
    return {
        "host": spec.host if spec is not None else host,
        "port": spec.port if spec is not None else int(port) if port.isdigit() else 0,
        "subset": spec.subset if spec is not None else subset,
        "weight": destination.weight,
        "cluster": destination.cluster_name,
        "discovery": spec.discovery if spec is not None else "",
        "endpoints": _endpoints(destination.cluster) if spec is not None else [],
    }


def _name(destination: Destination) -> str:
    """The subset, or the host."""
    spec = _spec(destination.cluster)
    return (spec.subset or spec.host) if spec is not None else destination.cluster_name


def _say_cluster(told: Explanation, destination: Destination) -> None:
    spec = _spec(destination.cluster)
    name = destination.cluster_name
    if spec is None:
        told.add("cluster", False, f"{name}   no such service, port or subset")
        return
    count = len(_endpoints(destination.cluster))
    parts = [spec.balancer.policy, f"{count} endpoint{'' if count == 1 else 's'}"]
    if spec.discovery != STATIC:
        parts.append(spec.discovery)
    if spec.tls_spec is not None:
        parts.append(f"TLS {spec.tls_spec.mode}")
    told.add("cluster", count > 0 or spec.discovery == DYNAMIC_DNS, f"{name}   {', '.join(parts)}")
