"""``fault``, ``corsPolicy``, mirrors and hashing of a rule, compiled (semantics 6.8, 6.9, 6.10, 9.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gatewayd.compiler.clusters import Clusters
from gatewayd.compiler.complaints import Place
from gatewayd.compiler.destinations import question
from gatewayd.compiler.matches import kind_and_value
from gatewayd.compiler.prepared import PreparedRule
from gatewayd.policies.cors import CorsPolicy
from gatewayd.policies.fault import FaultPolicy, grpc_status_number, millionths
from gatewayd.policies.hash_policy import HashPolicy
from gatewayd.regexes import compile_regex
from gatewayd.resources.virtual_service import CorsPolicy as CorsSpec
from gatewayd.resources.virtual_service import HTTPFault, HTTPRoute, Percent
from gatewayd.routing.route import Mirror, RoutePolicies


def route_policies(item: PreparedRule, listener_port: int, clusters: Clusters) -> RoutePolicies | None:
    """What the rule asks for beyond forwarding, its destinations being compiled; None when that is nothing."""
    rule = item.rule
    fault = fault_policy(rule.fault) if rule.fault is not None else None
    if fault is not None and fault.idle:
        fault = None
    cors = cors_policy(rule.cors_policy) if rule.cors_policy is not None else None
    mirrors = tuple(_mirrors(item, listener_port, clusters))
    hashes = tuple(_hashes(item, listener_port, clusters))
    if fault is None and cors is None and not mirrors and not hashes:
        return None
    return RoutePolicies(fault, cors, mirrors, hashes)


def fault_policy(written: HTTPFault) -> FaultPolicy:
    """``fault``; without a percentage a part never happens (6.8.2, 6.8.3)."""
    delay, abort = written.delay, written.abort
    delay_s = delay_share = 0.0
    if delay is not None:
        delay_s = float(delay.fixed_delay or 0.0)
        delay_share = delay.percentage.value if delay.percentage is not None else float(delay.percent)
    abort_share = abort.percentage.value if abort is not None and abort.percentage is not None else 0.0
    grpc = abort.grpc_status if abort is not None else None
    return FaultPolicy(
        delay_s=delay_s,
        delay_millionths=millionths(delay_share),
        abort_status=(abort.http_status or 0) if abort is not None else 0,
        grpc_status=grpc_status_number(grpc) if grpc is not None else None,
        abort_millionths=millionths(abort_share),
    )


def cors_policy(written: CorsSpec) -> CorsPolicy:
    """``corsPolicy`` (6.10.2 to 6.10.5)."""
    named = [kind_and_value(origin) for origin in written.allow_origins]
    if not named:
        named = [("exact", origin) for origin in written.allow_origin]
    origins = [_text_match(kind, text) for kind, text in named]
    if any(match(b"*") for match in origins):
        allows: Callable[[bytes], bool] = _everything
    else:
        allows = _any(origins)
    return CorsPolicy(
        allows=allows,
        methods=",".join(written.allow_methods).encode(),
        headers=",".join(written.allow_headers).encode(),
        expose=",".join(written.expose_headers).encode(),
        max_age=b"" if written.max_age is None else b"%d" % int(written.max_age),
        credentials=bool(written.allow_credentials),
        forward_unmatched=written.unmatched_preflights != "IGNORE",
        origins=tuple(named),
    )


def _mirrors(item: PreparedRule, listener_port: int, clusters: Clusters) -> Iterable[Mirror]:
    """Those that exist and ever get a copy; a missing one is a finding and no copy (6.9.5)."""
    rule = item.rule
    asked = [
        (part.destination, part.percentage, f"mirrors[{at}].destination")
        for at, part in enumerate(rule.mirrors)
    ]
    if rule.mirror is not None:
        asked.append((rule.mirror, _mirror_percentage(rule), "mirror"))
    for destination, percentage, path in asked:
        share = millionths(100.0 if percentage is None else percentage.value)
        place = Place(item.resource, f"{item.path}.{path}.host")
        target = clusters.target(question(destination, item.namespace, listener_port), place)
        if share and target.cluster is not None:
            yield Mirror(target.cluster, share)


def _hashes(item: PreparedRule, listener_port: int, clusters: Clusters) -> Iterable[HashPolicy]:
    """Of each destination in order; those that get nothing by weight are not asked (9.6)."""
    shares = item.rule.route
    for share in shares:
        if len(shares) == 1 or share.weight > 0:
            hashing = clusters.hashing(question(share.destination, item.namespace, listener_port))
            if hashing is not None:
                yield hashing


def _mirror_percentage(rule: HTTPRoute) -> Percent | None:
    """``mirrorPercentage``, else the integer of older configuration (6.9.1)."""
    if rule.mirror_percentage is not None:
        return rule.mirror_percentage
    old = rule.mirror_percent if rule.mirror_percent is not None else rule.mirror_percent_old
    return None if old is None else Percent(value=float(old))


def _text_match(kind: str, text: str) -> Callable[[bytes], bool]:
    value = text.encode()
    if kind == "regex":
        return compile_regex(text).matches
    if kind == "prefix":
        return lambda origin: origin.startswith(value)
    return _exact(value)


def _exact(value: bytes) -> Callable[[bytes], bool]:
    return lambda origin: origin == value


def _any(matches: list[Callable[[bytes], bool]]) -> Callable[[bytes], bool]:
    if len(matches) == 1:
        return matches[0]
    return lambda origin: any(match(origin) for match in matches)


def _everything(_: bytes) -> bool:
    return True
