"""What a worker's metrics are read from: counters of traffic, and the state of everything at the time of a scrape."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, Final

from gatewayd import __version__
from gatewayd.observe.batches import Batches
from gatewayd.observe.exposition import COUNTER, GAUGE, Family, labels, render
from gatewayd.observe.metrics import Source, Traffic
from gatewayd.observe.route_metrics import RouteMetrics
from gatewayd.proxy.tcp_proxy import TcpSession
from gatewayd.proxy.worker import TICK_S
from gatewayd.runtime.configuration import ConfigurationReader
from gatewayd.runtime.deployment import Deployment
from gatewayd.runtime.observing import Observing
from gatewayd.runtime.options import RunOptions
from gatewayd.tls.store import ServerTls
from gatewayd.upstream.registry import Registry

#: Ticks, one a second, of which the longest delay is told.
_LAG_TICKS: Final = 60
_LEVELS: Final = ("error", "warning", "info")
#: So many clusters or certificates are looked at in one go.
_STEP: Final = 200


class Measures:
    """The metrics of one worker."""

    def __init__(
        self,
        options: RunOptions,
        finished: Batches,
        deployment: Deployment,
        registry: Registry,
        reader: ConfigurationReader,
        observing: Observing,
    ) -> None:
        self.traffic = Traffic(Source(options.labels, options.namespace))
        self.routes = RouteMetrics(lambda: deployment.counts_routes)
        finished.takers += [self.traffic.take, self.routes.take]
        self._finished = finished
        self._deployment = deployment
        self._registry = registry
        self._reader = reader
        self._observing = observing
        self._lags: deque[float] = deque(maxlen=_LAG_TICKS)
        self._expected = 0.0
        self._started = _start_time_s()
        self._reloads: Counter[str] = Counter({"IN_FORCE": 0, "UNCHANGED": 0, "REFUSED": 0})
        self._kept = 0

    def tick(self, now: float) -> None:
        """Called by the loop when ``TICK_S`` has gone since the last time, or later."""
        if self._expected:
            self._lags.append(max(0.0, now - self._expected))
        self._expected = now + TICK_S

    def reloaded(self, outcome: Any) -> None:
        """A reload came to an end (:class:`gatewayd.runtime.reload.Outcome`)."""
        self._reloads[outcome.result] += 1
        self._kept = len(outcome.kept)

    def scrape(self) -> Iterator[bytes]:
        """The whole text in small pieces; counters and gauges are read as the pieces are made."""
        self._finished.flush()
        sessions = self._sessions()
        # Nothing else may run before the first piece: a session is under way or has ended, never both.
        yield from self.traffic.render(sessions)
        yield from self.routes.render()
        clusters: list[tuple[str, Any]] = []
        for name, cluster in list(self._registry.clusters.items()):
            clusters.append((labels(cluster_name=name), cluster))
            if not len(clusters) % _STEP:
                yield b""  # thousands of them: let the loop do something else
        yield from render(self._cluster_families(clusters, sessions))
        yield from render(self._listener_families())
        ends: dict[str, float] = {}
        for count, holder in enumerate(self._reader.certificates.store.holders):
            _note_ends(holder, ends)
            if not count % _STEP:
                yield b""
        yield from render(self._configuration_families(ends))
        yield from render(self._observing.families())
        yield from render(self._process_families())

    def _sessions(self) -> Counter[str]:
        """TCP sessions under way, by cluster."""
        found: Counter[str] = Counter()
        for listener in self._deployment.all_listeners:
            for connection in listener.connections:
                if isinstance(connection, TcpSession) and connection.upstream_cluster:
                    found[connection.upstream_cluster] += 1
        return found

    # Upstream

    def _cluster_families(self, clusters: list[tuple[str, Any]], sessions: Counter[str]) -> Iterator[Family]:
        def family(name: str, kind: str, help: str, read: Any) -> Family:
            return Family(
                f"envoy_cluster_{name}", kind, help, ((text, read(cluster)) for text, cluster in clusters)
            )

        yield family(
            "upstream_rq_total", COUNTER, "Requests and TCP connections sent to it.", lambda c: c.total
        )
        yield family("upstream_rq_active", GAUGE, "Those under way.", lambda c: c.active)
        yield family("upstream_rq_pending_active", GAUGE, "Requests that wait for a connection.", _waiting)
        yield family("upstream_rq_pending_overflow", COUNTER, "Refused by a limit.", _overflows)
        retries = self.traffic.retries
        yield family("upstream_rq_retry", COUNTER, "Further attempts.", lambda c: retries.get(c.name, 0))
        yield family(
            "upstream_cx_total", COUNTER, "Connections opened.", lambda c: sum(t.opened for t in _tallies(c))
        )
        yield family(
            "upstream_cx_connect_fail",
            COUNTER,
            "Connections that could not be opened.",
            lambda c: sum(t.failed for t in _tallies(c)),
        )
        yield family(
            "upstream_cx_active",
            GAUGE,
            "Open connections.",
            lambda c: sum(len(e.connections) for e in c.endpoints) + sessions.get(c.name, 0),
        )
        yield family("membership_total", GAUGE, "Endpoints.", lambda c: len(c.endpoints))
        yield family(
            "membership_healthy",
            GAUGE,
            "Endpoints in use.",
            lambda c: sum(bool(e.ready) for e in c.endpoints),
        )
        yield family(
            "outlier_detection_ejections_active", GAUGE, "Endpoints left out for their failures.", _ejected
        )

    # Downstream

    def _listener_families(self) -> Iterator[Family]:
        listeners = [(labels(listener_address=each.spec.name), each) for each in self._deployment.listeners]
        name = "envoy_listener_downstream_cx"
        yield Family(
            f"{name}_total", COUNTER, "Connections accepted.", [(t, each.accepted) for t, each in listeners]
        )
        yield Family(
            f"{name}_active",
            GAUGE,
            "Open connections.",
            [(t, len(each.connections)) for t, each in listeners],
        )
        refused = [(text, self._deployment.refused(each)) for text, each in listeners]
        yield Family(
            "envoy_listener_ssl_connection_error",
            COUNTER,
            "TLS handshakes that failed.",
            [(text, counts.get("tls_handshake", 0)) for text, counts in refused],
        )
        yield Family(
            "gatewayd_listener_refused_total",
            COUNTER,
            "Connections turned away before they were anybody's.",
            [
                (f"{text},{labels(reason=reason)}", count)
                for text, counts in refused
                for reason, count in sorted(counts.items())
            ],
        )

    # Configuration

    def _configuration_families(self, ends: dict[str, float]) -> Iterator[Family]:
        in_force = self._reader.in_force
        levels = Counter(each.level for each in in_force.findings) if in_force is not None else Counter()
        yield Family(
            "gatewayd_config_findings",
            GAUGE,
            "Findings about the configuration in force.",
            [(labels(level=level), levels[level]) for level in _LEVELS],
        )
        yield Family(
            "gatewayd_config_reloads_total",
            COUNTER,
            "Reloads that were told of, by what they came to.",
            [(labels(result=result.lower()), count) for result, count in sorted(self._reloads.items())],
        )
        yield Family(
            "gatewayd_config_kept_resources",
            GAUGE,
            "Resources served in their last good version.",
            [("", self._kept)],
        )
        holders = self._reader.certificates.store.holders
        yield Family(
            "gatewayd_certificate_expiration_unix_time_seconds",
            GAUGE,
            "When the certificate in use ends, the first of several.",
            ends.items(),
        )
        yield Family(
            "gatewayd_certificate_problems",
            GAUGE,
            "Owners of certificates that are missing, or not the newest.",
            [("", sum(bool(holder.problem) for holder in holders))],
        )

    # The process

    def _process_families(self) -> Iterator[Family]:
        build = labels(version=__version__, python=platform.python_version())
        usage = resource.getrusage(resource.RUSAGE_SELF)
        overloaded, refused = self._deployment.overload
        for name, kind, help, text, value in (
            ("gatewayd_build_info", GAUGE, "What runs.", build, 1.0),
            ("gatewayd_loop_lag_seconds", GAUGE, "The longest delay of a tick in the last minute.", "",
             round(max(self._lags, default=0.0), 6)),
            ("gatewayd_overloaded", GAUGE, "Whether new requests get 503 for want of time or memory.", "",
             int(overloaded)),
            ("gatewayd_overload_refused_total", COUNTER, "Requests that got 503 for it.", "", refused),
            ("gatewayd_unshared_counters_total", COUNTER, "Counters that the workers could not share.", "",
             self._registry.unshared),
            ("process_cpu_seconds_total", COUNTER, "User and system time.", "",
             round(usage.ru_utime + usage.ru_stime, 6)),
            ("process_resident_memory_bytes", GAUGE, "Resident memory.", "", _resident_bytes()),
            ("process_open_fds", GAUGE, "Open descriptors.", "", len(os.listdir("/proc/self/fd")) - 1),
            ("process_max_fds", GAUGE, "How many there may be.", "",
             resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
            ("process_start_time_seconds", GAUGE, "Seconds since 1970.", "", self._started),
        ):  # fmt: skip
            yield Family(name, kind, help, ((text, value),))


def _note_ends(holder: Any, ends: dict[str, float]) -> None:
    """When the certificates of a TLS holder end, the first of each owner."""
    role = "server" if isinstance(holder, ServerTls) else "client"
    for leaf in holder.leaves:
        text = labels(owner=holder.spec.owner, role=role)
        ends[text] = min(leaf.not_after_s, ends.get(text, leaf.not_after_s))


def _waiting(cluster: Any) -> int:
    return sum(len(endpoint.waiting) for endpoint in cluster.endpoints)


def _overflows(cluster: Any) -> int:
    budget = getattr(cluster, "budget", None)
    return budget.overflows if budget is not None else 0


def _ejected(cluster: Any) -> int:
    detector = getattr(cluster, "detector", None)
    return detector.ejected if detector is not None else 0


def _tallies(cluster: Any) -> list[Any]:
    """That of the cluster, or those of the names a dynamic one knows now."""
    own = getattr(cluster, "tally", None)
    return [own] if own is not None else [host.cluster.tally for host in cluster.hosts.values()]


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _start_time_s() -> float:
    return round(time.time() - (time.monotonic() - _began_monotonic_s()), 3)


def _began_monotonic_s() -> float:
    """When this process began, as the monotonic clock counts: ticks since boot, field 22 of its stat."""
    with open("/proc/self/stat", encoding="utf-8") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK") - (time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic())
