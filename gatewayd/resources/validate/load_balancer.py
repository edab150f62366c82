"""Load balancer settings (semantics 9, 19.7)."""

from gatewayd.resources.traffic_policy import (
    ConsistentHash,
    LoadBalancer,
    LocalityLbSetting,
    OutlierDetection,
    ZoneAwareLbSetting,
)
from gatewayd.resources.validate.durations import check_duration
from gatewayd.resources.validate.notes import Notes, Path

#: Envoy's largest Maglev table.
_MAX_TABLE = 5_000_011
#: What says where something is.
_TOPOLOGY = frozenset(
    {"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"}
)


def check_load_balancer(
    balancer: LoadBalancer, outliers: OutlierDetection | None, path: Path, out: Notes
) -> None:
    """Check a balancer; `outliers` is the outlier detection beside it."""
    given = [
        name
        for name, value in (
            ("simple", balancer.simple),
            ("consistentHash", balancer.consistent_hash),
            ("backendUtilization", balancer.backend_utilization),
        )
        if value is not None
    ]
    if len(given) > 1:
        out.error(path, f"{' and '.join(given)} exclude each other")
    if balancer.consistent_hash is not None:
        _check_hash(balancer.consistent_hash, (*path, "consistentHash"), out)
    if balancer.simple == "LEAST_CONN":
        out.warning((*path, "simple"), "LEAST_CONN is deprecated", "use LEAST_REQUEST")
    if balancer.locality_lb_setting is not None:
        if balancer.zone_aware_lb_setting is not None:
            out.error(path, "localityLbSetting and zoneAwareLbSetting exclude each other")
        _check_locality(balancer, outliers, path, out)
    if balancer.zone_aware_lb_setting is not None:
        _check_zones(balancer.zone_aware_lb_setting, outliers, (*path, "zoneAwareLbSetting"), out)
    check_duration(balancer.warmup_duration_secs, (*path, "warmupDurationSecs"), out)
    if balancer.warmup is not None:
        here = (*path, "warmup")
        check_duration(balancer.warmup.duration, (*here, "duration"), out)
        aggression = balancer.warmup.aggression
        if aggression is not None and aggression < 1:
            out.error((*here, "aggression"), f"aggression must be 1 or more, not {aggression:g}")
        if balancer.warmup_duration_secs is not None:
            out.error(here, "warmup and warmupDurationSecs exclude each other")


def _check_locality(
    balancer: LoadBalancer, outliers: OutlierDetection | None, path: Path, out: Notes
) -> None:
    setting = balancer.locality_lb_setting
    if setting is None:
        return
    here = (*path, "localityLbSetting")
    if setting.distribute and (setting.failover or setting.failover_priority):
        out.error(here, "distribute excludes failover and failoverPriority")
    for index, share in enumerate(setting.distribute):
        total = sum(share.to.values())
        if total != 100:
            out.error((*here, "distribute", index, "to"), f"the weights must add up to 100, not {total}")
    _check_failover(setting, outliers, here, out)


def _check_zones(
    setting: ZoneAwareLbSetting, outliers: OutlierDetection | None, here: Path, out: Notes
) -> None:
    for index, label in enumerate(setting.failover_priority):
        if label.partition("=")[0] in _TOPOLOGY:
            out.error(
                (*here, "failoverPriority", index),
                f"{label} has no place here: the region always counts, zones never",
            )
    _check_failover(setting, outliers, here, out)


def _check_failover(
    setting: LocalityLbSetting | ZoneAwareLbSetting, outliers: OutlierDetection | None, here: Path, out: Notes
) -> None:
    for index, pair in enumerate(setting.failover):
        if pair.from_ == pair.to:
            out.error((*here, "failover", index), "a region cannot stand in for itself")
        elif not pair.from_ or not pair.to or "*" in pair.from_ + pair.to:
            out.error(
                (*here, "failover", index), "failover needs two regions, from and to, without wildcards"
            )
    if (setting.failover or setting.failover_priority) and outliers is None:
        out.warning(here, "failover has no effect without outlierDetection beside it")


def _check_hash(hashing: ConsistentHash, path: Path, out: Notes) -> None:
    inputs = [
        name
        for name, value in (
            ("httpHeaderName", hashing.http_header_name),
            ("httpCookie", hashing.http_cookie),
            ("useSourceIp", hashing.use_source_ip),
            ("httpQueryParameterName", hashing.http_query_parameter_name),
        )
        if value is not None
    ]
    if len(inputs) > 1:
        out.error(path, f"{' and '.join(inputs)} exclude each other")
    if hashing.ring_hash is not None and hashing.maglev is not None:
        out.error(path, "ringHash and maglev exclude each other")
    if hashing.http_cookie is not None and not hashing.http_cookie.name:
        out.error((*path, "httpCookie"), "a cookie needs a name")
    if hashing.maglev is not None and hashing.maglev.table_size:
        size = hashing.maglev.table_size
        if size > _MAX_TABLE or not _is_prime(size):
            out.error(
                (*path, "maglev", "tableSize"),
                f"tableSize must be a prime number up to {_MAX_TABLE}, not {size}",
            )


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
