"""Kubernetes Service, Endpoints and EndpointSlice (semantics 12); only the fields gatewayd uses."""

from msgspec import field

from gatewayd.resources.model import EMPTY, KubeModel, PortNumber


class KubeServicePort(KubeModel, frozen=True, kw_only=True):
    """A port of a Service. `target_port` is a number or the name of a container port; None means `port`."""

    port: PortNumber
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    target_port: int | str | None = None
    node_port: int | None = None


class Service(KubeModel, frozen=True, kw_only=True):
    """`spec` of a Service. `cluster_ip` is `None` as text for a headless one."""

    ports: tuple[KubeServicePort, ...] = ()
    selector: dict[str, str] = EMPTY
    type: str = "ClusterIP"
    cluster_ip: str = field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = field(default=(), name="clusterIPs")
    external_name: str = ""
    external_ips: tuple[str, ...] = field(default=(), name="externalIPs")
    internal_traffic_policy: str = "Cluster"
    traffic_distribution: str = ""
    publish_not_ready_addresses: bool = False


class TargetRef(KubeModel, frozen=True, kw_only=True):
    """The object behind an address; a Pod when its labels matter (semantics 12.7)."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class EndpointAddress(KubeModel, frozen=True, kw_only=True):
    """An address of an Endpoints subset."""

    ip: str
    hostname: str = ""
    node_name: str | None = None
    target_ref: TargetRef | None = None


class EndpointPort(KubeModel, frozen=True, kw_only=True):
    """A port of Endpoints or of an EndpointSlice. An unnamed one belongs to the Service's unnamed port."""

    port: PortNumber | None = None
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None


class EndpointSubset(KubeModel, frozen=True, kw_only=True):
    """Addresses that share ports."""

    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(KubeModel, frozen=True, kw_only=True):
    """An Endpoints document; it belongs to the Service of the same name."""

    subsets: tuple[EndpointSubset, ...] = ()


class EndpointConditions(KubeModel, frozen=True, kw_only=True):
    """State of an endpoint; `ready` None counts as ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(KubeModel, frozen=True, kw_only=True):
    """An endpoint of a slice."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions | None = None
    hostname: str = ""
    node_name: str | None = None
    zone: str | None = None
    target_ref: TargetRef | None = None


class EndpointSlice(KubeModel, frozen=True, kw_only=True):
    """An EndpointSlice document; label `kubernetes.io/service-name` says whose. FQDN slices are ignored."""

    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()
