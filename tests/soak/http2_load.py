"""Clients that speak HTTP/2, by prior knowledge and over TLS: several messages at once on a connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from cryptography import x509

from tests.soak.http_load import ANSWER_S, connected, problem_of
from tests.soak.world import World
from tests.support.h2_link import Link
from tests.support.h2_message import Message
from tests.support.wire import Wire


class Multiplexing:
    """Clients with a connection of several streams, which they use until they are told to go."""

    def __init__(self, kind: str, *, tls: bool, streams: int, pause_s: float) -> None:
        self.kind = kind
        self._tls = tls
        self._streams = streams
        self._pause_s = pause_s

    async def __call__(self, world: World) -> None:
        while not world.done:
            sock = await connected(world, self.kind, world.https if self._tls else world.http)
            if sock is None:
                continue
            port = sock.getsockname()[1]
            wire = await self._wire(sock, world)
            if isinstance(wire, str):
                world.broken(self.kind, port, wire)
                continue
            link = Link(wire, client=True)
            link.greet()
            reading = asyncio.ensure_future(link.run())
            try:
                await self._use(world, link, port)
            finally:
                wire.close()
                reading.cancel()

    async def _wire(self, sock: socket.socket, world: World) -> Wire | str:
        """What frames go over; what went wrong, in words, if there is none."""
        settings: dict[str, Any] = {}
        if self._tls:
            settings = {"ssl": world.trust_http2, "server_hostname": "shop.test"}
        try:
            async with asyncio.timeout(ANSWER_S):
                _, wire = await asyncio.get_running_loop().create_connection(Wire, sock=sock, **settings)
        except (OSError, TimeoutError) as error:
            sock.close()
            return f"no handshake: {error!r}"
        return wire

    async def _use(self, world: World, link: Link, port: int) -> None:
        if self._tls:
            secured: ssl.SSLObject = link.wire.transport.get_extra_info("ssl_object")
            assert secured.selected_alpn_protocol() == "h2"
            der = secured.getpeercert(binary_form=True)
            assert der is not None
            world.serials.append(x509.load_der_x509_certificate(der).serial_number)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._streams):
                group.create_task(self._one_after_the_other(world, link, port))
        if link.violations:
            world.lose(f"{self.kind}: {link.violations}")
        if link.over and not link.goaways:
            world.broken(f"{self.kind}, idle", port, "closed without a word", told=link.greeted)

    async def _one_after_the_other(self, world: World, link: Link, port: int) -> None:
        while not (world.done or link.goaways or link.over):
            await self._exchange(world, link, port)
            await asyncio.sleep(self._pause_s)

    async def _exchange(self, world: World, link: Link, port: int) -> None:
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
            self._unanswered(world, link, port, message, number)
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

    def _unanswered(self, world: World, link: Link, port: int, message: Message, number: str) -> None:
        unseen = any(message.stream > goaway.last_stream for goaway in link.goaways)
        if unseen or (link.goaways and message.reset == "REFUSED_STREAM"):
            # Nobody has seen it, and the client is told so: it sends it on another connection (RFC 9113 8.7).
            world.excused[f"{self.kind} too late for a connection that ends"] += 1
            return
        why = f"reset with {message.reset}" if message.reset else "cut off" if message.cut else "no answer"
        world.broken(self.kind, port, f"{number}: {why}, {link.goaways}", told=link.greeted)
