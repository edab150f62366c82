"""An endpoint whose requests in progress the other workers see (semantics 9.1), and its health with them.

``active`` is this worker's own count. The balancer tells the others whenever it looks at the endpoint, in its cell of
the row ``everywhere``, and the cluster's sweep does when nobody looks any more: to write at each change would cost a
request more than the balancer's decision is worth.
"""

from __future__ import annotations

import asyncio

from gatewayd.cells import Block, Cells, unshared
from gatewayd.upstream.endpoint import Endpoint
from gatewayd.upstream.group.identity import BUSY
from gatewayd.upstream.group.outlier import GroupHealth
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.spec import ClusterSpec


class GroupEndpoint(Endpoint):
    """One address of a cluster that several workers send to."""

    __slots__ = ("_block", "_cells", "column", "everywhere")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        spec: ClusterSpec,
        address: str,
        port: int,
        budget: Budget | None,
        cells: Cells,
    ) -> None:
        super().__init__(loop, spec, address, port, budget)
        self._cells = cells
        if spec.outlier is not None:
            self.health = GroupHealth()
        self._count_in(unshared())

    def join(self, key: str) -> None:
        """Count with the others who have an endpoint of this key."""
        self._count_in(self._cells.hold(key))

    def remove(self) -> None:
        """See the base; whatever is still under way there is nobody else's business."""
        super().remove()
        self._cells.release(self._block)
        self._count_in(unshared())

    def _count_in(self, block: Block) -> None:
        self._block = block
        #: requests in progress there, by worker, and which cell is ours
        self.everywhere = block.row(BUSY)
        self.column = block.column
        if isinstance(self.health, GroupHealth):
            self.health.use(block)

    def tell(self) -> None:
        """What is in progress, to whoever looks."""
        self.everywhere[self.column] = self.active
