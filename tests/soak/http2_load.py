"""Clients that speak HTTP/2: several messages at once on a connection, and calls of gRPC's own client."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any

import grpc.aio
from cryptography import x509

from tests.soak.http_load import ANSWER_S, problem_of
from tests.soak.world import World
from tests.support.grpc_peers import EchoClient
from tests.support.h2_client import H2Client
from tests.support.h2_link import Link
from tests.support.h2_message import Message

#: A killed worker's connection may be found dead so long after.
_FOUND_DEAD_S = 2.0
_MESSAGES = 5


class Multiplexing:
    """Clients with a connection of several streams, which they use until they are told to go."""

    def __init__(self, kind: str, *, tls: bool, streams: int, pause_s: float) -> None:
        self.kind = kind
        self._tls = tls
        self._streams = streams
        self._pause_s = pause_s

    async def __call__(self, world: World) -> None:
        client = H2Client(world.http, timeout_s=ANSWER_S)
        if self._tls:
            client = H2Client(world.https, tls=world.trust_http2, sni="shop.test", timeout_s=ANSWER_S)
        while not world.done:
            began = time.monotonic()
            try:
                async with client.connection() as link:
                    world.began[link.wire.local_port] = began
                    await self._use(world, link)
            except AssertionError as error:  # there is no connection
                world.broken(self.kind, 0, str(error))
                world.done = world.done or world.draining
                await asyncio.sleep(0.05)

    async def _use(self, world: World, link: Link) -> None:
        if self._tls:
            secured: ssl.SSLObject = link.wire.transport.get_extra_info("ssl_object")
            assert secured.selected_alpn_protocol() == "h2"
            der = secured.getpeercert(binary_form=True)
            assert der is not None
            world.serials.append(x509.load_der_x509_certificate(der).serial_number)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._streams):
                group.create_task(self._one_after_the_other(world, link))
        if link.violations:
            world.lose(f"{self.kind}: {link.violations}")
        if link.over and not link.goaways:
            world.broken(f"{self.kind}, idle", link.wire.local_port, "closed without a word")

    async def _one_after_the_other(self, world: World, link: Link) -> None:
        while not (world.done or link.goaways or link.over):
            await self._exchange(world, link)
            await asyncio.sleep(self._pause_s)

    async def _exchange(self, world: World, link: Link) -> None:
        """Send a message and check what comes back."""
        number, body = world.message()
        oldest = world.oldest
        fields = [
            (":method", "POST"),
            (":scheme", "https" if self._tls else "http"),
            (":authority", "shop.test"),
        ]
        fields += [(":path", f"/echo/{number}"), ("x-id", number)]
        if number.endswith(("1", "3", "5")):
            fields.append(("content-length", str(len(body))))
        message = link.open()
        link.send_head(message.stream, fields, end=not body)
        if body:
            await link.send_body(message, body, end=True)
        await link.until(lambda: message.over, ANSWER_S)
        if not message.complete:
            self._unanswered(world, link, message, number)
            return
        seen = dict(message.plain)
        status = int(message.pseudo(":status") or 0)
        problem = problem_of(
            world, status, seen, number, same=bytes(message.content.data) == body, oldest=oldest
        )
        if problem:
            world.lose(f"{self.kind} {number}: {problem}")
        else:
            world.answered[self.kind] += 1

    def _unanswered(self, world: World, link: Link, message: Message, number: str) -> None:
        unseen = any(message.stream > goaway.last_stream for goaway in link.goaways)
        if unseen or (link.goaways and message.reset == "REFUSED_STREAM"):
            # Nobody has seen it, and the client is told so: it sends it on another connection (RFC 9113 8.7).
            world.excused[f"{self.kind} too late for a connection that ends"] += 1
            return
        why = f"reset with {message.reset}" if message.reset else "cut off" if message.cut else "no answer"
        world.broken(self.kind, link.wire.local_port, f"{number}: {why}, {link.goaways}")


class Calls:
    """Unary calls of gRPC and streams in both directions, by turns, on one channel."""

    def __init__(self, kind: str, *, pause_s: float) -> None:
        self.kind = kind
        self._pause_s = pause_s

    async def __call__(self, world: World) -> None:
        async with EchoClient(world.http, "soak.Echo") as client:
            while not world.done:
                began, oldest = time.monotonic(), world.oldest
                number, body = world.message()
                sent = [f"{number} {at} ".encode() + body for at in range(_MESSAGES)]
                streams = number.endswith(("1", "4", "7"))
                try:
                    problem = await (
                        self._stream(world, client, sent, oldest)
                        if streams
                        else self._unary(world, client, sent[0], oldest)
                    )
                except grpc.aio.AioRpcError as error:
                    self._failed(world, began, f"{number}: {error.code()} {error.details()}")
                    await asyncio.sleep(0.05)
                    continue
                if problem:
                    world.lose(f"{self.kind} {number}: {problem}")
                else:
                    world.answered[f"{self.kind} stream" if streams else self.kind] += 1
                await asyncio.sleep(self._pause_s)

    async def _unary(self, world: World, client: EchoClient, sent: bytes, oldest: int) -> str:
        call = client.unary(sent, timeout=ANSWER_S)
        received = await call
        return (
            "other bytes than were sent" if received != sent else await _version_problem(world, call, oldest)
        )

    async def _stream(self, world: World, client: EchoClient, sent: list[bytes], oldest: int) -> str:
        call = client.bidi_stream(timeout=ANSWER_S)
        for message in sent:
            await call.write(message)
            if await call.read() != message:
                code = await call.code()
                if code is not grpc.StatusCode.OK:
                    raise grpc.aio.AioRpcError(code, None, None, await call.details())
                return "other bytes than were sent"
        await call.done_writing()
        if await call.read() is not grpc.aio.EOF:
            return "more than was sent"
        return await _version_problem(world, call, oldest)

    def _failed(self, world: World, began: float, what: str) -> None:
        if world.upstream_died("", began):
            world.excused[f"{self.kind} of a killed upstream"] += 1
        elif world.worker_killed_at >= began - _FOUND_DEAD_S:
            world.excused[f"{self.kind} of a killed worker"] += 1
        else:
            world.broken(self.kind, 0, what)
            world.done = world.done or world.draining


async def _version_problem(world: World, call: Any, oldest: int) -> str:
    version = str(dict(await call.initial_metadata()).get("x-version", ""))
    if version.isdecimal() and oldest <= int(version) <= world.newest:
        return ""
    return f"configuration {version}, not {oldest} to {world.newest}"
