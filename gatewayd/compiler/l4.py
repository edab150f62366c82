"""``tcp`` and ``tls`` blocks of VirtualServices become routes for bytes (semantics 7).

A connection has no path and no Host, so there is little to choose by: a TCP server has one route, that of the first
rule that applies; a TLS server that passes through has one per SNI name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gatewayd.compiler.destination_rules import MergedRule, RuleBook
from gatewayd.compiler.destinations import Clusters, Place
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.gateways import GatewayServer
from gatewayd.compiler.l4_usage import Usage
from gatewayd.compiler.names import full_name, gateway_names
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.prepared import Prepared
from gatewayd.compiler.services import Registry
from gatewayd.compiler.virtual_hosts import BindingIndex, Matched, meetings
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
    """Makes TCP routes. One per compilation."""

    def __init__(
        self,
        index: BindingIndex,
        clusters: Clusters,
        registry: Registry,
        rules: RuleBook,
        options: CompileOptions,
        matched: Matched,
        report: Reporter,
    ) -> None:
        self._index = index
        self._clusters = clusters
        self._registry = registry
        self._rules = rules
        self._options = options
        self._matched = matched
        self._report = report
        #: what came of each rule, for the findings
        self.usage = Usage(report)

    def bound(self, server: GatewayServer) -> list[Prepared]:
        """The VirtualServices with a host in common with the server, in the order of 1.11."""
        met = meetings(server, self._index.near(server), self._matched)
        return [prepared for prepared, _ in met if prepared.resource.kind == "VirtualService"]

    def tcp_route(self, server: GatewayServer) -> TcpRoute | None:
        """The only route of a TCP server, or of one whose TLS was taken off: the first that applies (7.6)."""
        chosen: TcpRoute | None = None
        taker: tuple[Resource[Any], str] | None = None
        for prepared in self.bound(server):
            spec: VirtualService = prepared.resource.spec
            for index, rule in enumerate(spec.tcp):
                path = f"spec.tcp[{index}]"
                if not any_applies(rule.match, server, prepared.namespace):
                    continue
                self.usage.note_conditions(prepared.resource, path, rule.match)
                if taker is not None:
                    self.usage.hidden(prepared.resource, path, server, taker)
                    continue
                chosen = self._route(prepared, "tcp", index, rule.route, server.spec.port.number)
                if chosen is not None:  # else it is skipped (7.7)
                    taker = prepared.resource, path
                    self.usage.used(prepared.resource, path)
        return chosen

    def sni_routes(self, server: GatewayServer, taken: SniTaken) -> Iterable[SniRoute]:
        """The routes of a PASSTHROUGH server, one per match of a ``tls`` block (7.1, 7.2).

        ``taken``: of the port and address; a match with a name that is in it is skipped whole (7.4).
        """
        for prepared in self.bound(server):
            spec: VirtualService = prepared.resource.spec
            for index, rule in enumerate(spec.tls):
                made: TcpRoute | None = None
                for at, match in enumerate(rule.match):
                    path = f"spec.tls[{index}].match[{at}]"
                    if not applies(match, server, prepared.namespace):
                        continue
                    self.usage.note_conditions(prepared.resource, f"spec.tls[{index}]", rule.match)
                    names = self._sni_names(prepared.resource, path, match.sni_hosts)
                    if not names:
                        self.usage.named(prepared.resource, path)
                        continue
                    double = next((name for name in names if name in taken), None)
                    if double is not None:
                        self.usage.double(prepared.resource, path, double, taken[double])
                        continue
                    made = made or self._route(prepared, "tls", index, rule.route, server.spec.port.number)
                    if made is None:
                        break
                    taken.update(dict.fromkeys(names, (prepared.resource, path)))
                    self.usage.used(prepared.resource, path)
                    yield SniRoute(names, made)

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
        self, prepared: Prepared, block: str, index: int, written: Sequence[RouteDestination], port: int
    ) -> TcpRoute | None:
        """The route of a rule for a server of this port; None when it names no destination (7.7, 7.8)."""
        resource, path = prepared.resource, f"spec.{block}[{index}]"
        single = len(written) == 1
        made: list[Destination] = []
        hash_source_ip = False
        for at, share in enumerate(written):
            if not single and share.weight <= 0:
                continue
            asked = Place(resource, f"{path}.route[{at}].destination.host", raw=True)
            destination = self._with_port(share.destination, prepared.namespace, port)
            target = self._clusters.target(destination, prepared.namespace, port, asked)
            made.append(Destination(target.cluster, target.name, 1 if single else share.weight))
            hash_source_ip |= isinstance(target.hashing, SourceIpHash)
        if not made:
            reason = "every weight is 0" if written else "it has no route"
            self.usage.left_out(resource, block, index, reason)
            return None
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
