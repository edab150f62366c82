"""``gatewayd healthcheck``, beside a running gatewayd."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from gatewayd.cli import main
from tests.runtime.running import configuration, serve


async def checked(*words: str, **env: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gatewayd", "healthcheck", *words,
        stdout=asyncio.subprocess.PIPE, env=env,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_it_asks_the_status_port(tmp_path: Path) -> None:
    async with serve(configuration(tmp_path), "--no-watch") as gateway:
        _, status = await gateway.ready()
        assert await checked("--status", f"127.0.0.1:{status}") == (0, "ready\n")
        assert await checked(GATEWAYD_STATUS=f"0.0.0.0:{status}") == (0, "ready\n"), "of itself: the loopback"


async def test_what_is_not_ready_is_1_with_the_reason() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\ndraining\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await checked("--status", f"127.0.0.1:{port}") == (1, "draining\n")


def test_nobody_there_is_69(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["healthcheck", "--status", "127.0.0.1:1"]) == 69
    assert capsys.readouterr().out == "no answer from 127.0.0.1:1: connection refused\n"


def test_somebody_who_says_nothing_is_69_too(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert main(["healthcheck", "--status", f"127.0.0.1:{port}", "--timeout", "50ms"]) == 69
    assert "timed out" in capsys.readouterr().out


def test_without_a_status_port_there_is_nobody_to_ask() -> None:
    assert main(["healthcheck", "--status", "off"]) == 64
