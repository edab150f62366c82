"""Delegation: the rules of a VirtualService without hosts, merged into its root's (semantics 4.16 to 4.21).

Pure: takes rules, gives rules. A merged rule keeps the delegate's namespace for its short destination
names, which are written in the delegate; what it takes from the root is made whole before, so that one
namespace is right for all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from gatewayd.compiler.names import full_name, gateway_names
from gatewayd.resources.virtual_service import Destination, HTTPMatchRequest, HTTPRoute, StringMatch

#: Taken from the delegate when set there, else whole from the root: never merged within (4.21).
_INHERITED: Final = (
    "rewrite",
    "direct_response",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirror_percent",
    "mirror_percentage",
    "mirrors",
    "cors_policy",
    "headers",
)


def merge_rules(root: HTTPRoute, delegate: Sequence[HTTPRoute]) -> list[HTTPRoute | None]:
    """Each delegate rule as it stands under ``root``; None for one whose conditions cannot hold (4.18)."""
    return [_merge_rule(root, rule) for rule in delegate]


def _merge_rule(root: HTTPRoute, delegate: HTTPRoute) -> HTTPRoute | None:
    matches = merge_matches(root.match, delegate.match)
    if matches is None:
        return None
    changes = {
        field: getattr(root, field)
        for field in _INHERITED
        if not getattr(delegate, field) and getattr(root, field)
    }
    return replace(delegate, match=matches, name=_joined(root.name, delegate.name), **changes)


def _joined(root: str, delegate: str) -> str:
    return f"{root}-{delegate}" if root and delegate else root or delegate


def merge_matches(
    root: Sequence[HTTPMatchRequest], delegate: Sequence[HTTPMatchRequest]
) -> tuple[HTTPMatchRequest, ...] | None:
    """Every compatible pair merged; None when a delegate alternative fits no root alternative (4.18)."""
    if not root or not delegate:
        return tuple(delegate or root)
    merged: list[HTTPMatchRequest] = []
    for narrow in delegate:
        pairs = [merge_match(wide, narrow) for wide in root if compatible(wide, narrow)]
        if not pairs:
            return None
        merged += pairs
    return tuple(merged)


def compatible(root: HTTPMatchRequest, delegate: HTTPMatchRequest) -> bool:
    """Whether the delegate's alternative narrows the root's (4.19)."""
    if root.ignore_uri_case != delegate.ignore_uri_case:
        return False
    if root.port and delegate.port and root.port != delegate.port:
        return False
    if root.source_namespace and root.source_namespace != delegate.source_namespace:
        return False
    if any(root.source_labels.get(key, value) != value for key, value in delegate.source_labels.items()):
        return False
    if root.gateways and not set(delegate.gateways) <= set(root.gateways):
        return False
    return (
        _string_compatible(root.uri, delegate.uri)
        and _string_compatible(root.scheme, delegate.scheme)
        and _string_compatible(root.method, delegate.method)
        and _string_compatible(root.authority, delegate.authority)
        and _map_compatible(root.headers, delegate.headers)
        and _map_compatible(root.without_headers, delegate.without_headers)
        and _map_compatible(root.query_params, delegate.query_params)
    )


def _map_compatible(root: Mapping[str, StringMatch], delegate: Mapping[str, StringMatch]) -> bool:
    return all(_string_compatible(root.get(key), value) for key, value in delegate.items())


def _string_compatible(root: StringMatch | None, delegate: StringMatch | None) -> bool:
    if root is None or delegate is None:
        return True
    if root.regex or delegate.regex:
        # A regular expression's language is not compared: any condition beside it conflicts.
        return not (
            (root.regex or root.prefix or root.exact)
            and (delegate.regex or delegate.prefix or delegate.exact)
        )
    if root.exact:
        return delegate.exact == root.exact
    if root.prefix:
        return (delegate.exact or delegate.prefix or root.prefix).startswith(root.prefix)
    return True


def merge_match(root: HTTPMatchRequest, delegate: HTTPMatchRequest) -> HTTPMatchRequest:
    """Both conditions in one: the delegate's scalars win, maps are merged key by key (4.20)."""
    return replace(
        delegate,
        name=_joined(root.name, delegate.name),
        uri=delegate.uri or root.uri,
        scheme=delegate.scheme or root.scheme,
        method=delegate.method or root.method,
        authority=delegate.authority or root.authority,
        headers={**root.headers, **delegate.headers},
        without_headers={**root.without_headers, **delegate.without_headers},
        query_params={**root.query_params, **delegate.query_params},
        port=delegate.port or root.port,
        source_labels={**root.source_labels, **delegate.source_labels},
        source_namespace=delegate.source_namespace or root.source_namespace,
        gateways=delegate.gateways or root.gateways,
        stat_prefix=delegate.stat_prefix or root.stat_prefix,
    )


def made_whole(rule: HTTPRoute, namespace: str, domain: str) -> HTTPRoute:
    """``rule`` with the names it may hand to, or take from, another namespace written in full (1.5, 1.7)."""

    def whole(destination: Destination) -> Destination:
        return replace(destination, host=full_name(destination.host, namespace, domain))

    return replace(
        rule,
        match=tuple(
            replace(match, gateways=gateway_names(match.gateways, namespace)) if match.gateways else match
            for match in rule.match
        ),
        mirror=whole(rule.mirror) if rule.mirror else None,
        mirrors=tuple(replace(mirror, destination=whole(mirror.destination)) for mirror in rule.mirrors),
    )
