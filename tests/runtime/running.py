"""``gatewayd run`` as a real process whose ports the kernel chose; they are read from its own report."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

LIMIT_S = 30.0  # only ever reached by a test that fails
#: Where bytecode may not be kept, each start would compile every module again.
_COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
REPOSITORY = Path(__file__).resolve().parents[2]

GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
"""
DIRECT = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: ["shop.test"]
  gateways: [istio-system/edge]
  http:
  - match: [{uri: {prefix: /direct}}]
    directResponse: {status: 200, body: {string: hello}}
  - route: [{destination: {host: backend.test, port: {number: 80}}}]
"""


def configuration(folder: Path, *documents: str) -> Path:
    """Write ``documents`` as files of ``folder``; the plain gateway when there is none."""
    for index, text in enumerate(documents or (GATEWAY, DIRECT)):
        (folder / f"{index}.yaml").write_text(text)
    return folder


class Running:
    """A process and what it said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        while self.process.stderr is not None and (piece := await self.process.stderr.read(65536)):
            self.said += piece.decode("utf-8", "replace")

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, limit_s: float = LIMIT_S) -> int:
        """Its exit code."""
        try:
            async with asyncio.timeout(limit_s):
                code = await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"the process did not end; it said:\n{self.said}") from None
        await self._reading
        return code

    async def until_said(self, pattern: str, limit_s: float = LIMIT_S) -> re.Match[str]:
        """The first match of ``pattern`` in what it says."""
        found: re.Match[str] | None = None

        def there() -> bool:
            nonlocal found
            found = re.search(pattern, self.said)
            return found is not None

        await self.until(there, pattern, limit_s)
        assert found is not None
        return found

    async def until(self, condition: Callable[[], Any], what: str = "", limit_s: float = LIMIT_S) -> None:
        """Wait until ``condition`` holds; fails with all that was said."""
        deadline = time.monotonic() + limit_s
        while not condition():
            ended = self.process.returncode is not None and self._reading.done()
            assert not ended or condition(), f"ended with {self.process.returncode}; it said:\n{self.said}"
            assert time.monotonic() < deadline, f"waited in vain for {what!r}; it said:\n{self.said}"
            await asyncio.sleep(0.005)

    async def ready(self) -> tuple[int, int]:
        """(port of the first listener, status port), once it serves."""
        found = await self.until_said(
            r"listener\s+http://[\d.]+:(\d+)(?s:.*)status\s+http://127\.0\.0\.1:(\d+)/healthz/ready"
        )
        return int(found[1]), int(found[2])

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.ended()


@asynccontextmanager
async def running(
    *words: str | Path,
    stdout: Any = asyncio.subprocess.DEVNULL,
    stdin: Any = asyncio.subprocess.DEVNULL,
    stderr: Any = asyncio.subprocess.PIPE,
    env: Mapping[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[Running]:
    """``gatewayd WORDS``; it is gone at the end, whatever happens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gatewayd", *map(str, words),
        stdout=stdout, stdin=stdin, stderr=stderr,
        env={**os.environ, **_COMPILED, **(env or {})}, cwd=REPOSITORY, **settings,
    )  # fmt: skip
    made = Running(process)
    try:
        yield made
    finally:
        await made.stop()


def serve(*words: str | Path, **settings: Any) -> Any:
    """``gatewayd run WORDS`` on ports the kernel chooses, without access log unless one is asked for."""
    flags = ["--port-map", "80=0", "--status", "127.0.0.1:0", "--bind", "127.0.0.1"]
    if "--access-log" not in words:
        flags += ["--access-log", "off"]
    return running("run", *words, *flags, **settings)


class Client:
    """A keep-alive connection for plain requests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, path: str, host: str = "shop.test") -> None:
        self.writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())

    async def receive(self, limit_s: float = LIMIT_S) -> tuple[int, str, bytes]:
        """(status, head, body) of one response."""
        async with asyncio.timeout(limit_s):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = re.search(r"content-length: (\d+)", head)
            body = await self.reader.readexactly(int(length[1])) if length else b""
            if "transfer-encoding: chunked" in head:
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readexactly(2)
        return int(head.split(" ")[1]), head, body

    async def get(self, path: str, host: str = "shop.test") -> tuple[int, str, bytes]:
        self.send(path, host)
        return await self.receive()

    async def at_end(self, limit_s: float = LIMIT_S) -> bool:
        """Whether the other side closes without another byte."""
        try:
            async with asyncio.timeout(limit_s):
                return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


@asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    made = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield made
    finally:
        await made.close()


async def get(port: int, path: str, host: str = "shop.test") -> tuple[int, str, bytes]:
    """One request on a connection of its own."""
    async with client(port) as connection:
        return await connection.get(path, host)


class Slow:
    """An upstream that answers when it is told to. ``arrived`` is set by the first request."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        #: requests so far
        self.asked = 0
        self.go = asyncio.Event()
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.asked += 1
                self.arrived.set()
                if b"upgrade: websocket" in head.lower():
                    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n")
                    writer.write(b"upgrade: websocket\r\n\r\n")
                    while data := await reader.read(1000):
                        writer.write(data)
                    return
                await self.go.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def slow_upstream() -> AsyncIterator[Slow]:
    slow = Slow()
    server = await asyncio.start_server(slow.handle, "127.0.0.1", 0)
    slow.port = server.sockets[0].getsockname()[1]
    try:
        yield slow
    finally:
        slow.go.set()
        server.close()
        await server.wait_closed()
