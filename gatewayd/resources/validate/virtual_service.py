"""VirtualService as a whole (semantics 19.3); its rules are in http_route.py and l4_route.py."""

from gatewayd.resources.meta import ObjectMeta
from gatewayd.resources.validate.http_route import check_http_route
from gatewayd.resources.validate.l4_route import check_tcp_route, check_tls_route
from gatewayd.resources.validate.names import check_export_to, domain_problem, is_ip, is_label, is_sni_name
from gatewayd.resources.validate.notes import SPEC, Notes, Path
from gatewayd.resources.virtual_service import VirtualService

MESH = "mesh"


def check_virtual_service(service: VirtualService, metadata: ObjectMeta, out: Notes) -> None:
    """Check a VirtualService."""
    is_delegate = not service.hosts
    for index, gateway in enumerate(service.gateways):
        check_gateway_reference(gateway, ("spec", "gateways", index), out)
    if is_delegate:
        for name, value in (("gateways", service.gateways), ("tcp", service.tcp), ("tls", service.tls)):
            if value:
                out.error(
                    ("spec", name),
                    f"a delegate (a VirtualService without hosts) cannot have {name}",
                    "give it hosts, or leave this out",
                )
    else:
        _check_hosts(service, out)
    if not (service.http or service.tls or service.tcp):
        out.error(SPEC, "a VirtualService needs at least one of http, tls and tcp")
    for index, route in enumerate(service.http):
        check_http_route(route, ("spec", "http", index), out, is_delegate=is_delegate)
    for index, tls_route in enumerate(service.tls):
        check_tls_route(tls_route, service.hosts, ("spec", "tls", index), out)
    for index, tcp_route in enumerate(service.tcp):
        check_tcp_route(tcp_route, ("spec", "tcp", index), out)
    check_export_to(service.export_to, ("spec", "exportTo"), out)


def check_gateway_reference(reference: str, path: Path, out: Notes) -> None:
    """Check `mesh`, `name`, `namespace/name`, `./name` or the legacy `name.namespace...` (semantics 1.7)."""
    namespace, slash, name = reference.partition("/")
    if slash:
        good = (namespace == "." or is_label(namespace)) and is_label(name)
    else:
        good = not domain_problem(reference, wildcard=False)
    if not good:
        out.error(path, f'"{reference[:80]}" is not a Gateway', "expected a name, or namespace/name")


def _check_hosts(service: VirtualService, out: Notes) -> None:
    in_mesh = not service.gateways or MESH in service.gateways
    at_gateway = any(gateway != MESH for gateway in service.gateways)
    for index, host in enumerate(service.hosts):
        path: Path = ("spec", "hosts", index)
        if host == "*" and in_mesh:
            out.error(
                path,
                'host "*" is not allowed without a Gateway (for the mesh)',
                "name the Gateways, without mesh, or a narrower host",
            )
        elif not is_ip(host) and not (at_gateway and is_sni_name(host)) and (problem := domain_problem(host)):
            out.error(path, problem)
    _check_overlap(service.hosts, out)


def _check_overlap(hosts: tuple[str, ...], out: Notes) -> None:
    """No host may be covered by another one."""
    if len(hosts) < 2:
        return
    names = set()
    wildcards = [host[1:] for host in hosts if host.startswith("*")]
    for index, host in enumerate(hosts):
        covers = [suffix for suffix in wildcards if host.endswith(suffix) and host != f"*{suffix}"]
        if host in names:
            out.error(("spec", "hosts", index), f'host "{host}" is in the list twice')
        elif covers:
            out.error(
                ("spec", "hosts", index), f'host "{host}" is already covered by "*{covers[0]}" in this list'
            )
        names.add(host)
