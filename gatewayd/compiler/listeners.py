"""From merged servers to listeners with their filter chains (semantics 2.3); what is the same is the same object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from gatewayd.compiler.auto_passthrough import MESH_ALPN, cluster_routes
from gatewayd.compiler.clusters import Asker, Clusters
from gatewayd.compiler.defaults import http_options
from gatewayd.compiler.destination_rules import RuleBook
from gatewayd.compiler.findings import Phrase, Reporter, Where
from gatewayd.compiler.gateways import GatewayServer, ServerGroup, bind_addresses
from gatewayd.compiler.l4 import L4Compiler, SniRoute, SniTaken
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.server_tls import ServerTlsCompiler
from gatewayd.compiler.services import Registry
from gatewayd.compiler.virtual_hosts import Table, Tables, chain_name
from gatewayd.http.options import HttpOptions
from gatewayd.snapshot import FilterChain, ListenerSpec

#: What tells two filter chains of a listener apart: a server name ("" for a chain without) and ALPN.
_Match = tuple[str, tuple[str, ...]]


@dataclass(slots=True, eq=False)
class _Made:
    """What was made of a group."""

    chains: list[FilterChain] = field(default_factory=list)
    #: where the chain of a table is among them
    at: dict[Table, int] = field(default_factory=dict)
    listener: ListenerSpec | None = None


class ListenerCompiler:
    """Makes listeners of server groups."""

    def __init__(
        self,
        tables: Tables,
        l4: L4Compiler,
        server_tls: ServerTlsCompiler,
        clusters: Clusters,
        registry: Registry,
        rules: RuleBook,
        options: CompileOptions,
        report: Reporter,
    ) -> None:
        self._tables = tables
        self._l4 = l4
        self._server_tls = server_tls
        self._clusters = clusters
        self._registry = registry
        self._rules = rules
        self._options = options
        self._report = report
        self._settings = http_options(options)
        self._secure = replace(self._settings, scheme=b"https")
        self._made: dict[ServerGroup, _Made] = {}
        #: servers that route by themselves, whose routes are to be made anew
        self._stale: set[GatewayServer] = set()
        self._listeners: tuple[ListenerSpec, ...] = ()

    # Between compilations

    def observe(self, options: CompileOptions) -> None:
        """Requests are traced and logged as ``options`` say from now on."""
        plain = http_options(options)
        if plain == self._settings:
            return
        secure = replace(plain, scheme=b"https")
        for group, made in self._made.items():
            spoken = _as_spoken(plain, group) if group.kind == "http" else secure
            for at in made.at.values():
                made.chains[at] = replace(made.chains[at], options=spoken)
                made.listener = None
        self._settings, self._secure = plain, secure

    def void(self, askers: Iterable[Asker] | None = None) -> None:
        """Services or rules changed, or these got other answers: servers that route by themselves look again."""
        mine = [server for group in self._made for server in group.servers if server.routes_itself]
        asked = set(mine) if askers is None else set(askers)
        self._stale.update(server for server in mine if server in asked)

    def connect(self, groups: Iterable[ServerGroup]) -> None:
        """Make the chains of groups that are new, or whose connections go elsewhere.

        They ask for clusters, so this may have to be done again once those are settled.
        """
        before, self._made = self._made, {}
        dirty = self._l4.touched | self._stale
        for group in groups:
            made = before.get(group)
            if made is None or (dirty and not dirty.isdisjoint(group.servers)):
                made = self._make(group, made)
            self._made[group] = made
        for group in before.keys() - self._made.keys():
            self._report.forget(("chains", group))
            for server in group.servers:
                if server.routes_itself:
                    self._clusters.forget(server)
        self._stale.clear()
        self._l4.settle()

    def compile(self, changed: Iterable[Table]) -> tuple[ListenerSpec, ...]:
        """The listeners. A group without any filter chain has none: nothing listens there (2.5.3).

        ``changed``: tables with other routes than before.
        """
        for table in changed:
            self._replace(table)
        listeners: list[ListenerSpec] = []
        taken: dict[tuple[str, int], ServerGroup] = {}
        with self._report.by("listeners"):
            for group, made in self._made.items():
                addresses = bind_addresses(group, self._options)
                clash = next((taken[address] for address in addresses if address in taken), None)
                if clash is not None:
                    self._say_clash(group.servers[0], addresses[0], clash.servers[0])
                elif made.chains:
                    taken.update(dict.fromkeys(addresses, group))
                    listeners.append(self._listener(group, made, addresses))
        if tuple(listeners) != self._listeners:
            self._listeners = tuple(listeners)
        return self._listeners

    def _replace(self, table: Table) -> None:
        """The chain of ``table`` has other routes."""
        for made in self._made.values():
            at = made.at.get(table)
            if at is not None and made.chains[at].routes is not table.routes:
                made.chains[at] = replace(made.chains[at], routes=table.routes)
                made.listener = None

    def _listener(
        self, group: ServerGroup, made: _Made, addresses: tuple[tuple[str, int], ...]
    ) -> ListenerSpec:
        if made.listener is None:
            topology = self._options.mesh.default_config.gateway_topology
            made.listener = ListenerSpec(
                name=_listener_name(addresses[0]),
                bind=addresses,
                port=group.servers[0].spec.port.number,
                protocol=group.kind.upper(),
                chains=tuple(made.chains),
                limits=self._settings.limits,
                proxy_protocol=topology.proxy_protocol is not None,
                port_names=_port_names(group),
            )
        return made.listener

    # Chains

    def _make(self, group: ServerGroup, before: _Made | None) -> _Made:
        made = _Made()
        known = {chain.name: chain for chain in before.chains} if before is not None else {}
        with self._report.by(("chains", group)):
            for chain, table in self._chains(group):
                if table is not None:
                    made.at[table] = len(made.chains)
                former = known.get(chain.name)
                made.chains.append(former if former is not None and _same(former, chain) else chain)
        if before is not None and list(map(id, made.chains)) == list(map(id, before.chains)):
            made.listener = before.listener
        return made

    def _chains(self, group: ServerGroup) -> Iterable[tuple[FilterChain, Table | None]]:
        if group.kind == "http":
            table = self._tables.of(group.servers[0])
            yield (
                FilterChain(
                    name=chain_name(group),
                    port=group.servers[0].spec.port.number,
                    routes=table.routes,
                    options=_as_spoken(self._settings, group),
                    gateways=tuple(server.key for server in group.servers),
                ),
                table,
            )
        elif group.kind == "tcp":
            yield from ((chain, None) for chain in self._tcp_chain(group.servers[0], None))
        else:
            sni_taken: SniTaken = {}
            owners: dict[_Match, GatewayServer] = {}
            for server in group.servers:
                for chain, own in self._tls_chains(server, sni_taken):
                    if self._claims(chain, server, owners):
                        yield chain, own

    def _tls_chains(
        self, server: GatewayServer, taken: SniTaken
    ) -> Iterable[tuple[FilterChain, Table | None]]:
        """The chains of one TLS server, by what routes it (3.2)."""
        if server.routed_by == "http":
            table = self._tables.of(server)
            yield (
                FilterChain(
                    name=server.route_name,
                    port=server.spec.port.number,
                    server_names=server.server_names,
                    tls=self._server_tls.holder(server),
                    routes=table.routes,
                    options=self._secure,
                    gateways=(server.key,),
                ),
                table,
            )
        elif server.routed_by == "tcp":
            for chain in self._tcp_chain(server, server):
                yield replace(chain, server_names=server.server_names), None
        else:
            found = False
            for chain in self._passed_through(server, taken):
                found = True
                yield chain, None
            if not found:
                self._say_no_route(server, "connections for its hosts are closed")

    def _passed_through(self, server: GatewayServer, taken: SniTaken) -> Iterable[FilterChain]:
        """The chains of a server that leaves TLS alone (7.1; by themselves: 3.1)."""
        if not server.routes_itself:
            yield from (_sni_chain(server, each, ()) for each in self._l4.sni_routes(server, taken))
            return
        with self._clusters.asking(server):
            routes = list(cluster_routes(server, self._clusters, self._registry, self._rules, self._l4))
        yield from (_sni_chain(server, each, MESH_ALPN) for each in routes)

    def _tcp_chain(self, server: GatewayServer, terminating: GatewayServer | None) -> list[FilterChain]:
        """The chain of a TCP server, or none when no rule routes it."""
        route = self._l4.tcp_route(server)
        if route is None:
            end = "nothing listens for it" if terminating is None else "connections for its hosts are closed"
            self._say_no_route(server, end)
            return []
        return [
            FilterChain(
                name=server.route_name,
                port=server.spec.port.number,
                tls=self._server_tls.holder(terminating) if terminating is not None else None,
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
        self._report.say(
            "error",
            "IST0145",
            Phrase(
                "{} is left out for {}: {} of port {} is {}'s already ({})",
                server.title,
                ", ".join(chain.server_names) or "*",
                f'SNI host "{double[0]}"' if double[0] else "every SNI host",
                chain.port,
                other.title,
                Where(*other.where()),
            ),
            *server.where(),
        )
        return False

    def _say_no_route(self, server: GatewayServer, end: str) -> None:
        if server.routes_itself:
            message = f"no service of the mesh is among the hosts of {server.title}, so {end}"
        else:
            message = f"no {server.routed_by} rule of a VirtualService routes {server.title}, so {end}"
        self._report.say("warning", "GWD0105", message, *server.where())

    def _say_clash(self, server: GatewayServer, address: tuple[str, int], other: GatewayServer) -> None:
        self._report.say(
            "error",
            "GWD0103",
            f"{server.title} is left out: port {server.spec.port.number} comes to {address[0]}:{address[1]}, "
            f"which port {other.spec.port.number} of Gateway {other.name} has already",
            *server.where(),
            help="give each its own with --port-map",
        )


def _same(one: FilterChain, other: FilterChain) -> bool:
    return all(_equal(getattr(one, each.name), getattr(other, each.name)) for each in fields(FilterChain))


def _equal(one: Any, other: Any) -> bool:
    return one is other or bool(one == other)


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


def _as_spoken(settings: HttpOptions, group: ServerGroup) -> HttpOptions:
    """``settings`` for the protocol of a port, which is that of the server who came first (2.3.2, 2.4.4)."""
    protocol = group.servers[0].spec.port.protocol.upper()
    if protocol not in ("GRPC", "GRPC-WEB"):
        return settings
    return replace(settings, counts_messages=True, grpc_web=protocol == "GRPC-WEB")


def _listener_name(address: tuple[str, int]) -> str:
    """``0.0.0.0_8080`` as Envoy names it; the path of a UNIX socket as it is."""
    host, port = address
    return f"{host}_{port}" if port else host
