"""Reload of a serving process: what changes, what stays, and what a mistake costs (hardening 9.1, 9.2)."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.running import (
    DIRECT,
    GATEWAY,
    LIMIT_S,
    Running,
    Slow,
    client,
    configuration,
    get,
    serve,
    slow_upstream,
)

BROKEN_RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: ["shop.test"]
  gateways: [istio-system/edge]
  http:
  - match: [{uri: {regex: "("}}]
    directResponse: {status: 200, body: {string: broken}}
"""
WRONG_FIELD = BROKEN_RULE.replace('{regex: "("}', "{prefix: 7}")


def answering(word: str, name: str = "shop", host: str = "shop.test") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: ["{host}"]
  gateways: [istio-system/edge]
  http:
  - directResponse: {{status: 200, body: {{string: {word}}}}}
"""


def routed(name: str = "shop", port: int = 80) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: ["shop.test"]
  gateways: [istio-system/edge]
  http:
  - route: [{{destination: {{host: backend.test, port: {{number: {port}}}}}}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return configuration(tmp_path, GATEWAY, answering("one"))


async def body(port: int, host: str = "shop.test") -> bytes:
    return (await get(port, "/", host))[2]


async def until_answers(port: int, word: str, host: str = "shop.test") -> None:
    async with asyncio.timeout(LIMIT_S):
        while await body(port, host) != word.encode():  # noqa: ASYNC110, another process decides
            await asyncio.sleep(0.01)


async def reloaded(gatewayd: Running, number: int) -> str:
    """The line of that reload."""
    return (await gatewayd.until_said(rf"reload {number}(:| refused).*"))[0]


async def hup(gatewayd: Running, number: int) -> str:
    gatewayd.signal(signal.SIGHUP)
    return await reloaded(gatewayd, number)


# --- what starts one


async def test_hup_loads_a_change_and_says_what_it_was(folder: Path) -> None:
    async with serve(folder, "--no-watch") as gatewayd:
        port, _ = await gatewayd.ready()
        (folder / "1.yaml").write_text(answering("two"))
        line = await hup(gatewayd, 1)
        assert re.search(r"resources ~1 \(VirtualService shop/shop\) \(\d+ ms\)", line)
        assert await body(port) == b"two"


async def test_hup_without_a_change_changes_nothing(folder: Path) -> None:
    async with serve(folder, "--no-watch") as gatewayd:
        port, _ = await gatewayd.ready()
        assert "nothing changed" in await hup(gatewayd, 1)
        os.utime(folder / "1.yaml")
        assert "nothing changed" in await hup(gatewayd, 2)
        assert await body(port) == b"one"


async def test_without_watching_only_hup_loads(folder: Path) -> None:
    async with serve(folder, "--no-watch") as gatewayd:
        port, _ = await gatewayd.ready()
        (folder / "1.yaml").write_text(answering("two"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await until_answers(port, "two")
        await hup(gatewayd, 1)
        assert await body(port) == b"two"


async def test_a_file_written_renamed_or_linked_is_noticed(folder: Path) -> None:
    async with serve(folder) as gatewayd:
        port, _ = await gatewayd.ready()
        (folder / "1.yaml").write_text(answering("in-place"))
        await until_answers(port, "in-place")
        (folder / "new").write_text(answering("renamed"))
        os.replace(folder / "new", folder / "1.yaml")
        await until_answers(port, "renamed")
        (folder / "..one").mkdir()
        (folder / "..one" / "1.yaml").write_text(answering("linked"))
        (folder / "link").symlink_to("..one/1.yaml")
        os.replace(folder / "link", folder / "1.yaml")
        await until_answers(port, "linked")


async def test_new_files_count_and_deleted_ones_go(folder: Path) -> None:
    async with serve(folder) as gatewayd:
        port, _ = await gatewayd.ready()
        (folder / "2.yaml").write_text(answering("other", "other", "other.test"))
        await until_answers(port, "other", "other.test")
        (folder / "2.yaml").unlink()
        await until_answers(port, "", "other.test")
        assert (await get(port, "/", "other.test"))[0] == 404
        assert await body(port) == b"one"


async def test_the_mesh_configuration_is_followed(folder: Path, tmp_path_factory: Any) -> None:
    mesh = tmp_path_factory.mktemp("mesh") / "mesh.yaml"
    mesh.write_text("serverScopeX: 1\n")
    (folder / "1.yaml").write_text(routed())
    async with slow_upstream() as slow:
        slow.go.set()
        pin = f"backend.test=127.0.0.1:{slow.port}"
        async with serve(folder, "--mesh-config", mesh, "--endpoint", pin) as gatewayd:
            port, _ = await gatewayd.ready()
            mesh.write_text("defaultHttpRetryPolicy: {attempts: 0}\nconnectTimeout: nonsense\n")
            await gatewayd.until_said("mesh.yaml.*\n(.*\n)*.*reload 1:")
            assert (await get(port, "/"))[2] == b"slow", "the last good one stays"


# --- what a mistake costs


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [\n", r"1\.yaml:\d+:\d+"),
        (WRONG_FIELD, r"1\.yaml:8:\d+"),
        (BROKEN_RULE, r"1\.yaml:8:\d+"),
        ("kind: VirtualService\nkind: Gateway\n", r"1\.yaml:2:1"),
    ],
    ids=["syntax", "schema", "compiler", "twice the same key"],
)
async def test_an_error_keeps_the_last_good_version_and_nothing_else(
    folder: Path, text: str, place: str
) -> None:
    (folder / "2.yaml").write_text(answering("other", "other", "other.test"))
    async with serve(folder, "--no-watch") as gatewayd:
        port, status = await gatewayd.ready()
        (folder / "1.yaml").write_text(text)
        (folder / "2.yaml").write_text(answering("changed", "other", "other.test"))
        line = await hup(gatewayd, 1)
        assert "errors: 1; kept in the last good version: 1" in line
        assert re.search(
            rf"error reload: VirtualService shop/shop stays as it was, because of .*{place}", gatewayd.said
        )
        assert await body(port) == b"one"
        assert await body(port, "other.test") == b"changed"
        noted = b"ready\nkept in its last good version: VirtualService shop/shop\n"
        assert (await get(status, "/healthz/ready"))[::2] == (200, noted)
        assert "nothing changed" in await hup(gatewayd, 2)
        (folder / "1.yaml").write_text(answering("mended"))
        assert "kept" not in await hup(gatewayd, 3)
        assert (await get(status, "/healthz/ready"))[::2] == (200, b"ready\n")
        assert await body(port) == b"mended"


async def test_what_is_deleted_while_it_is_broken_goes(folder: Path) -> None:
    async with serve(folder, "--no-watch") as gatewayd:
        port, _ = await gatewayd.ready()
        (folder / "1.yaml").write_text(WRONG_FIELD)
        await hup(gatewayd, 1)
        assert await body(port) == b"one"
        (folder / "1.yaml").unlink()
        await hup(gatewayd, 2)
        assert (await get(port, "/"))[0] == 404


@pytest.mark.parametrize("first", ["", "a: [\n"])
async def test_a_file_that_is_emptied_keeps_what_it_declared_until_it_is_deleted(
    folder: Path, first: str
) -> None:
    """Hardening 9.3: deleting a file is a change, emptying one is not, also behind a half-written version."""
    async with serve(folder, "--no-watch") as gatewayd:
        port, _ = await gatewayd.ready()
        for number, text in enumerate((first, "", ""), start=1):
            (folder / "1.yaml").write_text(text)
            await hup(gatewayd, number)
            assert await body(port) == b"one"
        (folder / "1.yaml").unlink()
        await hup(gatewayd, 4)
        assert (await get(port, "/"))[0] == 404


async def test_a_configuration_that_is_gone_as_a_whole_is_refused(folder: Path) -> None:
    async with serve(folder, "--no-watch") as gatewayd:
        port, status = await gatewayd.ready()
        (folder / "0.yaml").unlink()
        (folder / "1.yaml").unlink()
        assert "reload 1 refused" in await hup(gatewayd, 1)
        assert await body(port) == b"one"
        assert (await get(status, "/healthz/ready"))[0] == 200


# --- listeners


def two_ports(number: int) -> str:
    return GATEWAY + f'  - port: {{number: {number}, name: second, protocol: HTTP}}\n    hosts: ["*"]\n'


@pytest.fixture
async def free_port() -> AsyncIterator[int]:
    """A port of the loopback that nobody else takes: it is bound, and not listened on, until it is needed."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


async def test_listeners_come_and_go_and_the_others_keep_their_connections(
    folder: Path, free_port: int
) -> None:
    async with serve(folder, "--no-watch") as gatewayd:
        port, _ = await gatewayd.ready()
        async with client(port) as kept:
            assert (await kept.get("/"))[2] == b"one"
            (folder / "0.yaml").write_text(two_ports(free_port))
            assert "listeners +1" in await hup(gatewayd, 1)
            async with client(free_port) as leaving:
                assert (await leaving.get("/"))[2] == b"one"
                (folder / "0.yaml").write_text(GATEWAY)
                assert "listeners -1" in await hup(gatewayd, 2)
                status, head, text = await leaving.get("/")
                assert (status, text) == (200, b"one"), "the connection serves one request more, and says so"
                assert "connection: close" in head
                assert await leaving.at_end()
            with pytest.raises(ConnectionRefusedError):
                await get(free_port, "/")
            assert (await kept.get("/"))[2] == b"one"


async def test_an_address_that_is_taken_keeps_all_as_it_is(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        async with serve(folder, "--no-watch") as gatewayd:
            port, _ = await gatewayd.ready()
            (folder / "0.yaml").write_text(two_ports(number))
            (folder / "1.yaml").write_text(answering("two"))
            line = await hup(gatewayd, 1)
            assert "reload 1 refused" in line
            assert f"cannot bind 127.0.0.1:{number}: address already in use" in line
            assert await body(port) == b"one", "nothing of it is in force"
            taken.close()
            assert "listeners +1" in await hup(gatewayd, 2)
            assert await body(port) == await body(number) == b"two"


# --- what is under way


async def test_a_request_ends_on_the_configuration_it_began_on(folder: Path) -> None:
    (folder / "1.yaml").write_text(routed())
    async with slow_upstream() as slow:
        flags = ("--no-watch", "--endpoint", f"backend.test=127.0.0.1:{slow.port}")
        async with serve(folder, *flags) as gatewayd:
            port, _ = await gatewayd.ready()
            async with client(port) as connection:
                connection.send("/")
                await asyncio.wait_for(slow.arrived.wait(), LIMIT_S)
                (folder / "1.yaml").write_text(answering("two"))
                await hup(gatewayd, 1)
                assert await body(port) == b"two"
                slow.go.set()
                assert (await connection.receive())[2] == b"slow"
                assert (await connection.get("/"))[2] == b"two", "the same connection, the next request"


async def upgraded(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)
    assert head.startswith(b"HTTP/1.1 101 ")
    return reader, writer


async def test_a_websocket_outlives_its_route_and_its_listener(folder: Path, free_port: int) -> None:
    (folder / "0.yaml").write_text(two_ports(free_port))
    (folder / "1.yaml").write_text(routed())
    async with slow_upstream() as slow:
        flags = ("--no-watch", "--endpoint", f"backend.test=127.0.0.1:{slow.port}")
        async with serve(folder, *flags) as gatewayd:
            await gatewayd.ready()
            reader, writer = await upgraded(free_port)
            (folder / "0.yaml").write_text(GATEWAY)
            (folder / "1.yaml").write_text(answering("two"))
            await hup(gatewayd, 1)
            writer.write(b"ping")
            assert await asyncio.wait_for(reader.readexactly(4), LIMIT_S) == b"ping"
            writer.close()


class Counting(Slow):
    """Counts its connections."""

    def __init__(self) -> None:
        super().__init__()
        self.connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await super().handle(reader, writer)


async def test_an_unchanged_cluster_keeps_its_connections(folder: Path) -> None:
    counting = Counting()
    counting.go.set()
    server = await asyncio.start_server(counting.handle, "127.0.0.1", 0)
    port_of_backend = server.sockets[0].getsockname()[1]
    (folder / "1.yaml").write_text(routed())
    async with serve(
        folder, "--no-watch", "--endpoint", f"backend.test=127.0.0.1:{port_of_backend}"
    ) as gatewayd:
        port, _ = await gatewayd.ready()
        assert await body(port) == b"slow"
        (folder / "2.yaml").write_text(answering("other", "other", "other.test"))
        await hup(gatewayd, 1)
        assert await body(port) == b"slow"
        assert counting.connections == 1
        (folder / "1.yaml").write_text(routed(port=81))
        assert "clusters +1 -1" in await hup(gatewayd, 2)
        assert await body(port) == b"slow"
        assert counting.connections == 2
    server.close()


async def test_a_process_that_is_stopped_in_a_reload_ends_cleanly(folder: Path) -> None:
    (folder / "1.yaml").write_text(DIRECT.replace("backend.test", "nowhere.invalid"))
    async with serve(folder, "--no-watch") as gatewayd:
        await gatewayd.ready()
        (folder / "1.yaml").write_text(DIRECT.replace("backend.test", "elsewhere.invalid"))
        gatewayd.signal(signal.SIGHUP)
        gatewayd.signal(signal.SIGTERM)
        assert await gatewayd.ended() == 0
    assert "Traceback" not in gatewayd.said
