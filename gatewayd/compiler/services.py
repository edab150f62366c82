"""The registry: which services exist for this proxy, with their ports (semantics 11, 12).

One entry per host. Kubernetes Services and ServiceEntries meet here and nothing above needs to know
which it was. Endpoints are worked out per port when a route first asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gatewayd.compiler import protocols
from gatewayd.compiler.endpoints import EndpointSources, PortKey
from gatewayd.compiler.ordering import age_key
from gatewayd.compiler.visibility import PUBLIC, export_annotation, visibility
from gatewayd.resources.meta import Resource
from gatewayd.resources.service import Service as KubeService
from gatewayd.resources.service_entry import ServiceEntry
from gatewayd.upstream.spec import DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS, STATIC, EndpointSpec

#: ``resolution`` -> how a gateway discovers the endpoints (11.2, 11.3). NONE is STATIC at a gateway.
_DISCOVERY: Final = {
    "NONE": STATIC,
    "STATIC": STATIC,
    "DNS": DNS,
    "DNS_ROUND_ROBIN": DNS_ROUND_ROBIN,
    "DYNAMIC_DNS": DYNAMIC_DNS,
}


@dataclass(slots=True, eq=False)
class ServicePort:
    """One port of a service; ``endpoints()`` says where it is."""

    number: int
    name: str
    protocol: str  # a word of PROTOCOLS, or "" for one Istio does not know
    target: int | str | None
    owner: Service


@dataclass(slots=True, eq=False)
class Service:
    """A host of the registry."""

    host: str
    namespace: str
    resource: Resource[Any]
    resolution: str
    find_endpoints: Callable[[PortKey], list[EndpointSpec]]
    ports: dict[int, ServicePort] = field(default_factory=dict)
    #: the host an ExternalName Service stands for, "" for every other (12.8)
    alias: str = ""
    #: False: no document says anything about its endpoints, not even that there are none
    endpoints_known: bool = True

    @property
    def discovery(self) -> str:
        """``ClusterSpec.discovery`` of this service."""
        return _DISCOVERY[self.resolution]

    @property
    def kind(self) -> str:
        """``Service`` or ``ServiceEntry``."""
        return self.resource.kind

    def endpoints(self, port: int) -> list[EndpointSpec]:
        """Where ``port`` is served; names stay names. KeyError for a port the service does not have."""
        found = self.ports[port]
        return found.owner.find_endpoints((found.number, found.name, found.target))


class Registry:
    """Services by host, as one proxy sees them."""

    def __init__(self, hosts: dict[str, Service], own: dict[tuple[str, str], Service]) -> None:
        self._hosts = hosts
        self._own = own

    def follow(self, host: str) -> str:
        """The host behind ``host`` once ExternalName Services were followed (12.8); "" for a loop."""
        seen: set[str] = set()
        service = self._hosts.get(host)
        while service is not None and service.alias:
            if host in seen:
                return ""
            seen.add(host)
            host = service.alias
            service = self._hosts.get(host)
        return host

    def find(self, host: str) -> Service | None:
        """The service that answers for ``host`` at this proxy, aliases followed; None if unknown."""
        return self._hosts.get(self.follow(host))

    def for_port(self, host: str, namespace: str) -> Service | None:
        """The service whose ports a destination written in ``namespace`` means: its own first (11.16)."""
        own = self._own.get((host, namespace))
        return own if own is not None and not own.alias else self.find(host)

    def hosts(self) -> Iterable[str]:
        """Every known host, for suggestions."""
        return self._hosts

    def all(self) -> Iterable[Service]:
        """Every service, one per host."""
        return self._hosts.values()


def build_registry(
    services: Iterable[Resource[KubeService]],
    entries: Iterable[Resource[ServiceEntry]],
    sources: EndpointSources,
    *,
    viewer: str,
    domain: str,
    default_export_to: Sequence[str] = (),
) -> Registry:
    """The registry of a proxy in namespace ``viewer``.

    Of several services with one host, those exported to the viewer by name come before public ones,
    each group by age; a Kubernetes Service beats a ServiceEntry, else the first wins. Later ones of the
    winner's namespace and resolution add the ports it lacks; all others are not seen (11.16).
    """
    candidates: list[tuple[tuple[bool, bool, tuple[str, str, str]], Service]] = []
    own: dict[tuple[str, str], Service] = {}
    for found in [
        *(_of_kube(resource, sources, domain) for resource in services),
        *(service for resource in entries for service in _of_entry(resource, sources)),
    ]:
        resource = found.resource
        written = (
            export_annotation(resource.metadata.annotations)
            if resource.kind == "Service"
            else resource.spec.export_to
        )
        seen = visibility(written or default_export_to, found.namespace, viewer)
        if seen is None:
            continue
        rank = (resource.kind != "Service", seen == PUBLIC, age_key(resource.metadata))
        candidates.append((rank, found))
    candidates.sort(key=lambda candidate: candidate[0])
    hosts: dict[str, Service] = {}
    for _, service in candidates:
        own.setdefault((service.host, service.namespace), service)
        winner = hosts.setdefault(service.host, service)
        if winner is service:
            continue
        if (winner.namespace, winner.resolution) == (service.namespace, service.resolution):
            for number, port in service.ports.items():
                winner.ports.setdefault(number, port)
    return Registry(hosts, own)


def _of_kube(resource: Resource[KubeService], sources: EndpointSources, domain: str) -> Service:
    spec, namespace, name = resource.spec, resource.namespace, resource.name
    service = Service(
        host=f"{name}.{namespace}.svc.{domain}",
        namespace=namespace,
        resource=resource,
        resolution="STATIC",
        find_endpoints=lambda port: sources.of_service(namespace, name, spec, port),
        alias=spec.external_name.rstrip(".") if spec.type == "ExternalName" else "",
        endpoints_known=sources.known_for(namespace, name, spec.selector),
    )
    for port in spec.ports:
        protocol = protocols.of_service_port(port.port, port.name, port.protocol, port.app_protocol or "")
        service.ports.setdefault(
            port.port, ServicePort(port.port, port.name, protocol, port.target_port, service)
        )
    return service


def _of_entry(resource: Resource[ServiceEntry], sources: EndpointSources) -> Iterable[Service]:
    spec, namespace = resource.spec, resource.namespace
    for host in spec.hosts:

        def find(port: PortKey, host: str = host) -> list[EndpointSpec]:
            return sources.of_entry(namespace, host, spec, port)

        service = Service(
            host=host, namespace=namespace, resource=resource, resolution=spec.resolution, find_endpoints=find
        )
        for port in spec.ports:
            # An empty protocol is HTTP/1.1; the port's name is not consulted (11.11).
            protocol = protocols.parse(port.protocol) if port.protocol else protocols.HTTP
            service.ports.setdefault(
                port.number, ServicePort(port.number, port.name, protocol, port.target_port, service)
            )
        yield service
