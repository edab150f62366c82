"""Each VirtualService on its own: delegates merged, conditions compiled, mistakes found (4.16 to 4.21).

A mistake that keeps a rule from being served sets the document that wrote it aside, alone: a root with
all it has, a delegate with its rules wherever they are pulled in. Among them is a header value with a
lone ``%``, for which Envoy would reject the routes of the whole port (6.2.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gatewayd.compiler.actions import header_ops, redirect_action
from gatewayd.compiler.defaults import retry_policy
from gatewayd.compiler.delegates import made_whole, merge_rules
from gatewayd.compiler.delegation import Delegation, delegates_of
from gatewayd.compiler.delta import Delta
from gatewayd.compiler.findings import Reporter, did_you_mean
from gatewayd.compiler.matches import Shapes
from gatewayd.compiler.names import full_name, gateway_names
from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.ordering import age_key, by_age
from gatewayd.compiler.prepared import Alternative, Prepared, PreparedRule, Rewrite
from gatewayd.compiler.visibility import visibility
from gatewayd.policies.rewrite import compile_rewrite
from gatewayd.resources.meta import Resource
from gatewayd.resources.virtual_service import HTTPMatchRequest, HTTPRewrite, HTTPRoute, VirtualService
from gatewayd.routing.route import PathMatched, RetryPolicy, RouteSource

#: What a rule without ``match`` has instead: one alternative that every request meets.
_ALL: Final = (None,)


class Unservable(Exception):
    """A rule cannot be served as written; ``path`` is the field, below the rule's."""

    def __init__(self, code: str, message: str, path: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.path = path


class Preparer:
    """Prepares VirtualServices, and keeps them while their documents stay; knows all of them, for delegation."""

    def __init__(self, options: CompileOptions, default_retry: RetryPolicy | None, report: Reporter) -> None:
        self._options = options
        self._default_retry = default_retry
        self._report = report
        self._shapes = Shapes()
        self._all: dict[str, Resource[VirtualService]] = {}
        self._prepared: dict[str, Prepared] = {}
        self._delegation = Delegation()
        self._unservable: set[str] = set()
        self._pulled_in: set[str] = set()
        #: roots that name a delegate which does not exist
        self._astray: set[str] = set()
        #: VirtualServices that were prepared, in all
        self.made = 0

    def update(self, delta: Delta, gone: list[Prepared], come: list[Prepared]) -> None:
        """Take the changes in; add what is not to be bound any more, and what is to be bound now."""
        changes = delta.of("VirtualService")
        if not changes:
            return
        names = dict.fromkeys(change.either.full_name for change in changes)
        came_or_went = any(change.before is None or change.after is None for change in changes)
        for change in changes:
            name = change.either.full_name
            if change.after is None:
                del self._all[name]
            else:
                self._all[name] = change.after
        links = {name: delegates_of(self._all.get(name)) for name in names}
        together = self._delegation.update(links, self._astray if came_or_went else ())
        affected = names | dict.fromkeys(sorted(together))
        self._unservable.difference_update(affected)
        self._astray.difference_update(affected)
        gone += [self._prepared.pop(name) for name in affected if name in self._prepared]
        roots = [self._all[name] for name in affected if name in self._all and self._all[name].spec.hosts]
        for root in by_age(roots) if together else roots:
            with self._report.by(("VirtualService", root.full_name)):
                made = self._prepare(root)
            if made is not None:
                come.append(made)
                self._prepared[root.full_name] = made
        for name in affected:
            if not (name in self._all and self._all[name].spec.hosts):
                self._review_delegate(name)

    def _review_delegate(self, name: str) -> None:
        """A VirtualService without hosts that no rule delegates to does nothing (4.16)."""
        with self._report.by(("VirtualService", name)):
            if name in self._all and not self._delegation.is_pulled_in(name):
                self._report.say(
                    "info",
                    "GWD0105",
                    f"VirtualService {name} has no hosts and no rule delegates to it",
                    self._all[name],
                )

    def _prepare(self, root: Resource[VirtualService]) -> Prepared | None:
        """``root``, ready to be bound; None when it is set aside, or not for this proxy."""
        self.made += 1
        self._pulled_in = set()
        rules: list[PreparedRule] | None = None
        while rules is None and root.full_name not in self._unservable:
            rules = self._rules(root)
        self._delegation.pulls_in(root.full_name, self._pulled_in)
        if rules is None:
            return None
        namespace, options = root.namespace, self._options
        export_to = root.spec.export_to or options.mesh.default_virtual_service_export_to
        seen = visibility(export_to, namespace, options.namespace)
        if seen is None:
            message = f"VirtualService {root.full_name} is not exported to namespace {options.namespace}"
            self._report.say("info", "GWD0105", message, root, "spec.exportTo")
            return None
        return Prepared(
            root,
            root.name,
            namespace,
            tuple(full_name(host, namespace, options.cluster_domain) for host in root.spec.hosts),
            gateway_names(root.spec.gateways, namespace),
            rules,
            (seen, age_key(root.metadata), False, 0),
        )

    def _rules(self, root: Resource[VirtualService]) -> list[PreparedRule] | None:
        """The rules of ``root``; None when a document was found unservable and all must be begun anew."""
        rules: list[PreparedRule] = []
        for index, rule in enumerate(root.spec.http):
            if rule.delegate is None:
                written = [(index, rule)]
                resource = root
            else:
                delegate = self._delegate(root, index, rule)
                if delegate is None:
                    continue
                resource, written = delegate
            for position, whole in written:
                prepared = self._prepare_rule(resource, position, whole)
                if prepared is None:
                    return None
                rules.append(prepared)
        return rules

    def _prepare_rule(
        self, resource: Resource[VirtualService], index: int, rule: HTTPRoute
    ) -> PreparedRule | None:
        source = RouteSource(resource, index)
        path = f"spec.http[{index}]"
        shapes = self._shapes
        try:
            return prepare_rule(
                rule,
                [compile_alternative(rule, match, at, shapes) for at, match in enumerate(rule.match or _ALL)],
                self._default_retry if rule.retries is None else retry_policy(rule.retries),
                resource,
                source,
                path,
            )
        except Unservable as error:
            self._unservable.add(resource.full_name)
            self._report.set_aside(
                error.code,
                f"VirtualService {resource.full_name} is not served: {error}",
                resource,
                path + error.path,
            )
            return None

    def _delegate(
        self, root: Resource[VirtualService], index: int, rule: HTTPRoute
    ) -> tuple[Resource[VirtualService], list[tuple[int, HTTPRoute]]] | None:
        assert rule.delegate is not None
        path = f"spec.http[{index}].delegate"
        name = f"{rule.delegate.namespace or root.namespace}/{rule.delegate.name}"
        delegate = self._all.get(name)
        reason = ""
        if delegate is None:
            self._astray.add(root.full_name)
            reason = "does not exist" + did_you_mean(name, self._all)
        elif delegate.spec.hosts:
            reason = "has hosts, so it is no delegate"
        elif not self._sees(root.namespace, delegate):
            reason = f"is not exported to namespace {root.namespace}"
        if delegate is None or reason:
            self._report.say(
                "error", "IST0101", f"delegate {name} {reason}: this rule is left out", root, path
            )
            return None
        self._pulled_in.add(name)
        if name in self._unservable:
            return None
        domain = self._options.cluster_domain
        merged = merge_rules(
            made_whole(rule, root.namespace, domain),
            [made_whole(part, delegate.namespace, domain) for part in delegate.spec.http],
        )
        kept: list[tuple[int, HTTPRoute]] = []
        for position, (part, whole) in enumerate(zip(delegate.spec.http, merged, strict=True)):
            if part.delegate is not None:
                self._leave_out(delegate, position, "a delegate cannot delegate again")
            elif whole is None:
                self._leave_out(
                    delegate,
                    position,
                    f"its match is not within that of http[{index}] of {root.full_name}, its root",
                )
            else:
                kept.append((position, whole))
        return delegate, kept

    def _sees(self, namespace: str, delegate: Resource[VirtualService]) -> bool:
        export_to = delegate.spec.export_to or self._options.mesh.default_virtual_service_export_to
        return visibility(export_to, delegate.namespace, namespace) is not None

    def _leave_out(self, resource: Resource[VirtualService], index: int, reason: str) -> None:
        message = f"rule http[{index}] is left out: {reason}"
        self._report.say("warning", "GWD0103", message, resource, f"spec.http[{index}]")


def prepare_rule(
    rule: HTTPRoute,
    alternatives: Sequence[Alternative],
    retry: RetryPolicy | None,
    resource: Resource[VirtualService],
    source: RouteSource,
    path: str,
) -> PreparedRule:
    """Compile what does not depend on the server, and make sure the rest will. Raises Unservable."""
    if not (rule.route or rule.redirect or rule.direct_response):
        raise Unservable("GWD0104", "a rule needs one of route, redirect and directResponse")
    if len(rule.route) > 1 and all(share.weight <= 0 for share in rule.route):
        raise Unservable("GWD0104", "every weight is 0, at least one must be above it", ".route")
    try:
        ops = header_ops(rule)
    except ValueError as error:
        raise Unservable("GWD0104", str(error), ".headers" if rule.headers else ".route") from None
    if rule.redirect is not None:
        try:
            redirect_action(rule.redirect, 0)
        except ValueError as error:
            raise Unservable("GWD0104", str(error), ".redirect.redirectCode") from None
    return PreparedRule(rule, tuple(alternatives), ops, retry, resource.namespace, source, resource, path)


def compile_alternative(
    rule: HTTPRoute, match: HTTPMatchRequest | None, index: int, shapes: Shapes
) -> Alternative:
    """One entry of ``match`` of a rule, or of a rule without it. Raises Unservable."""
    try:
        shape = shapes.of(match)
    except ValueError as error:
        raise Unservable("IST0122", str(error), f".match[{index}]") from None
    name = rule.name
    if match is not None and match.name:
        name = f"{name}.{match.name}"  # as logs print it (5.19)
    if rule.rewrite is None:
        return Alternative(match, shape, name)
    return Alternative(match, shape, name, compile_path_rewrite(rule.rewrite, shape.path_matched))


def compile_path_rewrite(written: HTTPRewrite, matched: PathMatched) -> Rewrite | None:
    """``rewrite`` of a rule for what one alternative matched (6.3). Raises Unservable."""
    regex = written.uri_regex_rewrite
    try:
        return compile_rewrite(
            written.uri or None,
            matched.kind,
            matched.value.decode(),
            (regex.match, regex.rewrite) if regex is not None else None,
        )
    except ValueError as error:
        raise Unservable("IST0122", str(error), ".rewrite") from None
