"""What came close when nothing matched: a host one letter off, a rule of another host."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from gatewayd.explain.steps import Explanation
from gatewayd.http.message import RequestHead
from gatewayd.routing.hosts import host_key
from gatewayd.routing.table import RouteTable, VirtualHost

#: Hosts compared, and asked for the path.
_MAX_HOSTS: Final = 20_000
_MAX_SHOWN: Final = 3


def say_near_hosts(table: RouteTable, head: RequestHead, told: Explanation) -> None:
    """Hosts that are written almost so."""
    wanted = host_key(head.authority).decode("utf-8", "replace")
    # Far names are sorted out cheaply: comparing thousands of them in full would take seconds.
    domains = [
        domain
        for host in table.virtual_hosts[:_MAX_HOSTS]
        for domain in host.domains
        if abs(len(domain) - len(wanted)) <= max(2, len(wanted) // 6)
    ]
    for domain in get_close_matches(wanted, domains[:2000], n=_MAX_SHOWN, cutoff=0.75):
        told.add("near", None, f'did you mean host "{domain}"?')


def say_near_paths(table: RouteTable, head: RequestHead, told: Explanation, but: VirtualHost | None) -> None:
    """Rules of other hosts that would have taken the request for more than any request."""
    count = 0
    for host in table.virtual_hosts[:_MAX_HOSTS]:
        if host is but:
            continue
        route = host.find(head)
        if route is None or not any(rule.route is route and rule.conditions for rule in host.rules):
            continue
        source = route.source
        name = f" {source.block}[{source.rule}]" if source is not None else ""
        told.add(
            "near",
            None,
            f"the path matches{name} of host {host.domains[0] if host.domains else host.name}",
            source.file if source is not None else "",
            source.line if source is not None else 0,
        )
        count += 1
        if count >= _MAX_SHOWN:
            return
