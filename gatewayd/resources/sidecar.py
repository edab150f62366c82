"""Sidecar: what a sidecar proxy listens to and may reach (semantics 11.15). Gateways do not look at it."""

from typing import Literal

from gatewayd.resources.gateway import ServerTLS
from gatewayd.resources.model import IstioModel, UInt32
from gatewayd.resources.traffic_policy import ConnectionPool
from gatewayd.resources.virtual_service import Destination
from gatewayd.resources.workload import WorkloadSelector

CaptureMode = Literal["DEFAULT", "IPTABLES", "NONE"]


class SidecarPort(IstioModel, frozen=True, kw_only=True):
    """A port of a sidecar listener."""

    number: UInt32 = 0
    protocol: str = ""
    name: str = ""
    target_port: UInt32 | None = None


class IngressListener(IstioModel, frozen=True, kw_only=True):
    """An inbound listener."""

    port: SidecarPort
    bind: str = ""
    capture_mode: CaptureMode = "DEFAULT"
    default_endpoint: str = ""
    tls: ServerTLS | None = None
    connection_pool: ConnectionPool | None = None


class EgressListener(IstioModel, frozen=True, kw_only=True):
    """An outbound listener, and the hosts (`namespace/name`) it may reach."""

    hosts: tuple[str, ...]
    port: SidecarPort | None = None
    bind: str = ""
    capture_mode: CaptureMode = "DEFAULT"


class OutboundTrafficPolicy(IstioModel, frozen=True, kw_only=True):
    """What happens to unknown destinations (semantics 11.13)."""

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "REGISTRY_ONLY"
    egress_proxy: Destination | None = None


class Sidecar(IstioModel, frozen=True, kw_only=True):
    """`spec` of a Sidecar."""

    workload_selector: WorkloadSelector | None = None
    ingress: tuple[IngressListener, ...] = ()
    egress: tuple[EgressListener, ...] = ()
    inbound_connection_pool: ConnectionPool | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None
