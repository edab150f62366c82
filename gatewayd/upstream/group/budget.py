"""HOT for clusters that have limits, in a group of workers: a budget that holds for all of them.

Each worker counts what it has taken, and looks at what all have before it takes more. Two that look in the same
microsecond may both take the last one: a limit can be passed by one for each other worker, as Envoy's can by its
threads. What is given back is seen at once.
"""

from __future__ import annotations

from operator import attrgetter

from gatewayd.cells import ROWS, Block, unshared
from gatewayd.upstream.group.identity import ACTIVE, BEGUN, CONNECTIONS, PENDING, REQUESTS, RETRIES
from gatewayd.upstream.limits import Budget, retry_fits
from gatewayd.upstream.spec import Limits


class GroupBudget(Budget):
    """How much this worker has in use of limits that are the group's."""

    __slots__ = ("_column", "_connections", "_pending", "_requests", "_retries", "_rows")

    def __init__(self, limits: Limits) -> None:
        self._look_at(unshared())
        super().__init__(limits)

    def _look_at(self, block: Block) -> None:
        self._column = block.column
        #: of the cluster's block; ACTIVE is counted by the cluster
        self._rows = tuple(block.row(index) for index in range(ROWS))

    def use(self, block: Block) -> None:
        """Count in ``block`` from now on, what is in use already included."""
        self._look_at(block)
        self.connections, self.pending = self._connections, self._pending
        self.requests, self.retries = self._requests, self._retries

    def _count_connections(self, count: int) -> None:
        self._connections = self._rows[CONNECTIONS][self._column] = count

    def _count_pending(self, count: int) -> None:
        self._pending = self._rows[PENDING][self._column] = count

    def _count_requests(self, count: int) -> None:
        self._requests = self._rows[REQUESTS][self._column] = count

    def _count_retries(self, count: int) -> None:
        self._retries = self._rows[RETRIES][self._column] = count

    # Those of this worker, as in the base.
    connections = property(attrgetter("_connections"), _count_connections)
    pending = property(attrgetter("_pending"), _count_pending)
    requests = property(attrgetter("_requests"), _count_requests)
    retries = property(attrgetter("_retries"), _count_retries)

    def room_for_connection(self) -> bool:
        """See the base."""
        limit = self.limits.max_connections
        return not limit or sum(self._rows[CONNECTIONS]) < limit

    def room_for_session(self, active: int) -> bool:
        """See the base; ``active`` are only this worker's."""
        limit = self.limits.max_connections
        return not limit or sum(self._rows[ACTIVE]) < limit

    def room_for_pending(self) -> bool:
        """See the base."""
        limit = self.limits.max_pending
        return not limit or sum(self._rows[PENDING]) < limit

    def room_to_send(self) -> bool:
        """See the base."""
        limit = self.limits.max_requests
        return not limit or sum(self._rows[REQUESTS]) < limit

    def room_for_retry(self, active: int) -> bool:
        """See the base; ``active`` are only this worker's."""
        return retry_fits(self.limits, sum(self._rows[RETRIES]), self.base(sum(self._rows[ACTIVE])))

    def _begun_ever(self) -> int:
        # Those of the others as they told it last, a tenth of an interval ago at most: a request pays nothing for it.
        begun = self._rows[BEGUN]
        begun[self._column] = super()._begun_ever()
        return sum(begun)
