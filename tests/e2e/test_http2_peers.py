"""HTTP/2 with the programs people use: curl, h2load, nghttp, a browser; and WebSocket beside it on one port."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import websockets

from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.front import front, gateway, rules, service
from tests.support.h2_recorder import H2Recorder
from tests.support.pages import Pages
from tests.support.waiting import LIMIT_S, until

MIB = 1 << 20
RULES = """
- match: [{uri: {prefix: /chat}}]
  route: [{destination: {host: chat.test}}]
- match: [{uri: {prefix: /h2/}}]
  route: [{destination: {host: new.test}}]
- route: [{destination: {host: old.test}}]
"""
IMAGES = 40
SCRIPT = """
(async () => {
  const told = {};
  const names = [...Array(IMAGES).keys()].map(n => `/image/${n}`);
  const bodies = await Promise.all(names.map(async n => (await fetch(n)).arrayBuffer()));
  told.bytes = bodies.map(b => b.byteLength).reduce((a, b) => a + b);
  const large = new Uint8Array(300000).fill(7);
  told.posted = await (await fetch('/h2/upload', {method: 'POST', body: large})).text();
  told.chat = await new Promise((done, failed) => {
    const socket = new WebSocket(`wss://${location.host}/chat`);
    socket.onopen = () => socket.send('from the browser');
    socket.onmessage = event => { done(event.data); socket.close(); };
    socket.onerror = () => failed('the socket broke');
  });
  const entries = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
  told.protocols = entries.map(e => e.nextHopProtocol);
  return told;
})().catch(error => ({error: String(error)}))
  .then(told => fetch('/report', {method: 'POST', body: JSON.stringify(told)}));
""".replace("IMAGES", str(IMAGES))
PAGE = (
    "<!doctype html><title>t</title><link rel=stylesheet href=/a.css><script src=/a.js defer></script><p>hi"
)
PAGES = {
    "/": {"headers": [("content-type", "text/html")], "body": PAGE},
    "/a.css": {"headers": [("content-type", "text/css")], "body": "p {color: green}"},
    "/a.js": {"headers": [("content-type", "text/javascript")], "body": SCRIPT},
    "/report": {},
    "/small": {},
    "/large": {"body_size": 20 * MIB},
    "/upload": {},
    "/slow": {"chunks": ["ab", "cd"], "chunk_delay_ms": 20, "trailers": [("x-t", "1")]},
    "/hints": {"interim": [103]},
    **{f"/image/{number}": {"body_size": 5000 + number} for number in range(IMAGES)},
}


class World:
    """Upstreams of both versions and a WebSocket server, and the proxy before them."""

    def __init__(self, old: Pages, new: H2Recorder, port: int) -> None:
        self.old = old
        self.new = new
        self.port = port


async def _echo(connection: websockets.ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@contextlib.asynccontextmanager
async def world(folder: Path, certificates: CertificateFolder | None = None) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(Pages("old", PAGES))
        new = await stack.enter_async_context(H2Recorder("new"))
        chat = await stack.enter_async_context(websockets.serve(_echo, "127.0.0.1", 0))
        documents = [
            gateway(certificates, "srv"),
            rules(RULES),
            service("old.test", old.port),
            service("new.test", new.port, protocol="HTTP2"),
            service("chat.test", chat.sockets[0].getsockname()[1]),
        ]
        listen = 443 if certificates else 80
        proxy = await stack.enter_async_context(front("".join(documents), folder, listen))
        yield World(old, new, proxy.port(listen))
        assert not [*old.errors, *new.errors]


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
def certificates(tmp_path: Path) -> CertificateFolder:
    return CertificateFolder(
        tmp_path / "certs", {"srv": CertificateWish("shop.test", ["shop.test"], key="ec")}
    )


@pytest.fixture
async def secure(tmp_path: Path, certificates: CertificateFolder) -> AsyncIterator[World]:
    async with world(tmp_path, certificates) as made:
        yield made


async def output(*command: object) -> str:
    """What a command prints; AssertionError when it fails."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            text, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, text.decode()
    return text.decode()


CURL = ("curl", "-sS", "-w", " %{http_version} %{http_code}")
KNOWN = (*CURL, "--http2-prior-knowledge")


async def test_curl_by_prior_knowledge_and_as_http1_on_the_same_port(plain: World) -> None:
    address = f"http://127.0.0.1:{plain.port}"
    assert await output(*KNOWN, f"{address}/small") == "old 2 200"
    assert await output(*CURL, f"{address}/small") == "old 1.1 200"
    assert await output(*KNOWN, f"{address}/h2/x") == "new 2 200"
    assert await output(*KNOWN, f"{address}/none") == "old 2 404"
    head = await output(*KNOWN, "-I", f"{address}/large")
    assert head.startswith("HTTP/2 200")
    assert f"content-length: {20 * MIB}" in head
    assert [seen.version for seen in plain.old.seen[:2]] == ["HTTP/1.1", "HTTP/1.1"]
    assert plain.new.seen[0].authority == f"127.0.0.1:{plain.port}"


async def test_14_6_3_curl_asking_for_an_upgrade_to_h2c_is_served_as_http1(plain: World) -> None:
    address = f"http://127.0.0.1:{plain.port}"
    assert await output(*CURL, "--http2", f"{address}/small") == "old 1.1 200"
    assert not plain.old.seen[0].values("upgrade") + plain.old.seen[0].values("http2-settings")


async def test_curl_by_alpn_moves_large_bodies_both_ways(secure: World, tmp_path: Path) -> None:
    up, down = tmp_path / "up", tmp_path / "down"
    up.write_bytes(os.urandom(10 * MIB))
    address = f"https://shop.test:{secure.port}"
    curl = (*CURL, "-k", "--http2", "--resolve", f"shop.test:{secure.port}:127.0.0.1")
    assert await output(*curl, "-o", down, f"{address}/large") == " 2 200"
    assert down.stat().st_size == 20 * MIB
    for path, name in (("/upload", "old"), ("/h2/upload", "new")):
        assert await output(*curl, "-T", up, f"{address}{path}") == f"{name} 2 200"
    digest = hashlib.sha256(up.read_bytes()).digest()
    for seen in (secure.old.seen[-1], secure.new.seen[-1]):
        assert hashlib.sha256(seen.body).digest() == digest
    assert await output(*curl, "--http1.1", f"{address}/small") == "old 1.1 200"


async def test_curl_has_fifty_transfers_on_one_connection(secure: World, tmp_path: Path) -> None:
    address = f"https://shop.test:{secure.port}"
    told = await output(
        *("curl", "-sS", "-k", "--no-progress-meter", "--http2", "-Z", "--parallel-max", 50),
        *("--resolve", f"shop.test:{secure.port}:127.0.0.1"),
        *("-w", "%{http_version} %{http_code} %{size_download} %{num_connects}\n", "-o", tmp_path / "o-#1"),
        f"{address}/image/[0-{IMAGES - 1}]",
    )
    lines = [line.split() for line in told.splitlines()]
    assert sorted(int(line[2]) for line in lines) == [5000 + number for number in range(IMAGES)]
    assert {(line[0], line[1]) for line in lines} == {("2", "200")}
    assert sum(int(line[3]) for line in lines) == 1


async def test_nghttp_sees_interim_answers_trailers_and_padding_is_taken(
    plain: World, tmp_path: Path
) -> None:
    (tmp_path / "body").write_bytes(b"b" * 100_000)
    address = f"http://127.0.0.1:{plain.port}"
    told = await output("nghttp", "-v", "-n", "-b", 100, "-d", tmp_path / "body", f"{address}/upload")
    assert ":status: 200" in told
    assert plain.old.seen[0].body == b"b" * 100_000
    told = await output("nghttp", "-v", "-n", f"{address}/hints")
    assert told.index(":status: 103") < told.index(":status: 200")
    # Trailers of an HTTP/1.1 upstream are dropped (14.6.9), those of an HTTP/2 one relayed, both ways.
    assert "x-t: 1" not in await output("nghttp", "-v", "-n", f"{address}/slow")
    plain.new.play({"trailers": [("x-t", "1")]})
    told = await output(
        *("nghttp", "-v", "-n", "--trailer", "x-mine: 2", "-d", tmp_path / "body", f"{address}/h2/x")
    )
    assert "x-t: 1" in told
    assert plain.new.seen[-1].content.trailers == [("x-mine", "2")]


async def test_nghttp_gets_all_of_many_with_small_windows(plain: World) -> None:
    """Windows of 64 bytes for streams and 1 KiB for the connection stop the proxy again and again."""
    addresses = [f"http://127.0.0.1:{plain.port}/image/{number}" for number in range(8)]
    told = await output("nghttp", "-n", "-s", "-w", 6, "-W", 10, *addresses)
    lines = re.findall(r" 200 +(\S+) /image/\d", told)
    assert len(lines) == 8, told


async def load(*arguments: object) -> str:
    told = await output("h2load", *arguments)
    assert re.search(r"requests: (\d+) total, \1 started, \1 done, \1 succeeded, 0 failed", told), told
    assert re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", told), told
    return told


async def test_h2load_by_prior_knowledge_and_over_tls(plain: World) -> None:
    address = f"http://127.0.0.1:{plain.port}"
    await load("-n", 1000, "-c", 10, "-m", 10, f"{address}/small")
    await load("-n", 300, "-c", 3, "-m", 100, f"{address}/h2/small")
    assert len(plain.old.seen) == 1000
    assert len(plain.new.seen) == 300


async def test_h2load_over_tls_with_bodies(secure: World, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"b" * 20_000)
    address = f"https://127.0.0.1:{secure.port}"
    told = await load("-n", 500, "-c", 5, "-m", 20, "-d", tmp_path / "body", f"{address}/upload")
    assert "Application protocol: h2" in told
    assert {len(seen.body) for seen in secure.old.seen} == {20_000}
    await load("-n", 200, "-c", 4, "-m", 10, f"{address}/image/1")


async def test_websockets_talk_on_a_port_that_offers_http2(
    secure: World, certificates: CertificateFolder
) -> None:
    for alpn in (["http/1.1"], []):
        tls = certificates.client_context(trust="srv", alpn=alpn)
        async with websockets.connect(
            f"wss://127.0.0.1:{secure.port}/chat", ssl=tls, server_hostname="shop.test", proxy=None
        ) as client:
            for message in ("hi", "x" * 300_000, b"\x00\xff" * 1000):
                await client.send(message)
                assert await client.recv() == message


async def test_a_browser_loads_a_page_over_one_connection(secure: World, tmp_path: Path) -> None:
    browser = await asyncio.create_subprocess_exec(
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--ignore-certificate-errors"),
        f"--host-resolver-rules=MAP shop.test 127.0.0.1:{secure.port}, MAP * ~NOTFOUND",
        "--remote-debugging-port=0",  # without it the browser ends at once
        "https://shop.test/",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await until(
            lambda: (
                browser.returncode is not None
                or any(seen.path == "/report" and seen.settled for seen in secure.old.seen)
            )
        )
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(browser.pid, signal.SIGKILL)
        await browser.wait()
    (report,) = [seen for seen in secure.old.seen if seen.path == "/report"]
    told = json.loads(report.body)
    assert "error" not in told
    assert told["bytes"] == sum(5000 + number for number in range(IMAGES))
    assert (told["posted"], told["chat"]) == ("new", "from the browser")
    assert set(told["protocols"]) == {"h2"}
    assert len(told["protocols"]) >= IMAGES + 4
    assert secure.new.seen[0].body == b"\x07" * 300_000
