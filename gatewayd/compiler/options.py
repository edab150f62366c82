"""What the compiler is told besides the resources: this proxy's identity and the user's flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gatewayd.compiler.telemetry import NOTHING, TelemetrySpec
from gatewayd.http.limits import HttpLimits
from gatewayd.observe.collector import Collector
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.upstream.own_ports import OwnPorts

#: ``--unknown-hosts``
RESOLVE: Final = "dns"
REJECT: Final = "reject"

Address = tuple[str, int]


@dataclass(frozen=True)
class CompileOptions:
    """One field per flag of ``run`` that changes what is served."""

    #: this proxy's namespace
    namespace: str = "istio-system"
    #: this proxy's labels; None: every Gateway is served whatever its selector
    labels: Mapping[str, str] | None = None
    cluster_domain: str = "cluster.local"
    #: Gateway server port -> port to bind
    port_map: Mapping[int, int] = field(default_factory=dict)
    #: added to every server port that is not in ``port_map``
    port_offset: int = 0
    #: where servers without ``bind`` listen
    bind: tuple[str, ...] = ("0.0.0.0", "::")
    #: :data:`RESOLVE` or :data:`REJECT` a destination that no Service or ServiceEntry declares
    unknown_hosts: str = RESOLVE
    #: ``host`` or ``host:subset`` -> addresses, from ``--endpoint``; see compiler/pins.py
    endpoint_pins: Mapping[str, Sequence[Address]] = field(default_factory=dict)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    #: folders of this proxy's mesh identity (``ISTIO_MUTUAL``, ``builtin://``), in the order in which they are looked
    #: through; see compiler/credentials.py for their files
    workload_certificates: tuple[str, ...] = ("/etc/certs",)
    #: HTTP/2 clients may open WebSockets (RFC 8441)
    extended_connect: bool = False
    #: 421, not 404, for a host that the server whose certificate the client has does not serve
    misdirected_request: bool = False
    limits: HttpLimits = field(default_factory=HttpLimits)
    #: what the Telemetry resources of the configuration say; the compilation fills it in
    telemetry: TelemetrySpec = NOTHING
    #: where spans go whatever the mesh says: ``--otlp``
    collector: Collector | None = None
    #: where nothing is sent: the proxy's own admin, status and metrics ports
    own_ports: OwnPorts = field(default_factory=OwnPorts, compare=False)
