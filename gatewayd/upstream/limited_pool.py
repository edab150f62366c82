"""HOT for clusters that have limits: a pool whose connections and waiters count against a budget (semantics 8.3).

It does what Envoy's pools do at a limit: a request that would be one waiter too many overflows; a pool at the
connection limit lets its requests wait for connections it has, and one that has none opens one all the same, for
otherwise nobody would ever serve them; a failed connect fails everybody for whom no other is on its way.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.h1.client import ClientConnection
from gatewayd.upstream.dialer import NO_HINTS, Hints
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.pool import Open, Pool, Waiter
from gatewayd.upstream.spec import ClusterSpec


def needs_limits(spec: ClusterSpec) -> bool:
    """Whether pools of this cluster have anything to count, or connections that end by their age."""
    limits = spec.limits
    counted = limits.max_connections or limits.max_pending or limits.max_requests
    return bool(counted or spec.max_connection_duration_s)


class LimitedPool(Pool):
    """A pool with the cluster's budget."""

    __slots__ = ("_budget", "_busy", "_made_at")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        spec: ClusterSpec,
        open: Open,
        hints: Hints = NO_HINTS,
        *,
        budget: Budget,
    ) -> None:
        super().__init__(loop, spec, open, hints)
        self._budget = budget
        #: connections that carry a request this pool handed out
        self._busy: set[ClientConnection] = set()
        #: when each connection was made
        self._made_at: dict[ClientConnection, float] = {}

    def wait(self, waiter: Waiter) -> None:
        """Hand ``waiter`` an idle connection, or queue it; it hears of an overflow at once.

        A further attempt gets none that was idle, as in :meth:`Pool.lend`.
        """
        budget = self._budget
        if self.idle and waiter.attempts <= 1:
            if budget.room_to_send():
                self._hand_over(self.idle.pop(), waiter)
            else:
                self._overflow(waiter)
        elif budget.room_for_pending():
            budget.pending += 1
            self.waiting.append(waiter)
            self._open_more()
        else:
            self._overflow(waiter)

    lend = wait

    def forget(self, waiter: Waiter) -> None:
        """``waiter`` no longer wants a connection."""
        if waiter in self.waiting:
            self.waiting.remove(waiter)
            self._budget.pending -= 1

    def _overflow(self, waiter: Waiter) -> None:
        self._budget.overflows += 1
        waiter.on_connect_failure(errors.OVERFLOW, "")

    def _hand_over(self, connection: ClientConnection, waiter: Waiter) -> None:
        self._busy.add(connection)
        self._budget.requests += 1
        waiter.on_connected(connection)

    def _open_more(self) -> None:
        """See that there is a connection on its way for each waiter, as far as the limit goes (8.3.2)."""
        budget = self._budget
        while self.connecting < len(self.waiting):
            if not budget.room_for_connection():
                if self.idle:  # it may be as dead as the one that made the waiter ask for another
                    self.drop_oldest()
                    continue
                if self.connections or self.connecting:
                    budget.overflows += 1
                    return
            budget.connections += 1
            self._dial()

    def _failed(self, failure: Failure, words: str) -> None:
        budget = self._budget
        budget.connections -= 1
        if len(self.waiting) > self.connecting:
            waiters = list(self.waiting)
            self.waiting.clear()
            budget.pending -= len(waiters)
            for waiter in waiters:
                waiter.on_connect_failure(failure, words)

    # --- ClientOwner

    def released(self, connection: ClientConnection) -> None:
        """A connection can carry (another) request."""
        self._idle_again(connection)
        now = monotonic()
        self._made_at.setdefault(connection, now)
        limit = self._spec.max_requests_per_connection
        if (
            connection.closed
            or (limit and connection.requests >= limit)
            or self._too_old(connection, now)  # 8.3.7
        ):
            connection.close()
            self.gone(connection)
            return
        budget = self._budget
        while self.waiting:
            waiter = self.waiting.popleft()
            budget.pending -= 1
            if budget.room_to_send():
                self._hand_over(connection, waiter)
                return
            self._overflow(waiter)  # 8.3.4: it is counted when it would be sent
        if self.removed:
            connection.close()
            self.gone(connection)
        else:
            connection.idle_since = now
            self.idle.append(connection)

    def _idle_again(self, connection: ClientConnection) -> None:
        if connection in self._busy:
            self._busy.discard(connection)
            self._budget.requests -= 1

    def _too_old(self, connection: ClientConnection, now: float) -> bool:
        longest_s = self._spec.max_connection_duration_s
        return longest_s > 0 and now - self._made_at[connection] >= longest_s

    def _lose(self, connection: ClientConnection) -> None:
        self._idle_again(connection)
        super()._lose(connection)
        self._made_at.pop(connection, None)
        self._budget.connections -= 1
        self._open_more()  # for those who waited for it

    # --- coarse

    def sweep(self, now: float) -> None:
        """Close connections that were idle too long, or are too old and idle."""
        super().sweep(now)
        for connection in [one for one in self.idle if self._too_old(one, now)]:
            self.idle.remove(connection)
            self._close(connection)

    def close(self) -> None:
        """Close everything at once (the process ends)."""
        budget = self._budget
        budget.pending -= len(self.waiting)
        self.waiting.clear()
        budget.connections -= self.connecting
        self.connecting = 0
        super().close()
