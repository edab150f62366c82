"""Where the endpoints of a service port are, from every kind of document that says so.

ServiceEntry endpoints and WorkloadEntries (semantics 11.2 to 11.8), EndpointSlices, Endpoints and Pods
(12.5, 12.7, 9.13). Look-ups over the documents; nothing is resolved or opened. The order of files is never an input:
where several documents speak of one service their names say which comes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from gatewayd.compiler.delta import Change, Delta
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


class _Labelled:
    """Resources of one kind by the labels that selectors ask for; in the order of their names."""

    def __init__(self) -> None:
        #: (namespace, label, value) -> by name: labels and resource
        self._by_label: dict[tuple[str, str, str], dict[str, tuple[Labels, Resource[Any]]]] = {}

    def add(self, resource: Resource[Any], labels: Labels) -> None:
        """``labels`` are those a selector sees."""
        for label, value in labels.items():
            key = (resource.namespace, label, value)
            self._by_label.setdefault(key, {})[resource.name] = labels, resource

    def remove(self, resource: Resource[Any], labels: Labels) -> None:
        """As it was added."""
        for label, value in labels.items():
            key = (resource.namespace, label, value)
            named = self._by_label[key]
            del named[resource.name]
            if not named:
                del self._by_label[key]

    def select(self, namespace: str, selector: Labels) -> list[tuple[Labels, Resource[Any]]]:
        """Those that have every label of ``selector``, which asks for one at least."""
        groups = [self._by_label.get((namespace, label, value), {}) for label, value in selector.items()]
        fewest = min(groups, key=len)
        return [fewest[name] for name in sorted(fewest) if has_labels(selector, fewest[name][0])]


#: namespace and name of a Service
_Owner = tuple[str, str]


@dataclass(slots=True)
class Touched:
    """Whose endpoints may be others now."""

    #: Services, by namespace and name
    services: set[_Owner] = field(default_factory=set)
    #: whoever selects these labels: namespace, labels
    labels: list[tuple[str, Labels]] = field(default_factory=list)


class EndpointSources:
    """The documents that hold endpoints, indexed by what they are looked up with."""

    def __init__(self) -> None:
        self._slices: dict[_Owner, dict[str, EndpointSlice]] = {}
        self._endpoints: dict[_Owner, Endpoints] = {}
        self._pod: dict[tuple[str, str], Resource[Pod]] = {}
        self._pods = _Labelled()
        self._workloads = _Labelled()
        #: Pod -> the Services whose slices or Endpoints speak of it
        self._speakers: dict[tuple[str, str], Counter[_Owner]] = {}

    def update(self, delta: Delta) -> Touched:
        """Take the changes in."""
        touched = Touched()
        for change in delta.of("EndpointSlice"):
            self._change_slice(change, touched)
        for change in delta.of("Endpoints"):
            owner = (change.either.namespace, change.either.name)
            touched.services.add(owner)
            if change.before is not None:
                self._note_pods(owner, _pods_of_endpoints(change.before), -1)
                del self._endpoints[owner]
            if change.after is not None:
                self._note_pods(owner, _pods_of_endpoints(change.after), 1)
                self._endpoints[owner] = change.after.spec
        for change in delta.of("Pod"):
            key = (change.either.namespace, change.either.name)
            touched.services.update(self._speakers.get(key, ()))
            touched.labels += [(each.namespace, each.metadata.labels) for each in change.both]
            if change.before is not None:
                self._pods.remove(change.before, change.before.metadata.labels)
                del self._pod[key]
            if change.after is not None:
                self._pods.add(change.after, change.after.metadata.labels)
                self._pod[key] = change.after
        for change in delta.of("WorkloadEntry"):
            touched.labels += [(each.namespace, _labels_of(each)) for each in change.both]
            if change.before is not None:
                self._workloads.remove(change.before, _labels_of(change.before))
            if change.after is not None:
                self._workloads.add(change.after, _labels_of(change.after))
        return touched

    def _change_slice(self, change: Change, touched: Touched) -> None:
        before, after = change
        if before is not None:
            owner = _owner_of(before)
            touched.services.add(owner)
            self._note_pods(owner, _pods_of_slice(before), -1)
            pieces = self._slices[owner]
            del pieces[before.name]
            if not pieces:
                del self._slices[owner]
        if after is not None:
            owner = _owner_of(after)
            touched.services.add(owner)
            self._note_pods(owner, _pods_of_slice(after), 1)
            self._slices.setdefault(owner, {})[after.name] = after.spec

    def _note_pods(self, owner: _Owner, pods: Iterable[tuple[str, str]], count: int) -> None:
        for pod in pods:
            speakers = self._speakers.setdefault(pod, Counter())
            speakers[owner] += count
            if not speakers[owner]:
                del speakers[owner]
                if not speakers:
                    del self._speakers[pod]

    # -- Kubernetes Services ---------------------------------------------------------------------

    def known_for(self, namespace: str, name: str, selector: Labels) -> bool:
        """Whether any document says something about the Service's endpoints, even that there are none."""
        key = (namespace, name)
        if key in self._slices or key in self._endpoints:
            return True
        return bool(selector) and bool(
            self._pods.select(namespace, selector) or self._workloads.select(namespace, selector)
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
                for _, pod in self._pods.select(namespace, service.selector):
                    address = _of_pod(pod, port)
                    if address is not None:
                        found.setdefault(address.address, address)
            for labels, workload in self._workloads.select(namespace, service.selector):
                if is_ip(workload.spec.address):  # semantics 11.8
                    endpoint = _of_workload(workload.spec, labels, port)
                    found.setdefault(endpoint.address, endpoint)
        return list(found.values())

    def _from_slices(self, key: _Owner, port_name: str) -> Iterator[EndpointSpec]:
        pieces = self._slices.get(key, {})
        for piece in (pieces[name] for name in sorted(pieces)):
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

    def _from_endpoints(self, key: _Owner, port_name: str) -> Iterator[EndpointSpec]:
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
        name = _pod_name(namespace, reference)
        pod = self._pod.get(name) if name is not None else None
        return pod.metadata.labels if pod else _NO_LABELS

    # -- ServiceEntries --------------------------------------------------------------------------

    def of_entry(self, namespace: str, host: str, entry: ServiceEntry, port: PortKey) -> list[EndpointSpec]:
        """The endpoints of one port of a ServiceEntry; names of DNS resolution are left as names.

        Without endpoints and selector, a DNS entry's own host is its endpoint (11.4), and it has no
        labels (8.4.2).
        """
        selector = entry.workload_selector
        if selector is not None and selector.labels:
            found = [
                _of_workload(workload.spec, labels, port)
                for labels, workload in self._workloads.select(namespace, selector.labels)
            ]
            if entry.location == "MESH_INTERNAL":
                pods = (_of_pod(pod, port) for _, pod in self._pods.select(namespace, selector.labels))
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


def _owner_of(piece: Resource[EndpointSlice]) -> _Owner:
    return piece.namespace, piece.metadata.labels.get(_SERVICE_NAME, "")


def _pod_name(namespace: str, reference: TargetRef | None) -> tuple[str, str] | None:
    """Namespace and name of the Pod a reference of a document of ``namespace`` means."""
    if reference is None or reference.kind not in ("", "Pod"):
        return None
    return reference.namespace or namespace, reference.name


def _pods_of_slice(piece: Resource[EndpointSlice]) -> Iterator[tuple[str, str]]:
    for endpoint in piece.spec.endpoints:
        name = _pod_name(piece.namespace, endpoint.target_ref)
        if name is not None:
            yield name


def _pods_of_endpoints(document: Resource[Endpoints]) -> Iterator[tuple[str, str]]:
    for subset in document.spec.subsets:
        for address in (*subset.addresses, *subset.not_ready_addresses):
            name = _pod_name(document.namespace, address.target_ref)
            if name is not None:
                yield name


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
