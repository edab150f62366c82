"""The backends of a routing example: a recorder per host, port and subset, made resolvable by documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.cases.loading import Case

_CLUSTER_NAME = re.compile(r"([^.*]+)\.([^.]+)\.svc\.cluster\.local")
_PROTOCOLS = {"tcp": "TCP", "https": "HTTPS", "tls": "TLS", "http2": "HTTP2", "grpc": "GRPC"}


@dataclass(frozen=True)
class Backend:
    """Where a request may end. ``port`` is the Service port."""

    host: str
    port: int
    subset: str | None = None
    protocol: str = "http"

    @property
    def name(self) -> str:
        """Name of its recorder: no two are alike."""
        return f"{self.host}:{self.port}" + (f"/{self.subset}" if self.subset else "")

    def serves(self, destination: Mapping[str, Any]) -> bool:
        """Whether it is what ``destination`` {host, port?, subset?} means."""
        return (
            self.host == destination["host"]
            and destination.get("port") in (None, self.port)
            and destination.get("subset") in (None, self.subset)
        )


def backends_of(case: Case) -> list[Backend]:
    """Backends named by the upstreams, by the destinations expected, and by the subsets configured."""
    calls = case.calls
    listener = int(calls[0].data["port"]) if calls else 80
    protocols: dict[tuple[str, int], str] = {}
    for upstream in case.data.get("upstreams") or []:
        key = (upstream["host"], int(upstream.get("port") or _only_port(case, upstream["host"]) or listener))
        protocols[key] = upstream.get("protocol", "http")
    subsets: dict[str, dict[str, None]] = {}
    for destination in _destinations(case):
        host = _long_name(destination["host"], protocols)
        if destination.get("subset"):
            subsets.setdefault(host, {})[destination["subset"]] = None
        port = destination.get("port")
        if isinstance(port, int) and host in {known for known, _ in protocols}:
            protocols.setdefault((host, port), "http")
    return [
        Backend(host, port, subset, protocol)
        for (host, port), protocol in protocols.items()
        for subset in [*subsets.get(host, ())] or [None]
    ]


def _long_name(host: str, known: Iterable[tuple[str, int]]) -> str:
    if "." in host:
        return host
    return next((name for name, _ in known if name.startswith(f"{host}.")), host)


def _destinations(case: Case) -> list[Mapping[str, Any]]:
    """Every {host, port?, subset?} of the expectations and of the configuration."""
    found: list[Mapping[str, Any]] = []
    waiting: list[Any] = [call.data.get("expect") for call in case.calls]
    waiting += [
        document.get("spec") for document in case.documents() if document.get("kind") == "VirtualService"
    ]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, Mapping):
            for key, part in value.items():
                if key == "destination" and isinstance(part, Mapping) and "host" in part:
                    port = part.get("port")
                    found.append({**part, "port": port.get("number") if isinstance(port, Mapping) else port})
                waiting.append(part)
        elif isinstance(value, list):
            waiting.extend(value)
    return found


def _host_of(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata") or {}
    return f"{metadata.get('name')}.{metadata.get('namespace', 'default')}.svc.cluster.local"


def _only_port(case: Case, host: str) -> int | None:
    for document in case.documents():
        ports = (document.get("spec") or {}).get("ports") or []
        if document.get("kind") == "Service" and _host_of(document) == host and len(ports) == 1:
            return int(ports[0]["port"])
        if (
            document.get("kind") == "ServiceEntry"
            and host in document["spec"].get("hosts", ())
            and len(ports) == 1
        ):
            return int(ports[0]["number"])
    return None


def documents_with_endpoints(case: Case, ports: Mapping[Backend, int]) -> list[dict[str, Any]]:
    """The documents of the case, with what is needed to lead each backend to its recorder on the loopback."""
    documents = case.documents()
    by_host: dict[str, dict[Backend, int]] = {}
    for backend, port in ports.items():
        by_host.setdefault(backend.host, {})[backend] = port
    for host, backends in by_host.items():
        labels = _subset_labels(documents, host)
        names = {backend.subset for backend in backends if backend.subset}
        if names - labels.keys():
            documents.append(_destination_rule(host, sorted(names)))
            labels = {name: {"version": name} for name in names}
        entry = next(
            (d for d in documents if d["kind"] == "ServiceEntry" and host in d["spec"].get("hosts", ())), None
        )
        service = next((d for d in documents if d["kind"] == "Service" and _host_of(d) == host), None)
        if entry is not None:
            entry["spec"]["resolution"] = "STATIC"
            entry["spec"]["endpoints"] = _entry_endpoints(backends, labels, entry["spec"]["ports"])
        elif service is not None or _CLUSTER_NAME.fullmatch(host):
            if service is None:
                service = _service(host, backends)
                documents.append(service)
            documents += _slices(service, backends, labels)
        else:
            documents.append(_service_entry(host, backends, labels))
    return documents


def _subset_labels(documents: Sequence[Mapping[str, Any]], host: str) -> dict[str, dict[str, str]]:
    return {
        subset["name"]: subset.get("labels") or {}
        for document in documents
        if document.get("kind") == "DestinationRule"
        and document["spec"].get("host") in (host, host.split(".")[0])
        for subset in document["spec"].get("subsets") or []
    }


def _destination_rule(host: str, subsets: Sequence[str]) -> dict[str, Any]:
    match = _CLUSTER_NAME.fullmatch(host)
    spec = {"host": host, "subsets": [{"name": name, "labels": {"version": name}} for name in subsets]}
    metadata = {"name": "recorders-" + host.replace("*", "x"), "namespace": match[2] if match else "default"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": metadata,
        "spec": spec,
    }


def _port_name(backend: Backend) -> str:
    return f"{backend.protocol}-{backend.port}"


def _entry_endpoints(
    backends: Mapping[Backend, int],
    labels: Mapping[str, Mapping[str, str]],
    ports: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One endpoint per subset, with the recorder's port under each port name."""
    names = {int(port["number"]): port["name"] for port in ports}
    endpoints = []
    for subset in dict.fromkeys(backend.subset for backend in backends):
        mapped = {
            names[b.port]: real for b, real in backends.items() if b.subset == subset and b.port in names
        }
        endpoint: dict[str, Any] = {"address": "127.0.0.1", "ports": mapped}
        if subset:
            endpoint["labels"] = dict(labels.get(subset) or {})
        endpoints.append(endpoint)
    return endpoints


def _service_entry(
    host: str, backends: Mapping[Backend, int], labels: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    numbers = {b.port: b for b in backends}
    ports = [
        {"number": number, "name": _port_name(b), "protocol": _PROTOCOLS.get(b.protocol, "HTTP")}
        for number, b in numbers.items()
    ]
    spec = {"hosts": [host], "location": "MESH_EXTERNAL", "resolution": "STATIC", "ports": ports}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "recorders-" + host.replace("*", "x"), "namespace": "default"},
        "spec": {**spec, "endpoints": _entry_endpoints(backends, labels, ports)},
    }


def _service(host: str, backends: Mapping[Backend, int]) -> dict[str, Any]:
    match = _CLUSTER_NAME.fullmatch(host)
    assert match is not None
    ports = [{"port": number, "name": _port_name(b)} for number, b in {b.port: b for b in backends}.items()]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": match[1], "namespace": match[2]},
        "spec": {"ports": ports},
    }


def _slices(
    service: Mapping[str, Any], backends: Mapping[Backend, int], labels: Mapping[str, Mapping[str, str]]
) -> list[dict[str, Any]]:
    """One EndpointSlice per subset, and for a subset a Pod that carries its labels."""
    name, namespace = service["metadata"]["name"], service["metadata"].get("namespace", "default")
    port_names = {int(port["port"]): port.get("name") for port in service["spec"]["ports"]}
    documents: list[dict[str, Any]] = []
    for index, subset in enumerate(dict.fromkeys(backend.subset for backend in backends)):
        ports = [
            {key: value for key, value in (("name", port_names[b.port]), ("port", real)) if value is not None}
            for b, real in backends.items()
            if b.subset == subset and b.port in port_names
        ]
        endpoint: dict[str, Any] = {"addresses": ["127.0.0.1"], "conditions": {"ready": True}}
        if subset:
            pod = f"{name}-{subset}"
            endpoint["targetRef"] = {"kind": "Pod", "name": pod, "namespace": namespace}
            own = {**(service["spec"].get("selector") or {}), **(labels.get(subset) or {})}
            documents.append(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": pod, "namespace": namespace, "labels": own},
                    "status": {"podIP": "127.0.0.1"},
                }
            )
        documents.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{name}-recorders-{index}",
                    "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "endpoints": [endpoint],
                "ports": ports,
            }
        )
    return documents
