"""DestinationRule: subsets of a service, and the policies towards it (semantics 8)."""

from gatewayd.resources.model import EMPTY, IstioModel
from gatewayd.resources.traffic_policy import TrafficPolicy
from gatewayd.resources.workload import LabelSelector


class Subset(IstioModel, frozen=True, kw_only=True):
    """Endpoints carrying all of `labels`; no labels means all endpoints (semantics 8.2.5)."""

    name: str
    labels: dict[str, str] = EMPTY
    traffic_policy: TrafficPolicy | None = None


class DestinationRule(IstioModel, frozen=True, kw_only=True):
    """`spec` of a DestinationRule."""

    host: str
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: LabelSelector | None = None
