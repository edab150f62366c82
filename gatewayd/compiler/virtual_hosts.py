"""The route table of one listener: its hosts, and whose rules in which order (semantics 2.3.9, 2.6, 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gatewayd.compiler.gateways import GatewayServer
from gatewayd.compiler.host_index import HostIndex
from gatewayd.compiler.matches import Vantage
from gatewayd.compiler.memory import CompileMemory
from gatewayd.compiler.names import HostSet, hosts_open_to
from gatewayd.compiler.ordering import age_key
from gatewayd.compiler.prepared import Prepared
from gatewayd.compiler.virtual_services import Bound, RuleCompiler
from gatewayd.compiler.visibility import visibility
from gatewayd.routing.index import Rule
from gatewayd.routing.table import RouteTable, VirtualHost

#: So many VirtualServices are looked at one by one.
_FEW: Final = 8


@dataclass(slots=True, eq=False)
class Matched:
    """Which servers take what of which VirtualService, for the findings."""

    #: (id of a prepared VirtualService, Gateway, host): some server of that Gateway takes the host
    hosts: set[tuple[int, str, str]] = field(default_factory=set)
    #: id of a prepared VirtualService -> which of its blocks some server that takes its hosts looks at
    blocks: dict[int, set[str]] = field(default_factory=dict)

    def note(self, server: GatewayServer, prepared: Prepared, own: HostSet) -> None:
        """``server``, whose hosts are ``own``, takes some host of ``prepared``."""
        blocks = self.blocks.setdefault(id(prepared), set())
        if not server.routes_itself:
            blocks.add(server.routed_by)
        for host in prepared.hosts:
            if len(prepared.hosts) == 1 or own.meet((host,)):
                self.hosts.add((id(prepared), server.name, host))


class BindingIndex:
    """VirtualServices by the Gateways they name, in the order of 1.11."""

    def __init__(self) -> None:
        self._by_gateway: dict[str, list[tuple[tuple[int, tuple[str, str, str]], Prepared]]] = {}
        self._hosts: dict[str, HostIndex] = {}

    def add(self, prepared: Prepared, export_to: Sequence[str], viewer: str, gateways: Iterable[str]) -> bool:
        """File ``prepared`` under ``gateways``; False when it is not exported to the viewer (1.10)."""
        seen = visibility(export_to, prepared.namespace, viewer)
        if seen is None:
            return False
        rank = (seen, age_key(prepared.resource.metadata))
        for gateway in dict.fromkeys(gateways):
            self._by_gateway.setdefault(gateway, []).append((rank, prepared))
        return True

    def sort(self) -> None:
        """Private ones, then those exported by name, then public ones, each group by age (1.11)."""
        for entries in self._by_gateway.values():
            entries.sort(key=lambda entry: entry[0])

    def near(self, server: GatewayServer) -> list[Prepared]:
        """What is bound to the Gateway of a server and may have a host in common with the server."""
        entries = self._by_gateway.get(server.name, [])
        if len(entries) <= _FEW:
            return [prepared for _, prepared in entries]
        hosts = self._hosts.get(server.name)
        if hosts is None:
            hosts = self._hosts[server.name] = HostIndex(prepared.hosts for _, prepared in entries)
        return [entries[at][1] for at in hosts.near(server.bare_hosts)]


@dataclass(slots=True, eq=False)
class HostRoutes:
    """One virtual host while it is put together."""

    #: in order, each once (4.9)
    bounds: dict[Bound, None] = field(default_factory=dict)
    require_tls: bool = False

    def rules(self, name: str) -> list[Rule]:
        """Everybody's rules in turn, then all catch-alls in the same order (4.3); ``name``: the virtual host's."""
        rules = [rule for bound in self.bounds for rule in bound.rules]
        rules += [bound.catch_all for bound in self.bounds if bound.catch_all is not None]
        if any(rule.route.statistics for rule in rules):
            rules = [_counted(rule, name) for rule in rules]
        return rules


@dataclass(slots=True, eq=False)
class BuiltTable:
    """A route table with what its hosts were made of, for the findings."""

    table: RouteTable
    hosts: dict[str, HostRoutes]


def build_table(
    servers: Iterable[GatewayServer],
    index: BindingIndex,
    compiler: RuleCompiler,
    namespace: str,
    labels: Mapping[str, str],
    matched: Matched,
    memory: CompileMemory,
    name: str,
) -> BuiltTable:
    """The table all ``servers`` of one port and bind share; ``name``: its filter chain's.

    ``matched`` collects which hosts are taken, for the findings.
    """
    hosts: dict[str, HostRoutes] = {}
    port = 0
    for server in servers:
        port = server.spec.port.number
        seen = Vantage(server.name, server.spec.port.number, namespace, labels)
        for prepared, met in meetings(server, index.near(server), matched):
            bound = compiler.bind(prepared, seen)
            if not bound.origins:
                continue  # nothing applies here: its hosts are not declared by it (4.8)
            for host in met:
                routes = _at(hosts, host)
                routes.bounds[bound] = None
                routes.require_tls |= server.https_redirect
        if server.https_redirect:
            # Also without any VirtualService, and for routes bound through other servers (2.6.3, 2.6.4).
            for host in server.bare_hosts:
                _at(hosts, host).require_tls = True
    virtual_hosts = [_virtual_host(memory, name, host, port, routes) for host, routes in hosts.items()]
    return BuiltTable(RouteTable(virtual_hosts), hosts)


def _virtual_host(memory: CompileMemory, table: str, name: str, port: int, routes: HostRoutes) -> VirtualHost:
    bounds = tuple(routes.bounds)
    host = memory.virtual_host(table, name, bounds, routes.require_tls)
    if host is None:
        host = VirtualHost(name, (name,), routes.rules(f"{name}:{port}"), routes.require_tls)
        memory.keep_virtual_host(table, bounds, host)
    return host


def _counted(rule: Rule, host: str) -> Rule:
    """``rule`` as it is counted for one virtual host, if it is at all (5.19)."""
    prefix = rule.route.statistics
    if not prefix:
        return rule
    return replace(rule, route=replace(rule.route, statistics=f"vhost.{host}.route.{prefix}"))


def _at(hosts: dict[str, HostRoutes], host: str) -> HostRoutes:
    """Names are lower-cased only here, after they met as written (2.2.4)."""
    host = host.lower()
    routes = hosts.get(host)
    if routes is None:
        routes = hosts[host] = HostRoutes()
    return routes


def meetings(
    server: GatewayServer, bound: Iterable[Prepared], matched: Matched
) -> Iterable[tuple[Prepared, list[str]]]:
    """Each VirtualService with the hosts it shares with the server (2.2.2, 2.2.3)."""
    open_to: dict[str, HostSet] = {}
    for prepared in bound:
        own = open_to.get(prepared.namespace)
        if own is None:
            own = open_to[prepared.namespace] = HostSet(hosts_open_to(server.hosts, prepared.namespace))
        met = own.meet(prepared.hosts)
        if met:
            matched.note(server, prepared, own)
            yield prepared, met
