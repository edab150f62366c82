"""VirtualServices become rules of virtual hosts (semantics 4.4 to 4.9, 5.12 to 5.15, 5.19).

In two steps: :mod:`gatewayd.compiler.prepare` makes a :class:`Prepared` of each VirtualService, with
everything that does not depend on where it is seen from; :meth:`RuleCompiler.bind` looks at it from one
Gateway server, drops what does not apply there, and makes the routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.compiler.actions import destinations, direct_action, redirect_action
from gatewayd.compiler.clusters import Asker, Clusters
from gatewayd.compiler.destinations import question
from gatewayd.compiler.headers import NO_OPS
from gatewayd.compiler.matches import Vantage, applies
from gatewayd.compiler.prepared import Alternative, Prepared, PreparedRule
from gatewayd.compiler.route_policies import route_policies
from gatewayd.routing.index import Rule
from gatewayd.routing.route import (
    DIRECT_RESPONSE,
    FORWARD,
    REDIRECT,
    Destination,
    DirectResponseAction,
    RedirectAction,
    RetryPolicy,
    Route,
    RoutePolicies,
    RouteSource,
)
from gatewayd.routing.weights import WeightedPick

#: More names than this are not kept so that equal ones are one object: names come and go for as long as we run.
_MAX_SHARED: Final = 200_000


#: A VirtualService, the server's port, and its Gateway where that makes a difference.
BindingKey = tuple[Prepared, int, str]
#: A rule and one of its alternatives: what a route is made of.
Origin = tuple[PreparedRule, Alternative]


@dataclass(slots=True, eq=False)
class Bound:
    """The rules of a VirtualService on one server. Only the last can be a catch-all (4.5)."""

    key: BindingKey
    rules: tuple[Rule, ...]
    catch_all: Rule | None
    #: what each rule was made of, the catch-all's last; for the findings
    origins: tuple[Origin, ...]

    @property
    def prepared(self) -> Prepared:
        """The VirtualService."""
        return self.key[0]


@dataclass(slots=True, eq=False)
class _Action:
    """What a rule does on one port; each of its alternatives becomes a route."""

    kind: int
    source: RouteSource
    destinations: tuple[Destination, ...] = ()
    pick: Callable[[], Destination] | None = None
    redirect: RedirectAction | None = None
    direct: DirectResponseAction | None = None
    response_ops: Any = None
    timeout_s: float = 0.0
    retry: RetryPolicy | None = None
    operation: str = ""
    policies: RoutePolicies | None = None


class RuleCompiler:
    """Makes routes, and keeps them while nothing they depend on changes. Equal things are shared between routes."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._decorators: dict[tuple[str, str], bytes] = {}
        self._bound: dict[BindingKey, Bound] = {}
        #: bindings that were made, in all
        self.made = 0

    def bind(self, prepared: Prepared, seen: Vantage) -> Bound:
        """The rules of ``prepared`` as ``seen``; the same object where nothing would differ (4.9)."""
        key = (prepared, seen.port, seen.gateway if prepared.looks_at_gateway else "")
        bound = self._bound.get(key)
        if bound is None:
            self.made += 1
            with self._clusters.asking(key):
                bound = self._bound[key] = self._bind(key, seen)
        return bound

    def forget(self, bound: Bound) -> None:
        """The binding is used nowhere any more, or is to be made anew."""
        if self._bound.get(bound.key) is bound:  # not one that was made in its place
            del self._bound[bound.key]
            self._clusters.forget(bound.key)

    def void(self, askers: Iterable[Asker]) -> dict[Prepared, None]:
        """These got other answers: what they made of them is to be made anew; the VirtualServices that were bound."""
        prepared: dict[Prepared, None] = {}
        for asker in askers:
            bound = self._bound.get(asker) if isinstance(asker, tuple) else None
            if bound is not None:
                self.forget(bound)
                prepared[bound.prepared] = None
        return prepared

    def _bind(self, key: BindingKey, seen: Vantage) -> Bound:
        """Generation stops at the first catch-all that applies here (4.5, 4.6)."""
        prepared = key[0]
        rules: list[Rule] = []
        origins: list[Origin] = []
        for item in prepared.rules:
            action: _Action | None = None
            for option in item.alternatives:
                match = option.match
                if match is not None and not applies(match, seen, item.namespace):
                    continue
                if action is None:
                    action = self._action(prepared, item, seen)
                made = Rule(option.shape.conditions, self._route(action, option))
                origins.append((item, option))
                if option.shape.catch_all:
                    return Bound(key, tuple(rules), made, tuple(origins))
                rules.append(made)
        return Bound(key, tuple(rules), None, tuple(origins))

    def _action(self, prepared: Prepared, item: PreparedRule, seen: Vantage) -> _Action:
        rule = item.rule
        if rule.redirect is not None:
            redirect = redirect_action(rule.redirect, seen.port)
            return _Action(REDIRECT, item.source, redirect=redirect, response_ops=item.ops[0][1])
        if rule.direct_response is not None:
            direct = direct_action(rule.direct_response)
            return _Action(DIRECT_RESPONSE, item.source, direct=direct, response_ops=item.ops[0][1])
        made, operation = self._destinations(prepared, item, seen)
        return _Action(
            FORWARD,
            item.source,
            made,
            WeightedPick(made) if len(made) > 1 else None,
            timeout_s=float(rule.timeout or 0.0),
            retry=item.retry,
            operation=operation,
            policies=route_policies(item, seen.port, self._clusters),
        )

    def _destinations(
        self, prepared: Prepared, item: PreparedRule, seen: Vantage
    ) -> tuple[tuple[Destination, ...], str]:
        """Destinations, and what ``x-envoy-decorator-operation`` names (14.3.5).

        Several destinations have no one host: Istio names the VirtualService then.
        """
        rule = item.rule
        if len(rule.route) > 1:
            made, _ = destinations(item, seen.port, self._clusters)
            return made, f"{prepared.name}:{seen.port}"
        if item.ops is not NO_OPS or rule.rewrite is not None:
            made, target = destinations(item, seen.port, self._clusters)
            return made, f"{target.host}:{target.port}"
        asked = question(rule.route[0].destination, item.namespace, seen.port)
        plain: tuple[tuple[Destination, ...], str] | None = self._clusters.shared(asked)
        if plain is None:
            made, target = destinations(item, seen.port, self._clusters)
            plain = made, f"{target.host}:{target.port}"
            self._clusters.share(asked, plain)
        return plain

    def _route(self, action: _Action, option: Alternative) -> Route:
        shape = option.shape
        if action.kind != FORWARD:
            return Route(
                option.name,
                action.kind,
                redirect=action.redirect,
                direct=action.direct,
                response_ops=action.response_ops,
                path_matched=shape.path_matched,
                source=action.source,
            )
        operation = (action.operation, shape.operation_path)
        decorator = self._decorators.get(operation)
        if decorator is None:
            if len(self._decorators) > _MAX_SHARED:
                self._decorators.clear()
            decorator = self._decorators[operation] = "".join(operation).encode()
        return Route(
            option.name,
            FORWARD,
            action.destinations,
            action.pick,
            rewrite=option.rewrite,
            path_matched=shape.path_matched,
            timeout_s=action.timeout_s,
            retry=action.retry,
            decorator=decorator,
            source=action.source,
            policies=action.policies,
            statistics=option.match.stat_prefix if option.match is not None else "",
        ).seal()
