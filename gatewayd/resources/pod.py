"""Kubernetes Pod and Namespace; only the fields gatewayd uses."""

from msgspec import field

from gatewayd.resources.model import KubeModel, PortNumber


class ContainerPort(KubeModel, frozen=True, kw_only=True):
    """A port a Service may name as its `targetPort`."""

    container_port: PortNumber
    name: str = ""
    protocol: str = "TCP"


class Container(KubeModel, frozen=True, kw_only=True):
    """A container of a Pod."""

    name: str = ""
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(KubeModel, frozen=True, kw_only=True):
    """`spec` of a Pod."""

    containers: tuple[Container, ...] = ()
    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False


class PodIP(KubeModel, frozen=True, kw_only=True):
    """One address of a Pod."""

    ip: str = ""


class PodCondition(KubeModel, frozen=True, kw_only=True):
    """One condition of a Pod; type `Ready` decides whether it gets traffic."""

    type: str = ""
    status: str = ""


class PodStatus(KubeModel, frozen=True, kw_only=True):
    """`status` of a Pod."""

    phase: str = ""
    pod_ip: str = field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = field(default=(), name="podIPs")
    conditions: tuple[PodCondition, ...] = ()


class Pod(KubeModel, frozen=True, kw_only=True):
    """A Pod document; its labels decide which subset an address belongs to (semantics 8.4.1)."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Namespace(KubeModel, frozen=True, kw_only=True):
    """A Namespace document: nothing but its name and labels matters."""
