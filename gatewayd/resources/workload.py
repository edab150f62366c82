"""WorkloadEntry and WorkloadGroup: workloads outside Kubernetes (semantics 11.7, 11.8)."""

from typing import Annotated

from msgspec import Meta, field

from gatewayd.resources.model import EMPTY, IstioModel, NonNegInt32, PortNumber, UInt32

LabelValue = Annotated[str, Meta(max_length=63)]
Labels256 = Annotated[dict[str, str], Meta(max_length=256)]


class LabelSelector(IstioModel, frozen=True, kw_only=True):
    """Workloads by labels, in the words of the newer kinds (`matchLabels`)."""

    match_labels: Annotated[dict[str, LabelValue], Meta(max_length=4096)] = EMPTY


class WorkloadSelector(IstioModel, frozen=True, kw_only=True):
    """Workloads by labels."""

    labels: Annotated[dict[str, LabelValue], Meta(max_length=256)] = EMPTY


class WorkloadEntry(IstioModel, frozen=True, kw_only=True):
    """`spec` of a WorkloadEntry, also an endpoint of a ServiceEntry: an IP, a host name or `unix://` path."""

    address: Annotated[str, Meta(max_length=256)] = ""
    ports: Annotated[dict[str, PortNumber], Meta(max_length=128)] = EMPTY
    labels: Labels256 = EMPTY
    network: Annotated[str, Meta(max_length=2048)] = ""
    locality: Annotated[str, Meta(max_length=2048)] = ""
    weight: UInt32 = 0
    service_account: Annotated[str, Meta(max_length=253)] = ""


class GroupMetadata(IstioModel, frozen=True, kw_only=True):
    """Labels and annotations given to the group's entries."""

    labels: Labels256 = EMPTY
    annotations: Labels256 = EMPTY


class HTTPHeader(IstioModel, frozen=True, kw_only=True):
    """A header of a health check."""

    name: Annotated[str, Meta(pattern=r"^[-_A-Za-z0-9]+$")] = ""
    value: str = ""


class HTTPHealthCheck(IstioModel, frozen=True, kw_only=True):
    """Health check by HTTP GET."""

    port: PortNumber
    path: str = ""
    host: str = ""
    scheme: str = ""
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPHealthCheck(IstioModel, frozen=True, kw_only=True):
    """Health check by connecting."""

    port: PortNumber
    host: str = ""


class ExecHealthCheck(IstioModel, frozen=True, kw_only=True):
    """Health check by a command."""

    command: tuple[Annotated[str, Meta(min_length=1)], ...]


class GRPCHealthCheck(IstioModel, frozen=True, kw_only=True):
    """Health check by the gRPC health protocol."""

    port: PortNumber | None = None
    service: str = ""


class ReadinessProbe(IstioModel, frozen=True, kw_only=True):
    """How the group's workloads are checked."""

    initial_delay_seconds: NonNegInt32 = 0
    timeout_seconds: NonNegInt32 = 0
    period_seconds: NonNegInt32 = 0
    success_threshold: NonNegInt32 = 0
    failure_threshold: NonNegInt32 = 0
    http_get: HTTPHealthCheck | None = None
    tcp_socket: TCPHealthCheck | None = None
    exec_: ExecHealthCheck | None = field(default=None, name="exec")
    grpc: GRPCHealthCheck | None = None


class WorkloadGroup(IstioModel, frozen=True, kw_only=True):
    """`spec` of a WorkloadGroup: a template for entries."""

    template: WorkloadEntry
    metadata: GroupMetadata | None = None
    probe: ReadinessProbe | None = None
