"""A small HTTP/1.1 server for what operators ask: keep-alive, bounded in every way, and never long at a time.

A stranger can send no more than ``MAX_HEAD_BYTES`` and a body as large as the server allows, in ``HEAD_TIMEOUT_S``
and ``BODY_TIMEOUT_S``, one request after the other, and must take the answer: who does not read for
``SEND_TIMEOUT_S`` is cut off. When there are too many, who has waited longest without a request makes room: a crowd
that says nothing keeps no probe out. An answer that takes long to make is made in slices of ``SLICE_S``, with the
loop's other work between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final, TypeVar

from gatewayd.admin.messages import Answer, Rejected, Request, head_of, read_head
from gatewayd.listeners.plain_accept import PlainAcceptor, accept_on
from gatewayd.listeners.sockets import close_sockets, socket_address

_log = logging.getLogger("gatewayd.admin")

MAX_HEAD_BYTES: Final = 8 * 1024
MAX_BODY_BYTES: Final = 0
MAX_CONNECTIONS: Final = 64
HEAD_TIMEOUT_S: Final = 5.0
BODY_TIMEOUT_S: Final = 15.0
SEND_TIMEOUT_S: Final = 30.0
SLICE_S: Final = 0.001
#: Between slices; the loop sleeps no shorter.
PAUSE_S: Final = 0.001
#: Bytes gathered before they are written.
_PIECE: Final = 32 * 1024

_T = TypeVar("_T")

#: What a request gets; may raise :class:`Rejected`.
Handler = Callable[[Request], Answer | Awaitable[Answer]]


async def in_slices(items: Iterable[_T | None]) -> AsyncIterator[_T]:
    """``items`` without the None among them, with a pause whenever making them took ``SLICE_S``."""
    until = perf_counter() + SLICE_S
    for item in items:
        if item is not None:
            yield item
        if perf_counter() >= until:
            await asyncio.sleep(PAUSE_S)
            until = perf_counter() + SLICE_S


class HttpServer:
    """Answers with ``handle`` on listening sockets."""

    def __init__(
        self,
        handle: Handler,
        *,
        max_connections: int = MAX_CONNECTIONS,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._handle = handle
        self.max_connections = max_connections
        self._max_body = max_body_bytes
        #: those who are here by their transports, the oldest first
        self.connections: dict[Any, _Connection] = {}
        #: what is served, as (host, port) or ("unix:/path", 0)
        self.addresses: tuple[tuple[str, int], ...] = ()
        self._servers: list[asyncio.AbstractServer | PlainAcceptor] = []
        self._sockets: tuple[socket.socket, ...] = ()
        self._closed = False

    async def serve(self, loop: asyncio.AbstractEventLoop, sockets: Sequence[socket.socket]) -> None:
        """Serve on ``sockets``, which are closed with the server."""
        self._sockets = tuple(sockets)
        self.addresses = tuple(socket_address(sock) for sock in sockets)
        for sock in sockets:
            local = sock.family == socket.AF_UNIX
            self._servers.append(await accept_on(loop, sock, partial(self._protocol, loop, local)))

    async def leave(self, limit_s: float) -> None:
        """Take no more connections, whose sockets stay open for another process, and answer those that are here."""
        for server in self._servers:
            server.close()
        self._servers = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.connections:  # noqa: ASYNC110, the clients decide
                    await asyncio.sleep(0.005)

    def close(self) -> None:
        """Stop serving and cut the connections."""
        self._closed = True
        for server in self._servers:
            server.close()
        self._servers = []
        close_sockets(self._sockets)
        for transport in list(self.connections):
            transport.abort()

    def _protocol(self, loop: asyncio.AbstractEventLoop, local: bool) -> asyncio.Protocol:
        reader = asyncio.StreamReader(limit=MAX_HEAD_BYTES, loop=loop)

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
            if self._closed or not self._has_room():
                writer.transport.abort()
                return None
            connection = self.connections[writer.transport] = _Connection(reader, writer, local)
            return self._converse(connection)

        return asyncio.StreamReaderProtocol(reader, connected, loop=loop)

    def _has_room(self) -> bool:
        """Whether one more may come; for it another may have to go that has not asked for anything."""
        if len(self.connections) < self.max_connections:
            return True
        for transport, connection in self.connections.items():
            if connection.silent:
                del self.connections[transport]
                transport.abort()
                return True
        return False

    async def _converse(self, connection: _Connection) -> None:
        transport = connection.writer.transport
        try:
            while await self._one(connection):
                pass
            connection.writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            transport.abort()
        except Exception:
            _log.exception("an answer could not be made")
            transport.abort()
        finally:
            self.connections.pop(transport, None)

    async def _one(self, connection: _Connection) -> bool:
        """One request and its answer; whether another may follow."""
        try:
            request = await connection.receive(self._max_body)
        except Rejected as rejected:
            await connection.send(rejected.answer, close=True)
            return False
        if request is None:
            return False
        try:
            made = self._handle(request)
            answer = made if isinstance(made, Answer) else await made
        except Rejected as rejected:
            answer = rejected.answer
        except Exception:
            _log.exception("%s %s could not be answered", request.method, request.path)
            answer = Answer(500, "this went wrong; the program's log says how\n")
        words = request.headers.get("connection", "").lower()
        close = request.http10 or "close" in words or answer.stream
        await connection.send(answer, close=close, bare=request.method == "HEAD", http10=request.http10)
        return not close


class _Connection:
    """Reads requests and writes answers."""

    __slots__ = ("local", "reader", "silent", "writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, local: bool) -> None:
        self.reader = reader
        self.writer = writer
        self.local = local
        #: there is no whole request of it
        self.silent = True

    async def receive(self, max_body: int) -> Request | None:
        """The next request; None when the client has said its last. Raises :class:`Rejected`."""
        self.silent = True
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise Rejected(431, "too large: a head may have 8 KiB") from None
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                return None
            raise
        request, length = read_head(head[:-4], local=self.local)
        if not length:
            self.silent = False
            return request
        if length > max_body:
            raise Rejected(413, f"too large: a body may have {max_body:,} bytes here")
        if request.headers.get("expect", "").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await self.reader.readexactly(length)
        self.silent = False
        return Request(
            request.method, request.path, request.query, request.headers, body, request.local, request.http10
        )

    async def send(self, answer: Answer, *, close: bool, bare: bool = False, http10: bool = False) -> None:
        """Write ``answer``; ``bare``: its head only."""
        pieces = answer.pieces
        if pieces is None:
            body = answer.body.encode() if isinstance(answer.body, str) else answer.body
            head = head_of(answer, length=len(body), close=close)
            await self._write(head if bare else head + body)
            return
        chunks = pieces if isinstance(pieces, AsyncIterator) else in_slices(pieces)
        try:
            await self._send_pieces(answer, chunks, close=close, bare=bare, http10=http10)
        finally:
            if hasattr(chunks, "aclose"):
                await chunks.aclose()

    async def _send_pieces(
        self, answer: Answer, chunks: AsyncIterator[bytes], *, close: bool, bare: bool, http10: bool
    ) -> None:
        """A short body gets its length, a long one goes out in chunks as it is made."""
        if answer.stream:
            await self._stream(answer, chunks, bare=bare)
            return
        waiting: list[bytes] = []
        size = 0
        begun = False
        async for chunk in chunks:
            waiting.append(chunk)
            size += len(chunk)
            if size < _PIECE or http10:
                continue
            if not begun:
                begun = True
                await self._write(head_of(answer, length=None, close=close))
                if bare:
                    return
            await self._write(_chunk(waiting, size))
            waiting, size = [], 0
        if not begun:
            head = head_of(answer, length=size, close=close)
            await self._write(head if bare else b"".join([head, *waiting]))
            return
        await self._write((_chunk(waiting, size) if size else b"") + b"0\r\n\r\n")

    async def _stream(self, answer: Answer, chunks: AsyncIterator[bytes], *, bare: bool) -> None:
        """Pieces until the client goes; each is sent at once."""
        await self._write(head_of(answer, length=None, close=True))
        if bare:
            return
        gone = asyncio.ensure_future(self.reader.read(1))  # its end, or more than it may send
        try:
            while True:
                piece = asyncio.ensure_future(anext(chunks, None))
                await asyncio.wait({piece, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not piece.done():
                    piece.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await piece
                    return
                chunk = piece.result()
                if chunk is None:
                    await self._write(b"0\r\n\r\n")
                    return
                await self._write(_chunk([chunk], len(chunk)))
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await gone

    async def _write(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await self.writer.drain()


def _chunk(pieces: Iterable[bytes], size: int) -> bytes:
    return b"".join([b"%x\r\n" % size, *pieces, b"\r\n"])
