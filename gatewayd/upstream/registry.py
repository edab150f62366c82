"""What survives a configuration swap: clusters with their pools and counters, keyed by their spec.

The compiler calls ``adopt`` for each cluster its routes use. An equal spec gives the same object back, so an
unchanged cluster keeps everything. A reload compiles with a :class:`Draft`, in a thread perhaps: nothing of it is
in force before :meth:`Registry.commit`, which drops what the new snapshot does not hold any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from gatewayd.cells import Cells
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.dns import Resolver
from gatewayd.upstream.dynamic import DynamicCluster, Make
from gatewayd.upstream.group import make_group_cluster
from gatewayd.upstream.spec import DYNAMIC_DNS, ClusterSpec


class Registry:
    """The clusters of one worker; ``cells``: what it shares with others, if it is not alone."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, resolver: Resolver | None = None, *, cells: Cells | None = None
    ) -> None:
        self._loop = loop
        self._cells = cells
        self._make: Make = Cluster if cells is None else partial(make_group_cluster, cells=cells)
        self.resolver = resolver if resolver is not None else Resolver(loop)
        self.clusters: dict[str, Cluster | DynamicCluster] = {}
        self._retired: list[Cluster | DynamicCluster] = []

    def adopt(self, spec: ClusterSpec) -> Any:
        """The cluster of ``spec``: the one in use if nothing about it changed, else a new one."""
        cluster = self.clusters.get(spec.name)
        if cluster is None or cluster.spec != spec:
            if cluster is not None:
                self._retired.append(cluster)
            cluster = self.clusters[spec.name] = self.make(spec)
        return cluster

    def make(self, spec: ClusterSpec) -> Cluster | DynamicCluster:
        """A cluster that is not in force, and resolves nothing yet. Touches nothing of the loop."""
        if spec.discovery == DYNAMIC_DNS:
            return DynamicCluster(self._loop, self.resolver, spec, self._make)
        return self._make(self._loop, self.resolver, spec)

    def commit(self, draft: Draft) -> None:
        """Put the clusters of ``draft`` in force. Those nobody uses any more finish what they have under way."""
        before, self.clusters = self.clusters, draft.clusters
        for name, cluster in before.items():
            if draft.clusters.get(name) is not cluster:
                cluster.stop()
                self._retired.append(cluster)

    @property
    def unshared(self) -> int:
        """Counters that should be the group's and are this worker's alone, ever; 0 for a worker that is alone."""
        return self._cells.refused if self._cells is not None else 0

    async def warm(
        self, timeout_s: float, clusters: Iterable[Cluster | DynamicCluster] | None = None
    ) -> list[str]:
        """Start resolving and wait for the first answers; the names of clusters still without one."""
        chosen = list(self.clusters.values() if clusters is None else clusters)
        for cluster in chosen:
            cluster.start()
        waiting = [c for c in chosen if not c.resolved.is_set()]
        if waiting:
            tasks = [asyncio.ensure_future(cluster.resolved.wait()) for cluster in waiting]
            _, pending = await asyncio.wait(tasks, timeout=timeout_s)
            for task in pending:
                task.cancel()
        return [cluster.name for cluster in waiting if not cluster.resolved.is_set()]

    def sweep(self, now: float) -> None:
        """Close connections that were idle too long; called about once a second."""
        for cluster in self.clusters.values():
            cluster.sweep(now)
        if self._retired:
            self._retired = [cluster for cluster in self._retired if cluster.active]
            for cluster in self._retired:
                cluster.sweep(now)

    def drop_idle(self) -> None:
        """Close all connections that are idle, for want of memory (hardening 9.13)."""
        for cluster in (*self.clusters.values(), *self._retired):
            for endpoint in cluster.endpoints:
                for connection in endpoint.pools.all_idle:
                    endpoint.gone(connection)
                    connection.close()

    async def close(self) -> None:
        """Close everything (the process ends)."""
        for cluster in (*self.clusters.values(), *self._retired):
            cluster.close()
        await self.resolver.close()


class Draft:
    """The clusters of a snapshot that is being compiled beside the one in force."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.clusters: dict[str, Cluster | DynamicCluster] = {}
        #: those that were not in force before
        self.fresh: list[Cluster | DynamicCluster] = []

    def adopt(self, spec: ClusterSpec) -> Any:
        """The cluster of ``spec``: the one in force if nothing about it changed, else a new one."""
        cluster = self.clusters.get(spec.name)
        if cluster is None:
            cluster = self._registry.clusters.get(spec.name)
            if cluster is None or cluster.spec != spec:
                cluster = self._registry.make(spec)
                self.fresh.append(cluster)
            self.clusters[spec.name] = cluster
        return cluster

    def complete(self, adopted: Mapping[str, Any]) -> None:
        """All clusters of the snapshot are these, by name: some adopted here, others in force."""
        self.clusters = dict(adopted)
        for cluster in self.fresh:
            if adopted.get(cluster.name) is not cluster:
                cluster.close()
        self.fresh = [cluster for cluster in self.fresh if adopted.get(cluster.name) is cluster]

    def discard(self) -> None:
        """It will not be put in force."""
        for cluster in self.fresh:
            cluster.close()
        self.fresh = []
