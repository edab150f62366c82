"""From a Gateway server's port to the one to bind, if a Service stands in front (semantics 2.1.3, 2.1.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.compiler.endpoints import has_labels
from gatewayd.compiler.ordering import age_key
from gatewayd.resources.meta import Resource
from gatewayd.resources.pod import Pod
from gatewayd.resources.service import Service
from gatewayd.resources.service_entry import ServiceEntry

_DISABLED: Final = "experimental.istio.io/disable-gateway-port-translation"
#: Set by Istio on Gateways it generates from others: only these Services' ports count.
_OWN_SERVICES: Final = "internal.istio.io/gateway-service"


@dataclass(slots=True)
class _FrontService:
    hosts: tuple[str, ...]
    ports: dict[int, int]
    selects: bool  # this proxy's labels


class PortTranslation:
    """The Services of the proxy's namespace, oldest first; the first that has a port decides."""

    def __init__(
        self,
        services: Iterable[Resource[Service]],
        entries: Iterable[Resource[ServiceEntry]],
        pods: Iterable[Resource[Pod]],
        *,
        namespace: str,
        labels: Mapping[str, str] | None,
        domain: str,
    ) -> None:
        self._fronts: list[_FrontService] = []
        own_pods = [
            pod
            for pod in pods
            if labels is not None and pod.namespace == namespace and has_labels(labels, pod.metadata.labels)
        ]
        documents: list[Resource[Any]] = [*services, *entries]
        for resource in sorted(documents, key=lambda r: age_key(r.metadata)):
            if resource.namespace != namespace or _DISABLED in resource.metadata.labels:
                continue
            if resource.kind == "Service":
                spec: Service = resource.spec
                ports = {port.port: _target(port.port, port.target_port, own_pods) for port in spec.ports}
                hosts: tuple[str, ...] = (f"{resource.name}.{namespace}.svc.{domain}",)
                selects = _selects(spec.selector, labels)
            else:
                entry: ServiceEntry = resource.spec
                ports = {port.number: port.target_port or port.number for port in entry.ports}
                hosts = entry.hosts
                # Inline endpoints are addresses, whatever their labels: they select no workload.
                selector = entry.workload_selector
                selects = _selects(selector.labels if selector else {}, labels)
            self._fronts.append(_FrontService(hosts, ports, selects))

    def bound_port(self, gateway: Resource[Any], number: int) -> int | None:
        """The port to bind for the server port ``number``; None when no listener can be made (2.1.3)."""
        named = gateway.metadata.annotations.get(_OWN_SERVICES, "")
        if named:
            wanted = {host.strip() for host in named.split(",")}
            fronts: Iterator[_FrontService] = (f for f in self._fronts if wanted & set(f.hosts))
            return next((front.ports[number] for front in fronts if number in front.ports), None)
        fronts = (front for front in self._fronts if front.selects)
        return next((front.ports[number] for front in fronts if number in front.ports), number)


def _selects(selector: Mapping[str, str], labels: Mapping[str, str] | None) -> bool:
    return labels is not None and bool(selector) and has_labels(selector, labels)


def _target(number: int, target: int | str | None, pods: Iterable[Resource[Pod]]) -> int:
    """The number a ``targetPort`` means; a name is looked up in the gateway's own Pods."""
    if target is None or target == "":
        return number
    if isinstance(target, int) or target.isdigit():
        return int(target) or number
    for pod in pods:
        for container in pod.spec.spec.containers:
            for port in container.ports:
                if port.name == target:
                    return port.container_port
    return number
