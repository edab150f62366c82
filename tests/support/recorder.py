"""Upstreams that note every byte: what reached them, in arrival order, and on which connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.behaviour import Behaviour, answer, render_headers, to_bytes
from tests.support.h1_text import Body, Head, Headers, Truncated, read_chunked, read_head, read_sized
from tests.support.wire import Wire

Kind = Literal["http", "https", "tcp"]
# Bytes that come close together are answered as one. What a PROXY header announces may come in a segment
# of its own, some time after it.
TCP_QUIET_S = 0.03
ANNOUNCED_S = 2.0


@dataclass
class Seen:
    """One request, or one TCP connection, as it arrived. ``settled``: nothing more will be added to it.

    authority, scheme: pseudo-header fields of HTTP/2, which ``headers`` are without.
    """

    upstream: str
    connection: int
    protocol: Literal["http", "tcp"] = "http"
    method: str = ""
    path: str = ""
    version: str = ""
    headers: Headers = field(default_factory=list)
    raw_head: bytes = b""
    chunked: bool = False
    content: Body = field(default_factory=Body)
    tunnel: bytearray = field(default_factory=bytearray)
    tls: dict[str, str] | None = None
    settled: bool = False
    authority: str | None = None
    scheme: str | None = None

    @property
    def body(self) -> bytes:
        """The body, or the bytes of a TCP connection."""
        return bytes(self.content.data)

    @property
    def truncated(self) -> bool:
        """Whether the body broke off."""
        return self.content.truncated is not None

    def values(self, name: str) -> list[str]:
        """All values of a header, names compared without case."""
        return [value for key, value in self.headers if key.lower() == name]


class Recorder:
    """An upstream on the loopback. Kinds: ``http``, ``https`` (HTTP/1.1 over TLS), ``tcp``.

    Use ``async with Recorder("alpha") as alpha``; ``seen`` lists what came, ``play`` sets the behaviours.
    """

    def __init__(self, name: str, kind: Kind = "http", tls: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.kind: Kind = kind
        self.seen: list[Seen] = []
        self.connections = 0
        self.errors: list[Exception] = []  # faults of the recorder itself; a test should find none
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._wires: set[Wire] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._script: list[Behaviour] = [Behaviour()]
        self._played = 0

    def play(self, script: Mapping[str, Any] | Sequence[Mapping[str, Any] | Behaviour] = ()) -> None:
        """Set the behaviours from now on: one for all requests, or one each with the last repeating."""
        steps: list[Any] = [script] if isinstance(script, Mapping) else list(script) or [{}]
        self._script = [step if isinstance(step, Behaviour) else Behaviour.parse(step) for step in steps]
        self._played = 0

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self, host: str = "127.0.0.1", sock: socket.socket | None = None) -> None:
        """Listen on a free port of ``host``, or on a bound socket."""
        loop = asyncio.get_running_loop()
        tls = self._tls if self.kind == "https" else None
        where: dict[str, Any] = {"sock": sock} if sock is not None else {"host": host, "port": 0}
        self._server = await loop.create_server(lambda: _Accepted(self), ssl=tls, **where)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for wire in list(self._wires):
            wire.transport.abort()
        if self._server is not None:
            await self._server.wait_closed()

    async def __aenter__(self) -> Recorder:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _accepted(self, wire: Wire) -> None:
        self._wires.add(wire)
        self.connections += 1
        serve = self._serve_tcp if self.kind == "tcp" else self._serve_http
        task = asyncio.get_running_loop().create_task(self._serve(serve(wire, self.connections), wire))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, conversation: Coroutine[Any, Any, None], wire: Wire) -> None:
        try:
            await conversation
        except Exception as error:
            self.errors.append(error)
        finally:
            wire.close()
            self._wires.discard(wire)

    def _upcoming(self) -> Behaviour:
        return self._script[min(self._played, len(self._script) - 1)]

    def _next(self) -> Behaviour:
        behaviour = self._upcoming()
        self._played += 1
        return behaviour

    def _ends_at_accept(self, wire: Wire) -> bool:
        behaviour = self._upcoming()
        if "accept" not in (behaviour.close, behaviour.reset):
            return False
        self._played += 1
        if behaviour.reset == "accept":
            wire.reset()
        return True

    async def _serve_http(self, wire: Wire, number: int) -> None:
        if self._ends_at_accept(wire):
            return
        while True:
            try:
                head = await read_head(wire)
            except Truncated:
                return
            if head is None:
                return
            method, _, rest = head.start_line.partition(" ")
            path, _, version = rest.rpartition(" ")
            seen = Seen(
                self.name, number, "http", method, path, version, head.headers, head.raw, head.chunked
            )
            seen.tls = tls_facts(wire)
            self.seen.append(seen)
            if not await self._converse(wire, head, seen, self._next()):
                return

    async def _converse(self, wire: Wire, head: Head, seen: Seen, behaviour: Behaviour) -> bool:
        """Read the body and answer; True when the connection may carry another request."""
        early = behaviour.before_body
        reusable = False
        if early:
            seen.settled = True
            reusable = await answer(wire, behaviour, self.name, head)
        elif head.has_token("expect", "100-continue") and not behaviour.no_100:
            await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if head.chunked:
            await read_chunked(wire, seen.content)
        elif head.content_length is not None:
            await read_sized(wire, seen.content, head.content_length)
        seen.settled = True
        if early:
            reusable &= not seen.truncated
            seen.content.truncated = None  # it was not waited for, so nothing broke off
            return reusable
        if seen.truncated:
            return False
        return await self._reply(wire, head, seen, behaviour)

    async def _reply(self, wire: Wire, head: Head, seen: Seen, behaviour: Behaviour) -> bool:
        if behaviour.hang:
            while await wire.wait_more():
                pass
            return False
        if behaviour.delay_ms:
            await asyncio.sleep(behaviour.delay_ms / 1000)
        if behaviour.reset == "before_headers":
            wire.reset()
            return False
        if behaviour.close == "before_headers":
            return False
        if behaviour.raw is not None:
            await wire.send(behaviour.raw)
            return False
        if behaviour.upgrade:
            await self._echo(wire, head, seen, behaviour)
            return False
        return await answer(wire, behaviour, self.name, head)

    async def _echo(self, wire: Wire, head: Head, seen: Seen, behaviour: Behaviour) -> None:
        protocol = (
            behaviour.upgrade if isinstance(behaviour.upgrade, str) else "".join(head.values("upgrade"))
        )
        headers = [("connection", "Upgrade"), ("upgrade", protocol), *behaviour.headers]
        await wire.send(b"HTTP/1.1 101 Switching Protocols\r\n" + render_headers(headers))
        while wire.buffer or await wire.wait_more():
            data = wire.take(len(wire.buffer))
            seen.tunnel += data
            await wire.send(b"echo:" + data)

    async def _serve_tcp(self, wire: Wire, number: int) -> None:
        if self._ends_at_accept(wire):
            return
        behaviour = self._next()
        seen = Seen(self.name, number, "tcp", tls=tls_facts(wire))
        self.seen.append(seen)
        while wire.buffer or await wire.wait_more():
            while await wire.wait_more(ANNOUNCED_S if _only_announces(wire.buffer) else TCP_QUIET_S):
                pass
            data = wire.take(len(wire.buffer))
            seen.content.data += data
            seen.settled = True
            if behaviour.reset or behaviour.close:
                if behaviour.reset:
                    wire.reset()
                return
            await asyncio.sleep(behaviour.delay_ms / 1000)
            if behaviour.raw is not None:
                await wire.send(behaviour.raw)
                return
            if not behaviour.hang:
                await wire.send(to_bytes(self.name) + b":" + data)
        seen.settled = True


class _Accepted(Wire):
    """A wire that reports to its recorder when it stands."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._recorder._accepted(self)


def _only_announces(data: bytearray) -> bool:
    """Whether ``data`` is a PROXY header of version 1 or 2 and nothing behind it."""
    if data.startswith(b"PROXY "):
        return data.index(b"\n") == len(data) - 1 if b"\n" in data else True
    return data.startswith(b"\r\n\r\n\0\r\nQUIT\n") and len(data) <= 16 + int.from_bytes(data[14:16], "big")


def note_sni(context: ssl.SSLContext) -> None:
    """Make a server context keep the SNI of each handshake, for ``tls_facts``."""

    def keep(ssl_object: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        ssl_object.noted_sni = name  # type: ignore[union-attr]

    context.sni_callback = keep


def tls_facts(wire: Wire) -> dict[str, str] | None:
    """What the handshake settled: version, cipher, sni (server side), alpn, peer_cert_der; None: no TLS."""
    ssl_object = wire.transport.get_extra_info("ssl_object")
    if ssl_object is None:
        return None
    facts = {"version": ssl_object.version() or ""}
    cipher = ssl_object.cipher()
    if cipher is not None:
        facts["cipher"] = cipher[0]
    if sni := getattr(ssl_object, "noted_sni", None):
        facts["sni"] = sni
    if alpn := ssl_object.selected_alpn_protocol():
        facts["alpn"] = alpn
    if certificate := ssl_object.getpeercert(binary_form=True):
        facts["peer_cert_der"] = certificate.hex()
    return facts
