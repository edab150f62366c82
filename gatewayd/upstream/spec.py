"""What the compiler says about a cluster: frozen, comparable, without sockets.

Two equal specs are the same cluster, so an unchanged one keeps its pools, health and counters over a
reload (the registry compares them).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from gatewayd.tls.spec import ClientTlsSpec
from gatewayd.upstream.balancers import BalancerOptions
from gatewayd.upstream.outlier import OutlierPolicy

#: ``ClusterSpec.protocol`` (semantics 8.3.8)
HTTP1: Final = "http/1.1"
HTTP2: Final = "h2"
AS_CLIENT: Final = "client"  # what the client of a request speaks

#: ``ClusterSpec.discovery``
STATIC: Final = "STATIC"  # ``endpoints`` are addresses
DNS: Final = "DNS"  # ``endpoints`` are names, all their addresses are used (semantics 11.3)
DNS_ROUND_ROBIN: Final = "DNS_ROUND_ROBIN"  # the first address returned, for new connections
DYNAMIC_DNS: Final = "DYNAMIC_DNS"  # no ``endpoints``: traffic names them, below the wildcard ``host``


@dataclass(frozen=True, slots=True)
class Limits:
    """``connectionPool`` as Envoy's circuit breakers count it: for the whole cluster, 0 = no limit (8.3.1)."""

    max_connections: int = 0  # open or being opened, idle ones included (8.3.2)
    max_pending: int = 0  # requests that wait for a connection (8.3.3)
    max_requests: int = 0  # in flight, HTTP/1 too (8.3.4)
    max_retries: int = 0  # in progress at a time (8.3.6)
    #: instead of ``max_retries``: retries as a share (per cent) of active requests, and how many are always
    #: allowed (8.3.6); -1.0 = no budget
    retry_budget_percent: float = -1.0
    min_retries: int = 3
    #: a share of the requests that began within so long, not of the active ones (8.3.10); 0.0 = of those
    retry_interval_s: float = 0.0


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """``tcpKeepalive`` (8.3.9); 0 leaves the system's own."""

    probes: int = 0
    time_s: int = 0
    interval_s: int = 0


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """One endpoint: an IP address, a host name (DNS discovery) or ``unix:/path`` with port 0."""

    address: str
    port: int
    weight: int = 1
    labels: tuple[tuple[str, str], ...] = ()
    locality: str = ""  # region/zone/subzone
    #: False: known but never selected (semantics 9.13)
    ready: bool = True
    #: 0 is preferred; the next ones take over as the share of ready endpoints falls (9.14)
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """One upstream cluster, named ``outbound|<port>|<subset>|<host>`` (semantics 17.3)."""

    name: str
    host: str
    port: int
    subset: str = ""
    discovery: str = STATIC
    endpoints: tuple[EndpointSpec, ...] = ()
    balancer: BalancerOptions = field(default_factory=BalancerOptions)  # semantics 9.1, 9.2, 9.7
    #: what each locality gets of the load, (locality, weight); empty: by its endpoints (9.15)
    locality_weights: tuple[tuple[str, int], ...] = ()
    #: localities of a priority share its load by their weights, and by how much of each is ready (9.14, 9.15)
    locality_weighted: bool = False
    #: passive health; None: nobody is ejected (9.8)
    outlier: OutlierPolicy | None = None
    connect_timeout_s: float = 10.0  # semantics 8.3.2
    idle_timeout_s: float = 60.0  # hardening section 8; http.idleTimeout else tcp.idleTimeout (8.3.7)
    max_requests_per_connection: int = 0  # 0 = no limit (8.3.5)
    max_connection_duration_s: float = 0.0  # 0 = none (8.3.7)
    limits: Limits = NO_LIMITS
    keepalive: KeepAlive | None = None
    protocol: str = HTTP1
    #: requests that share an HTTP/2 connection, 0 = as many as the endpoint takes (8.3.5)
    max_concurrent_streams: int = 0
    #: an HTTP/2 connection is asked for a sign of life this often, and given up after so long; 0 = never (8.3.9)
    ping_interval_s: float = 0.0
    ping_timeout_s: float = 0.0
    #: connections begin with a PROXY protocol header of this version, "V1" or "V2" (semantics 10.11); "" = none
    proxy_protocol: str = ""
    #: TLS towards the endpoints (semantics 10), None: plain text
    tls_spec: ClientTlsSpec | None = None
    #: the holder of what ``tls_spec`` asks for (:class:`gatewayd.tls.store.ClientTls`): ``context``, or None and
    #: why in ``problem``
    tls: Any = None
    #: the same for the HTTP/2 connections of a cluster that has both kinds, which offer another ALPN; None: ``tls``
    tls_http2: Any = None
    metadata: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def is_http2(self) -> bool:
        """Whether it is spoken to in HTTP/2, whatever the client speaks."""
        return self.protocol == HTTP2
