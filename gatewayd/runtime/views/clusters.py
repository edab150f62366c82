"""Topic ``clusters``: one row for each cluster, with its endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from gatewayd.observe.sums import Reached, Sums
from gatewayd.upstream.endpoint import Endpoint
from gatewayd.upstream.registry import Registry

_NOBODY = Reached()


def cluster_rows(registry: Registry, sums: Sums) -> Iterator[dict[str, Any] | None]:
    """The clusters in use."""
    for name, cluster in list(registry.clusters.items()):
        spec = cluster.spec
        yield {
            "name": name,
            "host": spec.host,
            "port": spec.port,
            "subset": spec.subset,
            "discovery": spec.discovery,
            "policy": spec.balancer.policy,
            "protocol": spec.protocol,
            "tls": spec.tls_spec.mode if spec.tls_spec is not None else "",
            "tls_problem": spec.tls.problem if spec.tls is not None else "",
            "service": spec.metadata.get("service", ""),
            "destination_rule": spec.metadata.get("destination_rule", ""),
            "connect_timeout_s": spec.connect_timeout_s,
            "limits": asdict(spec.limits),
            "outlier_detection": spec.outlier is not None,
            "total": cluster.total,
            "active": cluster.active,
            "endpoints": [
                endpoint_json(each, sums.endpoints.get((name, each.host_port), _NOBODY))
                for each in cluster.endpoints
            ],
        }


def endpoint_json(endpoint: Endpoint, reached: Reached) -> dict[str, Any]:
    """One endpoint; ``reached``: what requests to it came to."""
    health = endpoint.health
    return {
        "address": endpoint.host_port,
        "host": endpoint.address,
        "port": endpoint.port,
        "ready": endpoint.known_ready,
        "ejected": health.ejected,
        "healthy": bool(endpoint.ready),
        "ejections": health.ejections,
        "weight": endpoint.weight,
        "locality": endpoint.locality,
        "priority": endpoint.priority,
        "total": endpoint.total,
        "active": endpoint.active,
        "connections": len(endpoint.connections),
        "opened": endpoint.opened,
        "failed": endpoint.failed,
        "waiting": len(endpoint.waiting),
        "errors": reached.errors,
        "timeouts": reached.timeouts,
    }
