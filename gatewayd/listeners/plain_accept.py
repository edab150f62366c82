"""Accepting on sockets that are others', also on plain asyncio, whose own servers cannot be paused.

``asyncio.Server.close`` drops connections that were accepted and not yet given a transport, without a word.
uvloop makes the transport in the moment it accepts, so its servers are used as they are.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from gatewayd.listeners.sockets import LISTEN_BACKLOG

_log = logging.getLogger("gatewayd.listeners")

#: Connections accepted in one turn of the loop. Small, so that a pause comes before the descriptors are gone.
_BURST: Final = 4
_RETRY_S: Final = 0.25


async def accept_on(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    factory: Callable[[], asyncio.BaseProtocol],
    *,
    start: bool = True,
) -> asyncio.AbstractServer | PlainAcceptor:
    """Accept on ``sock``, which stays open when what is returned is closed. ``start=False``: uvloop's not yet."""
    if isinstance(loop, asyncio.BaseEventLoop):
        return PlainAcceptor(loop, sock, factory)
    # A copy of the descriptor, so that closing the server keeps ours and its queue.
    copy = sock.dup()
    copy.setblocking(False)
    make = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
    return await make(factory, sock=copy, backlog=LISTEN_BACKLOG, start_serving=start)


class PlainAcceptor:
    """Accepts on one listening socket until it is closed; the socket stays open."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._factory = factory
        self._closed = False
        self._making: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._watch()

    def _watch(self) -> None:
        self._retry = None
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_BURST):
            try:
                accepted, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # No descriptors or no memory: the socket stays readable, so look away for a while.
                _log.warning("accepting failed: %s", error)
                self._loop.remove_reader(self._sock)
                self._retry = self._loop.call_later(_RETRY_S, self._watch)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._make(accepted))
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    async def _make(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, accepted)
        except OSError as error:  # it went away in between
            _log.debug("a connection could not be taken: %s", error)
            accepted.close()

    def close(self) -> None:
        """Accept no more; what was accepted is still given its connection."""
        if self._closed:
            return
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        else:
            self._loop.remove_reader(self._sock)
