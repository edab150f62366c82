"""A cluster in one of several workers: limits, load and passive health are those of the group.

It takes part when it is put in force (:meth:`GroupCluster.start`) and until it is retired; a cluster of a draft that
comes to nothing is never seen by anybody.
"""

from __future__ import annotations

import asyncio
from operator import attrgetter
from typing import Any

from gatewayd.cells import Block, Cells, unshared
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.dns import Resolver
from gatewayd.upstream.endpoint import Endpoint
from gatewayd.upstream.group.budget import GroupBudget
from gatewayd.upstream.group.endpoint import GroupEndpoint
from gatewayd.upstream.group.identity import (
    ACTIVE,
    balances_by_load,
    cluster_key,
    endpoint_key,
    needs_group,
)
from gatewayd.upstream.group.outlier import GroupDetector
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.outlier import Detector, OutlierPolicy
from gatewayd.upstream.spec import NO_LIMITS, ClusterSpec, Limits


class GroupCluster(Cluster):
    """One upstream cluster of a worker that is not alone."""

    __slots__ = ("_block", "_cells", "_key", "_shares_endpoints", "_told")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, resolver: Resolver, spec: ClusterSpec, cells: Cells
    ) -> None:
        self._cells = cells
        #: None: it has nothing to count but its endpoints
        self._block: Block | None = None
        #: "" before it takes part
        self._key = ""
        self._shares_endpoints = balances_by_load(spec) or spec.outlier is not None
        #: requests in progress and ever, when the endpoints last told the others of theirs
        self._told = (0, 0)
        super().__init__(loop, resolver, spec)

    def _new_detector(self, policy: OutlierPolicy) -> Detector[Any]:
        return GroupDetector(policy, self._balance, self._cells)

    def _new_budget(self, limits: Limits) -> Budget:
        return GroupBudget(limits)

    def _new_endpoint(self, address: str, port: int) -> Endpoint:
        if not self._shares_endpoints:
            return super()._new_endpoint(address, port)
        endpoint = GroupEndpoint(self._loop, self.spec, address, port, self.budget, self._cells)
        if self._key:
            endpoint.join(endpoint_key(self._key, address, port))
        return endpoint

    def _balance(self) -> None:
        super()._balance()
        detector = self.detector
        if isinstance(detector, GroupDetector):
            self.pick = detector.watched(self.pick, lambda: self.pick())
            self.pick_for = detector.watched(self.pick_for, lambda request_hash: self.pick_for(request_hash))

    def start(self) -> None:
        """Take part in what the group counts, and see the base."""
        if not self._key:
            self._key = cluster_key(self.spec)
            if self.budget is not None or self.detector is not None:
                self._count_in(self._cells.hold(self._key))
            for endpoint in self.endpoints:
                if isinstance(endpoint, GroupEndpoint):
                    endpoint.join(endpoint_key(self._key, endpoint.address, endpoint.port))
            if self.detector is not None:
                self.detector.use([endpoint.health for endpoint in self.endpoints])
                self._balance()  # others may have ejected somebody
        super().start()

    def stop(self) -> None:
        """See the base; what is still under way counts for this worker alone."""
        super().stop()
        if self._block is not None:
            self._cells.release(self._block)
            self._count_in(unshared())

    def sweep(self, now: float) -> None:
        """See the base."""
        super().sweep(now)
        if self._told != (self.active, self.total):
            self._told = (self.active, self.total)
            for endpoint in self.endpoints:
                if isinstance(endpoint, GroupEndpoint):
                    endpoint.tell()

    def _count_in(self, block: Block) -> None:
        self._block = block
        if isinstance(self.budget, GroupBudget):
            self.budget.use(block)
        if isinstance(self.detector, GroupDetector):
            self.detector.attach(block)


class LimitedGroupCluster(GroupCluster):
    """One with limits: what is under way counts for some of them."""

    __slots__ = ("_active", "_actives", "_column")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, resolver: Resolver, spec: ClusterSpec, cells: Cells
    ) -> None:
        self._active = 0
        self._look_at(unshared())
        super().__init__(loop, resolver, spec, cells)

    def _look_at(self, block: Block) -> None:
        self._column = block.column
        self._actives = block.row(ACTIVE)

    def _count_active(self, active: int) -> None:
        self._active = self._actives[self._column] = active

    #: requests and TCP connections in progress, of this worker
    active = property(attrgetter("_active"), _count_active)

    def _count_in(self, block: Block) -> None:
        super()._count_in(block)
        self._look_at(block)
        self.active = self._active


def make_group_cluster(
    loop: asyncio.AbstractEventLoop, resolver: Resolver, spec: ClusterSpec, cells: Cells
) -> Cluster:
    """The cluster of ``spec``: one that shares what has to be shared, and nothing else."""
    if spec.limits != NO_LIMITS:
        return LimitedGroupCluster(loop, resolver, spec, cells)
    return GroupCluster(loop, resolver, spec, cells) if needs_group(spec) else Cluster(loop, resolver, spec)
