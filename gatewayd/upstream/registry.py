"""What survives a configuration swap: clusters with their pools and counters, keyed by their spec.

The compiler calls :meth:`Registry.adopt` for each cluster its routes use. An equal spec gives the same
object back, so an unchanged cluster keeps everything; :meth:`Registry.retire` drops those that the
snapshot in force does not hold any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.dns import Resolver
from gatewayd.upstream.dynamic import DynamicCluster
from gatewayd.upstream.spec import DYNAMIC_DNS, ClusterSpec


class Registry:
    """The clusters of one worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop, resolver: Resolver | None = None) -> None:
        self._loop = loop
        self.resolver = resolver if resolver is not None else Resolver(loop)
        self.clusters: dict[str, Cluster | DynamicCluster] = {}
        self._retired: list[Cluster | DynamicCluster] = []

    def adopt(self, spec: ClusterSpec) -> Any:
        """The cluster of ``spec``: the one in use if nothing about it changed, else a new one."""
        cluster = self.clusters.get(spec.name)
        if cluster is None or cluster.spec != spec:
            if cluster is not None:
                self._retired.append(cluster)
            make = DynamicCluster if spec.discovery == DYNAMIC_DNS else Cluster
            cluster = make(self._loop, self.resolver, spec)
            self.clusters[spec.name] = cluster
        return cluster

    def retire(self, keep: Iterable[str]) -> None:
        """Stop every cluster whose name is not in ``keep``, and those replaced by :meth:`adopt`."""
        names = set(keep)
        for name in [name for name in self.clusters if name not in names]:
            self._retired.append(self.clusters.pop(name))
        for cluster in self._retired:
            cluster.stop()
        self._retired = []

    async def warm(self, timeout_s: float) -> list[str]:
        """Start resolving and wait for the first answers; the names of clusters still without one."""
        for cluster in self.clusters.values():
            cluster.start()
        waiting = [c for c in self.clusters.values() if not c.resolved.is_set()]
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

    async def close(self) -> None:
        """Close everything (the process ends)."""
        for cluster in self.clusters.values():
            cluster.close()
        await self.resolver.close()
