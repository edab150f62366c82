"""The registry: which services exist for this proxy, with their ports (semantics 11, 12).

One entry per host. Kubernetes Services and ServiceEntries meet here and nothing above needs to know
which it was. Endpoints are worked out per port when a route asks for them. The registry is kept from one
compilation to the next, and says which hosts have another meaning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gatewayd.compiler import protocols
from gatewayd.compiler.delta import Delta
from gatewayd.compiler.endpoints import EndpointSources, PortKey, has_labels
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
    #: whether any document says something about its endpoints, even that there are none
    has_endpoints: Callable[[], bool] = lambda: True
    #: of the workloads behind it, as far as it selects any
    selector: Mapping[str, str] = field(default_factory=dict)

    @property
    def discovery(self) -> str:
        """``ClusterSpec.discovery`` of this service."""
        return _DISCOVERY[self.resolution]

    @property
    def kind(self) -> str:
        """``Service`` or ``ServiceEntry``."""
        return self.resource.kind

    @property
    def endpoints_known(self) -> bool:
        """False: no document says anything about its endpoints, not even that there are none."""
        return self.has_endpoints()

    def endpoints(self, port: int) -> list[EndpointSpec]:
        """Where ``port`` is served; names stay names. KeyError for a port the service does not have."""
        found = self.ports[port]
        return found.owner.find_endpoints((found.number, found.name, found.target))


#: Services before ServiceEntries, those exported by name before public ones, the oldest first (11.16).
_Rank = tuple[bool, bool, tuple[str, str, str]]


class Registry:
    """Services by host, as a proxy in namespace ``viewer`` sees them.

    Of several services with one host, those exported to the viewer by name come before public ones,
    each group by age; a Kubernetes Service beats a ServiceEntry, else the first wins. Later ones of the
    winner's namespace and resolution add the ports it lacks; all others are not seen (11.16).
    """

    def __init__(self, *, viewer: str, domain: str, default_export_to: Sequence[str] = ()) -> None:
        self._viewer = viewer
        self._domain = domain
        self._default_export_to = default_export_to
        self._sources = EndpointSources()
        #: all of a host, in order
        self._candidates: dict[str, list[tuple[_Rank, Service]]] = {}
        self._hosts: dict[str, Service] = {}
        #: by host and namespace
        self._own: dict[str, dict[str, Service]] = {}
        #: (namespace, label, value) -> hosts of services that select it: each under one of its labels
        self._selecting: dict[tuple[str, str, str], Counter[str]] = {}

    # What there is

    def update(self, delta: Delta) -> set[str]:
        """Take the changes in; the hosts whose services, ports or endpoints may be others now."""
        touched = self._sources.update(delta)
        hosts: set[str] = set()
        for change in delta.of("Service", "ServiceEntry"):
            for resource, count in ((change.before, -1), (change.after, 1)):
                if resource is not None:
                    hosts.update(self._note(resource, count))
        for host in hosts:
            self._choose(host)
        hosts.update(f"{name}.{namespace}.svc.{self._domain}" for namespace, name in touched.services)
        for namespace, labels in touched.labels:
            for pair in labels.items():
                for host in self._selecting.get((namespace, *pair), ()):
                    if any(
                        service.namespace == namespace and has_labels(service.selector, labels)
                        for _, service in self._candidates.get(host, ())
                    ):
                        hosts.add(host)
        return hosts

    def _note(self, resource: Resource[Any], count: int) -> Iterator[str]:
        """A resource comes (1) or goes (-1); its hosts."""
        written = (
            export_annotation(resource.metadata.annotations)
            if resource.kind == "Service"
            else resource.spec.export_to
        )
        seen = visibility(written or self._default_export_to, resource.namespace, self._viewer)
        if seen is None:
            return
        rank = (resource.kind != "Service", seen == PUBLIC, age_key(resource.metadata))
        found = [self._of_kube(resource)] if resource.kind == "Service" else self._of_entry(resource)
        for service in found:
            yield service.host
            candidates = self._candidates.setdefault(service.host, [])
            if count > 0:
                candidates.append((rank, service))
                candidates.sort(key=_by_rank)
            else:
                candidates[:] = [each for each in candidates if each[1].resource is not resource]
                if not candidates:
                    del self._candidates[service.host]
            for label, value in list(service.selector.items())[:1]:
                key = (service.namespace, label, value)
                selecting = self._selecting.setdefault(key, Counter())
                selecting[service.host] += count
                if not selecting[service.host]:
                    del selecting[service.host]
                    if not selecting:
                        del self._selecting[key]

    def _choose(self, host: str) -> None:
        """Find out which service a host means."""
        candidates = [service for _, service in self._candidates.get(host, ())]
        if not candidates:
            self._hosts.pop(host, None)
            self._own.pop(host, None)
            return
        winner = candidates[0]
        ports = dict(winner.ports)
        for service in candidates[1:]:
            if (winner.namespace, winner.resolution) == (service.namespace, service.resolution):
                for number, port in service.ports.items():
                    ports.setdefault(number, port)
        if len(ports) > len(winner.ports):
            candidates[0] = winner = replace(winner, ports=ports)
        self._hosts[host] = winner
        self._own[host] = {service.namespace: service for service in reversed(candidates)}

    def _of_kube(self, resource: Resource[KubeService]) -> Service:
        spec, namespace, name = resource.spec, resource.namespace, resource.name
        sources = self._sources
        service = Service(
            host=f"{name}.{namespace}.svc.{self._domain}",
            namespace=namespace,
            resource=resource,
            resolution="STATIC",
            find_endpoints=lambda port: sources.of_service(namespace, name, spec, port),
            has_endpoints=lambda: sources.known_for(namespace, name, spec.selector),
            alias=spec.external_name.rstrip(".") if spec.type == "ExternalName" else "",
            selector=spec.selector,
        )
        for port in spec.ports:
            protocol = protocols.of_service_port(port.port, port.name, port.protocol, port.app_protocol or "")
            service.ports.setdefault(
                port.port, ServicePort(port.port, port.name, protocol, port.target_port, service)
            )
        return service

    def _of_entry(self, resource: Resource[ServiceEntry]) -> Iterable[Service]:
        spec, namespace = resource.spec, resource.namespace
        sources = self._sources
        selector = spec.workload_selector
        for host in spec.hosts:

            def find(port: PortKey, host: str = host) -> list[EndpointSpec]:
                return sources.of_entry(namespace, host, spec, port)

            service = Service(
                host=host,
                namespace=namespace,
                resource=resource,
                resolution=spec.resolution,
                find_endpoints=find,
                selector=selector.labels if selector is not None else {},
            )
            for port in spec.ports:
                # An empty protocol is HTTP/1.1; the port's name is not consulted (11.11).
                protocol = protocols.parse(port.protocol) if port.protocol else protocols.HTTP
                service.ports.setdefault(
                    port.number, ServicePort(port.number, port.name, protocol, port.target_port, service)
                )
            yield service

    # What is asked

    def chain(self, host: str) -> list[str]:
        """``host``, and the hosts behind it in turn once ExternalName Services are followed; a loop ends with ``""``
        (12.8)."""
        passed = [host]
        service = self._hosts.get(host)
        while service is not None and service.alias:
            host = service.alias
            if host in passed:
                return [*passed, ""]
            passed.append(host)
            service = self._hosts.get(host)
        return passed

    def follow(self, host: str) -> str:
        """The host behind ``host`` once ExternalName Services were followed (12.8); "" for a loop."""
        return self.chain(host)[-1]

    def find(self, host: str) -> Service | None:
        """The service that answers for ``host`` at this proxy, aliases followed; None if unknown."""
        return self._hosts.get(self.follow(host))

    def for_port(self, host: str, namespace: str) -> Service | None:
        """The service whose ports a destination written in ``namespace`` means: its own first (11.16)."""
        own = self._own.get(host, {}).get(namespace)
        return own if own is not None and not own.alias else self.find(host)

    def hosts(self) -> Iterable[str]:
        """Every known host, for suggestions."""
        return self._hosts

    def all(self) -> Iterable[Service]:
        """Every service, one per host, by host."""
        return (self._hosts[host] for host in sorted(self._hosts))


def _by_rank(candidate: tuple[_Rank, Service]) -> _Rank:
    return candidate[0]
