"""From merged servers to listeners with their filter chains (semantics 2.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gatewayd.compiler.auto_passthrough import MESH_ALPN, cluster_routes
from gatewayd.compiler.defaults import http_options
from gatewayd.compiler.destination_rules import RuleBook
from gatewayd.compiler.destinations import Clusters
from gatewayd.compiler.findings import Reporter, place
from gatewayd.compiler.gateways import GatewayServer, ServerGroup, bind_addresses
from gatewayd.compiler.l4 import L4Compiler, SniRoute, SniTaken
from gatewayd.compiler.memory import CompileMemory
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.server_tls import ServerTlsCompiler
from gatewayd.compiler.services import Registry
from gatewayd.compiler.virtual_hosts import BindingIndex, BuiltTable, Matched, build_table
from gatewayd.compiler.virtual_services import RuleCompiler
from gatewayd.http.options import HttpOptions
from gatewayd.snapshot import FilterChain, ListenerSpec

#: What tells two filter chains of a listener apart: a server name ("" for a chain without) and ALPN.
_Match = tuple[str, tuple[str, ...]]


@dataclass(slots=True, eq=False)
class ListenerCompiler:
    """Makes listeners of server groups. One per compilation."""

    index: BindingIndex
    compiler: RuleCompiler
    l4: L4Compiler
    server_tls: ServerTlsCompiler
    clusters: Clusters
    registry: Registry
    rules: RuleBook
    options: CompileOptions
    matched: Matched
    report: Reporter
    memory: CompileMemory
    #: the route tables of the HTTP chains made, for review
    tables: list[BuiltTable] = field(default_factory=list)

    def compile(self, groups: Iterable[ServerGroup]) -> list[ListenerSpec]:
        """The listeners. A group without any filter chain has none: nothing listens there (2.5.3)."""
        made: list[ListenerSpec] = []
        taken: dict[tuple[str, int], ServerGroup] = {}
        settings = http_options(self.options)
        for group in groups:
            first = group.servers[0]
            addresses = bind_addresses(group, self.options)
            clash = next((taken[address] for address in addresses if address in taken), None)
            if clash is not None:
                self._say_clash(first, addresses[0], clash.servers[0])
                continue
            chains = self._chains(group, settings)
            if not chains:
                continue
            taken.update(dict.fromkeys(addresses, group))
            made.append(
                ListenerSpec(
                    name=_listener_name(addresses[0]),
                    bind=addresses,
                    port=first.spec.port.number,
                    protocol=group.kind.upper(),
                    chains=tuple(chains),
                    limits=settings.limits,
                    proxy_protocol=self.options.mesh.default_config.gateway_topology.proxy_protocol
                    is not None,
                    port_names=_port_names(group),
                )
            )
        return made

    def _chains(self, group: ServerGroup, settings: HttpOptions) -> list[FilterChain]:
        if group.kind == "http":
            name = f"http.{group.port}" + (f".{group.bind}" if group.bind else "")
            return [self._http_chain(name, group.servers, settings)]
        if group.kind == "tcp":
            return self._tcp_chain(group.servers[0], None)
        chains: list[FilterChain] = []
        secure = replace(settings, scheme=b"https")
        sni_taken: SniTaken = {}
        owners: dict[_Match, GatewayServer] = {}
        for server in group.servers:
            for chain in self._tls_chains(server, secure, sni_taken):
                if self._claims(chain, server, owners):
                    chains.append(chain)
        return chains

    def _tls_chains(
        self, server: GatewayServer, secure: HttpOptions, taken: SniTaken
    ) -> Iterable[FilterChain]:
        """The chains of one TLS server, by what routes it (3.2)."""
        if server.routed_by == "http":
            chain = self._http_chain(server.route_name, [server], secure)
            yield replace(chain, server_names=server.server_names, tls=self.server_tls.holder(server))
        elif server.routed_by == "tcp":
            for chain in self._tcp_chain(server, server):
                yield replace(chain, server_names=server.server_names)
        else:
            found = False
            for chain in self._passed_through(server, taken):
                found = True
                yield chain
            if not found:
                self._say_no_route(server, "connections for its hosts are closed")

    def _passed_through(self, server: GatewayServer, taken: SniTaken) -> Iterable[FilterChain]:
        """The chains of a server that leaves TLS alone (7.1; by themselves: 3.1)."""
        if not server.routes_itself:
            yield from (_sni_chain(server, each, ()) for each in self.l4.sni_routes(server, taken))
            return
        self.l4.bound(server)  # the hosts of its VirtualServices are the server's all the same
        routes = cluster_routes(server, self.clusters, self.registry, self.rules, self.l4)
        yield from (_sni_chain(server, each, MESH_ALPN) for each in routes)

    def _http_chain(self, name: str, servers: list[GatewayServer], settings: HttpOptions) -> FilterChain:
        labels = self.options.labels or {}
        built = build_table(
            servers,
            self.index,
            self.compiler,
            self.options.namespace,
            labels,
            self.matched,
            self.memory,
            name,
        )
        self.tables.append(built)
        return FilterChain(
            name=name,
            port=servers[0].spec.port.number,
            routes=built.table,
            options=settings,
            gateways=tuple(server.key for server in servers),
        )

    def _tcp_chain(self, server: GatewayServer, terminating: GatewayServer | None) -> list[FilterChain]:
        """The chain of a TCP server, or none when no rule routes it."""
        route = self.l4.tcp_route(server)
        if route is None:
            end = "nothing listens for it" if terminating is None else "connections for its hosts are closed"
            self._say_no_route(server, end)
            return []
        return [
            FilterChain(
                name=server.route_name,
                port=server.spec.port.number,
                tls=self.server_tls.holder(terminating) if terminating is not None else None,
                tcp=route,
                gateways=(server.key,),
            )
        ]

    def _claims(self, chain: FilterChain, server: GatewayServer, owners: dict[_Match, GatewayServer]) -> bool:
        """Whether nobody has a name of ``chain`` yet. Envoy refuses a listener in which two chains match alike."""
        matches = [(name, chain.alpn) for name in chain.server_names or ("",)]
        double = next((match for match in matches if match in owners), None)
        if double is None:
            owners.update(dict.fromkeys(matches, server))
            return True
        other = owners[double]
        what = f'SNI host "{double[0]}"' if double[0] else "every SNI host"
        self.report.say(
            "error",
            "IST0145",
            f"{server.title} is left out for {', '.join(chain.server_names) or '*'}: {what} of port "
            f"{chain.port} is {other.title}'s already ({place(*other.where())})",
            *server.where(),
        )
        return False

    def _say_no_route(self, server: GatewayServer, end: str) -> None:
        if server.routes_itself:
            message = f"no service of the mesh is among the hosts of {server.title}, so {end}"
        else:
            message = f"no {server.routed_by} rule of a VirtualService routes {server.title}, so {end}"
        self.report.say("warning", "GWD0105", message, *server.where())

    def _say_clash(self, server: GatewayServer, address: tuple[str, int], other: GatewayServer) -> None:
        self.report.say(
            "error",
            "GWD0103",
            f"{server.title} is left out: port {server.spec.port.number} comes to {address[0]}:{address[1]}, "
            f"which port {other.spec.port.number} of Gateway {other.name} has already",
            *server.where(),
            help="give each its own with --port-map",
        )


def _sni_chain(server: GatewayServer, routed: SniRoute, alpn: tuple[str, ...]) -> FilterChain:
    names = () if "*" in routed.sni_hosts else routed.sni_hosts
    return FilterChain(
        name=f"{server.route_name} {routed.sni_hosts[0]}",
        port=server.spec.port.number,
        server_names=names,
        alpn=alpn,
        tcp=routed.route,
        gateways=(server.key,),
    )


def _port_names(group: ServerGroup) -> tuple[str, ...]:
    ports = [server.spec.port for server in group.servers]
    return tuple(dict.fromkeys(word.lower() for port in ports for word in (port.name, port.protocol) if word))


def _listener_name(address: tuple[str, int]) -> str:
    """``0.0.0.0_8080`` as Envoy names it; the path of a UNIX socket as it is."""
    host, port = address
    return f"{host}_{port}" if port else host
