"""The endpoints of a cluster as they are known now, as Envoy's ClusterLoadAssignment."""

from __future__ import annotations

from collections.abc import Iterable

from gatewayd.admin.dump.clusters import locality_message
from gatewayd.admin.dump.values import Message, address
from gatewayd.upstream.endpoint import Endpoint


def endpoints_message(name: str, endpoints: Iterable[Endpoint]) -> Message:
    """Those of cluster ``name``, by priority and locality."""
    groups: dict[tuple[int, str], list[Message]] = {}
    for each in endpoints:
        made: Message = {
            "endpoint": {"address": address(each.address, each.port)},
            "health_status": "HEALTHY" if each.ready else "UNHEALTHY",
            "load_balancing_weight": each.weight,
        }
        groups.setdefault((each.priority, each.locality), []).append(made)
    localities = []
    for (priority, locality), members in sorted(groups.items(), key=lambda item: item[0]):
        group: Message = {"locality": locality_message(locality), "lb_endpoints": members}
        if priority:
            group["priority"] = priority
        localities.append(group)
    return {"cluster_name": name, "endpoints": localities}
