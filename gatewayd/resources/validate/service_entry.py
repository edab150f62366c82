"""ServiceEntry (semantics 19.8)."""

from gatewayd.resources.meta import ObjectMeta
from gatewayd.resources.service_entry import ServiceEntry
from gatewayd.resources.validate.names import (
    check_export_to,
    check_labels,
    domain_problem,
    is_cidr,
    is_ip,
    is_label,
)
from gatewayd.resources.validate.notes import Notes, Path
from gatewayd.resources.validate.protocols import HTTP_LIKE, PROTOCOLS, TLS_LIKE
from gatewayd.resources.validate.workload import check_entry

_DYNAMIC_PROTOCOLS = frozenset({"HTTP", "HTTP2", "GRPC", "TLS"})


def check_service_entry(entry: ServiceEntry, metadata: ObjectMeta, out: Notes) -> None:
    """Check a ServiceEntry."""
    for index, host in enumerate(entry.hosts):
        if host == "*":
            out.error(("spec", "hosts", index), 'host "*" is not allowed', "write a name, or *.example.com")
        elif (problem := domain_problem(host)) and not is_ip(host):
            out.error(("spec", "hosts", index), problem)
    _check_addresses(entry, out)
    _check_ports(entry, out)
    if entry.workload_selector is not None:
        check_labels(entry.workload_selector.labels, ("spec", "workloadSelector", "labels"), out)
        if entry.endpoints:
            out.error(("spec", "endpoints"), "workloadSelector and endpoints exclude each other")
    _check_resolution(entry, out)
    _check_endpoints(entry, out)
    check_export_to(entry.export_to, ("spec", "exportTo"), out)


def _check_addresses(entry: ServiceEntry, out: Notes) -> None:
    for index, address in enumerate(entry.addresses):
        path: Path = ("spec", "addresses", index)
        if not is_cidr(address):
            out.error(path, f'"{address[:80]}" is not an address or network')
        elif "/" in address and entry.resolution not in ("NONE", "STATIC"):
            out.error(
                path, f"networks are allowed only with resolution NONE or STATIC, not {entry.resolution}"
            )


def _check_ports(entry: ServiceEntry, out: Notes) -> None:
    names: set[str] = set()
    numbers: set[int] = set()
    for index, port in enumerate(entry.ports):
        path: Path = ("spec", "ports", index)
        if not is_label(port.name):
            out.error((*path, "name"), f'"{port.name[:80]}" is not a port name (a DNS label)')
        elif port.name in names:
            out.error((*path, "name"), f'port name "{port.name}" is used twice')
        if port.number in numbers:
            out.error((*path, "number"), f"port number {port.number} is used twice")
        names.add(port.name)
        numbers.add(port.number)
        protocol = port.protocol.upper()
        if protocol and protocol not in PROTOCOLS:
            out.unknown((*path, "protocol"), "protocol", port.protocol, PROTOCOLS)
        elif (
            len(entry.hosts) > 1
            and protocol not in HTTP_LIKE | TLS_LIKE | {""}
            and entry.resolution != "NONE"
        ):
            out.error(
                (*path, "protocol"),
                f"with protocol {protocol} several hosts cannot be told apart",
                "use one ServiceEntry for each host, or resolution NONE",
            )


def _check_resolution(entry: ServiceEntry, out: Notes) -> None:
    resolution = entry.resolution
    endpoints: Path = ("spec", "endpoints")
    wildcards = [index for index, host in enumerate(entry.hosts) if host.startswith("*")]
    if resolution == "NONE" and entry.endpoints:
        out.error(endpoints, "resolution NONE cannot have endpoints", "use STATIC or DNS")
    elif resolution == "DNS_ROUND_ROBIN" and len(entry.endpoints) > 1:
        out.error(endpoints, "resolution DNS_ROUND_ROBIN can have only one endpoint")
    elif resolution == "DYNAMIC_DNS":
        _check_dynamic(entry, out)
    if resolution in ("DNS", "DNS_ROUND_ROBIN") and not entry.endpoints and entry.workload_selector is None:
        for index in wildcards:
            out.error(
                ("spec", "hosts", index),
                f'host "{entry.hosts[index]}" cannot be resolved by DNS without endpoints',
                "write a full name, or give endpoints",
            )


def _check_dynamic(entry: ServiceEntry, out: Notes) -> None:
    if entry.endpoints:
        out.error(("spec", "endpoints"), "resolution DYNAMIC_DNS cannot have endpoints")
    if entry.addresses:
        out.error(("spec", "addresses"), "resolution DYNAMIC_DNS cannot have addresses")
    for index, host in enumerate(entry.hosts):
        if not host.startswith("*"):
            out.error(("spec", "hosts", index), "resolution DYNAMIC_DNS needs wildcard hosts")
    for index, port in enumerate(entry.ports):
        if port.protocol.upper() not in _DYNAMIC_PROTOCOLS:
            out.error(
                ("spec", "ports", index, "protocol"),
                f'resolution DYNAMIC_DNS does not support protocol "{port.protocol}"',
                f"expected one of: {', '.join(sorted(_DYNAMIC_PROTOCOLS))}",
            )


def _check_endpoints(entry: ServiceEntry, out: Notes) -> None:
    names = [port.name for port in entry.ports]
    for index, endpoint in enumerate(entry.endpoints):
        path: Path = ("spec", "endpoints", index)
        check_entry(endpoint, path, out)
        address = endpoint.address
        if (
            entry.resolution == "STATIC"
            and address
            and not address.startswith("unix://")
            and not is_ip(address)
        ):
            out.error(
                (*path, "address"),
                f'resolution STATIC needs IP addresses, not "{address[:80]}"',
                "use resolution DNS for names",
            )
        if entry.resolution.startswith("DNS") and address.startswith("unix://"):
            out.error((*path, "address"), f"resolution {entry.resolution} cannot have unix:// addresses")
        for name in endpoint.ports:
            if name not in names:
                out.unknown((*path, "ports", name), "port", name, names)
