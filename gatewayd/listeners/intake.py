"""How many downstream connections a worker takes, so that its descriptors never run out.

uvloop accepts and closes connections silently once a process is out of descriptors, and plain asyncio
logs an error for each (hardening section 10). So accepting stops before that point: a reserve stays for
upstream connections, files and the status port, the oldest idle connections are asked to close, and
accepting goes on within a second of relief (hardening 9.7). The descriptors are counted only now and
then: the more room there is, the more connections may come before the next count.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import os
import resource
from collections.abc import Callable, Iterable, MutableSet
from time import monotonic
from typing import Any, Final, Protocol

_log = logging.getLogger("gatewayd.listeners")

#: How often a paused worker looks for relief.
RECHECK_S: Final = 0.25
_REPORT_INTERVAL_S: Final = 10.0
#: Of the connections held, how many idle ones are asked to close at a time (one in N).
_SHED_SHARE: Final = 8
#: A connection that has just been accepted or answered may have its request in the socket already.
_IDLE_AT_LEAST_S: Final = 1.0
_DESCRIPTORS: Final = "/proc/self/fd"


class Member(Protocol):
    """A listener, as the intake sees it."""

    connections: MutableSet[Any]

    def pause(self) -> None:
        """Stop taking connections."""

    async def resume(self) -> None:
        """Take connections again."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one and return the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # an unlimited hard limit above the kernel's own maximum
            _log.debug("the descriptor limit stays at %d", soft)
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_descriptors() -> int:
    """Descriptors this process has open; 0 where the system does not say."""
    try:
        return len(os.listdir(_DESCRIPTORS))
    except OSError:
        return 0


class Intake:
    """Counts the connections of all listeners of one worker and pauses accepting at the limits.

    ``max_connections`` is the configured limit, ``descriptor_limit`` the process's. Each downstream
    connection is expected to need an upstream one, so it counts for two.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        max_connections: int,
        descriptor_limit: int,
        used: Callable[[], int] = open_descriptors,
    ) -> None:
        self._loop = loop
        self._used = used
        self._limit = descriptor_limit
        self._reserve = max(32, min(descriptor_limit // 8, 512))
        own = used()
        self.capacity = max(1, min(max_connections, (descriptor_limit - self._reserve - own) // 2))
        self._members: list[Member] = []
        self._budget = 1
        self._timer: asyncio.TimerHandle | None = None
        self._resuming: asyncio.Task[None] | None = None
        self._quiet_until = 0.0
        #: accepting is stopped whatever room there is
        self.held = False

    @property
    def paused(self) -> bool:
        """Whether accepting is stopped for want of room."""
        return self._timer is not None

    def join(self, member: Member) -> None:
        """Count ``member``'s connections from now on."""
        self._members.append(member)

    def leave(self, member: Member) -> None:
        """Forget ``member``."""
        if member in self._members:
            self._members.remove(member)
        if not self._members and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def count(self) -> None:
        """A connection has just been accepted. Called once for each."""
        self._budget -= 1
        if self._budget > 0:
            return
        room = self.room() - 1  # the connection being made is not in its listener's set yet
        if room > 0:
            # Half the room: the count comes closer the less there is.
            self._budget = max(1, room // 2)
        elif self._timer is None:
            # Not from within accept: uvloop cannot close a server while it makes a transport.
            self._timer = self._loop.call_later(0, self._pause)

    def hold(self, held: bool) -> None:
        """Stop accepting until told otherwise (hardening 9.13)."""
        self.held = held
        if held and self._timer is None:
            self._pause()

    def shed_idle(self) -> None:
        """Ask all connections to close that are idle."""
        connections = [connection for member in self._members for connection in member.connections]
        self._drain(connections, len(connections))

    def room(self) -> int:
        """How many more connections may come, by the configured limit and by the descriptors."""
        if self.held:
            return 0
        held = sum(len(member.connections) for member in self._members)
        return min(self.capacity - held, self._limit - self._reserve - self._used())

    def _pause(self) -> None:
        for member in self._members:
            member.pause()
        now = self._loop.time()
        if now >= self._quiet_until:
            # A worker at its limit pauses and resumes several times a second: say so now and then.
            self._quiet_until = now + _REPORT_INTERVAL_S
            _log.warning(
                "accepting is paused until there is room: %d connections (limit %d), %d descriptors of %d",
                sum(len(member.connections) for member in self._members),
                self.capacity,
                self._used(),
                self._limit,
            )
        self._shed()
        self._timer = self._loop.call_later(RECHECK_S, self._check)

    def _check(self) -> None:
        room = self.room()
        if room > 0:
            self._timer = None
            self._budget = max(1, room // 2)
            self._resuming = self._loop.create_task(self._resume())
            return
        for member in self._members:
            member.pause()  # one that came meanwhile
        self._shed()
        self._timer = self._loop.call_later(RECHECK_S, self._check)

    async def _resume(self) -> None:
        try:
            for member in list(self._members):
                await member.resume()
        except OSError as error:  # the last descriptors went meanwhile
            _log.warning("accepting stays paused: %s", error)
            if self._timer is None:
                self._timer = self._loop.call_later(RECHECK_S, self._check)

    def _shed(self) -> None:
        """Ask the connections that are idle longest to close."""
        connections: list[Any] = [c for member in self._members for c in member.connections]
        self._drain(connections, max(1, len(connections) // _SHED_SHARE))

    def _drain(self, connections: Iterable[Any], count: int) -> None:
        for connection in oldest_idle(connections, count, monotonic() - _IDLE_AT_LEAST_S):
            connection.drain()


def oldest_idle(connections: Iterable[Any], count: int, before: float) -> list[Any]:
    """The ``count`` connections that have been idle longest, of those idle since ``before``.

    A connection's ``idle_since`` is monotonic time, 0.0 while it is busy.
    """
    idle = [c for c in connections if 0.0 < c.idle_since <= before]
    return heapq.nsmallest(count, idle, key=lambda c: c.idle_since)
