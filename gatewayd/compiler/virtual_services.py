"""VirtualServices become rules of virtual hosts (semantics 4.4 to 4.9, 5.12 to 5.15, 5.19).

In two steps: :mod:`gatewayd.compiler.prepare` makes a :class:`Prepared` of each VirtualService, with
everything that does not depend on where it is seen from; :meth:`RuleCompiler.bind` looks at it from one
Gateway server, drops what does not apply there, and makes the routes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gatewayd.compiler.actions import Ops, destinations, direct_action, redirect_action
from gatewayd.compiler.destinations import Clusters, Place
from gatewayd.compiler.matches import NOTHING_MATCHED, Vantage, applies
from gatewayd.resources.meta import Resource
from gatewayd.resources.virtual_service import (
    HTTPDirectResponse,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRoute,
)
from gatewayd.routing.conditions import Condition
from gatewayd.routing.index import Rule
from gatewayd.routing.route import (
    DIRECT_RESPONSE,
    FORWARD,
    REDIRECT,
    Destination,
    PathMatched,
    RetryPolicy,
    Route,
    RouteSource,
)
from gatewayd.routing.weights import WeightedPick

Rewrite = Callable[[bytes, bytes | None], bytes]


@dataclass(slots=True, eq=False)
class Alternative:
    """One entry of ``match``, or the one entry of a rule without it."""

    match: HTTPMatchRequest | None
    conditions: tuple[Condition, ...]
    catch_all: bool
    path_matched: PathMatched
    operation_path: str
    name: str
    rewrite: Rewrite | None = None


@dataclass(slots=True, eq=False)
class PreparedRule:
    """A rule with what its document says, ready to be looked at from any server."""

    rule: HTTPRoute
    alternatives: tuple[Alternative, ...]
    ops: tuple[Ops, ...]
    retry: RetryPolicy | None
    namespace: str  # of the document that wrote the destinations
    source: RouteSource
    resource: Resource[Any]
    path: str  # of the rule in its document, "spec.http[0]"


@dataclass(slots=True, eq=False)
class Prepared:
    """A VirtualService, or what an Ingress comes to, ready to be bound to servers."""

    resource: Resource[Any]
    name: str
    namespace: str
    hosts: tuple[str, ...]  # in full (1.5)
    gateways: tuple[str, ...]  # namespace/name
    rules: list[PreparedRule]

    @property
    def looks_at_gateway(self) -> bool:
        """Whether what applies depends on the Gateway, not only on the port."""
        return any(
            option.match is not None and option.match.gateways
            for item in self.rules
            for option in item.alternatives
        )


@dataclass(slots=True, eq=False)
class Bound:
    """The rules of a VirtualService on one server. Only the last can be a catch-all (4.5)."""

    prepared: Prepared
    rules: tuple[Rule, ...]
    catch_all: Rule | None
    #: what each rule was made of, the catch-all's last; for the findings
    origins: tuple[tuple[PreparedRule, Alternative], ...]


class RuleCompiler:
    """Makes routes. One per compilation: equal things are shared between routes."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._shared: dict[PathMatched, PathMatched] = {}
        self._bound: dict[tuple[int, int, str], Bound] = {}
        #: every binding made, for the findings
        self.bindings: list[tuple[Vantage, Bound]] = []

    def bind(self, prepared: Prepared, seen: Vantage) -> Bound:
        """The rules of ``prepared`` as ``seen``; the same object where nothing would differ (4.9)."""
        key = (id(prepared), seen.port, seen.gateway if prepared.looks_at_gateway else "")
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = self._bind(prepared, seen)
            self.bindings.append((seen, bound))
        return bound

    def _bind(self, prepared: Prepared, seen: Vantage) -> Bound:
        """Generation stops at the first catch-all that applies here (4.5, 4.6)."""
        rules: list[Rule] = []
        origins: list[tuple[PreparedRule, Alternative]] = []
        for item in prepared.rules:
            make: Callable[[Alternative], Route] | None = None
            for option in item.alternatives:
                match = option.match
                if match is not None and not applies(match, seen, item.namespace):
                    continue
                make = make or self._action(prepared, item, seen)
                made = Rule(option.conditions, make(option))
                origins.append((item, option))
                if option.catch_all:
                    return Bound(prepared, tuple(rules), made, tuple(origins))
                rules.append(made)
        return Bound(prepared, tuple(rules), None, tuple(origins))

    def _action(
        self, prepared: Prepared, item: PreparedRule, seen: Vantage
    ) -> Callable[[Alternative], Route]:
        rule = item.rule
        if rule.redirect is not None:
            return self._redirect(item, rule.redirect, seen)
        if rule.direct_response is not None:
            return self._direct(item, rule.direct_response)
        return self._forward(prepared, item, seen)

    def _redirect(
        self, item: PreparedRule, written: HTTPRedirect, seen: Vantage
    ) -> Callable[[Alternative], Route]:
        action = redirect_action(written, seen.port)
        _, response_ops = item.ops[0]
        return lambda option: Route(
            option.name,
            REDIRECT,
            redirect=action,
            response_ops=response_ops,
            path_matched=self._share(option.path_matched),
            source=item.source,
        )

    def _direct(self, item: PreparedRule, written: HTTPDirectResponse) -> Callable[[Alternative], Route]:
        action = direct_action(written)
        _, response_ops = item.ops[0]
        return lambda option: Route(
            option.name,
            DIRECT_RESPONSE,
            direct=action,
            response_ops=response_ops,
            path_matched=NOTHING_MATCHED,
            source=item.source,
        )

    def _forward(
        self, prepared: Prepared, item: PreparedRule, seen: Vantage
    ) -> Callable[[Alternative], Route]:
        rule = item.rule
        made, first = destinations(
            rule, item.ops, item.namespace, seen.port, self._clusters, Place(item.resource, item.path)
        )
        pick: Callable[[], Destination] | None = WeightedPick(made) if len(made) > 1 else None
        # Several destinations have no one host: Istio names the VirtualService then (14.3.5).
        several = len(rule.route) > 1
        operation = f"{prepared.name}:{seen.port}" if several else f"{first.host}:{first.port}"
        timeout_s = float(rule.timeout or 0.0)

        def make(option: Alternative) -> Route:
            return Route(
                option.name,
                FORWARD,
                made,
                pick,
                rewrite=option.rewrite,
                path_matched=self._share(option.path_matched),
                timeout_s=timeout_s,
                retry=item.retry,
                decorator=f"{operation}{option.operation_path}".encode(),
                source=item.source,
            ).seal()

        return make

    def _share(self, matched: PathMatched) -> PathMatched:
        return matched if matched is NOTHING_MATCHED else self._shared.setdefault(matched, matched)
