"""Kubernetes kinds: what must hold for gatewayd to use them."""

from gatewayd.resources.ingress import Ingress, IngressBackend
from gatewayd.resources.meta import ObjectMeta
from gatewayd.resources.secret import Secret
from gatewayd.resources.service import EndpointSlice, Service
from gatewayd.resources.validate.names import domain_problem, is_ip
from gatewayd.resources.validate.notes import Notes, Path

_PATH_TYPES = ("Exact", "Prefix", "ImplementationSpecific")


def check_service(service: Service, metadata: ObjectMeta, out: Notes) -> None:
    """Check a Service: ports are told apart by name when there are several."""
    names: set[str] = set()
    for index, port in enumerate(service.ports):
        path: Path = ("spec", "ports", index)
        if port.name in names:
            message = (
                f'port name "{port.name}" is used twice' if port.name else "one of several ports has no name"
            )
            out.error(path, message, "several ports need a name each")
        names.add(port.name)
        if isinstance(port.target_port, int) and not 1 <= port.target_port <= 65_535:
            out.error((*path, "targetPort"), f"targetPort must be from 1 to 65535, not {port.target_port}")
    if service.type == "ExternalName" and not service.external_name:
        out.error(("spec",), "a Service of type ExternalName needs externalName")


def check_endpoint_slice(piece: EndpointSlice, metadata: ObjectMeta, out: Notes) -> None:
    """Check an EndpointSlice: whose it is, and that its addresses are addresses."""
    if "kubernetes.io/service-name" not in metadata.labels:
        out.warning(
            ("metadata",), "without the label kubernetes.io/service-name this slice belongs to no Service"
        )
    if piece.address_type == "FQDN":
        out.warning(("addressType",), "slices of addressType FQDN are ignored, as Istio does")
        return
    for index, endpoint in enumerate(piece.endpoints):
        for number, address in enumerate(endpoint.addresses):
            if not is_ip(address):
                out.error(("endpoints", index, "addresses", number), f'"{address[:80]}" is not an IP address')


def check_secret(secret: Secret, metadata: ObjectMeta, out: Notes) -> None:
    """Check a Secret: its values have been read already, and what is wrong was noted without quoting it."""
    out.faults += [*secret.data.faults, *secret.string_data.faults]


def check_ingress(ingress: Ingress, metadata: ObjectMeta, out: Notes) -> None:
    """Check an Ingress."""
    for index, rule in enumerate(ingress.rules):
        path: Path = ("spec", "rules", index)
        if rule.host and (problem := domain_problem(rule.host)):
            out.error((*path, "host"), problem)
        for number, entry in enumerate(rule.http.paths if rule.http is not None else ()):
            here = (*path, "http", "paths", number)
            if entry.path_type and entry.path_type not in _PATH_TYPES:
                out.unknown((*here, "pathType"), "pathType", entry.path_type, _PATH_TYPES)
            elif entry.path_type in ("Exact", "Prefix") and not entry.path.startswith("/"):
                out.error((*here, "path"), f"a path of type {entry.path_type} must begin with /")
            _check_backend(entry.backend, (*here, "backend"), out)


def _check_backend(backend: IngressBackend, path: Path, out: Notes) -> None:
    service = backend.service_of()
    if service is None:
        if backend.resource is None:
            out.error(path, "a backend needs a service", "service: {name, port: {number}}")
    elif service.port is None or (service.port.number is None and not service.port.name):
        out.error(path, f'the port of service "{service.name}" is missing', "port: {number: 80}")
