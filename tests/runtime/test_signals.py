"""Signals of a serving process (product.md section 2, hardening 9.4)."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.runtime.running import (
    GATEWAY,
    LIMIT_S,
    Client,
    Running,
    Slow,
    client,
    configuration,
    get,
    serve,
    slow_upstream,
)

#: Far from the shutdown time (60 s), and enough for a machine that is busy.
AT_ONCE_S = 20.0
TO_BACKEND = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: ["shop.test"]
  gateways: [istio-system/edge]
  http:
  - match: [{uri: {prefix: /direct}}]
    directResponse: {status: 200, body: {string: hello}}
  - route: [{destination: {host: backend.test}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return configuration(tmp_path, GATEWAY, TO_BACKEND)


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    async with slow_upstream() as upstream:
        yield upstream


def pinned(slow: Slow) -> tuple[str, str]:
    return "--endpoint", f"backend.test=127.0.0.1:{slow.port}"


async def waiting(connection: Client, slow: Slow) -> None:
    """Send a request that the upstream has and does not answer yet."""
    connection.send("/slow")
    await asyncio.wait_for(slow.arrived.wait(), LIMIT_S)


async def unready(gatewayd: Running, status: int) -> None:
    async def code() -> int:
        return (await get(status, "/healthz/ready"))[0]

    deadline = time.monotonic() + LIMIT_S
    while await code() != 503:
        assert time.monotonic() < deadline, gatewayd.said


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_process_ends_at_once_with_0(folder: Path, number: signal.Signals, loop: str) -> None:
    async with serve(folder, env={"GATEWAYD_LOOP": loop}) as gatewayd:
        port, _ = await gatewayd.ready()
        async with client(port) as idle:
            assert (await idle.get("/direct"))[0] == 200
            began = time.monotonic()
            gatewayd.signal(number)
            assert await idle.at_end()
            assert await gatewayd.ended() == 0
            assert time.monotonic() - began < AT_ONCE_S
        assert "Traceback" not in gatewayd.said


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_term_lets_a_request_finish_and_takes_no_other(folder: Path, slow: Slow, loop: str) -> None:
    async with serve(folder, *pinned(slow), env={"GATEWAYD_LOOP": loop}) as gatewayd:
        port, status = await gatewayd.ready()
        async with client(port) as busy, client(port) as idle:
            assert (await idle.get("/direct"))[0] == 200
            await waiting(busy, slow)
            gatewayd.signal(signal.SIGTERM)
            await unready(gatewayd, status)
            assert await idle.at_end(), "idle connections close at once"
            with pytest.raises(ConnectionRefusedError):
                await get(port, "/direct")
            code, _, body = await get(status, "/healthz/live")
            assert (code, body) == (200, b"live\n")
            slow.go.set()
            code, head, body = await busy.receive()
            assert (code, body) == (200, b"slow")
            assert "connection: close" in head
            assert await busy.at_end()
            assert await gatewayd.ended() == 0


async def test_term_gives_up_after_the_shutdown_time_with_75(folder: Path, slow: Slow) -> None:
    async with serve(folder, *pinned(slow), "--shutdown-time", "300ms") as gatewayd:
        port, _ = await gatewayd.ready()
        async with client(port) as busy:
            await waiting(busy, slow)
            began = time.monotonic()
            gatewayd.signal(signal.SIGTERM)
            assert await gatewayd.ended() == 75
            assert time.monotonic() - began >= 0.3
            assert await busy.at_end()
        assert "the time to drain is over: 1 connections are cut" in gatewayd.said


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_term_or_int_ends_a_drain_at_once(
    folder: Path, slow: Slow, second: signal.Signals
) -> None:
    async with serve(folder, *pinned(slow)) as gatewayd:
        port, status = await gatewayd.ready()
        async with client(port) as busy:
            await waiting(busy, slow)
            gatewayd.signal(signal.SIGTERM)
            await unready(gatewayd, status)
            gatewayd.signal(second)
            assert await gatewayd.ended(AT_ONCE_S) == 0
            assert await busy.at_end()


async def test_int_does_not_wait_for_requests(folder: Path, slow: Slow) -> None:
    async with serve(folder, *pinned(slow)) as gatewayd:
        port, _ = await gatewayd.ready()
        async with client(port) as busy:
            await waiting(busy, slow)
            gatewayd.signal(signal.SIGINT)
            assert await gatewayd.ended(AT_ONCE_S) == 0
            assert await busy.at_end()


async def test_what_an_end_cuts_off_is_logged(folder: Path, slow: Slow, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    async with serve(folder, *pinned(slow), "--access-log", log) as gatewayd:
        port, _ = await gatewayd.ready()
        async with client(port) as busy:
            await waiting(busy, slow)
            gatewayd.signal(signal.SIGINT)
            assert await gatewayd.ended(AT_ONCE_S) == 0
    assert '"GET /slow HTTP/1.1" 0 DC' in content(log)


async def test_term_closes_upgraded_connections_after_the_drain_time_and_that_is_no_failure(
    folder: Path, slow: Slow
) -> None:
    async with serve(folder, *pinned(slow), "--drain-time", "3s", "--shutdown-time", "40s") as gatewayd:
        port, _ = await gatewayd.ready()
        async with client(port) as tunnel:
            tunnel.writer.write(
                b"GET /ws HTTP/1.1\r\nhost: shop.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
            )
            head = await asyncio.wait_for(tunnel.reader.readuntil(b"\r\n\r\n"), LIMIT_S)
            assert head.startswith(b"HTTP/1.1 101 ")
            began = time.monotonic()
            gatewayd.signal(signal.SIGTERM)
            await gatewayd.until_said("draining 1 connections")
            tunnel.writer.write(b"still here")
            assert await asyncio.wait_for(tunnel.reader.readexactly(10), LIMIT_S) == b"still here"
            assert await tunnel.at_end()
            assert time.monotonic() - began >= 3.0
            assert await gatewayd.ended() == 0


async def test_usr1_writes_out_and_goes_on_in_a_new_file(folder: Path, tmp_path: Path) -> None:
    log, old = tmp_path / "access.log", tmp_path / "access.log.1"
    async with serve(folder, "--access-log", log) as gatewayd:
        port, _ = await gatewayd.ready()
        assert (await get(port, "/direct/before"))[0] == 200
        rename(log, old)
        gatewayd.signal(signal.SIGUSR1)
        await gatewayd.until(log.exists, "a new access log")
        assert "/direct/before" in content(old)
        assert (await get(port, "/direct/after"))[0] == 200
        gatewayd.signal(signal.SIGUSR1)
        await gatewayd.until(lambda: "/direct/after" in content(log), "the line in the new file")
        assert "/direct/after" not in content(old)
        assert (await get(port, "/direct/last"))[0] == 200
        gatewayd.signal(signal.SIGTERM)
        assert await gatewayd.ended() == 0
    assert "/direct/last" in content(log), "the end writes out what waits"


async def test_a_rotation_that_fails_keeps_the_old_file(folder: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    async with serve(folder, "--access-log", logs / "access.log") as gatewayd:
        port, _ = await gatewayd.ready()
        moved = tmp_path / "moved"
        rename(logs, moved)
        gatewayd.signal(signal.SIGUSR1)
        await gatewayd.until_said("error log: .*access.log was not reopened, the old file stays in use")
        assert (await get(port, "/direct/still"))[0] == 200
        gatewayd.signal(signal.SIGTERM)
        assert await gatewayd.ended() == 0
    assert "/direct/still" in content(moved / "access.log")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGHUP, r"reload 1: nothing changed"),
        (signal.SIGQUIT, r"state SERVING.*\n.*<Listener \S+ ACCEPTING, 0 connections>"),
    ],
)
async def test_other_signals_are_answered_in_the_log_and_serving_goes_on(
    folder: Path, number: signal.Signals, said: str
) -> None:
    async with serve(folder) as gatewayd:
        port, _ = await gatewayd.ready()
        gatewayd.signal(number)
        await gatewayd.until_said(said)
        assert (await get(port, "/direct"))[0] == 200


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_process_that_still_loads_ends_at_once(number: signal.Signals, loop: str) -> None:
    async with serve("-", stdin=asyncio.subprocess.PIPE, env={"GATEWAYD_LOOP": loop}) as gatewayd:
        # It waits for its standard input. (Python itself handles INT from the beginning.)
        status = Path(f"/proc/{gatewayd.pid}/status")
        await gatewayd.until(lambda: handles(status, signal.SIGTERM), "its handlers")
        gatewayd.signal(number)
        assert await gatewayd.ended(AT_ONCE_S) == 0
        assert "Traceback" not in gatewayd.said


async def test_a_reader_of_the_access_log_that_stops_reading_stops_nobody_else(folder: Path) -> None:
    reader, writer = os.pipe()
    try:
        async with serve(folder, "--access-log", "-", stdout=writer) as gatewayd:
            os.close(writer)
            writer = -1
            port, _ = await gatewayd.ready()
            sent = 0
            path = "/direct/" + "x" * 4000
            async with client(port) as connection:
                while sent < 1000:  # some 4 MiB of lines: the pipe takes 64 KiB, the buffer 1 MiB
                    for _ in range(50):
                        connection.send(path)
                    for _ in range(50):
                        assert (await connection.receive())[0] == 200
                    sent += 50
            gatewayd.signal(signal.SIGTERM)
            assert await gatewayd.ended() == 0
            found = re.search(r"(\d+) lines for the standard stream were dropped", gatewayd.said)
            assert found is not None, gatewayd.said
            dropped = sum(int(n) for n in re.findall(r"(\d+) lines for the standard stream", gatewayd.said))
        os.set_blocking(reader, False)
        lines = bytearray()
        while piece := os.read(reader, 1 << 20):
            lines += piece
        assert lines.count(b"\n") + dropped == sent, "each line was written or counted"
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def content(path: Path) -> str:
    return path.read_text()


def rename(path: Path, to: Path) -> None:
    path.rename(to)


def handles(status: Path, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal, as the kernel says."""
    caught = re.search(r"SigCgt:\s+([0-9a-f]+)", status.read_text())
    return caught is not None and bool(int(caught[1], 16) & (1 << (number - 1)))


async def test_a_reader_of_the_programs_log_that_stops_reading_stops_nobody_either(folder: Path) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(reader, False)
    try:
        async with serve(folder, stderr=writer) as gatewayd:
            said = ""

            def summary_is_there() -> bool:
                nonlocal said
                with contextlib.suppress(BlockingIOError):
                    said += os.read(reader, 4096).decode()
                return "healthz" in said

            await gatewayd.until(summary_is_there, "the summary")
            found = re.search(r"listener +http://127\.0\.0\.1:(\d+)", said)
            assert found is not None
            async with client(int(found[1])) as connection:
                for _ in range(100):  # some 20 KiB of log
                    gatewayd.signal(signal.SIGQUIT)
                    assert (await connection.get("/direct"))[0] == 200
            gatewayd.signal(signal.SIGTERM)
            assert await gatewayd.ended() == 0
        assert len(os.read(reader, 1 << 20)) >= 3500, "the pipe was full"
    finally:
        os.close(reader)
        os.close(writer)


async def test_abrt_tells_where_it_stood(tmp_path: Path) -> None:
    """What systemd's watchdog sends to a loop that hangs."""
    async with serve(configuration(tmp_path), "--no-watch") as gateway:
        await gateway.ready()
        gateway.signal(signal.SIGABRT)
        assert await gateway.ended() == -signal.SIGABRT
        assert re.search(r"Fatal Python error: Aborted(?s:.*)gatewayd/runtime/", gateway.said)
