"""Clients that call by gRPC, with grpcio's own channel: one that stays, and moves on when the service says GOAWAY."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc
import grpc.aio

from tests.soak.doorway import Doorway
from tests.soak.grpc_echo import PIECES, SERVICE
from tests.soak.http_load import ANSWER_S, problem_of
from tests.soak.world import World

_LARGEST: Final = 5000
_PIECE: Final = 1000
#: A conversation lasts so long, well within the time that a worker which leaves gives to it.
_TALK_S: Final = 1.5
#: grpc's threads may come to know a moment after us that a connection has ended.
_NEWS_S: Final = 1.0
#: What grpc says, with INTERNAL, of a connection that broke while a message was about to be sent.
_CUT: Final = "Internal error from Core"
_CHANNEL: Final = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class Failed(Exception):
    """A call brought another message than it should have."""


@dataclass
class Call:
    """One call: what is sent, and what came back of metadata. Its methods are the kinds of calls."""

    world: World
    channel: Any
    number: str
    body: bytes
    #: the configuration in force everywhere when it began
    oldest: int
    began: float
    head: dict[str, str] = field(default_factory=dict)
    #: messages that were answered
    answered: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        return {"metadata": (("x-id", self.number),), "timeout": ANSWER_S, "wait_for_ready": True}

    def check(self, same: bool) -> None:
        """That the answer is this one's."""
        problem = problem_of(self.world, 200, self.head, self.number, same=same, oldest=self.oldest)
        if problem:
            raise Failed(problem)
        self.answered += 1

    async def unary(self) -> None:
        call = self.channel.unary_unary(f"/{SERVICE}/Unary")(self.body, **self.settings)
        await self._one_answer(call)

    async def join(self) -> None:
        """Many messages, one answer."""

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(self.body) + 1, _PIECE):
                yield self.body[at : at + _PIECE]
                await asyncio.sleep(0.001)

        await self._one_answer(self.channel.stream_unary(f"/{SERVICE}/Join")(pieces(), **self.settings))

    async def _one_answer(self, call: Any) -> None:
        answer = await call
        self.head.update(await call.initial_metadata())
        self.head.update(await call.trailing_metadata())
        self.check(answer == self.body)

    async def split(self) -> None:
        """One message, many answers."""
        call = self.channel.unary_stream(f"/{SERVICE}/Split")(self.body, **self.settings)
        self.head.update(await call.initial_metadata())
        pieces = [message async for message in call]
        self.check(pieces == [self.body[at::PIECES] for at in range(PIECES)])

    async def talk(self) -> None:
        """Messages and answers by turns, for a while."""
        call = self.channel.stream_stream(f"/{SERVICE}/Talk")(**self.settings)
        self.head.update(await call.initial_metadata())
        if "x-upstream" in self.head:
            self.check(same=True)
        while not self.world.done and time.monotonic() - self.began < _TALK_S and not call.done():
            number, body = self.world.message(_LARGEST)
            message = f"{number} ".encode() + body
            try:
                await call.write(message)
            except asyncio.InvalidStateError:
                break  # it has ended; reading tells how
            if await call.read() != message:
                raise Failed(f"another message than {number}")
            self.answered += 1
            await asyncio.sleep(0.01)
        if not call.done():
            await call.done_writing()
        if await call.read() != grpc.aio.EOF or await call.code() != grpc.StatusCode.OK:
            raise Failed(f"more messages than were asked for, or status {await call.code()} at the end")


class Calling:
    """Calls of those ``kinds`` in turn, over a channel."""

    def __init__(
        self, kind: str, *kinds: Callable[[Call], Coroutine[Any, Any, None]], pause_s: float
    ) -> None:
        self.kind = kind
        self._kinds = kinds
        self._pause_s = pause_s

    async def __call__(self, world: World) -> None:
        called = 0
        async with Doorway(world, self.kind) as doorway:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{doorway.port}", options=_CHANNEL)
            async with channel:
                while not world.done:
                    call = Call(world, channel, *world.message(_LARGEST), world.oldest, time.monotonic())
                    await self._do(call, self._kinds[called % len(self._kinds)], doorway)
                    called += 1
                    await asyncio.sleep(self._pause_s)

    async def _do(
        self, call: Call, kind: Callable[[Call], Coroutine[Any, Any, None]], doorway: Doorway
    ) -> None:
        """Call; the channel waits for a connection by itself, and at the end of all there comes none."""
        world = call.world
        task = asyncio.ensure_future(kind(call))
        while not task.done():
            await asyncio.wait({task}, timeout=0.2)
            if world.draining and world.done and not doorway.opened and not task.done():
                task.cancel()
                world.excused[f"{self.kind} at the drain"] += 1
                return
        try:
            task.result()
        except Failed as error:
            world.lose(f"{self.kind} {call.number}: {error}")
        except grpc.aio.AioRpcError as error:
            self._failed(call, error, doorway)
        world.answered[self.kind] += call.answered

    def _failed(self, call: Call, error: grpc.aio.AioRpcError, doorway: Doorway) -> None:
        """Excused are connections of a killed worker, and streams of a killed upstream that the client knows of.

        The first is UNAVAILABLE. The stream of an upstream that died behind its head is reset, which grpc calls
        INTERNAL; an answer that had not begun was asked for again.
        """
        world, code = call.world, error.code()
        cut = code == grpc.StatusCode.UNAVAILABLE or error.details() == _CUT
        upstream = call.head.get("x-upstream")
        if cut and doorway.killed_since(call.began - _NEWS_S):
            world.excused[f"{self.kind} of a killed worker"] += 1
        elif code == grpc.StatusCode.INTERNAL and upstream and world.upstream_died(upstream, call.began):
            world.excused[f"{self.kind} of a killed upstream"] += 1
        else:
            took = time.monotonic() - call.began
            world.lose(f"{self.kind} {call.number} after {took:.3f} s: {code} {error.details()}, {call.head}")
