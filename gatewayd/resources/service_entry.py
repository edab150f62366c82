"""ServiceEntry: a service nobody else declares, with its ports and where it is (semantics 11)."""

from typing import Annotated, Literal

from msgspec import Meta

from gatewayd.resources.model import IstioModel, PortNumber
from gatewayd.resources.workload import WorkloadEntry, WorkloadSelector

Resolution = Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]


class ServicePort(IstioModel, frozen=True, kw_only=True):
    """A port of the service. An empty protocol means HTTP/1.1 towards the upstream (semantics 11.11)."""

    number: PortNumber
    name: Annotated[str, Meta(max_length=256)]
    protocol: Annotated[str, Meta(max_length=256)] = ""
    target_port: PortNumber | None = None


class ServiceEntry(IstioModel, frozen=True, kw_only=True):
    """`spec` of a ServiceEntry."""

    hosts: Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=256)] = ()
    ports: Annotated[tuple[ServicePort, ...], Meta(max_length=256)] = ()
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Resolution = "NONE"
    endpoints: Annotated[tuple[WorkloadEntry, ...], Meta(max_length=4096)] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
