"""What a worker's metrics are read from: counters of traffic, and the state of everything at the time of a look."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Final

from gatewayd.observe.batches import Batches
from gatewayd.observe.exposition import COUNTER, Family, Sample, labels, rows
from gatewayd.observe.istio_metrics import Source, http_families, tcp_families
from gatewayd.observe.route_metrics import RouteMetrics
from gatewayd.observe.sums import Sums, summed
from gatewayd.observe.timeline import Timeline
from gatewayd.observe.traffic import Traffic
from gatewayd.proxy.tcp_proxy import TcpSession
from gatewayd.proxy.worker import TICK_S
from gatewayd.runtime.deployment import Deployment
from gatewayd.runtime.measures.downstream import downstream_families
from gatewayd.runtime.measures.process import overload_families, process_families
from gatewayd.runtime.measures.upstream import Clusters, labelled, upstream_families
from gatewayd.runtime.observing import Observing
from gatewayd.runtime.options import RunOptions
from gatewayd.upstream.registry import Registry

#: Ticks, one a second, of which the longest delay is told.
_LAG_TICKS: Final = 60


class Measures:
    """The counters of one worker, and where the rest is found."""

    def __init__(
        self,
        options: RunOptions,
        finished: Batches,
        deployment: Deployment,
        registry: Registry,
        observing: Observing,
    ) -> None:
        self.timeline = Timeline(time.time() - time.monotonic())
        self.traffic = Traffic(self.timeline)
        self._routes = RouteMetrics(lambda: deployment.counts_routes)
        finished.takers += [self.traffic.take, self._routes.take]
        self._source = Source(options.labels, options.namespace)
        self._finished = finished
        self._deployment = deployment
        self._registry = registry
        self._observing = observing
        self._lags: deque[float] = deque(maxlen=_LAG_TICKS)
        self._expected = 0.0
        #: counters when they were last set to 0: by metric and labels
        self._base: dict[str, dict[str, float]] = {}

    def tick(self, now: float) -> None:
        """Called by the loop when ``TICK_S`` has gone since the last time, or later."""
        if self._expected:
            self._lags.append(max(0.0, now - self._expected))
        self._expected = now + TICK_S
        second = self.timeline.second(time.monotonic())
        self.timeline.total.sample(second, self._deployment.connections)

    @property
    def lag_s(self) -> float:
        """The longest delay of a tick in the last minute."""
        return max(self._lags, default=0.0)

    def make_room(self) -> None:
        """Another configuration is in force: if there are many cells, those of what is gone become one."""
        if not self.traffic.crowded:
            return
        self.settle()
        rules = {
            rule.route.source.title
            for listener in self._deployment.all_listeners
            for chain in listener.spec.chains
            if chain.routes is not None
            for host in chain.routes.virtual_hosts
            for rule in host.rules
            if rule.route.source is not None
        }
        endpoints = {
            (name, endpoint.host_port)
            for name, cluster in self._registry.clusters.items()
            for endpoint in cluster.endpoints
        }
        self.traffic.retain(rules, lambda cluster, endpoint: (cluster, endpoint) in endpoints)

    def settle(self) -> None:
        """Count everything that has ended until now."""
        self._finished.flush()
        self.traffic.settle()

    def sums(self) -> Generator[None, None, Sums]:
        """What all traffic came to, added up with pauses."""
        self.settle()
        return (yield from summed(self.traffic))

    def rows(self) -> Iterator[dict[str, Any] | None]:
        """All families as rows (:func:`gatewayd.observe.exposition.rows`), with pauses."""
        yield from rows(self._from_base((yield from self._gather())))

    def reset(self) -> Iterator[None]:
        """Counters begin at 0 again; histograms go on, as Envoy's do."""
        base: dict[str, dict[str, float]] = {}
        for family in (yield from self._gather()):
            if family.kind == COUNTER:
                found = base.setdefault(family.name, {})
                for sample in family.samples:
                    if sample is None:
                        yield
                    else:
                        found[sample[0]] = sample[1]  # type: ignore[assignment]  # a counter's is a number
        self._base = base

    def _gather(self) -> Generator[None, None, Iterator[Family]]:
        self.settle()
        # Nothing else may run between these two: a session is under way or has ended, never both.
        sessions = self._sessions()
        tcp = {key: list(cell) for key, cell in self.traffic.tcp.items()}
        sums = yield from summed(self.traffic)
        clusters = yield from labelled(self._registry)
        return self._families(sessions, tcp, sums, clusters)

    def _families(self, sessions: Counter[str], tcp: Any, sums: Sums, clusters: Clusters) -> Iterator[Family]:
        yield from http_families(self._source, sums)
        yield from tcp_families(self._source, tcp, sessions)
        yield Family(
            "gatewayd_metrics_overflow_total",
            COUNTER,
            "Requests and connections that no series was left for.",
            ((labels(metric="http"), sums.overflow), (labels(metric="tcp"), self.traffic.overflow_tcp)),
        )
        yield from self._routes.families()
        yield from upstream_families(clusters, self.traffic, sums, sessions)
        yield from downstream_families(self._deployment, sums)
        yield from self._observing.families()
        yield from overload_families(self._deployment, self._registry)
        yield from process_families(self.lag_s)

    def _from_base(self, families: Iterable[Family]) -> Iterator[Family]:
        for family in families:
            base = self._base.get(family.name)
            yield family if base is None else family._replace(samples=_since(base, family.samples))

    def _sessions(self) -> Counter[str]:
        """TCP sessions under way, by cluster."""
        found: Counter[str] = Counter()
        for listener in self._deployment.all_listeners:
            for connection in listener.connections:
                if isinstance(connection, TcpSession) and connection.upstream_cluster:
                    found[connection.upstream_cluster] += 1
        return found


def _since(base: dict[str, float], samples: Iterable[Sample | None]) -> Iterator[Sample | None]:
    """Counters less what they were. One that is lower has begun anew since, as a changed cluster's does."""
    for sample in samples:
        if sample is None or len(sample) != 2:
            yield sample
            continue
        text, value = sample
        before = base.get(text, 0)
        yield text, value - before if value >= before else value
