"""HOT: host → virtual host → route, once for each head under a configuration.

A decision depends on nothing but the :class:`RequestHead` (weights are drawn later, by ``Route.pick``), so
the proxy keeps it beside the head (``proxy/plan.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from gatewayd.http.message import RequestHead
from gatewayd.routing.hosts import HostIndex, host_key
from gatewayd.routing.index import Rule, compile_finder
from gatewayd.routing.route import REDIRECT, RedirectAction, Route

#: What a virtual host with ``httpsRedirect`` answers on plain HTTP, before its rules are looked at
#: (semantics 2.6.1, 2.6.6). It carries no response operations (6.2.8).
HTTPS_REDIRECT: Final = Route(
    name="", action=REDIRECT, redirect=RedirectAction(status=301, scheme=b"https", host_verbatim=True)
)


class VirtualHost:
    """Hosts that share an ordered list of rules.

    ``require_tls``: some server declared ``httpsRedirect`` for these hosts on this port (semantics 2.6.4).
    """

    __slots__ = ("counted", "domains", "find", "name", "require_tls", "rules")

    def __init__(
        self, name: str, domains: Sequence[str], rules: Sequence[Rule], require_tls: bool = False
    ) -> None:
        self.name = name
        #: as Envoy has them: ``a.test``, ``*.test``, ``*``; no ports
        self.domains = tuple(domains)
        self.rules = tuple(rules)
        self.require_tls = require_tls
        #: whether statistics are kept of any route
        self.counted = any(rule.route.statistics for rule in self.rules)
        #: find(request) -> the route of the first rule that matches, or None (semantics 4.7)
        self.find = compile_finder(self.rules)

    def __repr__(self) -> str:
        return f"VirtualHost({self.name!r}, {len(self.rules)} rules)"


class RouteTable:
    """The virtual hosts of one listener, each with its own name and domains."""

    __slots__ = ("_counted", "_exact", "_hosts", "by_name")

    def __init__(self, virtual_hosts: Iterable[VirtualHost]) -> None:
        self.by_name = {host.name: host for host in virtual_hosts}
        self._hosts: HostIndex[VirtualHost] = HostIndex(
            (domain, host) for host in self.by_name.values() for domain in host.domains
        )
        self._exact = self._hosts.exact
        self._counted = sum(host.counted for host in self.by_name.values())

    @property
    def counted(self) -> bool:
        """Whether statistics are kept of any route."""
        return self._counted > 0

    @property
    def virtual_hosts(self) -> tuple[VirtualHost, ...]:
        """All of them."""
        return tuple(self.by_name.values())

    def changed(self, gone: Iterable[str], come: Iterable[VirtualHost]) -> RouteTable:
        """Another table: without the hosts of these names, and with these, in the place of any of the same name."""
        made = RouteTable(())
        made.by_name = self.by_name.copy()
        leaving = [made.by_name.pop(name) for name in gone if name in made.by_name]
        coming = list(come)
        leaving += [made.by_name[host.name] for host in coming if host.name in made.by_name]
        made.by_name.update((host.name, host) for host in coming)
        made._hosts = self._hosts.changed(
            [domain for host in leaving for domain in host.domains],
            [(domain, host) for host in coming for domain in host.domains],
        )
        made._exact = made._hosts.exact
        made._counted = (
            self._counted - sum(host.counted for host in leaving) + sum(host.counted for host in coming)
        )
        return made

    def find_virtual_host(self, host: bytes) -> VirtualHost | None:
        """The virtual host of ``host``, lower-case and without port; see :func:`host_key`."""
        return self._hosts.find(host)

    def lookup(self, request: RequestHead) -> tuple[VirtualHost | None, Route | None]:
        """The virtual host and route of ``request``; (None, None) and (host, None) are 404 ``NR``.

        The more specific virtual host hides a wider one completely (semantics 4.11). With ``require_tls``
        a request that did not come by https gets :data:`HTTPS_REDIRECT` (semantics 2.6.2).
        """
        authority = request.authority
        # Most clients send the host as configured: lower-case, no port.
        host = self._exact.get(authority)
        if host is None:
            host = self._hosts.find(host_key(authority))
            if host is None:
                return None, None
        if host.require_tls and request.scheme != b"https":
            return host, HTTPS_REDIRECT
        return host, host.find(request)
