"""A tiny HTTP server for what operators ask: one request per connection, GET or HEAD, nothing to be uploaded.

A stranger can send no more than ``MAX_HEAD_BYTES`` and stay no longer than ``HEAD_TIMEOUT_S`` before the answer and
``SEND_TIMEOUT_S`` for taking it. An answer that takes long to make is made in slices of ``SLICE_S``, with the loop's
other work between them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Final, NamedTuple, cast

from gatewayd.listeners.sockets import remove_file, socket_address

MAX_HEAD_BYTES: Final = 8 * 1024
MAX_CONNECTIONS: Final = 64
HEAD_TIMEOUT_S: Final = 5.0
SEND_TIMEOUT_S: Final = 30.0
SLICE_S: Final = 0.001

TEXT: Final = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """What a request gets: ``body``, or ``pieces`` made one after the other."""

    status: str  # b"200 OK" in words
    body: str
    extra: str = ""
    pieces: Iterator[bytes] | None = None
    content_type: str = TEXT


#: The answer to a request head: everything up to the empty line.
Decide = Callable[[bytes], Answer]


def target_of(head: bytes) -> tuple[bytes, bytes] | Answer:
    """(method, path without query) of a request head, or what to say to one that is none."""
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or not words[1].startswith(b"/"):
        return Answer("400 Bad Request", "bad request\n")
    return words[0], words[1].partition(b"?")[0]


class _Connection(asyncio.Protocol):
    def __init__(self, server: TinyServer) -> None:
        self._server = server
        self._head = bytearray()
        self._body = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answered = False

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
        if transport is None or transport.is_closing() or self._answered:
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end >= 0:
            answer = self._server.decide(bytes(self._head[:end]))
        elif len(self._head) > MAX_HEAD_BYTES:
            answer = Answer("431 Request Header Fields Too Large", "too large\n")
        else:
            return
        self._answered = True
        if answer.pieces is None:
            self._send(answer, answer.body.encode())
            return
        transport.pause_reading()
        self._make(answer, answer.pieces)

    def _make(self, answer: Answer, pieces: Iterator[bytes]) -> None:
        """Make a slice of the body; the next one is made after what else the loop has to do."""
        if self._transport is None:
            return
        until = perf_counter() + SLICE_S
        for piece in pieces:
            self._body += piece
            if perf_counter() >= until:
                asyncio.get_running_loop().call_later(0.001, self._make, answer, pieces)
                return
        self._send(answer, bytes(self._body))

    def _send(self, answer: Answer, body: bytes) -> None:
        transport = self._transport
        assert transport is not None
        head = (
            f"HTTP/1.1 {answer.status}\r\ncontent-type: {answer.content_type}\r\n"
            f"content-length: {len(body)}\r\ncache-control: no-store\r\n{answer.extra}"
            "connection: close\r\n\r\n"
        )
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(SEND_TIMEOUT_S, transport.abort)
        transport.write(head.encode() + (b"" if self._head.startswith(b"HEAD ") else body))
        transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class TinyServer:
    """Answers with ``decide`` on listening sockets."""

    def __init__(self, decide: Decide, max_connections: int = MAX_CONNECTIONS) -> None:
        self.decide = decide
        self.max_connections = max_connections
        self.connections: set[_Connection] = set()
        #: what is served, as (host, port) or ("unix:/path", 0)
        self.addresses: tuple[tuple[str, int], ...] = ()
        self._servers: list[asyncio.AbstractServer] = []
        self._sockets: tuple[socket.socket, ...] = ()

    def admit(self, connection: _Connection) -> bool:
        """Take a connection, unless there are too many."""
        if len(self.connections) >= self.max_connections:
            return False
        self.connections.add(connection)
        return True

    async def serve(self, loop: asyncio.AbstractEventLoop, sockets: Sequence[socket.socket]) -> None:
        """Serve on ``sockets``, which are closed with the server."""
        self._sockets = tuple(sockets)
        self.addresses = tuple(socket_address(sock) for sock in sockets)
        for sock in sockets:
            if sock.family == socket.AF_UNIX:
                server: asyncio.AbstractServer = await loop.create_unix_server(
                    lambda: _Connection(self), sock=sock
                )
            else:
                server = await loop.create_server(lambda: _Connection(self), sock=sock)
            self._servers.append(server)

    def close(self) -> None:
        """Stop serving and cut the connections."""
        for sock in self._sockets:
            remove_file(sock)
        for server in self._servers:
            server.close()
        self._servers = []
        for connection in list(self.connections):
            connection.abort()
