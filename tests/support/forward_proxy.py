"""A small HTTP proxy for CONNECT tunnels: where it is asked to go is looked up in a map of the test's."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping


class ForwardProxy:
    """``async with ForwardProxy({"far.test:443": port}) as proxy``; ``asked`` are the targets, in order.

    Other targets get a 403. With ``tls`` clients must speak TLS to it.
    """

    def __init__(self, targets: Mapping[str, int], tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[str] = []
        self.port = 0
        self._targets = dict(targets)
        self._tls = tls
        self._writers: list[asyncio.StreamWriter] = []
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ForwardProxy:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._serving)
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._serving.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split("\r\n")[0].split(" ")
            assert method == "CONNECT"
            self.asked.append(target)
            port = self._targets.get(target)
            if port is None:
                writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            else:
                there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
                self._writers.append(there_writer)
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()
