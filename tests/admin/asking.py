"""A server of operators' ports on a socket of its own, and a plain client for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gatewayd.admin.guard import HEADER
from gatewayd.admin.server import HttpServer

LIMIT_S = 30.0  # only ever reached by a test that fails


@dataclass
class Reply:
    status: int
    head: str
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Port:
    """Where a server listens."""

    def __init__(self, address: Any) -> None:
        self.address = address

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.address, str):
            return await asyncio.open_unix_connection(self.address)
        return await asyncio.open_connection(*self.address[:2])

    async def raw(self, *pieces: bytes) -> bytes:
        """Everything that is answered to ``pieces`` until the end of the connection."""
        reader, writer = await self.connect()
        taken = b""
        try:
            for piece in pieces:
                writer.write(piece)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
            async with asyncio.timeout(LIMIT_S):
                with contextlib.suppress(ConnectionError):  # reset where bytes were unread
                    while piece := await reader.read(65536):
                        taken += piece
        finally:
            writer.close()
        return taken

    async def get(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Reply:
        return await self.ask(path, method, headers)

    async def post(self, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        """As an operator does: with the header."""
        return await self.ask(path, "POST", {HEADER: "1", **(headers or {})}, body)

    async def ask(
        self, path: str, method: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Reply:
        given = {"host": "localhost", "connection": "close", **(headers or {})}
        if body:
            given["content-length"] = str(len(body))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
        return reply_of(await self.raw("\r\n".join([*lines, "", ""]).encode() + body))

    async def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, "the condition did not become true"
            await asyncio.sleep(0.002)


def reply_of(data: bytes) -> Reply:
    """The answer in ``data``, its chunks joined."""
    head, _, body = data.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    assert text.startswith("HTTP/1.1 "), data[:200]
    if body and "transfer-encoding: chunked" in text:
        body = unchunked(body)
    return Reply(int(text.split(" ")[1]), text, body)


def unchunked(data: bytes) -> bytes:
    """What stands in chunks, the last of which must be there."""
    out = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            assert data == b"\r\n"
            return out
        out += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]


@asynccontextmanager
async def served(server: HttpServer, path: str = "") -> AsyncIterator[Port]:
    """``server`` on a port the kernel chose, or on a UNIX socket at ``path``; all connections are gone at the end."""
    sock: socket.socket
    if path:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen()
    else:
        sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    address = sock.getsockname()
    await server.serve(asyncio.get_running_loop(), [sock])
    port = Port(address)
    try:
        yield port
    finally:
        server.close()
        await port.until(lambda: not server.connections)
