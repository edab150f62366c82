"""The balancer of a cluster's endpoints, ranked by priority and grouped by locality where the spec says so."""

from __future__ import annotations

from collections.abc import Sequence

from gatewayd.upstream.balancers import Balancer, Locality, make_balancer, make_prioritised
from gatewayd.upstream.endpoint import Endpoint
from gatewayd.upstream.spec import ClusterSpec


def balance(spec: ClusterSpec, endpoints: Sequence[Endpoint]) -> Balancer[Endpoint]:
    """A balancer for ``endpoints`` as they are now (semantics 9.12 to 9.15)."""
    if not spec.locality_weighted and not any(endpoint.priority for endpoint in endpoints):
        return make_balancer(spec.balancer, endpoints)
    shares = dict(spec.locality_weights)
    levels: dict[int, dict[str, list[Endpoint]]] = {}
    for endpoint in endpoints:
        if not shares or endpoint.locality in shares:
            levels.setdefault(endpoint.priority, {}).setdefault(endpoint.locality, []).append(endpoint)
    priorities = [
        [
            Locality(tuple(members), shares.get(locality) or sum(endpoint.weight for endpoint in members))
            for locality, members in level.items()
        ]
        for _, level in sorted(levels.items())
    ]
    return make_prioritised(spec.balancer, priorities, weighted=spec.locality_weighted)
