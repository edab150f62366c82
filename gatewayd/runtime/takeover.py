"""Another program in the process of a supervisor: tried first, in a process of its own, and then executed in place.

Sockets and workers of this program go over to it. The workers serve until it has its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Final

from gatewayd.listeners.doors import Doors
from gatewayd.runtime import process
from gatewayd.runtime.configuration import ConfigurationReader
from gatewayd.runtime.crew import Crew
from gatewayd.runtime.departed import Departed
from gatewayd.runtime.handover import Leaving
from gatewayd.runtime.notify import Notifier
from gatewayd.runtime.servers import Servers
from gatewayd.runtime.upgrade import (
    LIMIT_S,
    NotUpgraded,
    become,
    end,
    last_lines,
    leave,
    read_all,
    refuse_what_would_be_lost,
    spawn,
    trial_environment,
)
from gatewayd.sources import Disk

_log = logging.getLogger("gatewayd.supervisor")

_QUIET_S: Final = 0.01


class Takeover:
    """Lets a new program take over. ``busy()``: whether anything is half done, which would be lost."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reader: ConfigurationReader,
        disk: Disk,
        doors: Doors,
        servers: Servers,
        notifier: Notifier,
        crew: Crew,
        departed: Departed,
        busy: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._reader = reader
        self._disk = disk
        self._doors = doors
        self._servers = servers
        self._notifier = notifier
        self._crew = crew
        self._departed = departed
        self._busy = busy
        #: programs on trial, by process
        self.trials: dict[int, asyncio.Future[int]] = {}
        self._going: asyncio.Task[None] | None = None

    async def upgrade(self) -> str:
        """Try the new program, and become it in a moment; what happens. Raises :class:`NotUpgraded`."""
        refuse_what_would_be_lost(self._reader.in_force)
        await self._try()
        self._going = self._loop.create_task(self._become())
        return "the new program was tried, and takes over"

    async def _try(self) -> None:
        ours, theirs = os.pipe()
        try:
            pid = spawn(trial_environment(), stdin=self._disk.stdin_text, output_fd=theirs)
        except NotUpgraded:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        ended = self.trials[pid] = self._loop.create_future()
        try:
            async with asyncio.timeout(LIMIT_S):
                said, status = await asyncio.gather(read_all(self._loop, ours), ended)
        except TimeoutError:
            end(pid)
            raise NotUpgraded(f"the new one has not loaded within {LIMIT_S:g} s") from None
        finally:
            del self.trials[pid]
        if status:
            raise NotUpgraded(f"the new one ended in a trial: {process.ending(status)}\n{last_lines(said)}")

    async def _become(self) -> None:
        await leave(self._servers)
        await self._crew.flushed()
        while self._busy():  # noqa: ASYNC110, threads and workers decide
            await asyncio.sleep(_QUIET_S)
        # From here on nothing else runs in this process.
        environment, fds = Leaving(
            self._doors.own_sockets(),
            self._servers.own_sockets(self._doors),
            self._doors.inherited.given,
            self._crew.left(),
            self._departed.rows(),
        ).write()
        try:
            become({**environment, **self._notifier.environment()}, fds, stdin=self._disk.stdin_text)
        except NotUpgraded as error:
            _log.error("not upgraded, this program serves on: %s", error)
            os.close(fds[0])
            await self._servers.serve_again(self._loop)
