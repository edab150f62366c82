"""Clients that speak HTTP/2: several messages at once on a connection that stays until the service says GOAWAY."""

from __future__ import annotations

import asyncio

from tests.soak.http_load import ANSWER_S, connected, problem_of
from tests.soak.world import World
from tests.support.h2_link import Link
from tests.support.h2_message import Message
from tests.support.wire import Wire

_AT_ONCE = 3
_LARGEST = 5000


class Multiplexed:
    """Sends ``_AT_ONCE`` messages together, and the next when all are answered."""

    def __init__(self, kind: str, *, pause_s: float) -> None:
        self.kind = kind
        self._pause_s = pause_s

    async def __call__(self, world: World) -> None:
        while not world.done:
            sock = await connected(world, self.kind, world.http)
            if sock is None:
                continue
            port = sock.getsockname()[1]
            _, wire = await asyncio.get_running_loop().create_connection(Wire, sock=sock)
            link = Link(wire, client=True)
            link.greet()
            reading = asyncio.ensure_future(link.run())
            try:
                await self._use(world, link, port)
            finally:
                wire.close()
                reading.cancel()

    async def _use(self, world: World, link: Link, port: int) -> None:
        while not (world.done or link.goaways):
            if link.over:
                world.broken(f"{self.kind}, idle", port, f"{wire_end(link)} without a word")
                return
            await asyncio.gather(*(self._exchange(world, link, port) for _ in range(_AT_ONCE)))
            await asyncio.sleep(self._pause_s)

    async def _exchange(self, world: World, link: Link, port: int) -> None:
        number, body = world.message(_LARGEST)
        oldest = world.oldest
        message = link.open()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", "shop.test")]
        head += [(":path", f"/echo/{number}"), ("x-id", number), ("content-length", str(len(body)))]
        link.send_head(message.stream, head, end=not body)
        if body:
            await link.send_body(message, body, end=True)
        await link.until(lambda: message.over or _unseen(link, message), ANSWER_S)
        link.messages.pop(message.stream, None)
        if _unseen(link, message):
            return  # may be sent again, and is not lost
        if not message.complete:
            ending = f"reset with {message.reset}" if message.reset else wire_end(link)
            world.broken(self.kind, port, f"{number} was not answered: {ending}")
            return
        fields = dict(message.plain)
        same = bytes(message.content.data) == body
        status = int(message.pseudo(":status") or 0)
        problem = problem_of(world, status, fields, number, same, oldest)
        if problem:
            world.lose(f"{self.kind} {number}: {problem}")
        else:
            world.answered[self.kind] += 1


def wire_end(link: Link) -> str:
    """How the connection ended, and what was wrong with it."""
    return "; ".join([link.wire.ending or "no end", *link.violations])


def _unseen(link: Link, message: Message) -> bool:
    """Whether the service has said by GOAWAY that it will not answer (RFC 9113, 6.8)."""
    return any(message.stream > each.last_stream for each in link.goaways) and not message.fields
