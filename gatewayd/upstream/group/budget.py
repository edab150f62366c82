"""HOT for clusters that have limits, in a group of workers: a budget that holds for all of them.

Each worker counts what it has taken, and looks at what all have before it takes more. Two that look in the same
microsecond may both take the last one: a limit can be passed by one for each other worker, as Envoy's can by its
threads. What is given back is seen at once.
"""

from __future__ import annotations

from typing import Any, Final

from gatewayd.cells import ROWS, Block, unshared
from gatewayd.upstream.group.identity import ACTIVE, CONNECTIONS, PENDING, REQUESTS, RETRIES
from gatewayd.upstream.group.published import published
from gatewayd.upstream.limits import Budget, retry_fits
from gatewayd.upstream.spec import Limits


def _in_row(count: str, row: int) -> Any:
    def tell(self: GroupBudget, value: int) -> None:
        self.rows[row][self.column] = value

    return published(Budget, count, tell)


class GroupBudget(Budget):
    """How much this worker has in use of limits that are the group's."""

    __slots__ = ("column", "rows")

    connections = _in_row("connections", CONNECTIONS)
    pending = _in_row("pending", PENDING)
    requests = _in_row("requests", REQUESTS)
    retries = _in_row("retries", RETRIES)

    def __init__(self, limits: Limits) -> None:
        #: of the cluster's block; ACTIVE is counted by the cluster
        self.rows: tuple[memoryview[int], ...]
        self._look_at(unshared())
        super().__init__(limits)

    def _look_at(self, block: Block) -> None:
        self.column = block.column
        self.rows = tuple(block.row(index) for index in range(ROWS))

    def use(self, block: Block) -> None:
        """Count in ``block`` from now on, what is in use already included."""
        self._look_at(block)
        for name in _COUNTS:
            setattr(self, name, getattr(self, name))

    def room_for_connection(self) -> bool:
        """See the base."""
        limit = self.limits.max_connections
        return not limit or sum(self.rows[CONNECTIONS]) < limit

    def room_for_session(self, active: int) -> bool:
        """See the base; ``active`` are only this worker's."""
        limit = self.limits.max_connections
        return not limit or sum(self.rows[ACTIVE]) < limit

    def room_for_pending(self) -> bool:
        """See the base."""
        limit = self.limits.max_pending
        return not limit or sum(self.rows[PENDING]) < limit

    def room_to_send(self) -> bool:
        """See the base."""
        limit = self.limits.max_requests
        return not limit or sum(self.rows[REQUESTS]) < limit

    def room_for_retry(self, active: int) -> bool:
        """See the base; ``active`` are only this worker's."""
        return retry_fits(self.limits, sum(self.rows[RETRIES]), sum(self.rows[ACTIVE]))


_COUNTS: Final = ("connections", "pending", "requests", "retries")
