"""WorkloadEntry, WorkloadGroup and endpoints of a ServiceEntry."""

from gatewayd.resources.meta import ObjectMeta
from gatewayd.resources.validate.names import check_labels, domain_problem, is_ip, is_label, unix_problem
from gatewayd.resources.validate.notes import SPEC, Notes, Path
from gatewayd.resources.workload import ReadinessProbe, WorkloadEntry, WorkloadGroup


def check_workload_entry(entry: WorkloadEntry, metadata: ObjectMeta, out: Notes) -> None:
    """Check a WorkloadEntry."""
    check_entry(entry, SPEC, out)


def check_entry(entry: WorkloadEntry, path: Path, out: Notes, *, template: bool = False) -> None:
    """Check an endpoint; a `template` may leave out the address."""
    address = entry.address
    if not address:
        if not template and not entry.network:
            out.error(path, 'missing required field "address"', "an IP address, a host name or unix:///path")
    elif address.startswith("unix://"):
        if problem := unix_problem(address):
            out.error((*path, "address"), problem)
        if entry.ports:
            out.error((*path, "ports"), "a unix:// address has no ports")
    elif not is_ip(address) and (problem := domain_problem(address, wildcard=False)):
        out.error((*path, "address"), problem)
    for name in entry.ports:
        if not is_label(name):
            out.error((*path, "ports", name), f'"{name[:80]}" is not a port name (a DNS label)')
    check_labels(entry.labels, (*path, "labels"), out)


def check_workload_group(group: WorkloadGroup, metadata: ObjectMeta, out: Notes) -> None:
    """Check a WorkloadGroup."""
    check_entry(group.template, ("spec", "template"), out, template=True)
    if group.metadata is not None:
        check_labels(group.metadata.labels, ("spec", "metadata", "labels"), out)
    if group.probe is not None:
        _check_probe(group.probe, ("spec", "probe"), out)


def _check_probe(probe: ReadinessProbe, path: Path, out: Notes) -> None:
    kinds = {
        "httpGet": probe.http_get,
        "tcpSocket": probe.tcp_socket,
        "exec": probe.exec_,
        "grpc": probe.grpc,
    }
    given = [name for name, value in kinds.items() if value is not None]
    if not given:
        out.error(path, "a probe needs one of httpGet, tcpSocket, exec and grpc")
    elif len(given) > 1:
        out.error(path, f"{' and '.join(given)} exclude each other")
    if probe.http_get is not None and probe.http_get.scheme not in ("", "HTTP", "HTTPS"):
        out.unknown((*path, "httpGet", "scheme"), "scheme", probe.http_get.scheme, ("HTTP", "HTTPS"))
    if probe.exec_ is not None and not probe.exec_.command:
        out.error((*path, "exec", "command"), "a command may not be empty")
