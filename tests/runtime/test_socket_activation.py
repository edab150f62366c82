"""Sockets that systemd opened: a real ``systemd-socket-activate`` starts the service with the first connection."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.runtime.running import GATEWAY, LIMIT_S, REPOSITORY, Running, client, configuration, get, serve
from tests.runtime.test_reload import answering
from tests.support.ports import PortReservation

TWO = GATEWAY + '  - port: {number: 81, name: second, protocol: HTTP}\n    hosts: ["*"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return configuration(tmp_path, GATEWAY, answering("one"))


@asynccontextmanager
async def activated(*words: str | Path, listen: dict[str, str], named: bool = True) -> AsyncIterator[Running]:
    """``gatewayd run WORDS``, started by systemd's tool when somebody connects; ``listen``: address by name."""
    tool = shutil.which("systemd-socket-activate")
    assert tool, "the Debian package systemd is not installed"
    arguments = [word for address in listen.values() for word in ("-l", address)]
    if named:
        arguments.append("--fdname=" + ":".join(listen))
    environment = {**os.environ, "GATEWAYD_ACCESS_LOG": "off", "PYTHONDONTWRITEBYTECODE": ""}
    kept = [word for name in environment for word in ("-E", name)]
    process = await asyncio.create_subprocess_exec(
        tool, *arguments, *kept, sys.executable, "-m", "gatewayd", "run", *map(str, words),
        stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, env=environment, cwd=REPOSITORY,
    )  # fmt: skip
    made = Running(process)
    try:
        await made.until_said(r"Listening on .* as 3")
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def held(number: int = 1) -> AsyncIterator[list[int]]:
    """Ports that the tool may bind: free, and nobody else's."""
    reservations = [PortReservation() for _ in range(number)]
    for each in reservations:
        each.release()
    yield [each.port for each in reservations]


async def started(gatewayd: Running, port: int) -> bytes:
    """What the connection gets that starts the service."""
    async with client(port) as first:
        first.send("/")
        await gatewayd.until_said("gatewayd [0-9.]+ serves")
        return (await first.receive())[2]


OWN = ("--status", "off", "--bind", "127.0.0.1")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_by_address_and_the_first_connection_is_served(folder: Path, workers: str) -> None:
    async with held() as (port,):
        words = (folder, *OWN, "--port-map", f"80={port}", "--workers", workers)
        async with activated(*words, listen={"x": f"127.0.0.1:{port}"}) as gatewayd:
            assert await started(gatewayd, port) == b"one"
            for _ in range(8):
                assert (await get(port, "/"))[2] == b"one"
            assert f"listener  http://127.0.0.1:{port}" in gatewayd.said
            assert "nothing is served on" not in gatewayd.said


async def test_an_upgrade_goes_on_with_them(folder: Path) -> None:
    async with held() as (port,):
        words = (folder, *OWN, "--port-map", "80=1", "--workers", "2")
        async with activated(*words, listen={"http": f"127.0.0.1:{port}"}) as gatewayd:
            assert await started(gatewayd, port) == b"one"
            gatewayd.signal(signal.SIGUSR2)
            await gatewayd.until(lambda: gatewayd.said.count("workers   processes") == 2, "another program")
            for _ in range(8):
                assert (await get(port, "/"))[2] == b"one"


@pytest.mark.parametrize("name", ["http", "80", "HTTP"])
async def test_by_the_name_of_a_server_port_wherever_it_is_bound(folder: Path, name: str) -> None:
    """Port 80 of the Gateway cannot be bound here; what it is served on is bound to another number."""
    async with held() as (port,):
        words = (folder, *OWN, "--port-map", "80=1")
        async with activated(*words, listen={name: f"127.0.0.1:{port}"}) as gatewayd:
            assert await started(gatewayd, port) == b"one"


async def test_a_name_that_means_several_listeners_means_none(tmp_path: Path) -> None:
    configuration(tmp_path, TWO, answering("one"))
    async with held(2) as (given, own):
        words = (tmp_path, *OWN, "--port-map", f"80={own},81={given}", "--workers", "2")
        async with activated(*words, listen={"http": f"127.0.0.1:{given}"}) as gatewayd:
            async with client(given) as first:
                first.send("/")
                await gatewayd.until_said("gatewayd [0-9.]+ serves 2 listeners")
                assert (await first.receive())[2] == b"one", "it is served by its address"
            assert (await get(own, "/"))[2] == b"one", "what was not given is bound as ever"


async def test_a_socket_of_all_addresses_stands_for_those_of_ipv4_too(folder: Path) -> None:
    async with held() as (port,):
        words = (folder, "--status", "off", "--port-map", f"80={port}")
        async with activated(*words, listen={"x": str(port)}, named=False) as gatewayd:
            assert await started(gatewayd, port) == b"one"
            assert f"listener  http://[::]:{port}\n" in gatewayd.said


async def test_ports_of_our_own_are_found_by_name(folder: Path) -> None:
    async with held(2) as (port, status):
        words = (folder, "--bind", "127.0.0.1", "--port-map", f"80={port}")
        listen = {"x": f"127.0.0.1:{port}", "status": f"127.0.0.1:{status}"}
        async with activated(*words, listen=listen) as gatewayd:
            assert await started(gatewayd, port) == b"one"
            assert (await get(status, "/healthz/ready"))[2] == b"ready\n"


async def test_one_that_nobody_wants_is_told_of_and_waits_for_a_reload(folder: Path) -> None:
    async with held(2) as (port, more):
        words = (folder, *OWN, "--port-map", f"80={port}")
        listen = {"x": f"127.0.0.1:{port}", "later": f"127.0.0.1:{more}"}
        async with activated(*words, listen=listen) as gatewayd:
            assert await started(gatewayd, port) == b"one"
            await gatewayd.until_said(
                rf'nothing is served on the socket "later" \(127\.0\.0\.1:{more}\) that systemd passed'
            )
            server = '  - port: {number: 99, name: later, protocol: HTTP}\n    hosts: ["*"]\n'
            for turn in (1, 3):
                (folder / "0.yaml").write_text(GATEWAY + server)
                await gatewayd.until_said(rf"reload {turn}: listeners \+1")
                assert (await get(more, "/"))[2] == b"one"
                (folder / "0.yaml").write_text(GATEWAY)
                await gatewayd.until_said(rf"reload {turn + 1}: listeners -1")


async def test_a_unix_socket_is_systemds_and_so_is_its_file(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"
    (folder / "0.yaml").write_text(
        GATEWAY.replace("number: 80", "number: 0").replace("hosts:", f"bind: unix://{path}\n    hosts:")
    )
    async with activated(folder, "--status", "off", listen={"x": str(path)}) as gatewayd:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n")
        async with asyncio.timeout(LIMIT_S):
            assert (await reader.read()).endswith(b"one")
        writer.close()
        gatewayd.process.terminate()
        assert await gatewayd.ended() == 0
        assert path.exists()


async def test_variables_meant_for_another_process_are_left_alone(folder: Path) -> None:
    """A service started by one that was activated has them in its environment, and none of the sockets."""
    with socket.socket() as stray:
        stray.bind(("127.0.0.1", 0))
        stray.listen()
        environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
        async with serve(folder, env=environment) as gatewayd:
            port, _ = await gatewayd.ready()
            assert (await get(port, "/"))[2] == b"one"
