"""An HTTP/2 client that sends exactly the fields it is given and reports exactly what came back."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.support.h1_text import Head, Headers
from tests.support.h2_link import Link
from tests.support.h2_message import Message
from tests.support.raw_client import TCP_IDLE_S, UNREAD_S, Outcome, Response, connect
from tests.support.recorder import tls_facts

VERSION = "HTTP/2"


@dataclass(frozen=True)
class H2Request:
    """One request. None leaves a pseudo-header field out; ``protocol`` adds one (RFC 8441).

    ends: False leaves the stream open behind what is sent. pieces: [(seconds, more body), ...] sent later.
    tunnel: sent after a 2xx; what comes back until silence is the response's ``tunnel``.
    """

    path: str | None = "/"
    method: str | None = "GET"
    authority: str | None = "a.test"
    scheme: str | None = "http"
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    trailers: Sequence[tuple[str, str]] = ()
    protocol: str | None = None
    pieces: Sequence[tuple[float, bytes]] = ()
    tunnel: bytes | None = None
    ends: bool = True

    @property
    def fields(self) -> Headers:
        """The head as it is sent."""
        pseudo = [
            (":method", self.method),
            (":scheme", self.scheme),
            (":authority", self.authority),
            (":path", self.path),
            (":protocol", self.protocol),
        ]
        return [*((name, value) for name, value in pseudo if value is not None), *self.headers]


class H2Client:
    """Connections to ``host``:``port``: prior knowledge, or ALPN as ``tls`` offers it.

    ``timeout_s`` bounds the wait for the head of an answer, and for its end after that.
    """

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        tls: ssl.SSLContext | None = None,
        sni: str | None = None,
        timeout_s: float = 20.0,
        settings: Mapping[int, int] | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.timeout_s = timeout_s
        self._tls = tls
        self._sni = sni
        self._settings = settings

    async def http(self, request: H2Request) -> Outcome:
        """One request on a connection of its own."""
        return (await self.together([request]))[0]

    async def together(self, requests: Sequence[H2Request]) -> list[Outcome]:
        """Several streams of one connection, all begun at once."""
        began = time.monotonic()
        wire = await connect(self.port, self.host, tls=self._tls, sni=self._sni, timeout_s=self.timeout_s)
        if isinstance(wire, Outcome):
            wire.elapsed_ms = (time.monotonic() - began) * 1000
            return [wire] * len(requests)
        async with _running(Link(wire, client=True, settings=self._settings)) as link:
            return list(await asyncio.gather(*(self.exchange(link, each) for each in requests)))

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Link]:
        """A connection to go on with, for ``exchange``. AssertionError when there is none."""
        wire = await connect(self.port, self.host, tls=self._tls, sni=self._sni, timeout_s=self.timeout_s)
        assert not isinstance(wire, Outcome), wire
        async with _running(Link(wire, client=True, settings=self._settings)) as link:
            yield link

    async def exchange(self, link: Link, request: H2Request) -> Outcome:
        """One request on a connection there is, and its answer to the end."""
        began = time.monotonic()
        message = link.open()
        # Sending runs beside reading: an early response must not wait for the rest of the request.
        sending = asyncio.ensure_future(send(link, message, request))
        try:
            outcome = await self._answer(link, message, request)
            await asyncio.wait({sending}, timeout=UNREAD_S if message.complete else 0)
        finally:
            sending.cancel()
        outcome.tls = tls_facts(link.wire)
        outcome.elapsed_ms = (time.monotonic() - began) * 1000
        return outcome

    async def _answer(self, link: Link, message: Message, request: H2Request) -> Outcome:
        await link.until(lambda: bool(message.fields) or message.over, self.timeout_s)
        if not message.fields:
            return _no_answer(link, message)
        response = respond(message)
        if request.tunnel is not None and 200 <= response.status < 300:
            await link.send_body(message, request.tunnel)
            await link.until(lambda: bool(message.content.data) or message.over, self.timeout_s)
            while await link.until(_more(message), TCP_IDLE_S):
                pass
            response.tunnel = bytes(message.content.data)
            return Outcome("response", [response])
        await link.until(lambda: message.over, self.timeout_s)
        return Outcome("response", [respond(message)])


def respond(message: Message) -> Response:
    """The answer as far as it has come."""
    status = message.pseudo(":status") or ""
    response = Response(int(status) if status.isdigit() else 0, VERSION, message.plain)
    response.interim = [
        Head(f"{VERSION} {dict(each).get(':status')}", _plain(each), b"") for each in message.interim
    ]
    response.body, response.trailers = bytes(message.content.data), message.content.trailers
    if not message.complete:
        response.truncated = "stream_reset" if message.reset else "closed" if message.cut else "timeout"
        response.h2_error = message.reset or ""
    return response


def _plain(fields: Headers) -> Headers:
    return [(name, value) for name, value in fields if not name.startswith(":")]


def _more(message: Message) -> Callable[[], bool]:
    size = len(message.content.data)
    return lambda: len(message.content.data) > size


def _no_answer(link: Link, message: Message) -> Outcome:
    if message.reset is not None:
        return Outcome("stream_reset", h2_error=message.reset)
    goaway = link.goaways[-1].code if link.goaways else ""
    if message.cut:
        return Outcome(link.wire.ending or "closed", h2_error=goaway, error="; ".join(link.violations))
    return Outcome("timeout", h2_error=goaway)


async def send(link: Link, message: Message, request: H2Request) -> None:
    """Write the request: head, body in its pieces, trailers."""
    data = request.ends and request.tunnel is None
    later = list(request.pieces)
    last_is_head = data and not (request.body or later or request.trailers)
    link.send_head(message.stream, request.fields, end=last_is_head)
    parts = [*([(0.0, request.body)] if request.body else []), *later]
    for index, (wait_s, piece) in enumerate(parts):
        if wait_s:
            await asyncio.sleep(wait_s)
        end = data and index == len(parts) - 1 and not request.trailers
        if not await link.send_body(message, piece, end=end):
            return
    if request.trailers:
        link.send_head(message.stream, [*request.trailers], end=request.ends)


@contextlib.asynccontextmanager
async def _running(link: Link) -> AsyncIterator[Link]:
    link.greet()
    reading = asyncio.ensure_future(link.run())
    try:
        yield link
    finally:
        link.wire.transport.abort() if link.wire.ending else link.wire.close()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
