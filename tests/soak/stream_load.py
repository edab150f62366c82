"""Clients whose connections are streams: WebSocket (as far as a proxy sees of it) and plain TCP."""

from __future__ import annotations

import asyncio
import time

from tests.soak.http_load import ANSWER_S, connected
from tests.soak.world import World

#: A session lasts so long, well within the time that a worker which leaves gives to it.
_SESSION_S = 1.5
_UPGRADE = b"GET /ws HTTP/1.1\r\nhost: shop.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


class Streaming:
    """Sessions of messages, one after the other; ``upgrade``: begun by HTTP."""

    def __init__(self, kind: str, *, upgrade: bool, pause_s: float) -> None:
        self.kind = kind
        self._upgrade = upgrade
        self._pause_s = pause_s

    async def __call__(self, world: World) -> None:
        while not world.done:
            began = time.monotonic()
            upstream = ""
            sock = await connected(world, self.kind, world.http if self._upgrade else world.tcp)
            if sock is None:
                continue
            port = sock.getsockname()[1]
            reader, writer = await asyncio.open_connection(sock=sock)
            try:
                async with asyncio.timeout(ANSWER_S):
                    upstream = await self._begin(reader, writer)
                while not world.done and time.monotonic() - began < _SESSION_S:
                    number, body = world.message(5000)
                    data = f"{number} ".encode() + body
                    async with asyncio.timeout(ANSWER_S):
                        writer.write(data)
                        if await reader.readexactly(len(data)) != data:
                            world.lose(f"{self.kind} {number}: other bytes than were sent")
                            break
                    world.answered[self.kind] += 1
                    await asyncio.sleep(self._pause_s)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                if world.upstream_died(upstream, began):
                    world.excused[f"{self.kind} of a killed upstream"] += 1
                else:
                    world.broken(self.kind, port, repr(error))
            writer.close()

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """The name of the upstream."""
        if self._upgrade:
            writer.write(_UPGRADE)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101 "):
                raise ConnectionError(head[:100])
        else:
            writer.write(b"T")
        return (await reader.readuntil(b"\n")).decode().strip()
