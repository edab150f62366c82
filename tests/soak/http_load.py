"""Clients that speak HTTP/1.1: over connections that stay, a connection for each request, plain and TLS."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping

from cryptography import x509

from tests.soak.world import World

#: Only ever reached by a test that fails.
ANSWER_S = 30.0
_CHUNK = 5000
_PROBE = b"GET /echo/probe HTTP/1.1\r\nhost: shop.test\r\nx-id: probe\r\nconnection: close\r\n\r\n"


class Broken(Exception):
    """The connection ended in the middle of something."""


class Connection:
    """One connection of a client."""

    def __init__(self, world: World, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.world = world
        self.reader = reader
        self.writer = writer
        self.port = int(writer.get_extra_info("sockname")[1])

    @classmethod
    async def open(cls, world: World, kind: str, *, tls: bool) -> Connection | None:
        """Connect, and check the certificate; None, and it is counted, if that fails."""
        settings = {"ssl": world.trust, "server_hostname": "shop.test"} if tls else {}
        sock = await connected(world, kind, world.https if tls else world.http)
        if sock is None:
            return None
        port = sock.getsockname()[1]
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(sock=sock, **settings)  # type: ignore[arg-type]
        except (OSError, TimeoutError) as error:
            sock.close()
            world.broken(kind, port, f"no handshake: {error!r}")
            return None
        if tls:
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            world.serials.append(x509.load_der_x509_certificate(der).serial_number)
        return cls(world, reader, writer)

    @property
    def ended(self) -> bool:
        """Whether the other side has closed it, or it broke."""
        return self.reader.at_eof() or self.reader.exception() is not None

    async def exchange(self, kind: str) -> bool:
        """Send a message and check what comes back; whether the connection may be used again."""
        world = self.world
        number, body = world.message()
        oldest = world.oldest
        head = f"host: shop.test\r\nx-id: {number}\r\n"
        if len(body) > _CHUNK and number.endswith(("1", "3", "5")):
            sent = f"PUT /echo/{number} HTTP/1.1\r\n{head}transfer-encoding: chunked\r\n\r\n".encode()
            for at in range(0, len(body), _CHUNK):
                piece = body[at : at + _CHUNK]
                sent += b"%x\r\n%b\r\n" % (len(piece), piece)
            sent += b"0\r\n\r\n"
        else:
            sent = (
                f"POST /echo/{number} HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body
            )
        try:
            async with asyncio.timeout(ANSWER_S):
                self.writer.write(sent)
                status, fields, received = await self.response()
        except TimeoutError:
            raise Broken("no answer") from None
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Broken(repr(error)) from None
        problem = problem_of(world, status, fields, number, same=received == body, oldest=oldest)
        if problem:
            world.lose(f"{kind} {number}: {problem}")
        else:
            world.answered[kind] += 1
        return fields.get("connection") != "close"

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Status, fields and body of the next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")[:-2]
        fields = dict(line.split(": ", 1) for line in lines[1:])
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
        else:
            body = await self.reader.readexactly(int(fields["content-length"]))
        return int(lines[0].split(" ")[1]), fields, body

    def close(self) -> None:
        self.writer.close()


def problem_of(
    world: World, status: int, fields: Mapping[str, str], number: str, *, same: bool, oldest: int
) -> str:
    """What is wrong with an answer; empty when nothing is."""
    if status != 200:
        return f"status {status}"
    if fields.get("x-seen-id") != number or not same:
        return f"the answer to another message: {fields.get('x-seen-id')}"
    version = fields.get("x-version", "")
    if fields.get("x-seen-config") != version:
        return f"two configurations at once: {fields.get('x-seen-config')} up, {version} down"
    if not version.isdecimal() or not oldest <= int(version) <= world.newest:
        return f"configuration {version}, not {oldest} to {world.newest}"
    if not world.unique(fields.get("x-seen-request-id", "")):
        return "a request id that another request had"
    return ""


class Keeping:
    """Clients that keep their connection for as long as they may."""

    def __init__(self, kind: str, *, tls: bool, pause_s: float) -> None:
        self.kind = kind
        self._tls = tls
        self._pause_s = pause_s

    async def __call__(self, world: World) -> None:
        while not world.done:
            connection = await Connection.open(world, self.kind, tls=self._tls)
            if connection is None:
                continue
            await self._use(world, connection)
            connection.close()

    async def _use(self, world: World, connection: Connection) -> None:
        while not world.done:
            if connection.ended:
                world.broken(f"{self.kind}, idle", connection.port, "closed without a word")
                return
            try:
                if not await connection.exchange(self.kind):
                    return
            except Broken as error:
                world.broken(self.kind, connection.port, str(error))
                return
            await asyncio.sleep(self._pause_s)


class OneEach:
    """Clients that connect for each message."""

    def __init__(self, kind: str, *, tls: bool, pause_s: float) -> None:
        self.kind = kind
        self._tls = tls
        self._pause_s = pause_s

    async def __call__(self, world: World) -> None:
        while not world.done:
            connection = await Connection.open(world, self.kind, tls=self._tls)
            if connection is None:
                continue
            try:
                await connection.exchange(self.kind)
            except Broken as error:
                world.broken(self.kind, connection.port, str(error))
            connection.close()
            await asyncio.sleep(self._pause_s)


async def connected(world: World, kind: str, port: int) -> socket.socket | None:
    """A connected socket; None, and it is counted, if there is no connection."""
    sock = socket.socket()
    sock.setblocking(False)
    began = time.monotonic()
    try:
        async with asyncio.timeout(ANSWER_S):
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except (OSError, TimeoutError) as error:
        sock.close()
        world.broken(kind, 0, f"no connection: {error!r}")
        if world.draining:
            world.done = True
        await asyncio.sleep(0.05)
        return None
    world.began[sock.getsockname()[1]] = began
    return sock


async def version_now(world: World, *, tls: bool = False) -> tuple[int, int]:
    """Configuration and serial number of the certificate that a new connection meets; -1 for what it does not."""
    connection = await Connection.open(world, "probe", tls=tls)
    if connection is None:
        return -1, -1
    try:
        connection.writer.write(_PROBE)
        async with asyncio.timeout(ANSWER_S):
            _, fields, _ = await connection.response()
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        world.broken("probe", connection.port, repr(error))
        return -1, -1
    finally:
        connection.close()
    return int(fields.get("x-version", "-1")), world.serials[-1] if tls else -1
