"""AUTO_PASSTHROUGH: a route per cluster of the mesh, chosen by SNI, with no VirtualService (semantics 3.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gatewayd.compiler.clusters import Clusters
from gatewayd.compiler.complaints import Place
from gatewayd.compiler.destination_rules import RuleBook
from gatewayd.compiler.destinations import Question
from gatewayd.compiler.gateways import GatewayServer
from gatewayd.compiler.l4 import L4Compiler, SniRoute, tcp_route
from gatewayd.compiler.names import covers
from gatewayd.compiler.protocols import UDP
from gatewayd.compiler.services import Registry, Service
from gatewayd.routing.route import Destination

#: What sidecars and gateways of a mesh offer towards each other; nobody else gets in here (3.1).
MESH_ALPN: Final = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")


def cluster_routes(
    server: GatewayServer, clusters: Clusters, registry: Registry, rules: RuleBook, l4: L4Compiler
) -> Iterable[SniRoute]:
    """A route for each port and subset of each service of the mesh that a host of the server covers."""
    hosts = server.bare_hosts
    for service in registry.all():
        if _external(service) or not any(covers(host, service.host) for host in hosts):
            continue
        rule = rules.find(service.host, service.namespace)
        tcp = l4.settings(service.host, service.namespace)
        for port in service.ports.values():
            if port.protocol == UDP:
                continue
            for subset in ("", *(rule.subsets if rule is not None else ())):
                asked = Question(service.host, subset, port.number, "", 0, by_sni=True)
                target = clusters.target(asked, Place(server.gateway, server.path, raw=True))
                if target.cluster is not None:
                    destination = Destination(target.cluster, target.name)
                    yield SniRoute((target.name.lower(),), tcp_route([destination], tcp, None))


def _external(service: Service) -> bool:
    """Outside of the mesh: a ServiceEntry that does not say otherwise, or a name for another host."""
    if service.kind == "ServiceEntry":
        return bool(service.resource.spec.location == "MESH_EXTERNAL")
    return bool(service.alias)
