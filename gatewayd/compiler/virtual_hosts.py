"""Route tables: their hosts, and whose rules in which order (semantics 2.3.9, 2.6, 4.3).

Tables are kept from one compilation to the next. A VirtualService that changed is taken out of the hosts it had and put
into those it has; only these hosts are made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gatewayd.compiler.gateways import GatewayServer, ServerGroup
from gatewayd.compiler.matches import Vantage
from gatewayd.compiler.meetings import Meeting
from gatewayd.compiler.names import bare_host
from gatewayd.compiler.prepared import Prepared
from gatewayd.compiler.shadows import shadowed
from gatewayd.compiler.virtual_services import Bound, Origin, RuleCompiler
from gatewayd.routing.index import Rule
from gatewayd.routing.table import RouteTable, VirtualHost

_NOTHING_HIDDEN: Final[dict[Origin, Origin]] = {}


@dataclass(slots=True, eq=False)
class Host:
    """One host of a table: whose rules it has."""

    #: who is bound here, through which server
    entries: list[tuple[GatewayServer, Bound]] = field(default_factory=list)
    #: in the order in which their rules are tried, each once (4.9)
    bounds: tuple[Bound, ...] = ()
    served: VirtualHost | None = None
    #: of several that share the host: alternatives that an earlier one takes all requests of, with that one
    hidden: dict[Origin, Origin] = field(default_factory=lambda: _NOTHING_HIDDEN)

    @property
    def shared(self) -> bool:
        """Whether several have rules here."""
        return len(self.bounds) > 1

    def rules(self, name: str) -> list[Rule]:
        """Everybody's rules in turn, then all catch-alls in the same order (4.3); ``name``: the virtual host's."""
        rules = [rule for bound in self.bounds for rule in bound.rules]
        rules += [bound.catch_all for bound in self.bounds if bound.catch_all is not None]
        if any(rule.route.statistics for rule in rules):
            rules = [_counted(rule, name) for rule in rules]
        return rules

    def origins(self) -> list[Origin]:
        """What the rules were made of, in the same order."""
        plain: list[Origin] = []
        last: list[Origin] = []
        for bound in self.bounds:
            plain += bound.origins[: len(bound.rules)]
            last += bound.origins[len(bound.rules) :]
        return plain + last


class Table:
    """The table that all servers of one filter chain share."""

    def __init__(self, name: str) -> None:
        #: its filter chain's
        self.name = name
        self.servers: list[GatewayServer] = []
        self.hosts: dict[str, Host] = {}
        self.routes = RouteTable(())
        #: hosts of servers with ``httpsRedirect``, also without any VirtualService (2.6.3, 2.6.4)
        self._redirected: frozenset[str] = frozenset()
        self.touched: set[str] = set()

    def serve(self, servers: list[GatewayServer]) -> None:
        """The servers are these from now on."""
        if servers == self.servers:
            return
        self.servers = list(servers)
        before = self._redirected
        self._redirected = frozenset(
            bare_host(host).lower() for server in servers if server.https_redirect for host in server.hosts
        )
        self.touched |= before ^ self._redirected

    def add(self, host: str, server: GatewayServer, bound: Bound) -> None:
        """``bound`` has rules for ``host``, through ``server``."""
        known = self.hosts.get(host)
        if known is None:
            known = self.hosts[host] = Host()
        known.entries.append((server, bound))
        self.touched.add(host)

    def remove(self, host: str, prepared: Prepared) -> None:
        """``prepared`` has no rules for ``host`` any more."""
        known = self.hosts[host]
        known.entries = [entry for entry in known.entries if entry[1].prepared is not prepared]
        self.touched.add(host)

    def renew(self, places: Mapping[GatewayServer, int]) -> list[str]:
        """Make anew what was touched; the hosts of which others have the rules now, or in another order."""
        gone: list[str] = []
        come: list[VirtualHost] = []
        changed: list[str] = []
        for name in sorted(self.touched, key=_names_first):
            host = self.hosts.get(name)
            if host is None:
                if name not in self._redirected:
                    gone.append(name)
                    continue
                host = self.hosts[name] = Host()
            if self._arrange(host, places):
                changed.append(name)
                host.served = None
            require_tls = name in self._redirected or any(server.https_redirect for server, _ in host.entries)
            if not host.bounds and not require_tls:
                del self.hosts[name]
                gone.append(name)
            elif host.served is None or host.served.require_tls != require_tls:
                host.served = VirtualHost(name, (name,), host.rules(self._spelled(name)), require_tls)
                come.append(host.served)
        self.touched.clear()
        if gone or come:
            self.routes = self.routes.changed(gone, come)
        return changed

    def _spelled(self, host: str) -> str:
        """The name of a virtual host in Istio's Envoy."""
        return f"{host}:{self.servers[-1].spec.port.number}"

    def _arrange(self, host: Host, places: Mapping[GatewayServer, int]) -> bool:
        """Put the entries of a host in order; whether its bindings are others now."""
        if len(host.entries) > 1:
            host.entries.sort(key=lambda entry: (places[entry[0]], entry[1].prepared.rank))
        bounds = tuple(dict.fromkeys(bound for _, bound in host.entries))
        if bounds == host.bounds:
            return False
        host.bounds = bounds
        host.hidden = _NOTHING_HIDDEN
        if len(bounds) > 1:
            origins = host.origins()
            hidden = shadowed([option.shape for _, option in origins])
            if hidden:
                host.hidden = {origins[at]: origins[taker] for at, taker in hidden}
        return True


def _counted(rule: Rule, host: str) -> Rule:
    """``rule`` as it is counted for one virtual host, if it is at all (5.19)."""
    prefix = rule.route.statistics
    if not prefix:
        return rule
    route = replace(rule.route, statistics=f"vhost.{host}.route.{prefix}", plan=None, planned_for=None)
    return replace(rule, route=route)


def _names_first(host: str) -> tuple[bool, str]:
    return host.startswith("*"), host


#: Which hosts of which tables a VirtualService has rules for.
Spots = set[tuple[Table, str]]


class Tables:
    """All route tables, and who is in them."""

    def __init__(self, compiler: RuleCompiler, namespace: str, labels: Mapping[str, str]) -> None:
        self._compiler = compiler
        self._namespace = namespace
        self._labels = labels
        self._of_server: dict[GatewayServer, Table] = {}
        self._by_name: dict[str, Table] = {}
        self._dropped: list[Table] = []
        self._spots: dict[Prepared, Spots] = {}
        self._bounds: dict[Prepared, list[Bound]] = {}

    def of(self, server: GatewayServer) -> Table:
        """The table of a server that speaks HTTP."""
        return self._of_server[server]

    def bounds(self, prepared: Prepared) -> list[Bound]:
        """How ``prepared`` is bound, also where none of its rules applies."""
        return self._bounds.get(prepared, [])

    def spots(self, prepared: Prepared) -> Spots:
        """Where ``prepared`` has rules."""
        return self._spots.get(prepared, set())

    def arrange(self, groups: Iterable[ServerGroup]) -> None:
        """There is a table for each HTTP port, and for each HTTPS server."""
        before, self._by_name = self._by_name, {}
        self._of_server = {}
        for name, servers in _chains(groups):
            table = self._by_name[name] = before.get(name) or Table(name)
            table.serve(servers)
            for server in servers:
                self._of_server[server] = table
        self._dropped += [table for name, table in before.items() if name not in self._by_name]

    def remove(self, prepared: Prepared) -> None:
        """``prepared`` has no rules anywhere any more."""
        for table, host in self._spots.pop(prepared, ()):
            table.remove(host, prepared)
        for bound in self._bounds.pop(prepared, ()):
            self._compiler.forget(bound)

    def place(self, prepared: Prepared, meetings: Iterable[Meeting]) -> None:
        """Put the rules of ``prepared`` where it meets a server that speaks HTTP, and nowhere else."""
        for table, host in self._spots.pop(prepared, ()):
            table.remove(host, prepared)
        spots: Spots = set()
        used: dict[Bound, None] = {}
        for server, hosts in meetings:
            if server not in self._of_server:
                continue
            table = self._of_server[server]
            seen = Vantage(server.name, server.spec.port.number, self._namespace, self._labels)
            bound = self._compiler.bind(prepared, seen)
            used[bound] = None
            if not bound.origins:
                continue  # nothing applies here: its hosts are not declared by it (4.8)
            for name in hosts:
                host = name.lower()  # only here, after they met as written (2.2.4)
                table.add(host, server, bound)
                spots.add((table, host))
        for bound in self._bounds.pop(prepared, ()):
            if bound not in used:
                self._compiler.forget(bound)
        if spots:
            self._spots[prepared] = spots
        if used:
            self._bounds[prepared] = list(used)

    def renew(self, places: Mapping[GatewayServer, int]) -> tuple[set[Table], Spots]:
        """Make anew what was touched: the tables with other routes, and the hosts with other bindings."""
        tables: set[Table] = set()
        spots: Spots = set()
        for table in self._dropped:
            spots.update((table, host) for host in table.hosts)
            table.hosts.clear()
        self._dropped.clear()
        for table in self._by_name.values():
            if table.touched:
                before = table.routes
                spots.update((table, host) for host in table.renew(places))
                if table.routes is not before:
                    tables.add(table)
        return tables, spots


def chain_name(group: ServerGroup) -> str:
    """The name of the one chain of a plain HTTP port, as Istio names its routes (2.3.9)."""
    return f"http.{group.port}" + (f".{group.bind}" if group.bind else "")


def _chains(groups: Iterable[ServerGroup]) -> Iterable[tuple[str, list[GatewayServer]]]:
    for group in groups:
        if group.kind == "http":
            yield chain_name(group), group.servers
        elif group.kind == "tls":
            for server in group.servers:
                if server.routed_by == "http":
                    yield server.route_name, [server]
