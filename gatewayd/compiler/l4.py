"""``tcp`` and ``tls`` blocks of VirtualServices become routes for bytes (semantics 7).

A connection has no path and no Host, so there is little to choose by: a TCP server has one route, that of the first
rule that applies; a TLS server that passes through has one per SNI name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gatewayd.compiler.clusters import Asker, Clusters
from gatewayd.compiler.complaints import Place
from gatewayd.compiler.destination_rules import MergedRule, RuleBook
from gatewayd.compiler.destinations import question
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.gateways import GatewayServer
from gatewayd.compiler.l4_usage import RouteKey, Usage, note_conditions
from gatewayd.compiler.meetings import Meeting
from gatewayd.compiler.names import full_name, gateway_names
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.prepared import Prepared
from gatewayd.compiler.services import Registry
from gatewayd.policies.hash_policy import SourceIpHash
from gatewayd.resources.meta import Resource
from gatewayd.resources.traffic_policy import TCPSettings, TrafficPolicy
from gatewayd.resources.virtual_service import (
    Destination as WrittenDestination,
)
from gatewayd.resources.virtual_service import (
    L4MatchAttributes,
    PortSelector,
    RouteDestination,
    TLSMatchAttributes,
    VirtualService,
)
from gatewayd.routing.l4 import TcpRoute, Tunnel
from gatewayd.routing.route import Destination, RouteSource
from gatewayd.routing.weights import WeightedPick

#: SNI names of one port and address that a ``tls`` match has, with the match (7.4).
SniTaken = dict[str, tuple[Resource[Any], str]]


@dataclass(frozen=True, slots=True)
class SniRoute:
    """A route of a server that passes TLS through, for these names as written."""

    sni_hosts: tuple[str, ...]
    route: TcpRoute


class L4Compiler:
    """Makes TCP routes, and keeps them while nothing they depend on changes."""

    def __init__(
        self,
        clusters: Clusters,
        registry: Registry,
        rules: RuleBook,
        options: CompileOptions,
        report: Reporter,
    ) -> None:
        self._clusters = clusters
        self._registry = registry
        self._rules = rules
        self._options = options
        self._report = report
        self._routes: dict[RouteKey, TcpRoute] = {}
        #: who has such rules, by server
        self._met: dict[GatewayServer, dict[Prepared, None]] = {}
        self._of: dict[Prepared, list[GatewayServer]] = {}
        #: what came of each rule, for the findings
        self.usages: dict[GatewayServer, Usage] = {}
        #: servers whose routes are to be made anew
        self.touched: set[GatewayServer] = set()
        #: whether there may be routes that no server has any more
        self._loose = False
        #: who has rules on servers whose routes were made anew
        self.renewed: set[Prepared] = set()

    # Between compilations

    def place(self, prepared: Prepared, meetings: Iterable[Meeting]) -> None:
        """``prepared`` meets these servers, and no others."""
        servers: list[GatewayServer] = []
        if self.concerns(prepared):
            servers = [
                server for server, _ in meetings if server.routed_by != "http" and not server.routes_itself
            ]
        for server in self._of.pop(prepared, ()):
            self._met[server].pop(prepared)
            self.touched.add(server)
            self._loose = True
        self.renewed.discard(prepared)
        for server in servers:
            self._met.setdefault(server, {})[prepared] = None
            self.touched.add(server)
        if servers:
            self._of[prepared] = servers

    def arrange(self, servers: Iterable[GatewayServer]) -> None:
        """There are only these servers."""
        there = set(servers)
        for server in self._met.keys() - there:
            self._loose = True
            for prepared in self._met.pop(server):
                self._of[prepared].remove(server)
        for server in self.usages.keys() - there:
            del self.usages[server]
        self.touched &= there

    def void(self) -> None:
        """Services or DestinationRules have changed: every route is to be made anew."""
        for key in self._routes:
            self._clusters.forget(key)
        self._routes.clear()
        self.touched.update(self._met)

    def void_routes(self, askers: Iterable[Asker]) -> None:
        """These got other answers."""
        for asker in askers:
            if isinstance(asker, tuple) and asker in self._routes:
                key: Any = asker
                self._clusters.forget(key)
                del self._routes[key]
                self.touched.update(self._of.get(key[1], ()))

    def settle(self) -> None:
        """All servers that were touched have their routes: let go of those that none has."""
        self.touched.clear()
        if self._loose:
            self._loose = False
            used = set().union(*(usage.routes for usage in self.usages.values()))
            for key in [key for key in self._routes if key not in used]:
                self._clusters.forget(key)
                del self._routes[key]

    def concerns(self, prepared: Prepared) -> bool:
        """Whether ``prepared`` has rules for connections."""
        return not prepared.is_ingress and bool(prepared.resource.spec.tcp or prepared.resource.spec.tls)

    def _bound(self, server: GatewayServer) -> list[Prepared]:
        """Who has rules for connections of a server, in the order of 1.11."""
        bound = self._met.get(server, {})
        self.renewed.update(bound)
        return sorted(bound, key=lambda prepared: prepared.rank)

    # Routes

    def tcp_route(self, server: GatewayServer) -> TcpRoute | None:
        """The only route of a TCP server, or of one whose TLS was taken off: the first that applies (7.6)."""
        usage = self._begin(server)
        chosen: TcpRoute | None = None
        taker: tuple[Resource[Any], str] | None = None
        for prepared in self._bound(server):
            spec: VirtualService = prepared.resource.spec
            for index, rule in enumerate(spec.tcp):
                path = f"spec.tcp[{index}]"
                if not any_applies(rule.match, server, prepared.namespace):
                    continue
                note_conditions(prepared.resource, path, rule.match, self._report)
                if taker is not None:
                    usage.hide(prepared.resource, path, server, taker)
                    continue
                chosen = self._route(usage, prepared, "tcp", index, rule.route, server.spec.port.number)
                if chosen is not None:  # else it is skipped (7.7)
                    taker = prepared.resource, path
                    usage.used.add((prepared.resource.full_name, path))
        return chosen

    def sni_routes(self, server: GatewayServer, taken: SniTaken) -> Iterable[SniRoute]:
        """The routes of a PASSTHROUGH server, one per match of a ``tls`` block (7.1, 7.2).

        ``taken``: of the port and address; a match with a name that is in it is skipped whole (7.4).
        """
        usage = self._begin(server)
        for prepared in self._bound(server):
            spec: VirtualService = prepared.resource.spec
            name = prepared.resource.full_name
            for index, rule in enumerate(spec.tls):
                made: TcpRoute | None = None
                for at, match in enumerate(rule.match):
                    path = f"spec.tls[{index}].match[{at}]"
                    if not applies(match, server, prepared.namespace):
                        continue
                    note_conditions(prepared.resource, f"spec.tls[{index}]", rule.match, self._report)
                    names = self._sni_names(prepared.resource, path, match.sni_hosts)
                    if not names:
                        usage.named.add((name, path))
                        continue
                    double = next((name for name in names if name in taken), None)
                    if double is not None:
                        usage.double(prepared.resource, path, double, taken[double])
                        continue
                    made = made or self._route(
                        usage, prepared, "tls", index, rule.route, server.spec.port.number
                    )
                    if made is None:
                        break
                    taken.update(dict.fromkeys(names, (prepared.resource, path)))
                    usage.used.add((name, path))
                    yield SniRoute(names, made)

    def _begin(self, server: GatewayServer) -> Usage:
        self._loose = True
        usage = self.usages[server] = Usage()
        return usage

    def _sni_names(self, resource: Resource[Any], path: str, written: Sequence[str]) -> tuple[str, ...]:
        """Lower case, each once, without what can be no server name: a wildcard that is not a whole label."""
        names: dict[str, None] = {}
        for at, name in enumerate(written):
            if "*" in name and name != "*" and not (name.startswith("*.") and "*" not in name[1:]):
                message = f'SNI host "{name}" is left out: a wildcard stands for whole labels only'
                where = f"{path}.sniHosts[{at}]"
                self._report.say("error", "GWD0104", message, resource, where, "it looks like *.example.com")
            else:
                names[name.lower()] = None
        return tuple(names)

    def _route(
        self,
        usage: Usage,
        prepared: Prepared,
        block: str,
        index: int,
        written: Sequence[RouteDestination],
        port: int,
    ) -> TcpRoute | None:
        """The route of a rule for a server of this port; None when it names no destination (7.7, 7.8)."""
        single = len(written) == 1
        if not single and all(share.weight <= 0 for share in written):
            path = f"spec.{block}[{index}]"
            usage.named.add((prepared.resource.full_name, path))
            reason = "every weight is 0" if written else "it has no route"
            message = f"{block}[{index}] is left out: {reason}"
            self._report.say("error", "GWD0104", message, prepared.resource, path)
            return None
        key = (block, prepared, index, port)
        usage.routes.add(key)
        route = self._routes.get(key)
        if route is None:
            with self._clusters.asking(key):
                route = self._routes[key] = self._make(prepared, block, index, written, port)
        return route

    def _make(
        self, prepared: Prepared, block: str, index: int, written: Sequence[RouteDestination], port: int
    ) -> TcpRoute:
        resource, path = prepared.resource, f"spec.{block}[{index}]"
        single = len(written) == 1
        made: list[Destination] = []
        hash_source_ip = False
        for at, share in enumerate(written):
            if not single and share.weight <= 0:
                continue
            asked = Place(resource, f"{path}.route[{at}].destination.host", raw=True)
            destination = self._with_port(share.destination, prepared.namespace, port)
            target = self._clusters.target(question(destination, prepared.namespace, port), asked)
            made.append(Destination(target.cluster, target.name, 1 if single else share.weight))
            hash_source_ip |= isinstance(target.hashing, SourceIpHash)
        rule = self._rule(written[0].destination.host, prepared.namespace)
        return tcp_route(
            made,
            _settings(rule),
            RouteSource(resource, index, block),
            tunnel=self._tunnel(rule, written),
            hash_source_ip=hash_source_ip,
        )

    def settings(self, written: str, namespace: str) -> TCPSettings | None:
        """``connectionPool.tcp`` of the host's DestinationRule, its general part only, as in Istio (7.9)."""
        return _settings(self._rule(written, namespace))

    def _rule(self, written: str, namespace: str) -> MergedRule | None:
        """The DestinationRule of a destination's host."""
        domain = self._options.cluster_domain
        host = self._registry.follow(full_name(written, namespace, domain))
        service = self._registry.find(host)
        if service is not None:
            owner = service.namespace
        else:
            short = host.removesuffix(f".svc.{domain}")
            owner = short.rpartition(".")[2] if short != host else namespace
        return self._rules.find(host, owner)

    def _tunnel(self, rule: MergedRule | None, written: Sequence[RouteDestination]) -> Tunnel | None:
        """How the route's bytes reach what is behind its destination (10.10).

        That of the subset alone if the destination names one, else the rule's; of several destinations, the
        first one's rule decides for all, and its subsets are not looked at. Nothing is merged, as in Istio.
        """
        if rule is None:
            return None
        first = written[0].destination
        subset = rule.subsets.get(first.subset) if first.subset else None
        policy = rule.traffic_policy
        if first.subset and len(written) == 1:
            policy = subset.traffic_policy if subset is not None else None
        elif subset is not None and subset.traffic_policy is not None and subset.traffic_policy.tunnel:
            self._report.say(
                "warning",
                "GWD0104",
                f'the tunnel of subset "{first.subset}" is ignored: its route has several destinations',
                rule.resources[0],
                help="write the tunnel in the rule's own trafficPolicy",
            )
        return tunnel_of(policy)

    def _with_port(self, written: WrittenDestination, namespace: str, port: int) -> WrittenDestination:
        """A host nobody declares, without a port: reached on the server's, what it speaks has no port of its own."""
        if written.port is not None and written.port.number:
            return written
        host = full_name(written.host, namespace, self._options.cluster_domain)
        if self._registry.for_port(host, namespace) is not None:
            return written
        return WrittenDestination(host=written.host, subset=written.subset, port=PortSelector(number=port))


def _settings(rule: MergedRule | None) -> TCPSettings | None:
    policy = rule.traffic_policy if rule is not None else None
    pool = policy.connection_pool if policy is not None else None
    return pool.tcp if pool is not None else None


def tunnel_of(policy: TrafficPolicy | None) -> Tunnel | None:
    """``tunnel`` of a policy as a route has it; CONNECT unless it says POST, in capitals as Istio wants it."""
    written = policy.tunnel if policy is not None else None
    if written is None:
        return None
    host = f"[{written.target_host}]" if ":" in written.target_host else written.target_host
    return Tunnel(f"{host}:{written.target_port}".encode(), written.protocol == "POST")


def tcp_route(
    destinations: Sequence[Destination],
    tcp: TCPSettings | None,
    source: RouteSource | None,
    tunnel: Tunnel | None = None,
    *,
    hash_source_ip: bool = False,
) -> TcpRoute:
    """A route with the times of ``tcp``, or Envoy's own where it says nothing (7.9)."""
    idle = tcp.idle_timeout if tcp is not None else None
    longest = tcp.max_connection_duration if tcp is not None else None
    made = TcpRoute(
        tuple(destinations),
        _picker(destinations),
        max_duration_s=float(longest or 0.0),
        source=source,
        tunnel=tunnel,
        hash_source_ip=hash_source_ip,
    )
    return made if idle is None else replace(made, idle_timeout_s=float(idle))


def _picker(destinations: Sequence[Destination]) -> Callable[[], Destination]:
    if len(destinations) > 1:
        return WeightedPick(destinations)
    only = destinations[0]
    return lambda: only


def any_applies(matches: Sequence[L4MatchAttributes], server: GatewayServer, namespace: str) -> bool:
    """Whether a ``tcp`` rule is for this server: no conditions, or one that holds (7.6)."""
    return not matches or any(applies(match, server, namespace) for match in matches)


def applies(match: L4MatchAttributes | TLSMatchAttributes, server: GatewayServer, namespace: str) -> bool:
    """Port and gateways; nothing else is looked at on a gateway (7.1)."""
    if match.port and match.port != server.spec.port.number:
        return False
    return not match.gateways or server.name in gateway_names(match.gateways, namespace)
