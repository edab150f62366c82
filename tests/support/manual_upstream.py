"""An upstream that does nothing by itself: the test holds each connection and says when it answers or ends."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from tests.support.h1_text import Head, read_head
from tests.support.wire import Wire

TIMEOUT_S = 5.0


class ManualWire(Wire):
    """One connection from the proxy, in the hands of the test."""

    def __init__(self, upstream: ManualUpstream) -> None:
        super().__init__()
        self._upstream = upstream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._upstream.wires.append(self)
        self._upstream.arrived.set()
        if self._upstream.reads_nothing:
            self.transport.pause_reading()

    async def head(self) -> Head:
        """The next request head."""
        head = await read_head(self, TIMEOUT_S)
        assert head is not None, f"no request: {self.ending}"
        return head

    async def ended(self) -> str | None:
        """How the proxy ended the connection; what it sent before stays in the buffer."""
        while self.ending is None:
            if not await self.wait_more(TIMEOUT_S):
                break
        return self.ending


class ManualUpstream:
    """Use ``async with ManualUpstream() as upstream``, then ``await upstream.accept()`` for each connection.

    receive_buffer: bytes of the kernel's buffer per connection, for tests of backpressure. reads_nothing: its
    connections begin paused.
    """

    def __init__(self, *, receive_buffer: int = 0, reads_nothing: bool = False) -> None:
        self.wires: list[ManualWire] = []
        self.arrived = asyncio.Event()
        self.reads_nothing = reads_nothing
        self._receive_buffer = receive_buffer
        self._taken = 0

    async def __aenter__(self) -> ManualUpstream:
        self._socket = socket.socket()
        if self._receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        await self.listen()
        return self

    async def listen(self) -> None:
        """Take connections (again)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: ManualWire(self), sock=self._socket)

    async def __aexit__(self, *_: Any) -> None:
        self._server.close()
        for wire in self.wires:
            wire.transport.abort()
        await self._server.wait_closed()

    async def accept(self) -> ManualWire:
        """The next connection the proxy opens."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.wires) <= self._taken:
                self.arrived.clear()
                await self.arrived.wait()
        self._taken += 1
        return self.wires[self._taken - 1]


def answer(body: bytes = b"ok", *headers: str, status: int = 200) -> bytes:
    """A response with content-length."""
    lines = [f"HTTP/1.1 {status} OK", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
