"""VirtualServices become rules of virtual hosts (semantics 4.4 to 4.9, 5.12 to 5.15, 5.19).

In two steps: :mod:`gatewayd.compiler.prepare` makes a :class:`Prepared` of each VirtualService, with
everything that does not depend on where it is seen from; :meth:`RuleCompiler.bind` looks at it from one
Gateway server, drops what does not apply there, and makes the routes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gatewayd.compiler.actions import destinations, direct_action, redirect_action
from gatewayd.compiler.destinations import Asked, Clusters
from gatewayd.compiler.headers import NO_OPS
from gatewayd.compiler.matches import Vantage, applies
from gatewayd.compiler.memory import CompileMemory
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


@dataclass(slots=True, eq=False)
class Bound:
    """The rules of a VirtualService on one server. Only the last can be a catch-all (4.5)."""

    prepared: Prepared
    rules: tuple[Rule, ...]
    catch_all: Rule | None
    #: what each rule was made of, the catch-all's last; for the findings
    origins: tuple[tuple[PreparedRule, Alternative], ...]


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
    """Makes routes. One per compilation: equal things are shared between routes."""

    def __init__(self, clusters: Clusters, memory: CompileMemory) -> None:
        self._clusters = clusters
        self._memory = memory
        self._plain: dict[
            tuple[str, str, int, str, int], tuple[tuple[Destination, ...], str, tuple[Asked, ...]]
        ] = {}
        self._decorators: dict[tuple[str, str], bytes] = {}
        self._bound: dict[tuple[int, int, str], Bound] = {}
        #: every binding made, for the findings
        self.bindings: list[Bound] = []

    def bind(self, prepared: Prepared, seen: Vantage) -> Bound:
        """The rules of ``prepared`` as ``seen``; the same object where nothing would differ (4.9)."""
        key = (id(prepared), seen.port, seen.gateway if prepared.looks_at_gateway else "")
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = self._remembered(key) or self._bind_noting(key, prepared, seen)
            self.bindings.append(bound)
        return bound

    def _remembered(self, key: tuple[int, int, str]) -> Bound | None:
        """The binding of an earlier compilation, if every cluster it asked for is the same one."""
        known = self._memory.bound(key)
        if known is None:
            return None
        bound, asked = known
        good = True
        for each in asked:  # also behind one that is not: what there is to say is said at each
            good &= self._clusters.still(each)
        if not good:
            return None
        self._memory.keep_bound(key, bound, asked)
        found: Bound = bound
        return found

    def _bind_noting(self, key: tuple[int, int, str], prepared: Prepared, seen: Vantage) -> Bound:
        asked = self._clusters.asked = []
        bound = self._bind(prepared, seen)
        self._clusters.asked = None
        self._memory.keep_bound(key, bound, asked)
        return bound

    def _bind(self, prepared: Prepared, seen: Vantage) -> Bound:
        """Generation stops at the first catch-all that applies here (4.5, 4.6)."""
        rules: list[Rule] = []
        origins: list[tuple[PreparedRule, Alternative]] = []
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
                    return Bound(prepared, tuple(rules), made, tuple(origins))
                rules.append(made)
        return Bound(prepared, tuple(rules), None, tuple(origins))

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
        wanted = rule.route[0].destination
        port = wanted.port.number if wanted.port is not None else 0
        key = (wanted.host, wanted.subset, port, item.namespace, seen.port)
        plain = self._plain.get(key)
        asked = self._clusters.asked
        if plain is not None:
            made, operation, questions = plain
            if asked is not None:
                asked += questions
            return made, operation
        before = len(asked) if asked is not None else 0
        made, target = destinations(item, seen.port, self._clusters)
        operation = f"{target.host}:{target.port}"
        if target.problem is None or target.problem.level != "error":
            questions = tuple(asked[before:]) if asked is not None else ()
            self._plain[key] = made, operation, questions  # else every rule that asks shall be told
        return made, operation

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
