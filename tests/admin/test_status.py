"""The status port: /healthz/ready and /healthz/live (product.md section 4)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable

import pytest

from gatewayd.admin import server as tiny
from gatewayd.admin.status import Readiness, StatusServer, decide_answer


def ask(path: str, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    return f"{method} {path} {version}\r\nhost: localhost".encode()


def ready() -> Readiness:
    readiness = Readiness()
    readiness.release("starting")
    return readiness


def test_a_worker_that_starts_is_alive_and_not_ready() -> None:
    readiness = Readiness()
    assert decide_answer(ask("/healthz/live"), readiness).status == "200 OK"
    answer = decide_answer(ask("/healthz/ready"), readiness)
    assert answer.status == "503 Service Unavailable"
    assert answer.body == "starting\n"


def test_a_worker_that_serves_is_ready() -> None:
    assert decide_answer(ask("/healthz/ready"), ready()).status == "200 OK"


def test_a_worker_that_drains_is_alive_and_not_ready() -> None:
    readiness = ready()
    readiness.hold("draining", "draining")
    assert decide_answer(ask("/healthz/live"), readiness).status == "200 OK"
    assert decide_answer(ask("/healthz/ready"), readiness)[:2] == ("503 Service Unavailable", "draining\n")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (ask("/healthz/ready?x=1"), "200 OK"),
        (ask("/healthz/ready", "HEAD"), "200 OK"),
        (ask("/healthz/ready", version="HTTP/1.0"), "200 OK"),
        (ask("/healthz/ready", "POST"), "405 Method Not Allowed"),
        (ask("/"), "404 Not Found"),
        (ask("/healthz/readyz"), "404 Not Found"),
        (ask("/stats/prometheus"), "404 Not Found"),
        (ask("http://x/healthz/ready"), "400 Bad Request"),
        (ask("/healthz/ready", version="HTTP/2.0"), "400 Bad Request"),
        (b"GET /healthz/ready", "400 Bad Request"),
        (b"GET  /healthz/ready HTTP/1.1", "400 Bad Request"),
        (b"", "400 Bad Request"),
        (b"\x16\x03\x01\x02\x00", "400 Bad Request"),
    ],
)
def test_each_request_has_one_answer(head: bytes, expected: str) -> None:
    assert decide_answer(head, ready()).status == expected


class Served:
    def __init__(self, server: StatusServer, address: tuple[str, int]) -> None:
        self.server = server
        self.address = address

    async def connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self.address)
        except OSError:
            sock.close()
            raise
        return sock

    async def exchange(self, *pieces: bytes) -> bytes:
        """Everything that is answered to ``pieces`` until the end of the connection."""
        loop = asyncio.get_running_loop()
        with await self.connect() as sock:
            for piece in pieces:
                await loop.sock_sendall(sock, piece)
            async with asyncio.timeout(30.0):
                return await read_all(sock)


async def read_all(sock: socket.socket) -> bytes:
    """What comes until the connection ends, or is reset (which the kernel does when bytes were unread)."""
    taken = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := await asyncio.get_running_loop().sock_recv(sock, 4096):
            taken += piece
    return taken


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    server = StatusServer(ready())
    await server.serve(asyncio.get_running_loop(), [sock])
    yield Served(server, sock.getsockname())
    server.close()
    deadline = time.monotonic() + 30.0
    while server.connections:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def until(condition: Callable[[], object], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        await asyncio.sleep(0.002)


async def test_an_answer_is_whole_and_the_connection_ends(served: Served) -> None:
    answer = await served.exchange(ask("/healthz/ready") + b"\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 200 OK"
    assert b"content-length: 6" in head
    assert b"connection: close" in head
    assert body == b"ready\n"


async def test_a_request_may_come_in_pieces(served: Served) -> None:
    answer = await served.exchange(b"GET /healthz", b"/live HTTP/1.1\r\nhost: x\r\n\r", b"\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_head_has_no_body(served: Served) -> None:
    answer = await served.exchange(ask("/healthz/live", "HEAD") + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")


async def test_a_head_without_end_is_bounded(served: Served) -> None:
    answer = await served.exchange(b"GET / HTTP/1.1\r\nx: " + b"a" * 9000)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_who_sends_nothing_is_sent_away(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "HEAD_TIMEOUT_S", 0.05)
    assert await served.exchange(b"GET /") == b""
    await until(lambda: not served.server.connections)


async def test_a_crowd_is_turned_away_and_probes_come_through_again(served: Served) -> None:
    served.server.max_connections = 3
    crowd = [await served.connect() for _ in range(3)]
    await until(lambda: len(served.server.connections) == 3)
    assert await served.exchange() == b""
    for sock in crowd:
        sock.close()
    await until(lambda: not served.server.connections)
    assert (await served.exchange(ask("/healthz/live") + b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_close_cuts_what_is_open(served: Served) -> None:
    with await served.connect() as sock:
        await until(lambda: served.server.connections)
        served.server.close()
        assert await read_all(sock) == b""
    with pytest.raises(ConnectionRefusedError):
        await served.connect()
