"""Which endpoints are near: priorities and weights by locality (semantics 9.14 to 9.16, 9.18).

A locality is ``region/zone/subzone``, later parts may be missing. The proxy's own is said by its labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Final

from gatewayd.compiler.locality_labels import TOPOLOGY, Parts, locality_of, parts_of
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.resources.meta import Resource
from gatewayd.resources.service import Service as KubeService
from gatewayd.resources.traffic_policy import (
    LoadBalancer,
    LocalityDistribute,
    LocalityFailover,
    LocalityLbSetting,
    ZoneAwareLbSetting,
)
from gatewayd.upstream.spec import ClusterSpec, EndpointSpec

_NETWORK: Final = "topology.istio.io/network"
_DISTRIBUTION: Final = "networking.istio.io/traffic-distribution"
#: ``trafficDistribution`` -> what is compared, the most important first (9.16)
_CLOSE: Final = (_NETWORK, *TOPOLOGY)
_DISTRIBUTIONS: Final = {
    "PreferClose": _CLOSE,
    "PreferSameZone": _CLOSE,
    "PreferSameNode": (*_CLOSE, "kubernetes.io/hostname"),
}


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the proxy is."""

    parts: Parts = ("", "", "")
    #: with those of the locality
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, labels: Mapping[str, str] | None) -> Whereabouts:
        """From the proxy's labels."""
        locality = locality_of(labels or {})
        return cls(parts_of(locality), _with_topology(labels or {}, parts_of(locality)))


def with_localities(
    spec: ClusterSpec,
    balancer: LoadBalancer | None,
    resource: Resource[Any] | None,
    mesh: MeshConfig,
    here: Whereabouts,
) -> ClusterSpec:
    """``spec`` with priorities, or with weights of localities. ``resource``: the Service or ServiceEntry."""
    zones = balancer.zone_aware_lb_setting if balancer is not None else None
    if zones is not None and zones.enabled:
        return _by_region(spec, zones, here)
    setting, forced = _locality_setting(balancer, resource, mesh)
    return _by_locality(spec, setting, here, failover=forced or spec.outlier is not None)


def _locality_setting(
    balancer: LoadBalancer | None, resource: Resource[Any] | None, mesh: MeshConfig
) -> tuple[LocalityLbSetting | None, bool]:
    """The setting in force, and whether it holds without outlier detection (9.16); None: localities mean nothing."""
    own = balancer.locality_lb_setting if balancer is not None else None
    if own is not None:
        return (None if own.enabled is False else own), False
    if resource is not None:
        labels = _DISTRIBUTIONS.get(_distribution(resource))
        if labels is not None:
            return LocalityLbSetting(failover_priority=labels), True
    general = mesh.locality_lb_setting
    return (None if general.enabled is False else general), False


def _distribution(resource: Resource[Any]) -> str:
    written = resource.metadata.annotations.get(_DISTRIBUTION, "")
    if not written and isinstance(resource.spec, KubeService):
        written = resource.spec.traffic_distribution
    return written


def _by_locality(
    spec: ClusterSpec, setting: LocalityLbSetting | None, here: Whereabouts, *, failover: bool
) -> ClusterSpec:
    """The same under a ``localityLbSetting``.

    failover: outlier detection is on, or the setting needs none; without it only ``distribute`` has an effect.
    """
    if setting is None:
        return spec
    spec = _in_a_region(spec, here)
    if setting.distribute:
        return _distributed(replace(spec, locality_weighted=True), setting.distribute, here.parts)
    if not failover:
        return spec
    ranks = [0] * len(spec.endpoints)
    if setting.failover_priority and here.labels:
        ranks = [_rank_by_labels(endpoint, setting.failover_priority, here) for endpoint in spec.endpoints]
    if setting.failover or not setting.failover_priority:
        ranks = [
            rank * 5 + _rank_by_locality(parts_of(endpoint.locality), setting.failover, here.parts)
            for rank, endpoint in zip(ranks, spec.endpoints, strict=True)
        ]
    weighted = bool(setting.failover or setting.failover_priority)
    return replace(_with_priorities(spec, ranks), locality_weighted=weighted)


def _by_region(spec: ClusterSpec, setting: ZoneAwareLbSetting, here: Whereabouts) -> ClusterSpec:
    """The proxy's own region first, the zones within it alike (9.18); a proxy that is nowhere has none."""
    if not here.parts[0]:
        return spec
    spec = _in_a_region(spec, here)
    ranks = [
        _rank_by_labels(endpoint, setting.failover_priority, here) * 3
        + _rank_by_region(parts_of(endpoint.locality)[0], setting.failover, here.parts[0])
        for endpoint in spec.endpoints
    ]
    return _with_priorities(spec, ranks)


def _with_priorities(spec: ClusterSpec, ranks: Sequence[int]) -> ClusterSpec:
    """One priority for each rank that occurs, without gaps."""
    order = {rank: index for index, rank in enumerate(sorted(set(ranks)))}
    endpoints = zip(ranks, spec.endpoints, strict=True)
    return replace(
        spec, endpoints=tuple(replace(endpoint, priority=order[rank]) for rank, endpoint in endpoints)
    )


def _in_a_region(spec: ClusterSpec, here: Whereabouts) -> ClusterSpec:
    if not here.parts[0]:
        return spec
    return replace(spec, endpoints=tuple(_in_region(one, here.parts[0]) for one in spec.endpoints))


def _in_region(endpoint: EndpointSpec, region: str) -> EndpointSpec:
    """A zone without a region is one of the proxy's own: so slices say it, for a cluster has one region."""
    if not endpoint.locality.startswith("/"):
        return endpoint
    return replace(endpoint, locality=region + endpoint.locality)


def _rank_by_locality(there: Parts, failover: Sequence[LocalityFailover], here: Parts) -> int:
    """0: the same place, 1: the same zone, 2: the same region, 3: elsewhere, 4: elsewhere, and not what stands in."""
    if there[0] == here[0]:
        if there[1] == here[1]:
            return 0 if there[2] == here[2] else 1
        return 2
    return 2 + _rank_by_region(there[0], failover, here[0])


def _rank_by_region(there: str, failover: Sequence[LocalityFailover], here: str) -> int:
    """0: the same region, 1: elsewhere, 2: elsewhere, and not what stands in."""
    if there == here:
        return 0
    stand_in = next((pair.to for pair in failover if pair.from_ == here), None)
    return 1 if stand_in is None or there == stand_in else 2


def _rank_by_labels(endpoint: EndpointSpec, wanted: Sequence[str], here: Whereabouts) -> int:
    """0 when all labels are as wanted, and one more for each that is not looked at any more (9.15).

    ``label=value`` wants this value, a bare label that of the proxy.
    """
    labels = _with_topology(dict(endpoint.labels), parts_of(endpoint.locality))
    for at, entry in enumerate(wanted):
        label, mark, value = entry.partition("=")
        if labels.get(label, "") != (value if mark else here.labels.get(label, "")):
            return len(wanted) - at
    return 0


def _with_topology(labels: Mapping[str, str], parts: Parts) -> dict[str, str]:
    return {**labels, **{label: part for label, part in zip(TOPOLOGY, parts, strict=True) if part}}


def _distributed(spec: ClusterSpec, entries: Sequence[LocalityDistribute], here: Parts) -> ClusterSpec:
    """Weights by the first entry that is for the proxy's place; what no ``to`` covers gets nothing (9.15)."""
    entry = next((entry for entry in entries if _covers(entry.from_)(here)), None)
    if entry is None:
        return spec
    sizes: dict[str, int] = {}
    for endpoint in spec.endpoints:
        sizes[endpoint.locality] = sizes.get(endpoint.locality, 0) + max(1, endpoint.weight)
    weights: dict[str, int] = {}
    for pattern, share in entry.to.items():
        covered = _covers(pattern)
        chosen = [at for at in sizes if at not in weights and covered(parts_of(at))]
        total = sum(sizes[at] for at in chosen)
        for at in chosen:
            # A share of 0 changes nothing in Istio: such a locality keeps the weight of its endpoints.
            weights[at] = ceil(sizes[at] * share / total) or sizes[at]
    return replace(
        spec,
        endpoints=tuple(endpoint for endpoint in spec.endpoints if endpoint.locality in weights),
        locality_weights=tuple(weights.items()),
    )


def _covers(pattern: str) -> Callable[[Parts], bool]:
    """Whether a locality is meant: ``*`` is any part, and so is a zone or subzone that is not there."""
    region, zone, subzone = parts_of(pattern)

    def covered(parts: Parts) -> bool:
        return region in ("*", parts[0]) and zone in ("*", "", parts[1]) and subzone in ("*", "", parts[2])

    return covered
