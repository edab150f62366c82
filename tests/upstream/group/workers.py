"""Several workers in one process: each has its own sight of the same shared memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gatewayd.cells import Cells
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.group.cluster import GroupCluster
from gatewayd.upstream.registry import Draft, Registry
from gatewayd.upstream.spec import ClusterSpec, EndpointSpec


def spec(size: int = 3, **fields: Any) -> ClusterSpec:
    """A cluster of ``size`` addresses."""
    members = tuple(EndpointSpec(f"10.0.0.{number}", 80) for number in range(1, size + 1))
    return ClusterSpec(**{"name": "c", "host": "a.test", "port": 80, "endpoints": members, **fields})


class Resolver:
    """Names get the addresses that the test says, in the worker it says."""

    def __init__(self) -> None:
        self.watchers: list[Any] = []

    def watch(self, _: str, found: Any) -> Any:
        self.watchers.append(found)

        class Watch:
            def cancel(self) -> None:
                pass

        return Watch()

    def say(self, *addresses: str) -> None:
        for found in self.watchers:
            found(list(addresses))

    async def close(self) -> None:
        pass


class Worker:
    """A registry with its cells."""

    def __init__(self, cells: Cells, loop: asyncio.AbstractEventLoop) -> None:
        self.cells = cells
        self.resolver = Resolver()
        answering: Any = self.resolver
        self.registry = Registry(loop, answering, cells=cells)

    def reload(self, *specs: ClusterSpec) -> None:
        """A configuration with these clusters, put in force as a reload does it."""
        draft = Draft(self.registry)
        for each in specs:
            draft.adopt(each)
        for cluster in draft.clusters.values():
            cluster.start()
        self.registry.commit(draft)

    @property
    def cluster(self) -> GroupCluster:
        """The one there is."""
        (cluster,) = self.registry.clusters.values()
        assert isinstance(cluster, GroupCluster)
        return cluster

    def restart(self) -> None:
        """It is killed, and another one comes in its place."""
        column = self.cells.column
        self.cells.forget(column)
        self.cells.attach(column)
        loop = self.registry._loop
        self.__init__(self.cells, loop)  # type: ignore[misc]  # a new life in the same place


@contextmanager
def workers(count: int = 2, *specs: ClusterSpec, capacity: int = 64) -> Iterator[list[Worker]]:
    """So many workers that serve clusters of ``specs``."""
    loop = asyncio.new_event_loop()
    first = Cells(count, capacity)
    sights = [first, *(Cells(count, capacity, fd=first.fd) for _ in range(count - 1))]
    made = []
    for column, cells in enumerate(sights):
        cells.attach(column)
        worker = Worker(cells, loop)
        worker.reload(*specs)
        made.append(worker)
    try:
        yield made
    finally:
        for cells in sights:
            cells.close()
        loop.close()


def picked(cluster: Cluster, times: int = 60) -> set[str]:
    """Who is picked."""
    return {endpoint.address for endpoint in (cluster.pick() for _ in range(times)) if endpoint is not None}
