"""The walk: listener, host, rules, destinations, and the request as it would leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gatewayd.errors import MISDIRECTED
from gatewayd.explain.asked import Asked
from gatewayd.explain.destinations import say_destinations
from gatewayd.explain.listeners import choose_chain
from gatewayd.explain.near import say_near_hosts, say_near_paths
from gatewayd.explain.reasons import shown, why_not
from gatewayd.explain.steps import (
    DENIED,
    DIRECT_RESPONSE,
    NOT_FOUND,
    REDIRECT,
    TCP,
    Explanation,
    PlaceOf,
    nowhere,
)
from gatewayd.explain.upstream import Routed
from gatewayd.http.h1.head import parser_for
from gatewayd.http.message import RequestHead
from gatewayd.http.request import ParsedRequest
from gatewayd.policies.fault import MILLION
from gatewayd.proxy.local_reply import abort_reply, direct_reply, redirect_reply
from gatewayd.proxy.plan import Plan, Planner
from gatewayd.routing import route as actions
from gatewayd.routing.route import Route
from gatewayd.routing.table import HTTPS_REDIRECT, VirtualHost
from gatewayd.snapshot import FilterChain, ListenerSpec

#: Rules that do not match are shown up to here; the others are counted.
_MAX_RULES: Final = 100


def explain(
    listeners: Sequence[ListenerSpec], asked: Asked, place_of: PlaceOf = nowhere, *, live: bool = True
) -> Explanation:
    """Where ``asked`` would go. May take long with thousands of hosts: call it in a thread.

    ``live``: on what serves; else on what was only compiled, perhaps where not all is there that it needs.
    """
    told = Explanation()
    chain = choose_chain(listeners, asked, told, place_of, live=live)
    if chain is None:
        return told
    if chain.tcp is not None:
        told.outcome = TCP
        source = chain.tcp.source
        if source is not None:
            told.route = _route_json(source, "")
            told.add("rule", True, f"{source.block}[{source.rule}]", source.file, source.line)
        say_destinations(told, chain.tcp.destinations, None)
        told.result = f"TCP -> {_targets(told)}"
        return told
    assert chain.options is not None
    parsed = parser_for(chain.options).parse(asked.head)
    if parsed.error is not None or parsed.head is None:
        failure = parsed.error
        details = failure.details if failure is not None else "no head"
        told.outcome, told.status = DENIED, failure.status if failure is not None else 400
        told.add("request", False, f"refused before routing: {details}")
        told.result = f"{told.status} {details}"
        return told
    _Walk(chain, parsed, parsed.head, asked, told, place_of).go()
    return told


class _Walk:
    """One request on one HTTP chain."""

    def __init__(
        self,
        chain: FilterChain,
        parsed: ParsedRequest,
        head: RequestHead,
        asked: Asked,
        told: Explanation,
        place_of: PlaceOf,
    ) -> None:
        assert chain.routes is not None
        assert chain.options is not None
        self.chain = chain
        self.table = chain.routes
        self.parsed = parsed
        self.head = head
        self.asked = asked
        self.told = told
        self.place_of = place_of
        self.plan: Plan = Planner(chain.routes, chain.options, chain.server_names).plan(parsed)

    def go(self) -> None:
        """Say it all."""
        told, head = self.told, self.head
        if head.target != self.asked.target.encode():
            told.add("path", None, f"{self.asked.target} is read as {shown(head.target)}")
        host, route = self.table.lookup(head)
        if host is None:
            told.add("host", False, f"no virtual host for {shown(head.authority)}")
            say_near_hosts(self.table, head, told)
            say_near_paths(self.table, head, told, None)
            self._not_found("no virtual host is called so")
            return
        told.virtual_host = host.name
        self._say_host(host)
        if route is HTTPS_REDIRECT:
            told.add("tls", True, "httpsRedirect: every plain request of this host is sent to https")
        elif route is None:
            self._walk_rules(host, None)
            say_near_paths(self.table, head, told, host)
            self._not_found("no rule of this host matches")
            return
        else:
            self._walk_rules(host, route)
        assert self.plan.route is route, "explain and the proxy disagree"
        self._act(route)

    def _not_found(self, why: str) -> None:
        failure = self.plan.failure
        assert failure is not None
        if failure is MISDIRECTED:
            why = f"the TLS server of the connection serves only {', '.join(self.chain.server_names)}"
        self.told.outcome, self.told.status = NOT_FOUND, failure.status
        self.told.result = f"{failure.status}: {why}"

    def _say_host(self, host: VirtualHost) -> None:
        """Which of its domains, and whose it is."""
        told = self.told
        key = self.head.authority.decode("utf-8", "replace")
        exact = any(domain == key.partition(":")[0].lower() for domain in host.domains)
        how = "exact" if exact else f"by {', '.join(host.domains[:3])}"
        source = next((rule.route.source for rule in host.rules if rule.route.source is not None), None)
        if source is None:
            told.add("host", True, f"{host.name} ({how})")
            return
        file, line = self.place_of(source.kind, source.namespace, source.name, "", 0)
        text = f"{key} <- {source.kind} {source.namespace}/{source.name} ({how})"
        told.add("host", True, text, file or source.file, line)

    def _walk_rules(self, host: VirtualHost, taken: Route | None) -> None:
        """Every alternative up to the one that matches, with why not."""
        told, head = self.told, self.head
        skipped = 0
        for rule in host.rules:
            route = rule.route
            unmet = rule.unmet(head)
            if unmet is None:
                assert route is taken, "a rule matches that the table did not find"
                words = ", ".join(condition.describe() for condition in rule.conditions)
                told.add(_title(route), True, words or "matches every request", *_place(route))
                return
            if skipped < _MAX_RULES:
                told.add(_title(route), False, why_not(unmet, head), *_place(route))
            skipped += 1
        if skipped > _MAX_RULES:
            told.add("rules", False, f"and {skipped - _MAX_RULES} more that do not match")

    def _act(self, route: Route) -> None:
        told = self.told
        if route.source is not None:
            told.route = _route_json(route.source, route.name)
        if route.action == actions.REDIRECT:
            status, fields, _ = redirect_reply(route, self.head)
            told.outcome, told.status = REDIRECT, status
            told.location = dict(fields)[b"location"].decode("utf-8", "replace")
            told.result = f"{status} {told.location}"
        elif route.action == actions.DIRECT_RESPONSE:
            status, _, body = direct_reply(route, self.head)
            self._answered(status, f"directResponse {status}, {len(body)} bytes")
        elif not self._policies_answer(route):
            say_destinations(told, route.destinations, Routed(self.parsed, self.plan, route, self.chain))
            if not told.result:
                told.result = f"{told.upstream['method']} {told.upstream['path']} -> {_targets(told)}"

    def _answered(self, status: int, text: str) -> None:
        self.told.outcome, self.told.status = DIRECT_RESPONSE, status
        self.told.result = text

    def _policies_answer(self, route: Route) -> bool:
        """Say the policies in their order (fault, CORS, mirrors); whether one of them always answers itself."""
        policies, told = route.policies, self.told
        if policies is None:
            return False
        fault = policies.fault
        if fault is not None:
            parts = []
            if fault.delay_millionths:
                parts.append(f"delay {fault.delay_s:g}s for {fault.delay_millionths / 10_000:g} %")
            if fault.abort_millionths:
                status = abort_reply(fault.abort_status, fault.grpc_status)[0]
                parts.append(f"abort with {status} for {fault.abort_millionths / 10_000:g} %")
            told.add("fault", None, ", ".join(parts))
            if fault.abort_millionths >= MILLION:
                self._answered(status, f"{status} by fault injection")
                return True
        cors = policies.cors
        if cors is not None:
            if cors.preflight(self.head.method, self.head.fields) is not None:
                told.add("cors", True, "answers the preflight itself")
                self._answered(200, "200 to a CORS preflight")
                return True
            allowed = bool(cors.answer(self.head.fields))
            told.add("cors", None, "the origin is allowed" if allowed else "adds nothing for this origin")
        for mirror in policies.mirrors:
            told.add("mirror", None, f"{mirror.millionths / 10_000:g} % are copied to {mirror.cluster.name}")
        return False


def _title(route: Route) -> str:
    source = route.source
    label = f"{source.block}[{source.rule}]" if source is not None else "rule"
    return f'{label} "{route.name}"' if route.name else label


def _place(route: Route) -> tuple[str, int]:
    return (route.source.file, route.source.line) if route.source is not None else ("", 0)


def _route_json(source: Any, name: str) -> dict[str, Any]:
    owner = f"{source.namespace}/{source.name}"
    return {
        "virtual_service": owner if source.kind == "VirtualService" else "",
        "kind": source.kind,
        "resource": owner,
        "rule": f"{source.block}[{source.rule}]",
        "name": name,
        "file": source.file,
        "line": source.line,
    }


def _targets(told: Explanation) -> str:
    """``one of 10.0.0.7:8080, 10.0.0.9:8080``."""
    endpoints = list(dict.fromkeys(each for one in told.destinations for each in one["endpoints"]))
    if not endpoints:
        return "nobody: there is no usable endpoint"
    text = ", ".join(endpoints[:5])
    if len(endpoints) > 5:
        text += f" and {len(endpoints) - 5} more"
    return text if len(endpoints) == 1 else f"one of {text}"
