"""Gateway (semantics 19.1, 19.2)."""

from gatewayd.resources.gateway import Gateway, Server, ServerTLS
from gatewayd.resources.meta import ObjectMeta
from gatewayd.resources.validate.names import (
    check_port,
    domain_problem,
    is_ip,
    is_label,
    unix_problem,
)
from gatewayd.resources.validate.notes import SPEC, Notes, Path
from gatewayd.resources.validate.protocols import HTTP_LIKE, PROTOCOLS, TLS_LIKE
from gatewayd.resources.validate.server_tls import check_server_tls


def check_gateway(gateway: Gateway, metadata: ObjectMeta, out: Notes) -> None:
    """Check a Gateway."""
    if not is_label(metadata.name):
        out.error(
            ("metadata", "name"), f'"{metadata.name[:80]}" cannot be a Gateway name: it is no DNS label'
        )
    if not gateway.servers:
        out.error(SPEC, "a Gateway needs at least one server")
    names: set[str] = set()
    for index, server in enumerate(gateway.servers):
        path: Path = ("spec", "servers", index)
        check_server(server, path, out)
        name = server.port.name
        if not name:
            out.error((*path, "port", "name"), "a port needs a name")
        elif name in names:
            out.error((*path, "port", "name"), f'port name "{name}" is used by an earlier server')
        names.add(name)


def check_server(server: Server, path: Path, out: Notes) -> None:
    """Check one server."""
    _check_port(server, (*path, "port"), out)
    if server.name and not is_label(server.name):
        out.error((*path, "name"), f'"{server.name[:80]}" is not a DNS label')
    if server.bind and not server.bind.startswith("unix://") and not is_ip(server.bind):
        out.error((*path, "bind"), f'"{server.bind[:80]}" is neither an IP address nor a unix:// path')
    if not server.hosts:
        out.error((*path, "hosts"), "a server needs at least one host")
    for index, host in enumerate(server.hosts):
        check_server_host(host, (*path, "hosts", index), out)
    _check_tls(server, path, out)


def _check_port(server: Server, path: Path, out: Notes) -> None:
    port = server.port
    if port.protocol.upper() not in PROTOCOLS:
        out.unknown((*path, "protocol"), "protocol", port.protocol, PROTOCOLS)
    if server.bind.startswith("unix://"):
        if port.number:
            out.error((*path, "number"), f"a server on a unix socket has port number 0, not {port.number}")
        if problem := unix_problem(server.bind):
            out.error((*path[:-1], "bind"), problem)
    else:
        check_port(port.number, (*path, "number"), out)


def check_server_host(host: str, path: Path, out: Notes) -> None:
    """Check a host of a server, which may have a namespace before a slash (semantics 2.2.1)."""
    namespace, slash, name = host.partition("/")
    if not slash:
        name = host
    elif namespace not in ("*", ".") and not is_label(namespace):
        out.error(path, f'"{namespace[:80]}" is not a namespace, "*" or "."')
    if name == "*" or is_ip(name):
        return
    if name.startswith("*") and not name.startswith("*."):
        out.error(
            path, f'partial wildcard "{name[:80]}" is not allowed', 'a wildcard looks like "*.example.com"'
        )
    elif problem := domain_problem(name):
        out.error(path, problem)
    elif "." not in name:
        out.error(path, f'short names such as "{name}" are not allowed here', 'write a full name, or "*"')


def _check_tls(server: Server, path: Path, out: Notes) -> None:
    protocol = server.port.protocol.upper()
    tls = server.tls
    if protocol in TLS_LIKE:
        if tls is None:
            out.error(path, f"a server with protocol {protocol} needs tls")
        else:
            if tls.https_redirect:
                out.warning(
                    (*path, "tls", "httpsRedirect"), "tls.httpsRedirect has an effect on HTTP servers only"
                )
            check_server_tls(tls, (*path, "tls"), out)
    elif tls is not None and protocol in HTTP_LIKE:
        if tls != ServerTLS(https_redirect=tls.https_redirect):
            out.error(
                (*path, "tls"),
                f"a server with protocol {protocol} may have only tls.httpsRedirect",
                "use protocol HTTPS to serve TLS",
            )
    elif tls is not None and protocol in PROTOCOLS:
        out.error((*path, "tls"), f"a server with protocol {protocol} cannot have tls")
