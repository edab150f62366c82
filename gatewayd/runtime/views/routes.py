"""Topic ``routes``: one row for each alternative of each rule, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Final

from gatewayd.observe.sums import Sums
from gatewayd.routing.hosts import host_key
from gatewayd.routing.index import Rule
from gatewayd.routing.route import FORWARD, REDIRECT, Destination, RouteSource
from gatewayd.routing.table import VirtualHost
from gatewayd.snapshot import FilterChain, ListenerSpec

_ACTIONS: Final = {FORWARD: "forward", REDIRECT: "redirect"}
_NOBODY: Final = (0, 0)


def route_rows(
    listeners: Sequence[ListenerSpec], sums: Sums, arguments: Mapping[str, Any]
) -> Iterator[dict[str, Any] | None]:
    """All rules, or with ``host`` those that serve it.

    Hits are of a rule on one filter chain, its alternatives and hosts together.
    """
    wanted = str(arguments.get("host", ""))
    for listener in listeners:
        for chain in listener.chains:
            if chain.tcp is not None:
                if not wanted or wanted in chain.server_names:
                    yield _tcp_row(listener, chain)
                continue
            assert chain.routes is not None
            if wanted:
                found = chain.routes.find_virtual_host(host_key(wanted.encode()))
                hosts: Sequence[VirtualHost] = (found,) if found is not None else ()
            else:
                hosts = chain.routes.virtual_hosts
            for host in hosts:
                yield from _host_rows(listener, chain, host, sums)
                yield None


def _host_rows(
    listener: ListenerSpec, chain: FilterChain, host: VirtualHost, sums: Sums
) -> Generator[dict[str, Any], None, None]:
    taken_by: Rule | None = None
    for order, rule in enumerate(host.rules):
        route = rule.route
        source = route.source
        hits, errors = sums.rules.get((chain.name, source.title), _NOBODY) if source is not None else _NOBODY
        row: dict[str, Any] = {
            "id": f"{chain.name} {host.name} {order}",
            "listener": listener.name,
            "chain": chain.name,
            "virtual_host": host.name,
            "domains": list(host.domains),
            "order": order,
            "name": route.name,
            **source_json(route.source),
            "match": [condition.describe() for condition in rule.conditions],
            "action": _ACTIONS.get(route.action, "direct_response"),
            "destinations": destinations_json(route.destinations),
            "timeout_s": route.timeout_s,
            "retries": route.retry.attempts if route.retry is not None and route.action == FORWARD else 0,
            "https_redirect": host.require_tls,
            "hits": hits,
            "errors": errors,
            "shadowed_by": place(taken_by.route.source) if taken_by is not None else "",
        }
        if route.redirect is not None:
            row["status"] = route.redirect.status
        elif route.direct is not None:
            row["status"] = route.direct.status
        yield row
        if taken_by is None and not rule.conditions:
            taken_by = rule


def _tcp_row(listener: ListenerSpec, chain: FilterChain) -> dict[str, Any]:
    assert chain.tcp is not None
    names = list(chain.server_names) or ["*"]
    return {
        "id": f"{chain.name} 0",
        "listener": listener.name,
        "chain": chain.name,
        "virtual_host": "",
        "domains": names if listener.protocol == "TLS" else [],
        "order": 0,
        "name": "",
        **source_json(chain.tcp.source),
        "match": [f"SNI {name}" for name in names] if listener.protocol == "TLS" else [],
        "action": "tcp",
        "destinations": destinations_json(chain.tcp.destinations),
        "timeout_s": 0.0,
        "retries": 0,
        "https_redirect": False,
        "hits": 0,
        "errors": 0,
        "shadowed_by": "",
    }


def source_json(source: RouteSource | None) -> dict[str, Any]:
    """Where a rule was written; empty for one that nobody wrote."""
    if source is None:
        return {"kind": "", "namespace": "", "resource": "", "rule": "", "file": "", "line": 0}
    return {
        "kind": source.kind,
        "namespace": source.namespace,
        "resource": source.name,
        "rule": f"{source.block}[{source.rule}]",
        "file": source.file,
        "line": source.line,
    }


def place(source: RouteSource | None) -> str:
    """``file:line`` of a rule."""
    return f"{source.file}:{source.line}" if source is not None and source.file else ""


def destinations_json(destinations: Sequence[Destination]) -> list[dict[str, Any]]:
    """Where a rule leads."""
    return [
        {"cluster": each.cluster_name, "weight": each.weight, "known": each.cluster is not None}
        for each in destinations
    ]
