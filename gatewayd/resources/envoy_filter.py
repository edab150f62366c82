"""EnvoyFilter: patches to Envoy's configuration. Decoded and checked; there is no Envoy here to patch."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from gatewayd.resources.model import EMPTY, Int32, IstioModel, PortNumber, UInt32
from gatewayd.resources.workload import WorkloadSelector


class SubFilterMatch(IstioModel, frozen=True, kw_only=True):
    """A filter inside a filter."""

    name: str = ""


class FilterMatch(IstioModel, frozen=True, kw_only=True):
    """A filter by name."""

    name: str = ""
    sub_filter: SubFilterMatch | None = None


class FilterChainMatch(IstioModel, frozen=True, kw_only=True):
    """A filter chain."""

    name: str = ""
    sni: str = ""
    transport_protocol: str = ""
    application_protocols: str = ""
    filter: FilterMatch | None = None
    destination_port: UInt32 = 0
    transport_socket: str = ""


class ListenerMatch(IstioModel, frozen=True, kw_only=True):
    """A listener."""

    port_number: UInt32 = 0
    port_name: str = ""
    filter_chain: FilterChainMatch | None = None
    listener_filter: str = ""
    name: str = ""


class RouteMatch(IstioModel, frozen=True, kw_only=True):
    """A route."""

    name: str = ""
    action: Literal["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"] = "ANY"


class VirtualHostMatch(IstioModel, frozen=True, kw_only=True):
    """A virtual host."""

    name: str = ""
    domain_name: str = ""
    route: RouteMatch | None = None


class RouteConfigurationMatch(IstioModel, frozen=True, kw_only=True):
    """A route configuration."""

    port_number: UInt32 = 0
    port_name: str = ""
    gateway: str = ""
    vhost: VirtualHostMatch | None = None
    name: str = ""


class ClusterMatch(IstioModel, frozen=True, kw_only=True):
    """A cluster."""

    port_number: UInt32 = 0
    service: str = ""
    subset: str = ""
    name: str = ""


class WaypointRouteMatch(IstioModel, frozen=True, kw_only=True):
    """A route of a waypoint."""

    name: str = ""


class WaypointMatch(IstioModel, frozen=True, kw_only=True):
    """A waypoint."""

    filter: FilterMatch | None = None
    port_number: PortNumber | None = None
    route: WaypointRouteMatch | None = None


class ProxyMatch(IstioModel, frozen=True, kw_only=True):
    """A proxy by version and metadata."""

    proxy_version: str = ""
    metadata: dict[str, str] = EMPTY


class ConfigObjectMatch(IstioModel, frozen=True, kw_only=True):
    """The object a patch applies to."""

    context: Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"] = "ANY"
    proxy: ProxyMatch | None = None
    listener: ListenerMatch | None = None
    route_configuration: RouteConfigurationMatch | None = None
    cluster: ClusterMatch | None = None
    waypoint: WaypointMatch | None = None


class Patch(IstioModel, frozen=True, kw_only=True):
    """What to do to it."""

    operation: Literal[
        "INVALID",
        "MERGE",
        "ADD",
        "REMOVE",
        "INSERT_BEFORE",
        "INSERT_AFTER",
        "INSERT_FIRST",
        "REPLACE",
        "MERGE_AND_REPLACE_LIST",
    ] = "INVALID"
    value: dict[str, Any] = EMPTY
    filter_class: Literal["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"] = "UNSPECIFIED"


class ConfigPatch(IstioModel, frozen=True, kw_only=True):
    """One patch."""

    apply_to: Literal[
        "INVALID",
        "LISTENER",
        "FILTER_CHAIN",
        "NETWORK_FILTER",
        "HTTP_FILTER",
        "ROUTE_CONFIGURATION",
        "VIRTUAL_HOST",
        "HTTP_ROUTE",
        "CLUSTER",
        "EXTENSION_CONFIG",
        "BOOTSTRAP",
        "LISTENER_FILTER",
    ] = "INVALID"
    match: ConfigObjectMatch | None = None
    patch: Patch | None = None


class TargetReference(IstioModel, frozen=True, kw_only=True):
    """The resource a policy is attached to."""

    kind: Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")]
    name: Annotated[str, Meta(min_length=1, max_length=253)]
    group: Annotated[str, Meta(max_length=253)] = ""
    namespace: Annotated[str, Meta(max_length=0)] = ""


class EnvoyFilter(IstioModel, frozen=True, kw_only=True):
    """`spec` of an EnvoyFilter."""

    workload_selector: WorkloadSelector | None = None
    target_refs: Annotated[tuple[TargetReference, ...], Meta(max_length=16)] = ()
    config_patches: tuple[ConfigPatch, ...] = ()
    priority: Int32 = 0
