"""An upstream that gives back what it got: ``python -m tests.soak.echo NAME PORT``.

HTTP: the body, with fields that say who it was and what it saw. After an upgrade, and to a client that does not begin
like HTTP: its name in a line, then every byte.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable

#: What is said of a request's fields, and by which fields.
ECHOED = {b"x-id": b"x-seen-id", b"x-config": b"x-seen-config", b"x-request-id": b"x-seen-request-id"}
_PR_SET_PDEATHSIG = 1


class Echo:
    def __init__(self, name: bytes) -> None:
        self.name = name

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while first := await reader.read(1):
                if first == b"T":
                    writer.write(self.name + b"\n")
                    break
                head = first + await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                if fields.get(b"upgrade") == b"websocket":
                    writer.write(b"HTTP/1.1 101 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
                    writer.write(self.name + b"\n")
                    break
                body = await self._body(reader, fields)
                own = b"".join(
                    b"%b: %b\r\n" % (said, fields[seen]) for seen, said in ECHOED.items() if seen in fields
                )
                writer.write(
                    b"HTTP/1.1 200 OK\r\nx-upstream: %b\r\n%bcontent-length: %d\r\n\r\n%b"
                    % (self.name, own, len(body), body)
                )
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _body(self, reader: asyncio.StreamReader, fields: dict[bytes, bytes]) -> bytes:
        if fields.get(b"transfer-encoding") != b"chunked":
            return await reader.readexactly(int(fields.get(b"content-length", b"0")))
        pieces = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(pieces)


async def serve_http(name: bytes, port: int) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    server = await asyncio.start_server(Echo(name).handle, sock=sock, backlog=512)
    print("ready", flush=True)
    await server.serve_forever()


def run_until_orphaned(serve: Callable[[], None]) -> None:
    """Serve, for as long as the test lives."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != 1:
        serve()


if __name__ == "__main__":
    run_until_orphaned(lambda: asyncio.run(serve_http(sys.argv[1].encode(), int(sys.argv[2]))))
