"""Another process of the program in the place of one that is alone: it begins on the sockets of this one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from gatewayd.listeners.doors import Doors
from gatewayd.listeners.sockets import disown_files
from gatewayd.runtime import process
from gatewayd.runtime.configuration import ConfigurationReader
from gatewayd.runtime.handover import READY, Leaving
from gatewayd.runtime.notify import Notifier
from gatewayd.runtime.servers import Servers
from gatewayd.runtime.upgrade import (
    LIMIT_S,
    NotUpgraded,
    end,
    leave,
    read_all,
    refuse_what_would_be_lost,
    spawn,
)
from gatewayd.sources import Disk


class Successor:
    """Starts it; ``leave()`` is called when it serves and this process is to let go."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reader: ConfigurationReader,
        disk: Disk,
        doors: Doors,
        servers: Servers,
        notifier: Notifier,
        leave: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._reader = reader
        self._disk = disk
        self._doors = doors
        self._servers = servers
        self._notifier = notifier
        self._leave = leave
        self._leaving: asyncio.Task[None] | None = None

    async def upgrade(self) -> str:
        """Have a new process serve; what happened. Raises :class:`NotUpgraded`."""
        if os.getpid() == 1:
            raise NotUpgraded(
                "process 1 of a container cannot be another process; with --workers 2 or more it is a supervisor, "
                "which can be replaced"
            )
        refuse_what_would_be_lost(self._reader.in_force)
        pid = await self._start()
        disown_files()
        self._notifier.main_pid(pid)
        self._leaving = self._loop.create_task(self._let_go())
        return f"process {pid} serves in our place"

    async def _let_go(self) -> None:
        await leave(self._servers)
        self._leave()

    async def _start(self) -> int:
        """A process that serves on our sockets."""
        ours, theirs = os.pipe()
        inherited = self._doors.inherited
        environment, fds = Leaving(
            self._doors.own_sockets(),
            self._servers.own_sockets(self._doors),
            inherited.given,
            ready_fd=theirs,
        ).write()
        try:
            pid = spawn({**environment, **self._notifier.environment()}, fds, stdin=self._disk.stdin_text)
        except NotUpgraded:
            os.close(ours)
            raise
        finally:
            os.close(fds[0])
            os.close(theirs)
        try:
            async with asyncio.timeout(LIMIT_S):
                said = await read_all(self._loop, ours, READY)
        except TimeoutError:
            said = b""
        if said != READY:
            end(pid)
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
            raise NotUpgraded(f"the new one ended: {process.ending(status)}")
        return pid
