"""Metrics of clusters, named as Envoy's with Istio's label ``cluster_name``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final

from gatewayd.observe.exposition import COUNTER, GAUGE, MAX, MIN, SUM, Family, Sample, labels
from gatewayd.observe.sums import Sums, class_of
from gatewayd.observe.traffic import Attempts, Traffic
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.registry import Registry

#: Clusters looked at in one go.
_STEP: Final = 100
_NONE: Final = Attempts()

#: (name, label text, cluster)
Clusters = list[tuple[str, str, Any]]
#: (name, kind, merge, help, what is read of a cluster)
Row = tuple[str, str, str, str, Callable[[Any], float]]


def labelled(registry: Registry) -> Generator[None, None, Clusters]:
    """All clusters with the text of their label, with pauses: there may be thousands."""
    found: Clusters = []
    for name, cluster in list(registry.clusters.items()):
        found.append((name, labels(cluster_name=name), cluster))
        if not len(found) % _STEP:
            yield
    return found


def upstream_families(
    clusters: Clusters, traffic: Traffic, sums: Sums, sessions: Mapping[str, int]
) -> Iterator[Family]:
    """The families of all clusters; ``sessions``: TCP sessions under way, by cluster."""
    yield Family(
        "envoy_cluster_manager_active_clusters", GAUGE, "Clusters in use.", [("", len(clusters))], MAX
    )
    for name, kind, merge, help, read in _rows(traffic.attempts, sessions):
        yield Family(f"envoy_cluster_{name}", kind, help, _paced(_read(clusters, read)), merge)
    yield from _breakers([each for each in clusters if getattr(each[2], "budget", None) is not None])
    yield from _outliers([each for each in clusters if getattr(each[2], "detector", None) is not None])
    for name, help, key in (
        ("upstream_rq", "Requests by the status that was answered.", _code),
        ("upstream_rq_xx", "Requests by the class of that status.", _class),
        ("upstream_rq_completed", "Requests that were answered.", lambda status: ""),
    ):
        yield Family(f"envoy_cluster_{name}", COUNTER, help, _counted(clusters, sums, key))


def _rows(attempts: Mapping[str, Attempts], sessions: Mapping[str, int]) -> Iterator[Row]:
    def of(cluster: Any) -> Attempts:
        return attempts.get(cluster.name, _NONE)

    def open_connections(cluster: Any) -> int:
        return sum(len(e.connections) for e in cluster.endpoints) + sessions.get(cluster.name, 0)

    yield "upstream_rq_total", COUNTER, SUM, "Requests and TCP connections sent to it.", lambda c: c.total
    yield "upstream_rq_active", GAUGE, SUM, "Those under way.", lambda c: c.active
    yield "upstream_rq_pending_active", GAUGE, SUM, "Requests that wait for a connection.", _waiting
    yield "upstream_rq_pending_overflow", COUNTER, SUM, "Refused by a limit.", _overflows
    yield "upstream_rq_retry", COUNTER, SUM, "Further attempts.", lambda c: of(c).retries
    yield "upstream_rq_retry_success", COUNTER, SUM, "Requests saved by one.", lambda c: of(c).rescued
    yield (
        *("upstream_rq_retry_limit_exceeded", COUNTER, SUM, "Requests whose last allowed one failed too."),
        lambda c: of(c).exhausted,
    )
    yield "upstream_rq_timeout", COUNTER, SUM, "Requests that took too long.", lambda c: of(c).timeouts
    yield (
        *("upstream_rq_per_try_timeout", COUNTER, SUM, "Requests whose last attempt took too long."),
        lambda c: of(c).per_try_timeouts,
    )
    yield "upstream_cx_total", COUNTER, SUM, "Connections opened.", lambda c: _tally(c, "opened")
    yield "upstream_cx_active", GAUGE, SUM, "Open connections.", open_connections
    yield (
        *("upstream_cx_connect_fail", COUNTER, SUM, "Connections that could not be opened."),
        lambda c: _tally(c, "failed"),
    )
    yield (
        *("upstream_cx_connect_timeout", COUNTER, SUM, "Those of which the time was up."),
        lambda c: _tally(c, "timed_out"),
    )
    yield "membership_total", GAUGE, MAX, "Endpoints.", lambda c: len(c.endpoints)
    yield "membership_healthy", GAUGE, MIN, "Endpoints in use.", _healthy


def _breakers(clusters: Clusters) -> Iterator[Family]:
    """Whether limits are reached, of the clusters that have any (semantics 8.3)."""
    for name, what, room in (
        ("cx_open", "for connections", Budget.room_for_connection),
        ("rq_pending_open", "for waiting requests", Budget.room_for_pending),
        ("rq_open", "for requests", Budget.room_to_send),
    ):
        yield Family(
            f"envoy_cluster_circuit_breakers_default_{name}",
            GAUGE,
            f"1 while the limit {what} is reached.",
            _paced(_read(clusters, lambda cluster, room=room: float(not room(cluster.budget)))),  # type: ignore[misc]
            MAX,
        )
    yield Family(
        "envoy_cluster_circuit_breakers_default_rq_retry_open",
        GAUGE,
        "1 while the limit for retries is reached.",
        _paced(_read(clusters, lambda c: float(not c.budget.room_for_retry(c.active)))),
        MAX,
    )


def _outliers(clusters: Clusters) -> Iterator[Family]:
    """Of clusters that watch their endpoints. Workers eject together, so each knows them all."""
    for name, kind, help, read in (
        ("ejections_active", GAUGE, "Endpoints left out for their failures.", lambda c: c.detector.ejected),
        ("ejections_enforced_total", COUNTER, "Times one was left out.", _ejections),
    ):
        samples = _paced(_read(clusters, read))
        yield Family(f"envoy_cluster_outlier_detection_{name}", kind, help, samples, MAX)


def _read(clusters: Clusters, read: Callable[[Any], float]) -> Iterator[Sample]:
    for _, text, cluster in clusters:
        yield text, read(cluster)


def _counted(clusters: Clusters, sums: Sums, key: Callable[[int], str | None]) -> Iterator[Sample | None]:
    """Statuses of each cluster by what ``key`` makes of them; most may never have been asked for."""
    for at, (cluster, text, _) in enumerate(clusters, 1):
        statuses = sums.clusters.get(cluster)
        if statuses:
            for before, count in _by(key, statuses).items():
                yield f"{before},{text}" if before else text, count
        if not at % _STEP:
            yield None


def _paced(samples: Iterator[Sample]) -> Iterator[Sample | None]:
    for count, sample in enumerate(samples, 1):
        yield sample
        if not count % _STEP:
            yield None


def _by(key: Callable[[int], str | None], statuses: Mapping[int, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for status, count in statuses.items():
        before = key(status)
        if before is not None:
            found[before] += count
    return found


def _code(status: int) -> str | None:
    return labels(response_code=str(status)) if status > 0 else None


def _class(status: int) -> str | None:
    number = class_of(status)
    return labels(response_code_class=f"{number}xx") if number > 0 else None


def _waiting(cluster: Any) -> int:
    return sum(len(endpoint.waiting) for endpoint in cluster.endpoints)


def _healthy(cluster: Any) -> int:
    return sum(bool(endpoint.ready) for endpoint in cluster.endpoints)


def _overflows(cluster: Any) -> int:
    budget = getattr(cluster, "budget", None)
    return budget.overflows if budget is not None else 0


def _ejections(cluster: Any) -> int:
    return sum(endpoint.health.ejections for endpoint in cluster.endpoints)


def _tally(cluster: Any, what: str) -> int:
    """Of the cluster, or of the names a dynamic one knows now."""
    own = getattr(cluster, "tally", None)
    tallies = [own] if own is not None else [host.cluster.tally for host in cluster.hosts.values()]
    return sum(getattr(tally, what) for tally in tallies)
