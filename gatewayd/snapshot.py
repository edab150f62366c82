"""The frozen result of the compiler: what the worker serves, all nouns on a page.

A snapshot is made once from all configuration and put in force by one assignment. A request that began
on it holds it and ends on it. Nothing in it changes: what is worked out per head is kept beside the head and
bound to the listener's spec (``proxy/plan.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gatewayd.findings import Finding
from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from gatewayd.observe.collector import Collector
from gatewayd.routing.l4 import TcpRoute
from gatewayd.routing.table import RouteTable
from gatewayd.upstream.spec import ClusterSpec


@dataclass(frozen=True, slots=True, eq=False)
class FilterChain:
    """What happens to the connections of a listener that choose it: HTTP by ``routes``, or TCP by ``tcp``."""

    #: as Istio names its route table, e.g. "https.443.https.edge.istio-system" (semantics 2.3.9, 2.3.10)
    name: str
    #: the Gateway's own server port number, which ``match.port`` and redirects see (semantics 2.1.4)
    port: int
    #: lower case, "a.test" or "*.test"; none: every SNI, and clients that send none (semantics 3.3)
    server_names: tuple[str, ...] = ()
    #: taken only by a ClientHello that offers one of these (AUTO_PASSTHROUGH, semantics 3.1); none: by any
    alpn: tuple[str, ...] = ()
    #: what ends TLS here (a :class:`gatewayd.tls.store.ServerTls`); None: bytes go on as they come
    tls: Any = None
    routes: RouteTable | None = None
    options: HttpOptions | None = None
    tcp: TcpRoute | None = None
    #: Gateways whose servers were merged here: (namespace, name, server index)
    gateways: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ListenerSpec:
    """One address to listen on and what answers there.

    ``bind`` holds the addresses to open, each ``(host, port)``, or ``("unix:/path", 0)``.
    """

    name: str  # e.g. "0.0.0.0_8080", as Envoy names it
    bind: tuple[tuple[str, int], ...]
    port: int  # the Gateway's own number, as in the chains
    #: HTTP, TCP or TLS; TLS: every connection begins with a ClientHello, which chooses the chain
    protocol: str
    chains: tuple[FilterChain, ...]
    limits: HttpLimits
    #: every connection begins with a PROXY protocol header (semantics 10.12)
    proxy_protocol: bool = False
    #: the names and protocols of its server ports, lower case: what a socket that is passed to us may be called
    port_names: tuple[str, ...] = ()

    @property
    def gateways(self) -> tuple[tuple[str, str, int], ...]:
        """Those of all chains."""
        return tuple(gateway for chain in self.chains for gateway in chain.gateways)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything in force at one time."""

    listeners: tuple[ListenerSpec, ...]
    #: by Istio name, "outbound|80||host" (semantics 17.3)
    clusters: dict[str, ClusterSpec]
    #: the objects routes hold, by the same names (made by the ``adopt`` given to the compiler)
    adopted: dict[str, Any]
    findings: tuple[Finding, ...] = ()
    version: int = 0
    #: resources that were set aside, for the log and the admin pages
    set_aside: tuple[str, ...] = field(default=())
    #: where the spans of sampled requests go
    collector: Collector | None = None
    #: what all of them say
    span_tags: tuple[tuple[str, str], ...] = ()
    #: False: requests are not logged, unless the command line asks for it
    access_log: bool = True

    def tables(self) -> dict[str, RouteTable]:
        """The route tables, by the names of their chains."""
        return {
            chain.name: chain.routes
            for listener in self.listeners
            for chain in listener.chains
            if chain.routes is not None
        }
