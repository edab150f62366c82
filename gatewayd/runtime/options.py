"""What ``gatewayd run`` was asked to do: the command line, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gatewayd.observe.collector import Collector

#: (host, subset or "", address, port)
PinnedEndpoint = tuple[str, str, str, int]
#: (host, port), or ("unix:/path", 0)
Address = tuple[str, int]

DEFAULT_BIND: Final = ("0.0.0.0", "::")
DEFAULT_SECRETS: Final = ("/etc/gatewayd/secrets",)
#: Where Istio's agent looks for the identity of its workload, in its order.
DEFAULT_WORKLOAD_CERTS: Final = ("/var/run/secrets/workload-spiffe-credentials", "/etc/certs")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Times in seconds."""

    paths: tuple[str, ...]
    #: Gateway server port -> bound port
    port_map: Mapping[int, int] = field(default_factory=dict)
    port_offset: int = 0
    bind: tuple[str, ...] = DEFAULT_BIND
    namespace: str = "istio-system"
    #: None: every Gateway is served whatever its selector
    labels: Mapping[str, str] | None = None
    cluster_domain: str = "cluster.local"
    #: "dns" or "reject"
    unknown_hosts: str = "dns"
    endpoints: tuple[PinnedEndpoint, ...] = ()
    #: folders of credentials by name, in the order in which they are searched
    secrets: tuple[str, ...] = DEFAULT_SECRETS
    #: folders of this proxy's mesh identity, in the same way
    workload_certs: tuple[str, ...] = DEFAULT_WORKLOAD_CERTS
    mesh_config: str | None = None
    #: HTTP/2 clients may open WebSockets
    extended_connect: bool = False
    #: of the answer to a host that the connection's TLS server does not serve: 404, or 421
    misdirected: int = 404
    #: None: no status port
    status: Address | None = ("127.0.0.1", 15021)
    #: None: no port for metrics
    metrics: Address | None = None
    #: None: no admin port
    admin: Address | None = None
    #: host names it may be called by, beside localhost and addresses
    admin_hosts: tuple[str, ...] = ()
    #: a path, "-" for stdout, or "off"; None: as the mesh configuration says
    access_log: str | None = None
    #: "text" or "json"; None: as the mesh configuration says
    access_log_format: str | None = None
    #: where spans go, whatever the mesh configuration says
    otlp: Collector | None = None
    drain_time_s: float = 45.0
    shutdown_time_s: float = 60.0
    #: after TERM: how long new connections are still taken
    drain_delay_s: float = 0.0
    #: processes that serve; more than one have a supervisor
    workers: int = 1
    #: a worker of several that shows no sign of life for so long is replaced
    hang_time_s: float = 10.0
    #: take in files that change
    watch: bool = True
    #: as gatewayd.observe.logs.parse_levels reads it
    log_level: str = "info"
    #: "text" or "json"
    log_format: str = "text"
    #: "uvloop" or "asyncio"
    loop: str = "uvloop"

    @property
    def counts(self) -> bool:
        """Whether anybody could ask for numbers; else nothing is counted."""
        return self.metrics is not None or self.admin is not None
