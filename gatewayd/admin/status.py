"""The status port (15021): is this worker alive, and should it get traffic.

``GET /healthz/ready`` is 200 only while the worker serves and does not drain, else 503 with the reason in
the body; ``GET /healthz/live`` is 200 as long as the loop turns. One request per connection; a
stranger can send no more than ``MAX_HEAD_BYTES`` and stay no longer than ``HEAD_TIMEOUT_S``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from gatewayd.listeners.sockets import socket_address

MAX_HEAD_BYTES: Final = 8 * 1024
MAX_CONNECTIONS: Final = 64
HEAD_TIMEOUT_S: Final = 5.0


class Readiness:
    """Why the worker should get no traffic; empty while it should. Starts as ``starting``."""

    __slots__ = ("reason",)

    def __init__(self) -> None:
        self.reason = "starting"

    @property
    def ready(self) -> bool:
        """Whether traffic is welcome."""
        return not self.reason


class Answer(NamedTuple):
    """What a status request gets."""

    status: str  # b"200 OK" in words
    body: str
    extra: str = ""


def decide_answer(head: bytes, readiness: Readiness) -> Answer:
    """The answer to a request head; ``head`` is everything up to the empty line."""
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or not words[1].startswith(b"/"):
        return Answer("400 Bad Request", "bad request\n")
    path = words[1].partition(b"?")[0]
    if path not in (b"/healthz/ready", b"/healthz/live"):
        return Answer("404 Not Found", "try /healthz/ready or /healthz/live\n")
    if words[0] not in (b"GET", b"HEAD"):
        return Answer("405 Method Not Allowed", "GET or HEAD\n", "allow: GET, HEAD\r\n")
    if path == b"/healthz/live":
        return Answer("200 OK", "live\n")
    if readiness.ready:
        return Answer("200 OK", "ready\n")
    return Answer("503 Service Unavailable", readiness.reason + "\n")


class _StatusConnection(asyncio.Protocol):
    def __init__(self, server: StatusServer) -> None:
        self._server = server
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # by shape: uvloop's do not inherit from it
        if not self._server.admit(self):
            transport.abort()
            return
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end >= 0:
            answer = decide_answer(bytes(self._head[:end]), self._server.readiness)
        elif len(self._head) > MAX_HEAD_BYTES:
            answer = Answer("431 Request Header Fields Too Large", "too large\n")
        else:
            return
        body = b"" if self._head.startswith(b"HEAD ") else answer.body.encode()
        head = (
            f"HTTP/1.1 {answer.status}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            f"content-length: {len(answer.body)}\r\ncache-control: no-store\r\n{answer.extra}"
            "connection: close\r\n\r\n"
        )
        transport.write(head.encode() + body)
        transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class StatusServer:
    """Serves :class:`Readiness` on listening sockets."""

    def __init__(self, readiness: Readiness) -> None:
        self.readiness = readiness
        self.connections: set[_StatusConnection] = set()
        #: what is served, as (host, port) or ("unix:/path", 0)
        self.addresses: tuple[tuple[str, int], ...] = ()
        self._servers: list[asyncio.AbstractServer] = []

    def admit(self, connection: _StatusConnection) -> bool:
        """Take a connection, unless there are too many."""
        if len(self.connections) >= MAX_CONNECTIONS:
            return False
        self.connections.add(connection)
        return True

    async def serve(self, loop: asyncio.AbstractEventLoop, sockets: Sequence[socket.socket]) -> None:
        """Serve on ``sockets``, which are closed with the server."""
        self.addresses = tuple(socket_address(sock) for sock in sockets)
        for sock in sockets:
            if sock.family == socket.AF_UNIX:
                server: asyncio.AbstractServer = await loop.create_unix_server(
                    lambda: _StatusConnection(self), sock=sock
                )
            else:
                server = await loop.create_server(lambda: _StatusConnection(self), sock=sock)
            self._servers.append(server)

    def close(self) -> None:
        """Stop serving and cut the connections."""
        for server in self._servers:
            server.close()
        self._servers = []
        for host, _ in self.addresses:
            if host.startswith("unix:/"):
                with contextlib.suppress(OSError):
                    os.unlink(host.removeprefix("unix:"))
        for connection in list(self.connections):
            connection.abort()
