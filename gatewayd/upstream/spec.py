"""What the compiler says about a cluster: frozen, comparable, without sockets.

Two equal specs are the same cluster, so an unchanged one keeps its pools, health and counters over a
reload (the registry compares them).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from gatewayd.tls.spec import ClientTlsSpec

#: ``ClusterSpec.discovery``
STATIC: Final = "STATIC"  # ``endpoints`` are addresses
DNS: Final = "DNS"  # ``endpoints`` are names, all their addresses are used (semantics 11.3)
DNS_ROUND_ROBIN: Final = "DNS_ROUND_ROBIN"  # the first address returned, for new connections


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


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """One upstream cluster, named ``outbound|<port>|<subset>|<host>`` (semantics 17.3)."""

    name: str
    host: str
    port: int
    subset: str = ""
    discovery: str = STATIC
    endpoints: tuple[EndpointSpec, ...] = ()
    balancer: str = "LEAST_REQUEST"  # row of BALANCERS (semantics 9.1)
    connect_timeout_s: float = 10.0  # semantics 8.3.2
    idle_timeout_s: float = 60.0  # hardening section 8; http.idleTimeout else tcp.idleTimeout (8.3.7)
    max_requests_per_connection: int = 0  # 0 = no limit (8.3.5)
    max_connections: int = 0
    max_pending_requests: int = 1024
    max_requests: int = 0
    protocol: str = "http/1.1"
    #: connections begin with a PROXY protocol header of this version, "V1" or "V2" (semantics 10.11); "" = none
    proxy_protocol: str = ""
    #: TLS towards the endpoints (semantics 10), None: plain text
    tls_spec: ClientTlsSpec | None = None
    #: the holder of what ``tls_spec`` asks for (:class:`gatewayd.tls.store.ClientTls`): ``context``, or None and
    #: why in ``problem``
    tls: Any = None
    metadata: dict[str, str] = field(default_factory=dict, compare=False)
