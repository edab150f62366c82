"""What a rule does, compiled: forward, redirect or direct response (semantics 6)."""

from __future__ import annotations

from typing import Final

from gatewayd.compiler.clusters import Clusters, Target
from gatewayd.compiler.complaints import Place
from gatewayd.compiler.destinations import question
from gatewayd.compiler.headers import NO_OPS, Ops, authority_of, compile_headers
from gatewayd.compiler.prepared import PreparedRule
from gatewayd.resources.virtual_service import HTTPDirectResponse, HTTPRedirect, HTTPRoute
from gatewayd.routing.route import Destination, DirectResponseAction, RedirectAction

#: Redirect statuses Envoy knows (6.4.1).
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def redirect_action(written: HTTPRedirect, port: int) -> RedirectAction:
    """``redirect``; ``port`` is the server's, for ``derivePort: FROM_REQUEST_PORT`` (6.4.3)."""
    status = written.redirect_code or 301
    if status not in _REDIRECTS:
        raise ValueError(f"redirectCode {status} is not one of {', '.join(map(str, sorted(_REDIRECTS)))}")
    return RedirectAction(
        status=status,
        scheme=written.scheme.encode() or None,
        authority=written.authority.encode() or None,
        port=port if written.derive_port == "FROM_REQUEST_PORT" else written.port,
        uri=written.uri.encode() or None,
        prefix_rewrite=written.prefix_rewrite.encode() or None,
    )


def direct_action(written: HTTPDirectResponse) -> DirectResponseAction:
    """``directResponse``; the body is sent as it is, without variables (6.5)."""
    body = written.body
    if body is None:
        return DirectResponseAction(written.status)
    return DirectResponseAction(written.status, (body.string or "").encode() or body.raw or b"")


def header_ops(rule: HTTPRoute) -> tuple[Ops, ...]:
    """Operations of each destination of a rule, or of the rule alone when it has none; ValueError (6.2.3)."""
    route = rule.route
    if len(route) < 2:
        own = route[0].headers if route else None
        if rule.headers is None and own is None:
            return NO_OPS
        return (compile_headers(rule.headers, own, single=True),)
    return tuple(compile_headers(rule.headers, share.headers, single=False) for share in route)


def destinations(
    item: PreparedRule, listener_port: int, clusters: Clusters
) -> tuple[tuple[Destination, ...], Target]:
    """The destinations of a rule, and the target of the first (6.1).

    A single destination's weight means nothing (6.1.4); one of several with weight 0 gets nothing and
    is left out (6.1.5). ``rewrite.authority`` beats the rule's headers, which beat the destination's (6.2.7).
    """
    rule = item.rule
    authority = rule.rewrite.authority if rule.rewrite is not None else ""
    authority = authority or authority_of(rule.headers) or ""
    single = len(rule.route) == 1
    made: list[Destination] = []
    first: Target | None = None
    for index, share in enumerate(rule.route):
        if not single and share.weight <= 0:
            continue
        ingress = item.resource.kind == "Ingress"
        path = f"{item.path}.backend" if ingress else f"{item.path}.route[{index}].destination.host"
        asked = question(share.destination, item.namespace, listener_port)
        target = clusters.target(asked, Place(item.resource, path))
        first = first or target
        own = authority or authority_of(share.headers)
        request_ops, response_ops = item.ops[index]
        made.append(
            Destination(
                target.cluster,
                target.name,
                1 if single else share.weight,
                own.encode() if own else None,
                request_ops,
                response_ops,
                authority_told=single or bool(authority),
            )
        )
    assert first is not None  # prepare_rule saw to it
    return tuple(made), first
