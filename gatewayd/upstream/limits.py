"""HOT for clusters that have limits: what is left of them, as Envoy counts (semantics 8.3.1 to 8.3.6).

One :class:`Budget` per cluster and worker, shared by its endpoints' pools and its exchanges. Whoever takes gives
back; a limit of 0 is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gatewayd.upstream.recent import RecentRequests
from gatewayd.upstream.spec import Limits


class Budget:
    """How much of each limit is in use."""

    __slots__ = (
        "_recent", "_total", "connections", "limits", "overflows", "pending", "requests", "retried", "retries",
    )  # fmt: skip

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
        #: how many there were, ever
        self.retried = 0
        #: how often something was refused, for statistics
        self.overflows = 0
        #: None: the retry budget is a share of what is in progress
        self._recent: RecentRequests | None = None
        self._total: Callable[[], int] = int

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
        return retry_fits(self.limits, self.retries, self.base(active))

    def base(self, active: int) -> int:
        """What the retry budget is a share of: ``active``, or the requests of an interval (8.3.10)."""
        return active if self._recent is None else self._recent.count()

    def start(self, loop: asyncio.AbstractEventLoop, total: Callable[[], int]) -> None:
        """The cluster is in force; ``total``: how many requests it got, ever."""
        if self.limits.retry_interval_s and self._recent is None:
            self._total = total
            self._recent = RecentRequests(loop, self.limits.retry_interval_s, self._begun_ever)

    def stop(self) -> None:
        """It is not any more."""
        if self._recent is not None:
            self._recent.stop()
            self._recent = None

    def _begun_ever(self) -> int:
        """Requests and retries."""
        return self._total() + self.retried


def retry_fits(limits: Limits, retries: int, active: int) -> bool:
    """Whether there may be another retry beside ``retries`` others, with ``active`` requests to be a share of."""
    if limits.retry_budget_percent >= 0:
        return retries < max(limits.min_retries, int(limits.retry_budget_percent / 100 * active))
    return not limits.max_retries or retries < limits.max_retries
