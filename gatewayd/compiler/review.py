"""Findings about the whole: what is bound to nothing, what can never match, who shares a host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gatewayd.compiler.findings import Reporter, did_you_mean, place
from gatewayd.compiler.gateways import GatewayServer
from gatewayd.compiler.names import MESH
from gatewayd.compiler.prepared import Alternative, Prepared, PreparedRule
from gatewayd.compiler.shadows import shadowed, takes
from gatewayd.compiler.virtual_hosts import BuiltTable, HostRoutes, Matched
from gatewayd.compiler.virtual_services import Bound, RuleCompiler
from gatewayd.resources.gateway import Gateway
from gatewayd.resources.meta import Resource

_Origin = tuple[PreparedRule, Alternative]


def review_bindings(
    prepared: Iterable[Prepared],
    gateways: Mapping[str, Resource[Gateway]],
    servers: Sequence[GatewayServer],
    matched: Matched,
    report: Reporter,
) -> None:
    """Unknown Gateways, hosts no server takes, VirtualServices for sidecars only."""
    hosts_of: dict[str, list[str]] = {}
    for server in servers:
        hosts_of.setdefault(server.name, []).extend(server.bare_hosts)
    for item in prepared:
        if item.resource.kind != "VirtualService":
            continue
        for index, reference in enumerate(item.gateways):
            if reference != MESH and reference not in gateways:
                report.say(
                    "error",
                    "IST0101",
                    f"gateway {reference} does not exist{did_you_mean(reference, gateways)}",
                    item.resource,
                    f"spec.gateways[{index}]",
                )
        served = [reference for reference in item.gateways if reference in hosts_of]
        if item.gateways == (MESH,):
            report.say(
                "info",
                "GWD0105",
                f"VirtualService {item.resource.full_name} names no gateway, so it is for sidecars only",
                item.resource,
                help="list a Gateway in spec.gateways to serve it here",
            )
        elif served:
            _review_hosts(item, served, hosts_of, matched, report)


def _review_hosts(
    item: Prepared,
    served: Sequence[str],
    hosts_of: Mapping[str, list[str]],
    matched: Matched,
    report: Reporter,
) -> None:
    """Gateways that take none of the hosts, as Istio's analyzer says it; then hosts that none takes."""
    useful = []
    for reference in dict.fromkeys(served):
        if any((id(item), reference, host) in matched.hosts for host in item.hosts):
            useful.append(reference)
        else:
            _say_not_among(item, range(len(item.hosts)), [reference], hosts_of, report)
    for index, host in enumerate(item.hosts):
        if useful and not any((id(item), reference, host) in matched.hosts for reference in useful):
            _say_not_among(item, [index], useful, hosts_of, report)


def _say_not_among(
    item: Prepared,
    indexes: Sequence[int],
    gateways: Sequence[str],
    hosts_of: Mapping[str, list[str]],
    report: Reporter,
) -> None:
    known = [known for reference in gateways for known in hosts_of[reference]]
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


def review_gateways(servers: Sequence[GatewayServer], bound: set[str], report: Reporter) -> None:
    """Gateways no VirtualService is bound to: their HTTP ports answer 404 (2.5.1). Others have no route anyway,
    which is said of each."""
    done = set(bound)
    for server in servers:
        if server.name in done or server.routed_by != "http" or server.https_redirect:
            continue
        done.add(server.name)
        report.say(
            "info",
            "GWD0105",
            f"no VirtualService is bound to Gateway {server.name}: its ports answer 404",
            server.gateway,
        )


def review_rules(tables: Iterable[BuiltTable], compiler: RuleCompiler, report: Reporter) -> None:
    """Rules and alternatives that can never match anywhere, and hosts several VirtualServices share."""
    dead = _dead_within(compiler)
    _Appearances(tables, dead, report).review()
    for (item, option), taker in dead.items():
        _say_dead(item, option, taker, report)
    _say_unreached(compiler, report)


def _dead_within(compiler: RuleCompiler) -> dict[_Origin, _Origin]:
    """Alternatives hidden by their own VirtualService wherever it is bound, with what hides them."""
    alive: set[_Origin] = set()
    dead: dict[_Origin, _Origin] = {}
    for bound in compiler.bindings:
        hidden = dict(shadowed([option.shape for _, option in bound.origins]))
        if not hidden:
            continue
        for index, origin in enumerate(bound.origins):
            if index in hidden:
                dead.setdefault(origin, bound.origins[hidden[index]])
            else:
                alive.add(origin)
    return {origin: taker for origin, taker in dead.items() if origin not in alive}


class _Appearances:
    """Virtual hosts several VirtualServices share: who is hidden by another in all of them (4.3)."""

    def __init__(
        self, tables: Iterable[BuiltTable], dead: Mapping[_Origin, _Origin], report: Reporter
    ) -> None:
        self._shared = [
            (host, routes)
            for built in tables
            for host, routes in built.hosts.items()
            if len(routes.bounds) > 1
        ]
        self._alone = {
            id(next(iter(routes.bounds)))
            for built in tables
            for routes in built.hosts.values()
            if len(routes.bounds) == 1
        }
        self._dead = dead
        self._report = report

    def review(self) -> None:
        hidden: dict[_Origin, _Origin] = {}
        alive: set[_Origin] = set()
        for host, routes in self._shared:
            self._say_shared(host, routes)
            origins = _in_order(routes)
            takers = dict(shadowed([option.shape for _, option in origins]))
            for index, origin in enumerate(origins):
                if index in takers:
                    hidden.setdefault(origin, origins[takers[index]])
                else:
                    alive.add(origin)
        if not hidden:
            return
        for _, routes in self._shared:
            for bound in routes.bounds:
                if id(bound) in self._alone:
                    alive.update(bound.origins)
        for origin, taker in hidden.items():
            if origin not in alive and origin not in self._dead and taker[0] is not origin[0]:
                _say_dead(*origin, taker, self._report)

    def _say_shared(self, host: str, routes: HostRoutes) -> None:
        resources = list(dict.fromkeys(bound.prepared.resource for bound in routes.bounds))
        if len(resources) < 2:
            return
        first = resources[0]
        for other in resources[1:]:
            self._report.say(
                "info",
                "GWD0103",
                f'host "{host}" is shared with {first.kind} {first.full_name} ({place(first)}), whose rules '
                "are tried before these; catch-alls of both come last",
                other,
            )


def _in_order(routes: HostRoutes) -> list[_Origin]:
    """What the rules of a virtual host were made of, in their final order."""
    plain: list[_Origin] = []
    last: list[_Origin] = []
    for bound in routes.bounds:
        plain += bound.origins[: len(bound.rules)]
        last += bound.origins[len(bound.rules) :]
    return plain + last


def _title(item: PreparedRule) -> str:
    index = item.source.rule
    name = f' "{item.rule.name}"' if item.rule.name else ""
    return f"http[{index}]{name}" if item.resource.kind == "VirtualService" else f"path {item.path}"


def _say_dead(item: PreparedRule, option: Alternative | None, taker: _Origin, report: Reporter) -> None:
    """A rule, or one alternative of several, that an earlier one hides; None: all of the rule."""
    first, by = taker
    where = f"{first.source.file}:{first.source.line}" if first.source.file else first.resource.full_name
    owner = "" if first.resource is item.resource else f" of {first.resource.kind} {first.resource.full_name}"
    reason = f"http[{first.source.rule}]{owner} ({where}) takes {takes(by.shape)} first"
    if option is None or len(item.alternatives) == 1:
        message = f"rule {_title(item)} can never match: {reason}"
        report.say("warning", "IST0130", message, item.resource, item.path)
        return
    index = item.alternatives.index(option)
    message = f"match[{index}] of rule {_title(item)} can never match: {reason}"
    report.say("info", "IST0131", message, item.resource, f"{item.path}.match[{index}]")


def _say_unreached(compiler: RuleCompiler, report: Reporter) -> None:
    """Rules that made no route at all: behind a catch-all of their own, or for no server here (4.5, 5.15)."""
    seen: dict[Prepared, list[Bound]] = {}
    for bound in compiler.bindings:
        seen.setdefault(bound.prepared, []).append(bound)
    for prepared, bounds in seen.items():
        total = sum(len(item.alternatives) for item in prepared.rules)
        if any(len(bound.origins) < total for bound in bounds):
            _say_missing(prepared, bounds, report)


def _say_missing(prepared: Prepared, bounds: Sequence[Bound], report: Reporter) -> None:
    reached = {origin for bound in bounds for origin in bound.origins}
    ends = {bound.origins[-1] for bound in bounds if bound.catch_all is not None}
    end: _Origin | None = None  # the first catch-all passed on the way down
    for item in prepared.rules:
        hidden: list[Alternative] = []
        elsewhere = 0
        for option in item.alternatives:
            if (item, option) in reached:
                if end is None and (item, option) in ends:
                    end = (item, option)
            elif end is not None:
                hidden.append(option)
            else:
                elsewhere += 1
        if end is not None and hidden:
            whole = len(hidden) == len(item.alternatives)
            for each in [None] if whole else hidden:
                _say_dead(item, each, end, report)
        elif elsewhere == len(item.alternatives):
            report.say(
                "info",
                "GWD0105",
                f"rule {_title(item)} applies nowhere: its port, gateways or source conditions fit no "
                "server this VirtualService is bound to",
                item.resource,
                item.path,
            )


def unused_delegates(delegates: Iterable[Resource[Any]], pulled_in: set[str], report: Reporter) -> None:
    """VirtualServices without hosts that no rule delegates to: they do nothing (4.16)."""
    for resource in delegates:
        if resource.full_name not in pulled_in:
            report.say(
                "info",
                "GWD0105",
                f"VirtualService {resource.full_name} has no hosts and no rule delegates to it",
                resource,
            )
