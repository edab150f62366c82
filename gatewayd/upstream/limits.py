"""HOT for clusters that have limits: what is left of them, as Envoy counts (semantics 8.3.1 to 8.3.6).

One :class:`Budget` per cluster and worker, shared by its endpoints' pools and its exchanges. Whoever takes gives
back; a limit of 0 is none.
"""

from __future__ import annotations

from gatewayd.upstream.spec import Limits


class Budget:
    """How much of each limit is in use."""

    __slots__ = ("connections", "limits", "overflows", "pending", "requests", "retries")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        #: open or being opened
        self.connections = 0
        #: requests that wait for a connection
        self.pending = 0
        #: requests that have a connection
        self.requests = 0
        #: retries in progress
        self.retries = 0
        #: how often something was refused, for statistics
        self.overflows = 0

    def __repr__(self) -> str:
        return (
            f"Budget(connections {self.connections}, pending {self.pending}, requests {self.requests}, "
            f"retries {self.retries})"
        )

    def room_for_connection(self) -> bool:
        """Whether one more may be opened (8.3.2)."""
        limit = self.limits.max_connections
        return not limit or self.connections < limit

    def room_for_session(self, active: int) -> bool:
        """Whether there may be one more TCP connection beside ``active`` ones (8.3.2)."""
        limit = self.limits.max_connections
        return not limit or active < limit

    def room_for_pending(self) -> bool:
        """Whether one more request may wait (8.3.3)."""
        limit = self.limits.max_pending
        return not limit or self.pending < limit

    def room_to_send(self) -> bool:
        """Whether one more request may get a connection; only then it counts as in flight (8.3.4)."""
        limit = self.limits.max_requests
        return not limit or self.requests < limit

    def room_for_retry(self, active: int) -> bool:
        """Whether one more retry may be in progress while ``active`` requests are in flight (8.3.6)."""
        return retry_fits(self.limits, self.retries, active)


def retry_fits(limits: Limits, retries: int, active: int) -> bool:
    """Whether there may be another retry beside ``retries`` others, ``active`` requests being in flight (8.3.6)."""
    if limits.retry_budget_percent >= 0:
        return retries < max(limits.min_retries, int(active * limits.retry_budget_percent / 100))
    return not limits.max_retries or retries < limits.max_retries
