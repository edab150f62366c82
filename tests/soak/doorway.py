"""A port in front of the service's, for clients that do not tell which connection they use: this one knows."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import cast

from tests.soak.http_load import connected
from tests.soak.world import World


@dataclass
class Passage:
    """A connection to the service, by its local port; when it ended (monotonic), None: it has not."""

    port: int
    ended: float | None = None


class _Side(asyncio.Protocol):
    """What one side sends goes to the other; when one ends, so does the other."""

    def __init__(self, other: asyncio.Transport | None = None, passage: Passage | None = None) -> None:
        self.transport = cast(asyncio.Transport, None)
        self.other = other
        self._passage = passage

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._passage is not None:
            self._passage.ended = time.monotonic()
        if self.other is not None:
            self.other.close()


class _Entrance(_Side):
    """The side of a client, which nobody reads from until there is a connection to the service."""

    def __init__(self, doorway: Doorway) -> None:
        super().__init__()
        self._doorway = doorway
        self._opening: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self._opening = asyncio.ensure_future(self._doorway.open(self))


class Doorway:
    """Use ``async with``; clients connect to ``port``."""

    def __init__(self, world: World, kind: str) -> None:
        self.port = 0
        self.passages: list[Passage] = []
        self._world = world
        self._kind = kind
        self._server = cast(asyncio.Server, None)

    async def __aenter__(self) -> Doorway:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Entrance(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def open(self, client: _Side) -> None:
        """Connect a client to the service; it is closed, and that is counted, where that fails."""
        sock = await connected(self._world, self._kind, self._world.http)
        if sock is None:
            client.transport.abort()
            return
        passage = Passage(sock.getsockname()[1])
        self.passages = [*self.passages[-10:], passage]
        loop = asyncio.get_running_loop()
        client.other, _ = await loop.create_connection(lambda: _Side(client.transport, passage), sock=sock)
        if client.transport.is_closing():
            client.other.close()
        else:
            client.transport.resume_reading()

    @property
    def opened(self) -> bool:
        """Whether there is a connection to the service."""
        return any(each.ended is None for each in self.passages)

    def killed_since(self, began: float) -> bool:
        """Whether a worker was killed that had a connection of here which was there at the time ``began``."""
        return any(
            self._world.worker_died(each.port) and (each.ended is None or each.ended >= began)
            for each in self.passages
        )
