"""Where the endpoints of a service port are, from every kind of document that says so.

ServiceEntry endpoints and WorkloadEntries (semantics 11.2 to 11.8), EndpointSlices, Endpoints and Pods
(12.5, 12.7, 9.13). Pure look-ups over the documents; nothing is resolved or opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Final

from gatewayd.compiler.locality_labels import locality_of
from gatewayd.resources.meta import Resource
from gatewayd.resources.pod import Pod
from gatewayd.resources.service import (
    EndpointPort,
    Endpoints,
    EndpointSlice,
    Service,
    SliceEndpoint,
    TargetRef,
)
from gatewayd.resources.service_entry import ServiceEntry
from gatewayd.resources.workload import WorkloadEntry
from gatewayd.upstream.spec import EndpointSpec

_SERVICE_NAME: Final = "kubernetes.io/service-name"
_NO_LABELS: Final[Mapping[str, str]] = {}

Labels = Mapping[str, str]
#: number, name, and the target: a number, the name of a container port, or None for the number itself
PortKey = tuple[int, str, int | str | None]


def has_labels(wanted: Labels, labels: Labels) -> bool:
    """Whether ``labels`` contains every pair of ``wanted`` (8.2.5, 11.7)."""
    return all(labels.get(key) == value for key, value in wanted.items())


def is_ip(address: str) -> bool:
    """Whether ``address`` is an IP literal."""
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


def _spec(
    address: str, port: int, labels: Labels, weight: int = 0, locality: str = "", ready: bool = True
) -> EndpointSpec:
    if address.startswith("unix://"):
        address, port = "unix:" + address.removeprefix("unix://"), 0
    return EndpointSpec(address, port, weight or 1, tuple(sorted(labels.items())), locality, ready)


class EndpointSources:
    """The documents that hold endpoints, indexed by what they are looked up with."""

    def __init__(
        self,
        slices: Iterable[Resource[EndpointSlice]] = (),
        endpoints: Iterable[Resource[Endpoints]] = (),
        pods: Iterable[Resource[Pod]] = (),
        workloads: Iterable[Resource[WorkloadEntry]] = (),
    ) -> None:
        self._slices: dict[tuple[str, str], list[EndpointSlice]] = {}
        for resource in slices:
            owner = resource.metadata.labels.get(_SERVICE_NAME, "")
            self._slices.setdefault((resource.metadata.namespace, owner), []).append(resource.spec)
        self._endpoints = {(r.metadata.namespace, r.metadata.name): r.spec for r in endpoints}
        self._pods: dict[str, list[Resource[Pod]]] = {}
        self._pod: dict[tuple[str, str], Resource[Pod]] = {}
        for pod in pods:
            self._pods.setdefault(pod.metadata.namespace, []).append(pod)
            self._pod[pod.metadata.namespace, pod.metadata.name] = pod
        self._workloads: dict[str, list[Resource[WorkloadEntry]]] = {}
        for workload in workloads:
            self._workloads.setdefault(workload.metadata.namespace, []).append(workload)

    # -- Kubernetes Services ---------------------------------------------------------------------

    def known_for(self, namespace: str, name: str, selector: Labels) -> bool:
        """Whether any document says something about the Service's endpoints, even that there are none."""
        key = (namespace, name)
        return (
            key in self._slices
            or key in self._endpoints
            or (bool(selector) and any(True for _ in self._selected_pods(namespace, selector)))
            or (bool(selector) and any(True for _ in self._selected_workloads(namespace, selector)))
        )

    def of_service(self, namespace: str, name: str, service: Service, port: PortKey) -> list[EndpointSpec]:
        """The endpoints of one port of a Service.

        Slices and Endpoints of one Service say the same twice (Kubernetes mirrors them), so an address
        counts once per port name, whatever its number (12.7). Pods count only where neither exists.
        """
        key = (namespace, name)
        found: dict[str, EndpointSpec] = {}
        for endpoint in self._from_slices(key, port[1]):
            found.setdefault(endpoint.address, endpoint)
        for endpoint in self._from_endpoints(key, port[1]):
            found.setdefault(endpoint.address, endpoint)
        if service.selector:
            if key not in self._slices and key not in self._endpoints:
                for pod in self._selected_pods(namespace, service.selector):
                    address = _of_pod(pod, port)
                    if address is not None:
                        found.setdefault(address.address, address)
            for workload in self._selected_workloads(namespace, service.selector):
                if is_ip(workload.spec.address):  # semantics 11.8
                    endpoint = _of_workload(workload.spec, _labels_of(workload), port)
                    found.setdefault(endpoint.address, endpoint)
        return list(found.values())

    def _from_slices(self, key: tuple[str, str], port_name: str) -> Iterator[EndpointSpec]:
        for piece in self._slices.get(key, ()):
            if piece.address_type == "FQDN":
                continue
            for number in _numbers(piece.ports, port_name):
                for endpoint in piece.endpoints:
                    ready = _readiness(endpoint)
                    if ready is None:
                        continue
                    labels = self._pod_labels(key[0], endpoint.target_ref)
                    # The region is a matter of Node objects, which are in no file; the zone is all a slice says.
                    locality = locality_of(labels) or (f"/{endpoint.zone}" if endpoint.zone else "")
                    for address in endpoint.addresses:
                        yield _spec(address, number, labels, locality=locality, ready=ready)

    def _from_endpoints(self, key: tuple[str, str], port_name: str) -> Iterator[EndpointSpec]:
        document = self._endpoints.get(key)
        for subset in document.subsets if document else ():
            for number in _numbers(subset.ports, port_name):
                for addresses, ready in ((subset.addresses, True), (subset.not_ready_addresses, False)):
                    for address in addresses:
                        labels = self._pod_labels(key[0], address.target_ref)
                        yield _spec(address.ip, number, labels, locality=locality_of(labels), ready=ready)

    def _pod_labels(self, namespace: str, reference: TargetRef | None) -> Labels:
        """Labels of the Pod behind an address (8.4.1). One that is in no file has none: relaxed from
        Istio, which would wait for the Pod to appear (12.7)."""
        if reference is None or reference.kind not in ("", "Pod"):
            return _NO_LABELS
        pod = self._pod.get((reference.namespace or namespace, reference.name))
        return pod.metadata.labels if pod else _NO_LABELS

    def _selected_pods(self, namespace: str, selector: Labels) -> Iterator[Resource[Pod]]:
        for pod in self._pods.get(namespace, ()):
            if has_labels(selector, pod.metadata.labels):
                yield pod

    def _selected_workloads(self, namespace: str, selector: Labels) -> Iterator[Resource[WorkloadEntry]]:
        for workload in self._workloads.get(namespace, ()):
            if has_labels(selector, _labels_of(workload)):
                yield workload

    # -- ServiceEntries --------------------------------------------------------------------------

    def of_entry(self, namespace: str, host: str, entry: ServiceEntry, port: PortKey) -> list[EndpointSpec]:
        """The endpoints of one port of a ServiceEntry; names of DNS resolution are left as names.

        Without endpoints and selector, a DNS entry's own host is its endpoint (11.4), and it has no
        labels (8.4.2).
        """
        selector = entry.workload_selector
        if selector is not None and selector.labels:
            found = [
                _of_workload(workload.spec, _labels_of(workload), port)
                for workload in self._selected_workloads(namespace, selector.labels)
            ]
            if entry.location == "MESH_INTERNAL":
                pods = (_of_pod(pod, port) for pod in self._selected_pods(namespace, selector.labels))
                found += [pod for pod in pods if pod is not None]
        elif entry.endpoints:
            found = [_of_workload(endpoint, endpoint.labels, port) for endpoint in entry.endpoints]
        elif entry.resolution in ("DNS", "DNS_ROUND_ROBIN"):
            return [_spec(host, _target_number(port), _NO_LABELS)]
        else:
            return []
        if entry.resolution in ("NONE", "STATIC"):
            unique: dict[tuple[str, int], EndpointSpec] = {}
            for endpoint in found:  # Envoy keeps the first of several with one address and port
                unique.setdefault((endpoint.address, endpoint.port), endpoint)
            return list(unique.values())
        return found


def _labels_of(workload: Resource[WorkloadEntry]) -> Labels:
    """``spec.labels`` and the document's own, which win (8.4.1)."""
    return {**workload.spec.labels, **workload.metadata.labels}


def _target_number(port: PortKey) -> int:
    number, _, target = port
    return target if isinstance(target, int) else number


def _of_workload(workload: WorkloadEntry, labels: Labels, port: PortKey) -> EndpointSpec:
    """unix address > ``ports[name]`` > target port > port number (11.6)."""
    number = workload.ports.get(port[1]) or _target_number(port)
    return _spec(workload.address, number, labels, workload.weight, workload.locality or locality_of(labels))


def _of_pod(pod: Resource[Pod], port: PortKey) -> EndpointSpec | None:
    status = pod.spec.status
    address = status.pod_ip or next((item.ip for item in status.pod_ips), "")
    if not address or status.phase in ("Succeeded", "Failed"):
        return None
    target = port[2]
    if isinstance(target, str) and not target.isdigit():
        named = (p for c in pod.spec.spec.containers for p in c.ports if p.name == target)
        container_port = next(named, None)
        if container_port is None:
            return None
        number = container_port.container_port
    else:
        number = int(target or port[0])
    ready = all(c.status == "True" for c in status.conditions if c.type == "Ready")
    labels = pod.metadata.labels
    return _spec(address, number, labels, locality=locality_of(labels), ready=ready)


def _numbers(ports: Iterable[EndpointPort], name: str) -> list[int]:
    """Numbers of the ports of that name; an unnamed port belongs to the unnamed one (12.5)."""
    return [port.port for port in ports if port.name == name and port.port is not None]


def _readiness(endpoint: SliceEndpoint) -> bool | None:
    """True: usable. False: known, never selected. None: dropped altogether (9.13)."""
    conditions = endpoint.conditions
    if conditions is None or conditions.ready is not False:
        return True
    return None if conditions.terminating is not False else False
