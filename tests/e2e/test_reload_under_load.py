"""Fifty reloads under checked load: no request is lost or mixed up, no stream breaks (hardening 9.1).

Every message has an id of its own and comes back as it went. Routes, clusters and a listener change with each
reload, and some of them are mistakes.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.runtime.running import LIMIT_S, serve

RELOADS = 50

GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
  - port: {number: RAW, name: tcp, protocol: TCP}
    hosts: ["*"]
"""
THIRD_SERVER = """\
  - port: {number: EXTRA, name: extra, protocol: HTTP}
    hosts: ["*"]
"""
ROUTES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http:
  - match: [{uri: {prefix: /version}}]
    directResponse: {status: 200, body: {string: "VERSION"}}
  - route: [{destination: {host: HOST, port: {number: 80}}}]
    headers: {response: {set: {x-version: "VERSION"}}}
  tcp:
  - match: [{port: RAW}]
    route: [{destination: {host: HOST, port: {number: 80}}}]
"""
SERVICES = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: backends, namespace: shop}
spec:
  hosts: [even.test, odd.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: BACKEND}}]
"""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP that returns the body; what does not begin like HTTP, and what was upgraded, comes back as it is."""
    try:
        while first := await reader.read(1):
            if first != b"P" and first != b"G":
                writer.write(first)
                break
            head = first + await reader.readuntil(b"\r\n\r\n")
            if b"upgrade: websocket" in head.lower():
                writer.write(b"HTTP/1.1 101 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
                break
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (length, body))
        while data := await reader.read(65536):
            writer.write(data)
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


class Load:
    """Clients that check all they get, until told to stop."""

    def __init__(self, port: int, tcp_port: int) -> None:
        self.port = port
        self.tcp_port = tcp_port
        self.done = False
        self.versions: set[bytes] = set()
        self.messages = 0
        self._ids = itertools.count(1)

    def _message(self) -> bytes:
        self.messages += 1
        return b"id-%d." % next(self._ids) * 50

    def seen(self, version: int, running: Sequence[asyncio.Future[None]]) -> Callable[[], bool]:
        """Becomes true when ``version`` has served and twenty messages passed, or a client has given up."""
        enough = self.messages + 20
        served = b"%d" % version

        def there() -> bool:
            used = version % 7 == 6 or served in self.versions
            return (used and self.messages >= enough) or any(each.done() for each in running)

        return there

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """One request; the head of its response."""
        message = self._message()
        writer.write(
            b"POST /echo HTTP/1.1\r\nhost: shop.test\r\ncontent-length: %d\r\n\r\n%b"
            % (len(message), message)
        )
        async with asyncio.timeout(LIMIT_S):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            assert await reader.readexactly(len(message)) == message
        self.versions.add(head.partition(b"x-version: ")[2].partition(b"\r\n")[0])
        return head

    async def keep_alive(self) -> None:
        """One connection for everything."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while not self.done:
            head = await self._exchange(reader, writer)
            assert b"connection: close" not in head
            await asyncio.sleep(0.001)
        writer.close()

    async def one_each(self) -> None:
        """A connection for each request."""
        while not self.done:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            await self._exchange(reader, writer)
            writer.close()
            await asyncio.sleep(0.002)

    async def web_socket(self) -> None:
        """An upgraded connection that lives through all of it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(
            b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)
        assert head.startswith(b"HTTP/1.1 101 "), head
        await self._talk(reader, writer)

    async def stream(self) -> None:
        """A TCP stream that lives through all of it."""
        await self._talk(*await asyncio.open_connection("127.0.0.1", self.tcp_port))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not self.done:
            message = self._message()
            writer.write(message)
            assert await asyncio.wait_for(reader.readexactly(len(message)), LIMIT_S) == message
            await asyncio.sleep(0.002)
        writer.close()


@asynccontextmanager
async def reserved() -> AsyncIterator[int]:
    """A port nobody else takes: bound, and not listened on."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


class Site:
    """A folder whose content is another with each version."""

    def __init__(self, folder: Path, tcp: int, extra: int, backend: int) -> None:
        self.folder = folder
        self._numbers = {"RAW": tcp, "EXTRA": extra, "BACKEND": backend}

    def write(self, version: int) -> None:
        """Write it: the listener of two versions in three, a cluster by turns, every seventh routes broken."""
        gateway = GATEWAY + (THIRD_SERVER if version % 3 else "")
        routes = ROUTES.replace("HOST", ("even.test", "odd.test")[version % 2])
        routes = routes.replace("VERSION", str(version))
        if version % 7 == 6:
            routes = routes.replace("prefix: /version", "regex: '('") if version % 2 else routes[:-40] + "{{["
        for name, text in (("gateway", gateway), ("routes", routes), ("services", SERVICES)):
            for word, number in self._numbers.items():
                text = text.replace(word, str(number))
            (self.folder / f"{name}.yaml").write_text(text)


async def test_fifty_reloads_lose_nothing(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(await asyncio.start_server(echo, "127.0.0.1", 0))
        tcp = await stack.enter_async_context(reserved())
        extra = await stack.enter_async_context(reserved())
        site = Site(tmp_path, tcp, extra, backend.sockets[0].getsockname()[1])
        site.write(0)
        gatewayd = await stack.enter_async_context(serve(tmp_path, "--no-watch"))
        port, _ = await gatewayd.ready()
        load = Load(port, tcp)
        clients = [load.keep_alive(), load.keep_alive(), load.one_each(), load.web_socket(), load.stream()]
        running = [asyncio.ensure_future(each) for each in clients]
        for version in range(1, RELOADS + 1):
            site.write(version)
            gatewayd.signal(signal.SIGHUP)
            await gatewayd.until_said(rf"reload {version}: ")
            await gatewayd.until(load.seen(version, running), f"version {version} in use")
        load.done = True
        await asyncio.gather(*running)
        assert load.messages > 20 * RELOADS
        broken = {b"%d" % version for version in range(1, RELOADS + 1) if version % 7 == 6}
        assert not broken & load.versions, "no broken one has"
        gatewayd.signal(signal.SIGQUIT)
        await gatewayd.until_said(r"cluster outbound\|80\|\|even\.test: 0 requests")
        assert "Traceback" not in gatewayd.said
