"""HOT: an endpoint whose requests in progress the other workers see (semantics 9.1), and its health with them.

``active`` stays this worker's own count. ``everywhere`` is the row it is published in, which least request adds up.
"""

from __future__ import annotations

import asyncio
from operator import attrgetter

from gatewayd.cells import Block, Cells, unshared
from gatewayd.upstream.endpoint import Endpoint
from gatewayd.upstream.group.identity import BUSY
from gatewayd.upstream.group.outlier import GroupHealth
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.spec import ClusterSpec


class GroupEndpoint(Endpoint):
    """One address of a cluster that several workers send to."""

    __slots__ = ("_active", "_block", "_cells", "_column", "everywhere")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        spec: ClusterSpec,
        address: str,
        port: int,
        budget: Budget | None,
        cells: Cells,
    ) -> None:
        self._cells = cells
        self._active = 0
        #: requests in progress there, by worker
        self.everywhere: memoryview[int]
        self._look_at(unshared())
        super().__init__(loop, spec, address, port, budget)
        if spec.outlier is not None:
            self.health = GroupHealth()

    def _count_active(self, active: int) -> None:
        self._active = self.everywhere[self._column] = active

    #: requests in progress, of this worker
    active = property(attrgetter("_active"), _count_active)

    def _look_at(self, block: Block) -> None:
        self._block = block
        self._column = block.column
        self.everywhere = block.row(BUSY)

    def join(self, key: str) -> None:
        """Count with the others who have an endpoint of this key."""
        self._count_in(self._cells.hold(key))

    def remove(self) -> None:
        """See the base; whatever is still under way there is nobody else's business."""
        super().remove()
        self._cells.release(self._block)
        self._count_in(unshared())

    def _count_in(self, block: Block) -> None:
        self._look_at(block)
        self.active = self._active
        if isinstance(self.health, GroupHealth):
            self.health.use(block)
