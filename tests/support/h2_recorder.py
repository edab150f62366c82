"""Upstreams that speak HTTP/2 and note what reached them on every stream."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

from tests.support.behaviour import MID_BODY_BYTES, Behaviour, to_bytes
from tests.support.h1_text import Headers
from tests.support.h2_link import CONNECT_PROTOCOL, PREFACE, STREAMS, Link
from tests.support.h2_message import Message
from tests.support.recorder import Recorder, Seen, tls_facts
from tests.support.wire import Wire

GREETING: Mapping[int, int] = {STREAMS: 1000, CONNECT_PROTOCOL: 1}
RESET_CODE = "INTERNAL_ERROR"  # of a reset that names none


class H2Recorder(Recorder):
    """An upstream of HTTP/2 alone: plaintext by prior knowledge, or over TLS when it has a context.

    greeting: its SETTINGS. ``links`` are its connections, in the order they came.
    """

    def __init__(
        self, name: str, tls: ssl.SSLContext | None = None, *, greeting: Mapping[int, int] = GREETING
    ) -> None:
        super().__init__(name, "https" if tls else "http", tls)
        self.greeting = greeting
        self.links: list[Link] = []

    async def _serve_http(self, wire: Wire, number: int) -> None:
        if self._ends_at_accept(wire):
            return
        if await has_preface(wire):
            await self._serve_h2(wire, number)

    async def _serve_h2(self, wire: Wire, number: int) -> None:
        """A connection whose preface stands in the buffer."""
        wire.take(len(PREFACE))
        streams: set[asyncio.Task[None]] = set()

        def ended(task: asyncio.Task[None]) -> None:
            streams.discard(task)
            if not task.cancelled() and isinstance(error := task.exception(), Exception):
                self.errors.append(error)

        def on_head(message: Message) -> None:
            if link.last_taken is not None and message.stream > link.last_taken:
                return  # not processed, as our GOAWAY says
            task = asyncio.get_running_loop().create_task(self._stream(link, message, number))
            streams.add(task)
            task.add_done_callback(ended)

        link = Link(wire, client=False, settings=self.greeting, on_head=on_head)
        self.links.append(link)
        link.greet()
        try:
            await link.run()
            if streams:  # each notes that its message was cut
                await asyncio.wait(streams)
        finally:
            for task in list(streams):
                task.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
        self.errors += [AssertionError(f"{self.name}: {text}") for text in link.violations]

    async def _stream(self, link: Link, message: Message, number: int) -> None:
        seen = Seen(
            self.name,
            number,
            "http",
            message.pseudo(":method") or "",
            message.pseudo(":path") or "",
            "HTTP/2",
        )
        seen.headers, seen.content = message.plain, message.content
        seen.authority, seen.scheme = message.pseudo(":authority"), message.pseudo(":scheme")
        seen.tls = tls_facts(link.wire)
        self.seen.append(seen)
        behaviour = self._next()
        if behaviour.goaway == "before":  # this stream is not processed, and may be sent again
            link.send_goaway(max(0, message.stream - 2))
            seen.settled = True
            return
        if behaviour.before_body:
            seen.settled = True
            await _reply(link, message, behaviour, self.name)
            return
        if message.pseudo(":protocol") is not None and behaviour.upgrade:
            await _echo(link, message, seen)
            seen.settled = True
            return
        if ("expect", "100-continue") in seen.headers and not behaviour.no_100:
            link.send_head(message.stream, [(":status", "100")])
        await link.until(lambda: message.over)
        if not message.complete:
            seen.content.truncated = "reset" if message.reset else "closed"
        seen.settled = True
        if message.complete:
            await _reply(link, message, behaviour, self.name)


class AnyVersionRecorder(H2Recorder):
    """An upstream that speaks HTTP/1.1 or HTTP/2, as each connection begins."""

    async def _serve_http(self, wire: Wire, number: int) -> None:
        if self._ends_at_accept(wire):
            return
        if await has_preface(wire):
            await self._serve_h2(wire, number)
        else:
            await Recorder._serve_http(self, wire, number)


async def has_preface(wire: Wire) -> bool:
    """Whether the connection begins as one of HTTP/2 does."""
    while len(wire.buffer) < len(PREFACE):
        if wire.buffer != PREFACE[: len(wire.buffer)] or not await wire.wait_more():
            return False
    return wire.buffer.startswith(PREFACE)


def _head(behaviour: Behaviour) -> Headers:
    """The head of an answer, its fields as they are given; status 0 leaves ``:status`` out.

    No content-length: the recordings were made with upstreams that sent none.
    """
    fields = [(":status", str(behaviour.status))] if behaviour.status else []
    own = [*behaviour.headers]
    typed = behaviour.bare or behaviour.status in (204, 304) or any(name == "content-type" for name, _ in own)
    return [*fields, *([] if typed else [("content-type", "text/plain")]), *own]


async def _echo(link: Link, message: Message, seen: Seen) -> None:
    """Accept an extended CONNECT (RFC 8441) and send back ``echo:`` and whatever comes."""
    link.send_head(message.stream, [(":status", "200")])

    def more() -> bool:
        return len(message.content.data) > len(seen.tunnel)

    while await link.until(lambda: more() or message.over) and more():
        data = bytes(message.content.data[len(seen.tunnel) :])
        seen.tunnel += data
        await link.send_body(message, b"echo:" + data)
    await link.send_body(message, b"", end=True)


async def _reply(link: Link, message: Message, behaviour: Behaviour, name: str) -> None:
    """Answer a request as the behaviour says."""
    if behaviour.hang:
        return
    if behaviour.delay_ms:
        await asyncio.sleep(behaviour.delay_ms / 1000)
    if behaviour.reset == "before_headers":
        link.send_reset(message.stream, behaviour.code or RESET_CODE)
    elif behaviour.close == "before_headers":
        link.wire.close()
    elif behaviour.raw is not None:
        link.write(behaviour.raw)
        link.wire.close()
    else:
        await _answer(link, message, behaviour, name)


async def _answer(link: Link, message: Message, behaviour: Behaviour, name: str) -> None:
    stream = message.stream
    if behaviour.goaway == "after":
        link.send_goaway(max(link.messages))
    for status in behaviour.interim:
        link.send_head(stream, [(":status", str(status)), ("link", "</a.css>")])
    body = to_bytes(name) if behaviour.body is None else behaviour.body
    bodyless = behaviour.headers_only or behaviour.status in (204, 304) or message.pseudo(":method") == "HEAD"
    pieces = [] if bodyless else [piece for piece in behaviour.chunks or (body,) if piece]
    trailers = [*behaviour.trailers]
    ends = not pieces and not trailers
    link.send_head(stream, _head(behaviour), end=ends)
    if behaviour.close == "mid_body" or behaviour.reset == "mid_body":
        await link.send_body(message, b"".join(pieces)[:MID_BODY_BYTES])
        if behaviour.reset:
            link.send_reset(stream, behaviour.code or RESET_CODE)
        else:
            link.wire.close()
        return
    for index, piece in enumerate(pieces):
        await asyncio.sleep(behaviour.chunk_delay_ms / 1000)
        end = index == len(pieces) - 1 and not trailers
        if not await link.send_body(message, piece, end=end):
            return
    if trailers:
        link.send_head(stream, trailers, end=True)
    if behaviour.then == "close":
        link.send_goaway(stream)
        link.wire.close()
