"""A cluster whose endpoints the traffic itself names: resolution DYNAMIC_DNS (semantics 11.3, 11.14).

A request's Host, or a connection's SNI, is resolved when it is first asked for. Each name and port then has a
:class:`~gatewayd.upstream.cluster.Cluster` of its own with the first address of the answer, kept fresh as any DNS
name is, and forgotten when nobody asked for it for a while. As Envoy's dynamic forward proxy; but only names below
the cluster's wildcard are resolved at all, so that a route for every host is no open proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Final

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.dns import Resolver, Watch
from gatewayd.upstream.endpoint import Endpoint
from gatewayd.upstream.server_names import can_be_said, host_name
from gatewayd.upstream.spec import DNS_ROUND_ROBIN, ClusterSpec, EndpointSpec

#: Names with ports that one cluster keeps; further ones are refused (Envoy's default).
MAX_HOSTS: Final = 1024
#: How long a name is kept that nobody asks for (Envoy's default).
HOST_TTL_S: Final = 300.0
#: How long the first answer for a name is waited for (Envoy's default).
QUERY_TIMEOUT_S: Final = 5.0
_MAX_NAME: Final = 253

_TIMEOUT: Final = "resolve_timeout"
_MALFORMED: Final = "cares_failure:Misformatted_domain_name"
#: What c-ares says when the server answered and there is nothing.
_NO_RECORDS: Final = frozenset(
    {"Domain name not found", "DNS server returned answer with no data", "no address"}
)

#: How a cluster is made: ``Cluster``, or what stands in for it where there are several workers.
Make = Callable[[asyncio.AbstractEventLoop, Resolver, ClusterSpec], Cluster]
#: Told the cluster of a name, or why there is none.
Done = Callable[[Cluster | None, Failure | None], None]


class Pending:
    """Somebody who waits for a name; ``cancel()`` and nothing more is heard."""

    __slots__ = ("done",)

    def __init__(self, done: Done) -> None:
        self.done: Done | None = done

    def cancel(self) -> None:
        """Wait no more."""
        self.done = None


class DynamicCluster:
    """What a route holds in place of a cluster; :meth:`for_host` and :meth:`for_sni` give the real one."""

    #: requests to it need an exchange that knows how to wait for a name
    policed = True

    def __init__(
        self, loop: asyncio.AbstractEventLoop, resolver: Resolver, spec: ClusterSpec, make: Make = Cluster
    ) -> None:
        """``make``: how the clusters of names are made."""
        self._loop = loop
        self._resolver = resolver
        self._make = make
        self.spec = spec
        self.name = spec.name
        #: what names end with, ``.example.com``
        self._suffix = spec.host.removeprefix("*").lower()
        self.hosts: dict[tuple[str, int], Host] = {}
        #: nothing is resolved before it is asked for
        self.resolved = asyncio.Event()
        self.resolved.set()

    # --- asked for

    def for_host(self, authority: bytes, done: Done) -> Pending | None:
        """The cluster of the Host ``authority``; its port, else 443 with TLS and 80 without, as in Envoy.

        ``done`` is called once: before this returns None if all is known, later if it returns a Pending.
        """
        name = host_name(authority)
        _, colon, digits = authority.rpartition(b":")
        port = 443 if self.spec.tls_spec is not None else 80
        if colon and not digits.endswith(b"]"):
            port = int(digits) if digits.isdigit() and len(digits) <= 5 else -1
        return self._find(name, port, done)

    def for_sni(self, name: str, done: Done) -> Pending | None:
        """The cluster of a connection whose ClientHello asks for ``name``; the port is the service's."""
        return self._find(name.lower(), self.spec.port, done)

    def pick(self) -> None:
        """Nobody, without a name."""

    def _find(self, name: str, port: int, done: Done) -> Pending | None:
        if not name.endswith(self._suffix) or len(name) == len(self._suffix):
            done(None, errors.NO_HEALTHY_UPSTREAM)
            return None
        host = self.hosts.get((name, port))
        if host is None:
            if not 0 <= port < 65536 or len(name) > _MAX_NAME or not can_be_said(name):
                done(None, _failure(_MALFORMED))
                return None
            if len(self.hosts) >= MAX_HOSTS and not self._make_room():
                done(None, errors.DNS_OVERFLOW)
                return None
            host = self.hosts[name, port] = Host(
                self._loop, self._resolver, self.spec, name, port, self._make
            )
            host.start()
        return host.ask(done)

    def _make_room(self) -> bool:
        """Forget one name that leads nowhere and that nobody waits for."""
        for key, host in self.hosts.items():
            if host.failure is not None and not host.cluster.active:
                host.stop()
                del self.hosts[key]
                return True
        return False

    # --- what a registry asks of a cluster

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Of all names."""
        return tuple(endpoint for host in self.hosts.values() for endpoint in host.cluster.endpoints)

    @property
    def active(self) -> int:
        """Requests and connections under way, to all names."""
        return sum(host.cluster.active for host in self.hosts.values())

    @property
    def total(self) -> int:
        """Of the names that are known now."""
        return sum(host.cluster.total for host in self.hosts.values())

    def start(self) -> None:
        """Nothing: see :attr:`resolved`."""

    def sweep(self, now: float) -> None:
        """Close connections that were idle too long, and forget names that nobody asked for."""
        for key, host in list(self.hosts.items()):
            host.cluster.sweep(now)
            if now - host.asked_at >= HOST_TTL_S and not host.cluster.active and not host.waiting:
                host.stop()
                del self.hosts[key]

    def stop(self) -> None:
        """Nobody routes here any more: who is under way, or waits for a name, is served."""
        for host in self.hosts.values():
            host.stop()

    def close(self) -> None:
        """Close everything at once (the process ends)."""
        for host in self.hosts.values():
            host.close()
        self.hosts.clear()


class Host:
    """A name with a port: its cluster, and who waits for its first answer."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        resolver: Resolver,
        spec: ClusterSpec,
        name: str,
        port: int,
        make: Make,
    ) -> None:
        self._loop = loop
        self._resolver = resolver
        self._name = name
        endpoint = EndpointSpec(name, port)
        self.cluster = make(loop, resolver, replace(spec, discovery=DNS_ROUND_ROBIN, endpoints=(endpoint,)))
        #: monotonic
        self.asked_at = 0.0
        #: why there is no address; None: there is one, or it is not known yet
        self.failure: Failure | None = None
        self.waiting: list[Pending] = []
        self._known = False
        self._stopped = False
        self._watch: Watch | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Ask for the addresses."""
        self.cluster.start()  # its watch hears of them before ours does
        self._watch = self._resolver.watch(self._name, self._told)
        if not self._known:
            self._timer = self._loop.call_later(QUERY_TIMEOUT_S, self._too_late)

    def ask(self, done: Done) -> Pending | None:
        """See :meth:`DynamicCluster.for_host`."""
        self.asked_at = monotonic()
        if not self._known:
            pending = Pending(done)
            self.waiting.append(pending)
            return pending
        self._answer(done)
        return None

    def _answer(self, done: Done) -> None:
        if self.failure is not None:
            done(None, self.failure)
        else:
            done(self.cluster, None)

    def _told(self, addresses: list[str]) -> None:
        problem = "" if addresses else self._resolver.problem(self._name)
        self._settle(None if addresses else _failure(_reason(problem)))

    def _too_late(self) -> None:
        self._timer = None
        self._settle(_failure(_TIMEOUT))

    def _settle(self, failure: Failure | None) -> None:
        self._known = True
        self.failure = failure
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self.waiting = self.waiting, []
        for pending in waiting:
            done = pending.done
            if done is not None:
                self._answer(done)
        if self._stopped:
            self.stop()

    def stop(self) -> None:
        """Nobody new comes; whoever waits is answered first."""
        self._stopped = True
        if any(pending.done is not None for pending in self.waiting):
            return
        self._end_watch()
        self.cluster.stop()

    def close(self) -> None:
        """Close everything at once."""
        self.waiting = []
        self._end_watch()
        self.cluster.close()

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _failure(reason: str) -> Failure:
    return errors.DNS_FAILURE._replace(details=f"{errors.DNS_FAILURE.details}{{{reason}}}")


def _reason(problem: str) -> str:
    kind = "cares_norecords" if problem in _NO_RECORDS else "cares_failure"
    return f"{kind}:{problem.replace(' ', '_')}"
