"""Which Gateway servers this proxy serves, on which port, and how they merge (semantics 2.1, 2.3, 2.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gatewayd.compiler.endpoints import has_labels
from gatewayd.compiler.findings import Message, Phrase, Reporter, Where
from gatewayd.compiler.gateway_ports import PortTranslation
from gatewayd.compiler.names import bare_host, server_host
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.protocols import PROTOCOLS
from gatewayd.resources.gateway import Gateway, Server
from gatewayd.resources.meta import ObjectMeta, Resource
from gatewayd.tls.modes import MODES
from gatewayd.tls.modes import kind_of as routing_of

_HTTP: Final = "http"


class GeneratedGateway(Resource[Gateway]):
    """A Gateway made of an Ingress (13.3); what there is to say about it is said about the Ingress."""

    __slots__ = ("origin", "paths")

    def __init__(
        self, metadata: ObjectMeta, spec: Gateway, origin: Resource[Any], paths: Sequence[str]
    ) -> None:
        """``paths``: of each server, the field of the Ingress it comes from."""
        super().__init__(
            kind=origin.kind,
            api_version=origin.api_version,
            metadata=metadata,
            spec=spec,
            file=origin.file,
            column=origin.column,
        )
        self.origin = origin
        self.paths = paths

    @property
    def line(self) -> int:
        """That of the Ingress."""
        return self.origin.line


@dataclass(slots=True, eq=False)
class GatewayServer:
    """One server of a Gateway, with its hosts as 2.2.1 makes them."""

    gateway: Resource[Gateway]
    index: int
    spec: Server
    hosts: tuple[str, ...]

    @property
    def name(self) -> str:
        """``namespace/name`` of its Gateway."""
        return self.gateway.full_name

    @property
    def key(self) -> tuple[str, str, int]:
        """Namespace and name of its Gateway, and its index there, as filter chains name it."""
        return self.gateway.namespace, self.gateway.name, self.index

    @property
    def path(self) -> str:
        """Its field in the Gateway."""
        return f"spec.servers[{self.index}]"

    @property
    def title(self) -> str:
        """What messages call it: ``server 1 of Gateway istio-system/edge``."""
        if isinstance(self.gateway, GeneratedGateway):
            field = self.gateway.paths[self.index].removeprefix("spec.")
            return f"the server for {field} of Ingress {self.gateway.origin.full_name}"
        return f"server {self.index} of Gateway {self.name}"

    def where(self, field: str = "") -> tuple[Resource[Any], str]:
        """The document and the path of a field of the server, such as ``tls.mode``, for findings."""
        if isinstance(self.gateway, GeneratedGateway):
            end = ".secretName" if field == "tls.credentialName" else ""
            return self.gateway.origin, self.gateway.paths[self.index] + end
        return self.gateway, f"{self.path}.{field}" if field else self.path

    @property
    def routed_by(self) -> str:
        """``http``, ``tcp`` or ``tls``: the blocks of a VirtualService that route it (3.2)."""
        kind = kind_of(self.spec)
        if kind == "tls" and self.spec.tls is not None:
            return routing_of(self.spec.port.protocol, self.spec.tls.mode)
        return "http" if kind == _HTTP else "tcp"

    @property
    def routes_itself(self) -> bool:
        """AUTO_PASSTHROUGH: it needs no VirtualService (3.1)."""
        tls = self.spec.tls
        return tls is not None and self.routed_by == "tls" and MODES[tls.mode].routes_by_itself

    @property
    def https_redirect(self) -> bool:
        """``tls.httpsRedirect`` of a plain HTTP server; it means nothing on others (2.6.1, 2.6.5)."""
        return self.spec.tls is not None and self.spec.tls.https_redirect and kind_of(self.spec) == _HTTP

    @property
    def route_name(self) -> str:
        """Istio's name of what only this server has: ``https.443.web.edge.istio-system`` (2.3.10)."""
        port = self.spec.port
        name = f"{port.number}.{port.name}.{self.gateway.name}.{self.gateway.namespace}"
        word = "https" if self.routed_by == "http" else self.routed_by
        return f"{word}.{name}" + (f".{self.spec.bind}" if self.spec.bind else "")

    @property
    def server_names(self) -> tuple[str, ...]:
        """Its hosts as SNI sees them, lower case; none when ``*`` is among them (3.3)."""
        names = dict.fromkeys(host.lower() for host in self.bare_hosts)
        return () if "*" in names else tuple(names)

    @property
    def bare_hosts(self) -> list[str]:
        """Hosts as the wire sees them (2.2.2)."""
        return [bare_host(host) for host in self.hosts]


@dataclass(slots=True, eq=False)
class ServerGroup:
    """The servers that share a port and an address; for plain HTTP they share all routes (2.3.9)."""

    kind: str  # http, tcp or tls
    port: int  # to bind, before --port-map
    bind: str
    servers: list[GatewayServer] = field(default_factory=list)


def make_server(gateway: Resource[Gateway], index: int) -> GatewayServer:
    """A server of a Gateway."""
    spec = gateway.spec.servers[index]
    return GatewayServer(
        gateway, index, spec, tuple(server_host(host, gateway.namespace) for host in spec.hosts)
    )


def kind_of(server: Server) -> str | None:
    """``http``, ``tls``, ``tcp`` or ``udp``; None for a protocol that is no word of 2.4.1.

    TLS settings make a server that is not plain HTTP a TLS server; HTTPS or TLS without them stands
    alone on its port like TCP (2.3.6).
    """
    kind = PROTOCOLS.get(server.port.protocol.upper())
    if kind in (None, _HTTP, "udp"):
        return kind
    return "tls" if server.tls is not None else "tcp"


def selected(
    gateways: Sequence[Resource[Gateway]], labels: Mapping[str, str] | None, report: Reporter
) -> list[Resource[Gateway]]:
    """The Gateways of this proxy: every selector label is on it (2.1.1). No labels known: all of them."""
    if labels is None:
        with_selector = [gateway for gateway in gateways if gateway.spec.selector]
        if with_selector:
            report.say(
                "info",
                "GWD0101",
                "this proxy has no labels, so every Gateway is served whatever its selector",
                help="give --labels k=v,... for Istio's rule",
            )
        return list(gateways)
    chosen = []
    for gateway in gateways:
        if has_labels(gateway.spec.selector, labels):
            chosen.append(gateway)
        else:
            own = ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "none"
            report.say(
                "info",
                "GWD0105",
                f"Gateway {gateway.full_name} is not served: its selector asks for labels this proxy does "
                f"not have (it has {own})",
                gateway,
                "spec.selector",
            )
    return chosen


def merge_servers(
    gateways: Iterable[Resource[Gateway]],
    ports: PortTranslation,
    make: Callable[[Resource[Gateway], int], GatewayServer],
    report: Reporter,
) -> list[ServerGroup]:
    """Servers by port and bind, Gateways in the order given, servers in list order (2.3.1).

    The first server decides what a port is; servers that cannot join it are dropped (2.3.2 to 2.3.6). ``make`` gives
    the server of a Gateway and index.
    """
    groups: dict[tuple[int, str], ServerGroup] = {}
    tls_hosts: dict[tuple[int, str], dict[str, GatewayServer]] = {}
    route_names: dict[str, GatewayServer] = {}
    for gateway in gateways:
        for index, spec in enumerate(gateway.spec.servers):
            server = make(gateway, index)
            hosts = server.hosts
            kind = kind_of(spec)
            if kind is None or kind == "udp":
                _drop(server, f"protocol {spec.port.protocol} is not one a Gateway can serve", report)
                continue
            port = ports.bound_port(gateway, spec.port.number)
            if port is None:
                _drop(server, f"no Service of this gateway has port {spec.port.number}", report, "IST0104")
                continue
            key = (port, spec.bind)
            group = groups.setdefault(key, ServerGroup(kind, port, spec.bind))
            if group.servers and not _joins(group, kind):
                first = group.servers[0]
                _drop(
                    server,
                    Phrase(
                        "port {} is {} of Gateway {} ({}), which {} cannot share",
                        port,
                        first.spec.port.protocol,
                        first.name,
                        Where(*first.where()),
                        spec.port.protocol,
                    ),
                    report,
                    "IST0145",
                )
                continue
            if kind == "tls":
                taken = tls_hosts.setdefault(key, {})
                double = next((host for host in hosts if host in taken), None)
                if double is not None:
                    other = taken[double]
                    _drop(
                        server,
                        Phrase(
                            'host "{}" is already served with TLS on port {} by {} ({})',
                            double,
                            port,
                            other.title,
                            Where(*other.where()),
                        ),
                        report,
                        "IST0145",
                    )
                    continue
                taken.update(dict.fromkeys(hosts, server))
                namesake = route_names.get(server.route_name)
                if namesake is not None and server.routed_by == _HTTP:
                    _drop(
                        server,
                        f'port name "{spec.port.name}" is already that of server {namesake.index}, and the '
                        "routes of HTTPS servers are told apart by it",
                        report,
                        "IST0145",
                    )
                    continue
                route_names[server.route_name] = server
            group.servers.append(server)
    return [group for group in groups.values() if group.servers]


def _joins(group: ServerGroup, kind: str) -> bool:
    """HTTP joins HTTP, TLS stands beside TLS; nothing joins plain TCP (2.3.2 to 2.3.4)."""
    return group.kind == kind and kind != "tcp"


def _drop(server: GatewayServer, reason: Message, report: Reporter, code: str = "GWD0104") -> None:
    if isinstance(reason, str):
        reason = Phrase("{}", reason)
    message = Phrase("{} is left out: " + reason.template, server.title, *reason.parts)
    report.say("error", code, message, *server.where())


def bind_addresses(group: ServerGroup, options: CompileOptions) -> tuple[tuple[str, int], ...]:
    """The addresses to open (2.3.7, 2.3.8), after ``--port-map`` and ``--port-offset``.

    Both are keyed by the server's number, else by the port it comes to; routes and redirects keep seeing
    the server's number.
    """
    if group.bind.startswith("unix:"):
        return (("unix:" + group.bind.removeprefix("unix:").removeprefix("//"), 0),)
    number = group.servers[0].spec.port.number
    mapped = options.port_map.get(number, options.port_map.get(group.port))
    port = mapped if mapped is not None else group.port + options.port_offset
    return tuple((address, port) for address in ((group.bind,) if group.bind else options.bind))
