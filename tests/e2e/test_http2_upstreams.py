"""HTTP/2 upstreams: other servers than our own, TLS, limits of streams, GOAWAY, slow readers (semantics 8.3, 10.7)."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.front import front, gateway, rules, service
from tests.support.h2_client import H2Client, H2Request
from tests.support.h2_link import DEFAULT_WINDOW, STREAMS, WINDOW
from tests.support.h2_recorder import H2Recorder
from tests.support.ports import PortReservation
from tests.support.raw_client import RawClient
from tests.support.waiting import LIMIT_S, until

RULES = """
- route: [{destination: {host: up.test}}]
"""
MIB = 1 << 20


@contextlib.asynccontextmanager
async def proxy(folder: Path, port: int, more: str = "") -> AsyncIterator[int]:
    """The port of a proxy before one HTTP/2 upstream."""
    documents = gateway() + rules(RULES) + service("up.test", port, protocol="HTTP2") + more
    async with front(documents, folder) as running:
        yield running.port(80)


@contextlib.asynccontextmanager
async def server(port: int, *command: object) -> AsyncIterator[None]:
    """A program that listens on ``port``, once it does."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            while (await RawClient(port, timeout_s=1.0).tcp(b"x", idle_s=0.0)).outcome == "refused":
                assert process.returncode is None
                await asyncio.sleep(0.02)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def free_port() -> int:
    held = PortReservation()
    held.release()
    return held.port


async def fetch_all(port: int, sizes: dict[str, int]) -> None:
    """Every file at once, over HTTP/2 and over HTTP/1.1, and a body that is taken."""
    outcomes = await H2Client(port).together([H2Request(path) for path in sizes])
    assert [len(outcome.response.body) for outcome in outcomes] == list(sizes.values())
    for path, size in sizes.items():
        old = await RawClient(port).http(f"GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n".encode())
        assert (old.response.status, len(old.response.body)) == (200, size)
    missing = await H2Client(port).http(H2Request("/none"))
    assert missing.response.status == 404


@pytest.fixture
def files(tmp_path: Path) -> dict[str, int]:
    sizes = {"/empty": 0, "/one": 1, "/small": 1000, "/medium": 100_000, "/large": 3 * MIB}
    (tmp_path / "www").mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    for path, size in sizes.items():
        (tmp_path / "www" / path[1:]).write_bytes(b"f" * size)
    return sizes


async def test_nghttpd(tmp_path: Path, files: dict[str, int]) -> None:
    port = free_port()
    command = ("nghttpd", "--no-tls", "-d", tmp_path / "www", "-a", "127.0.0.1", port)
    async with server(port, *command), proxy(tmp_path, port) as ours:
        await fetch_all(ours, files)
        posted = await H2Client(ours).http(H2Request("/one", "POST", body=b"z" * MIB))
        assert posted.response.status == 200


async def test_nginx(tmp_path: Path, files: dict[str, int]) -> None:
    port = free_port()
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}} "
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy; "
        f"fastcgi_temp_path {tmp_path}/fastcgi; uwsgi_temp_path {tmp_path}/uwsgi; scgi_temp_path {tmp_path}/scgi; "
        f"server {{ listen 127.0.0.1:{port} http2; root {tmp_path}/www; keepalive_requests 50; }} }}"
    )
    command = ("nginx", "-p", tmp_path, "-e", tmp_path / "error.log", "-c", tmp_path / "nginx.conf")
    async with server(port, *command), proxy(tmp_path, port) as ours:
        await fetch_all(ours, files)
        # nginx ends the connection with GOAWAY after 50 requests: none of 400 is lost by it.
        client = H2Client(ours)
        async with client.connection() as link:
            for _ in range(8):
                outcomes = await asyncio.gather(
                    *(client.exchange(link, H2Request("/small")) for _ in range(50))
                )
                assert {len(outcome.response.body) for outcome in outcomes} == {1000}


async def test_10_7_over_tls_h2_is_offered_and_taken(tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path / "certs", {"up": CertificateWish("up", ["up.test"], key="ec")})
    rule = f"""---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: up, namespace: default}}
spec:
  host: up.test
  trafficPolicy:
    tls: {{mode: SIMPLE, sni: up.test, caCertificates: {folder.certificate("up")}}}
"""
    async with H2Recorder("up", folder.server_context("up", alpn=["h2"])) as up:
        async with proxy(tmp_path, up.port, rule) as ours:
            assert (await H2Client(ours).http(H2Request(scheme="http"))).response.body == b"up"
            old = await RawClient(ours).http(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n")
            assert old.response.body == b"up"
        assert not up.errors
    assert [(seen.tls or {}).get("alpn") for seen in up.seen] == ["h2", "h2"]
    assert [(seen.tls or {}).get("sni") for seen in up.seen] == ["up.test", "up.test"]
    assert up.connections == 1


async def together(port: int, requests: list[H2Request]) -> list[bytes]:
    outcomes = await H2Client(port).together(requests)
    return [outcome.response.body for outcome in outcomes]


async def test_requests_of_many_clients_share_one_connection(tmp_path: Path) -> None:
    async with H2Recorder("up") as up, proxy(tmp_path, up.port) as ours:
        await H2Client(ours).http(H2Request())
        up.play({"delay_ms": 50})
        clients = [together(ours, [H2Request(f"/{number}") for number in range(10)]) for _ in range(10)]
        assert [body for bodies in await asyncio.gather(*clients) for body in bodies] == [b"up"] * 100
        assert up.connections == 1
    assert not up.errors


async def test_as_many_connections_as_the_limit_of_streams_needs(tmp_path: Path) -> None:
    """The peer itself tells of a stream above its limit."""
    async with H2Recorder("up", greeting={STREAMS: 5}) as up, proxy(tmp_path, up.port) as ours:
        await H2Client(ours).http(
            H2Request()
        )  # the first connection knows the limit when it has been greeted
        up.play({"delay_ms": 100})
        assert await together(ours, [H2Request(f"/{number}") for number in range(30)]) == [b"up"] * 30
        assert 2 <= up.connections <= 30
    assert not up.errors


async def test_a_goaway_that_has_not_taken_a_stream_costs_nothing(tmp_path: Path) -> None:
    async with H2Recorder("up") as up, proxy(tmp_path, up.port) as ours:
        for _ in range(5):
            up.play([{"goaway": "before"}, {}])
            assert (await H2Client(ours).http(H2Request(method="POST", body=b"x"))).response.status == 200
            up.play([{"goaway": "after", "delay_ms": 30}, {}])
            assert (await H2Client(ours).http(H2Request())).response.body == b"up"
        # No stream is opened on a connection that said it takes none.
        assert all(len(link.messages) <= 2 for link in up.links)
        assert up.connections >= 10
    assert not up.errors


async def test_streams_under_way_end_well_behind_a_goaway(tmp_path: Path) -> None:
    async with H2Recorder("up") as up, proxy(tmp_path, up.port) as ours:
        up.play({"chunks": ["a" * 1000] * 20, "chunk_delay_ms": 10, "goaway": "after"})
        assert (await H2Client(ours).http(H2Request())).response.body == b"a" * 20_000
    assert not up.errors


async def test_a_slow_reader_stops_its_own_stream_alone(tmp_path: Path) -> None:
    async with H2Recorder("up") as up, proxy(tmp_path, up.port) as ours:
        up.play([{"body_size": 30 * MIB}, {"body": "quick"}])
        client = H2Client(ours, settings={WINDOW: DEFAULT_WINDOW})
        async with client.connection() as link:
            link.reading = False
            slow = link.open()
            link.send_head(slow.stream, H2Request("/slow").fields, end=True)
            link.give_window(MIB)  # of the connection: there is room for others
            await link.until(lambda: len(slow.content.data) == DEFAULT_WINDOW, LIMIT_S)
            quick = await client.exchange(link, H2Request("/quick"))
            assert quick.response.body == b"quick"
            assert len(slow.content.data) == DEFAULT_WINDOW
            # What the proxy has taken of it is bounded too: the upstream's windows are not given back.
            (message,) = [each for each in up.links[0].messages.values() if each.pseudo(":path") == "/slow"]
            assert message.answered is False
            link.reading = True
            link.give_window(MIB, slow.stream)
            assert await link.until(lambda: slow.complete, LIMIT_S)
            assert len(slow.content.data) == 30 * MIB
    assert not up.errors


async def test_an_upload_waits_for_a_slow_upstream(tmp_path: Path) -> None:
    async with H2Recorder("up") as up, proxy(tmp_path, up.port) as ours:
        await H2Client(ours).http(H2Request())
        up.links[0].reading = False
        client = H2Client(ours)
        sending = asyncio.ensure_future(client.http(H2Request("/up", "POST", body=b"u" * (50 * MIB))))
        await until(lambda: len(up.seen) == 2 and len(up.seen[1].body) == DEFAULT_WINDOW)
        assert not sending.done()
        up.links[0].reading = True
        (stream,) = [each.stream for each in up.links[0].messages.values() if each.pseudo(":path") == "/up"]
        up.links[0].give_window(50 * MIB, stream)
        outcome = await sending
        assert outcome.response.status == 200
        assert len(up.seen[1].body) == 50 * MIB
    assert not up.errors


async def test_h2load_against_one_that_closes_now_and_then(tmp_path: Path) -> None:
    """Every 50th answer is followed by GOAWAY and the end of the connection; requests are lost to neither."""
    async with H2Recorder("up") as up, proxy(tmp_path, up.port) as ours:
        up.play([*[{}] * 49, {"goaway": "after"}] * 20)
        process = await asyncio.create_subprocess_exec(
            *("h2load", "-n", "900", "-c", "3", "-m", "10", f"http://127.0.0.1:{ours}/"),
            stdout=asyncio.subprocess.PIPE,
        )
        told = (await process.communicate())[0].decode()
        assert re.search(r"900 succeeded, 0 failed", told), told
        assert "status codes: 900 2xx" in told
    assert not up.errors
