"""Findings about the whole: what is bound to nothing, what can never match, who shares a host.

Each says one thing about one VirtualService, host or Gateway, and is asked again when something it looks at changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gatewayd.compiler.findings import Phrase, Reporter, Where, did_you_mean
from gatewayd.compiler.gateways import GatewayServer
from gatewayd.compiler.meetings import Meetings
from gatewayd.compiler.names import MESH
from gatewayd.compiler.prepared import Alternative, Prepared, PreparedRule
from gatewayd.compiler.servers import Servers
from gatewayd.compiler.shadows import shadowed, takes
from gatewayd.compiler.virtual_hosts import Host, Spots, Table
from gatewayd.compiler.virtual_services import Bound, Origin
from gatewayd.resources.gateway import Gateway
from gatewayd.resources.meta import Resource

#: an alternative that can never match, and the one that takes its requests
Dead = Mapping[Origin, Origin]
_NONE_DEAD: Final[Dead] = {}


def review_bindings(item: Prepared, servers: Servers, meetings: Meetings, report: Reporter) -> None:
    """Unknown Gateways, hosts no server takes, a VirtualService for sidecars only."""
    for index, reference in enumerate(item.gateways):
        if reference != MESH and reference not in servers.gateways:
            report.say(
                "error",
                "IST0101",
                f"gateway {reference} does not exist{did_you_mean(reference, servers.gateways)}",
                item.resource,
                f"spec.gateways[{index}]",
            )
    if item.gateways == (MESH,):
        report.say(
            "info",
            "GWD0105",
            f"VirtualService {item.resource.full_name} names no gateway, so it is for sidecars only",
            item.resource,
            help="list a Gateway in spec.gateways to serve it here",
        )
        return
    served = [reference for reference in item.gateways if reference in servers.of_gateway]
    if served:
        _review_hosts(item, served, servers, meetings, report)


def _review_hosts(
    item: Prepared, served: Sequence[str], servers: Servers, meetings: Meetings, report: Reporter
) -> None:
    """Gateways that take none of the hosts, as Istio's analyzer says it; then hosts that none takes."""
    useful = []
    taken: set[str] = set()
    for reference in dict.fromkeys(served):
        some = meetings.taken(item, reference)
        if some:
            useful.append(reference)
            taken |= some
        else:
            _say_not_among(item, range(len(item.hosts)), [reference], servers, report)
    for index, host in enumerate(item.hosts):
        if useful and host not in taken:
            _say_not_among(item, [index], useful, servers, report)


def _say_not_among(
    item: Prepared, indexes: Sequence[int], gateways: Sequence[str], servers: Servers, report: Reporter
) -> None:
    known = [
        host
        for reference in gateways
        for server, _ in servers.of_gateway[reference]
        for host in server.bare_hosts
    ]
    names = []
    for index in indexes:
        written, whole = item.resource.spec.hosts[index], item.hosts[index]
        names.append(f'"{written}"' + (f" (in full {whole})" if whole != written else ""))
    one = len(names) == 1
    near = did_you_mean(item.hosts[indexes[0]], known) if one else ""
    report.say(
        "warning",
        "IST0132",
        f"{'host' if one else 'hosts'} {', '.join(names)} {'is' if one else 'are'} not among the hosts that "
        f"gateway {', '.join(gateways)} opens to namespace {item.namespace}{near}",
        item.resource,
        f"spec.hosts[{indexes[0]}]" if one else "spec.hosts",
        help=f"the servers take: {', '.join(dict.fromkeys(known)) or 'nothing'}",
    )


def review_gateway(gateway: Resource[Gateway], servers: Iterable[GatewayServer], report: Reporter) -> None:
    """A Gateway no VirtualService is bound to: its HTTP ports answer 404 (2.5.1). Others have no route anyway, which
    is said of each."""
    if any(server.routed_by == "http" and not server.https_redirect for server in servers):
        report.say(
            "info",
            "GWD0105",
            f"no VirtualService is bound to Gateway {gateway.full_name}: its ports answer 404",
            gateway,
        )


def dead_within(bounds: Iterable[Bound]) -> Dead:
    """Alternatives hidden by their own VirtualService wherever it is bound, with what hides them."""
    hidden = [(bound, dict(shadowed([option.shape for _, option in bound.origins]))) for bound in bounds]
    if not any(takers for _, takers in hidden):
        return _NONE_DEAD
    alive: set[Origin] = set()
    dead: dict[Origin, Origin] = {}
    for bound, takers in hidden:
        for index, origin in enumerate(bound.origins):
            if index in takers:
                dead.setdefault(origin, bound.origins[takers[index]])
            else:
                alive.add(origin)
    return {origin: taker for origin, taker in dead.items() if origin not in alive}


def hidden_by_others(item: Prepared, spots: Spots, dead: Dead) -> Dead:
    """Alternatives of ``item`` that other VirtualServices hide on every host it has (4.3); not those of ``dead``."""
    hosts = [table.hosts[host] for table, host in sorted(spots, key=_by_name)]
    if not any(host.hidden for host in hosts):
        return _NONE_DEAD
    alive: set[Origin] = set()
    hidden: dict[Origin, Origin] = {}
    for host in hosts:
        for bound in host.bounds:
            if bound.prepared is item:
                for origin in bound.origins:
                    taker = host.hidden.get(origin)
                    if taker is None:
                        alive.add(origin)
                    else:
                        hidden.setdefault(origin, taker)
    return {
        origin: taker
        for origin, taker in hidden.items()
        if origin not in alive and origin not in dead and taker[0] is not origin[0]
    }


def _by_name(spot: tuple[Table, str]) -> tuple[str, str]:
    return spot[0].name, spot[1]


def review_host(name: str, host: Host, report: Reporter) -> None:
    """A host several VirtualServices share."""
    resources = list(dict.fromkeys(bound.prepared.resource for bound in host.bounds))
    for other in resources[1:]:
        first = resources[0]
        report.say(
            "info",
            "GWD0103",
            Phrase(
                'host "{}" is shared with {} {} ({}), whose rules are tried before these; catch-alls of both come last',
                name,
                first.kind,
                first.full_name,
                Where(first),
            ),
            other,
        )


def _title(item: PreparedRule) -> str:
    index = item.source.rule
    name = f' "{item.rule.name}"' if item.rule.name else ""
    return f"http[{index}]{name}" if item.resource.kind == "VirtualService" else f"path {item.path}"


def say_dead(item: PreparedRule, option: Alternative | None, taker: Origin, report: Reporter) -> None:
    """A rule, or one alternative of several, that an earlier one hides; None: all of the rule."""
    first, by = taker
    owner = "" if first.resource is item.resource else f" of {first.resource.kind} {first.resource.full_name}"
    reason = (first.source.rule, owner, Where(first.resource, first.path), takes(by.shape))
    if option is None or len(item.alternatives) == 1:
        template = "rule {} can never match: http[{}]{} ({}) takes {} first"
        report.say("warning", "IST0130", Phrase(template, _title(item), *reason), item.resource, item.path)
        return
    index = item.alternatives.index(option)
    template = "match[{}] of rule {} can never match: http[{}]{} ({}) takes {} first"
    message = Phrase(template, index, _title(item), *reason)
    report.say("info", "IST0131", message, item.resource, f"{item.path}.match[{index}]")


def review_reach(item: Prepared, bounds: Sequence[Bound], report: Reporter) -> None:
    """Rules that made no route at all: behind a catch-all of their own, or for no server here (4.5, 5.15)."""
    total = sum(len(rule.alternatives) for rule in item.rules)
    if all(len(bound.origins) == total for bound in bounds):
        return
    reached = {origin for bound in bounds for origin in bound.origins}
    ends = {bound.origins[-1] for bound in bounds if bound.catch_all is not None}
    end: Origin | None = None  # the first catch-all passed on the way down
    for rule in item.rules:
        hidden: list[Alternative] = []
        elsewhere = 0
        for option in rule.alternatives:
            if (rule, option) in reached:
                if end is None and (rule, option) in ends:
                    end = (rule, option)
            elif end is not None:
                hidden.append(option)
            else:
                elsewhere += 1
        if end is not None and hidden:
            whole = len(hidden) == len(rule.alternatives)
            for each in [None] if whole else hidden:
                say_dead(rule, each, end, report)
        elif elsewhere == len(rule.alternatives):
            report.say(
                "info",
                "GWD0105",
                f"rule {_title(rule)} applies nowhere: its port, gateways or source conditions fit no "
                "server this VirtualService is bound to",
                rule.resource,
                rule.path,
            )
