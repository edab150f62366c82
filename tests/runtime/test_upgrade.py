"""USR2: the program is replaced on its sockets, that of a single process and of a supervisor (product.md section 2)."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.single import Single
from gatewayd.runtime.worker import SERVING
from tests.runtime.running import (
    GATEWAY,
    LIMIT_S,
    Running,
    Slow,
    client,
    configuration,
    get,
    running,
    serve,
    slow_upstream,
)
from tests.runtime.test_reload import BROKEN_RULE, answering, routed

SERVES = r"gatewayd [\d.]+ serves"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    site.mkdir()
    return configuration(site, GATEWAY, answering("one"))


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    async with slow_upstream() as upstream:
        yield upstream


@asynccontextmanager
async def service(*words: str | Path, workers: int, **settings: object) -> AsyncIterator[Running]:
    """The service; whoever took its place ends with it, so that nobody holds its stderr."""
    async with serve(*words, "--workers", str(workers), **settings) as gatewayd:
        try:
            yield gatewayd
        finally:
            for pid in re.findall(r"process (\d+) serves in our place", gatewayd.said):
                end(int(pid))


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


async def upgraded(gatewayd: Running, times: int = 1) -> None:
    """Wait until another program has said that it serves, and the one before knows of it."""
    await gatewayd.until(lambda: len(re.findall(SERVES, gatewayd.said)) == times + 1, "another program")
    if "workers   process" not in gatewayd.said:
        await gatewayd.until_said(rf"(?s:.*serves in our place){{{times}}}")


async def refused(gatewayd: Running, why: str) -> None:
    gatewayd.signal(signal.SIGUSR2)
    await gatewayd.until_said(rf"not upgraded, this program serves on: (?s:.*){why}")


@pytest.mark.parametrize("workers", [1, 2])
class TestBoth:
    async def test_what_is_under_way_ends_where_it_began_and_nobody_is_refused(
        self, tmp_path: Path, slow: Slow, workers: int
    ) -> None:
        folder = configuration(tmp_path, GATEWAY, routed())
        pin = ("--endpoint", f"backend.test=127.0.0.1:{slow.port}")
        async with service(folder, *pin, workers=workers) as gatewayd:
            port, status = await gatewayd.ready()
            async with client(port) as busy, client(port) as idle:
                busy.send("/")
                await asyncio.wait_for(slow.arrived.wait(), LIMIT_S)
                gatewayd.signal(signal.SIGUSR2)
                while len(re.findall(SERVES, gatewayd.said)) < 2:
                    async with client(port):  # taken by the old program, or by the new one, and never refused
                        code, _, _ = await get(status, "/healthz/ready")
                        assert code == 200, "one of them is ready"
                slow.go.set()
                for connection in (busy, idle):
                    if connection is idle:
                        idle.send("/")
                    code, _, body = await connection.receive()
                    assert (code, body) == (200, b"slow")
                assert (await get(port, "/"))[2] == b"slow"

    async def test_it_can_be_done_again(self, folder: Path, workers: int) -> None:
        async with service(folder, workers=workers) as gatewayd:
            port, _ = await gatewayd.ready()
            pid = gatewayd.pid
            for times in (1, 2):
                (folder / "1.yaml").write_text(answering(f"number {times}"))
                os.kill(pid, signal.SIGUSR2)
                await upgraded(gatewayd, times)
                if workers == 1:
                    pid = int(re.findall(r"process (\d+) serves in our place", gatewayd.said)[-1])
                assert (await get(port, "/"))[2] == f"number {times}".encode()
            os.kill(pid, signal.SIGTERM)
            await gatewayd.until(lambda: gatewayd._reading.done(), "the end of the last one")
            with pytest.raises(ConnectionRefusedError):
                await get(port, "/")

    async def test_a_program_that_does_not_start_leaves_the_old_one(
        self, folder: Path, tmp_path: Path, workers: int
    ) -> None:
        newer = tmp_path / "newer"
        newer.mkdir()
        async with service(folder, workers=workers, env={"PYTHONPATH": str(newer)}) as gatewayd:
            port, status = await gatewayd.ready()
            (newer / "click.py").write_text("raise ImportError('this release is broken')\n")
            await refused(gatewayd, "exit code 1")
            assert "this release is broken" in gatewayd.said
            assert (await get(port, "/"))[2] == b"one"
            assert (await get(status, "/healthz/ready"))[0] == 200
            (newer / "click.py").unlink()
            gatewayd.signal(signal.SIGUSR2)
            await upgraded(gatewayd)
            assert (await get(port, "/"))[2] == b"one"

    async def test_nor_does_one_that_refuses_the_configuration(self, folder: Path, workers: int) -> None:
        async with service(folder, "--no-watch", workers=workers) as gatewayd:
            port, _ = await gatewayd.ready()
            (folder / "0.yaml").write_text("")
            await refused(gatewayd, "exit code 78")
            assert "nothing to serve: there is no Gateway" in gatewayd.said
            assert (await get(port, "/"))[2] == b"one"

    async def test_what_only_the_old_one_knows_is_not_given_up(self, folder: Path, workers: int) -> None:
        async with service(folder, workers=workers) as gatewayd:
            port, _ = await gatewayd.ready()
            (folder / "1.yaml").write_text(BROKEN_RULE)
            await gatewayd.until_said("kept in the last good version: 1")
            await refused(gatewayd, "1 resources are served in their last good version")
            assert (await get(port, "/"))[2] == b"one"
            (folder / "1.yaml").write_text(answering("two"))
            gatewayd.signal(signal.SIGUSR2)  # whoever has mended it need not wait for anything
            await upgraded(gatewayd)
            assert (await get(port, "/"))[2] == b"two"

    async def test_a_configuration_from_standard_input_goes_along(self, folder: Path, workers: int) -> None:
        text = (folder / "0.yaml").read_text() + "---\n" + (folder / "1.yaml").read_text()
        async with service("-", workers=workers, stdin=subprocess.PIPE) as gatewayd:
            stdin = gatewayd.process.stdin
            assert stdin is not None
            stdin.write(text.encode())
            stdin.close()
            port, _ = await gatewayd.ready()
            gatewayd.signal(signal.SIGUSR2)
            await upgraded(gatewayd)
            assert (await get(port, "/"))[2] == b"one"

    async def test_a_unix_socket_stays_where_it_is(self, folder: Path, tmp_path: Path, workers: int) -> None:
        path = tmp_path / "edge.sock"
        text = GATEWAY.replace("number: 80", "number: 0").replace(
            "hosts:", f"bind: unix://{path}\n    hosts:"
        )
        (folder / "0.yaml").write_text(text)
        async with running(
            "run", folder, "--workers", str(workers), "--status", f"unix:{tmp_path}/status"
        ) as it:
            await it.until_said(SERVES)
            it.signal(signal.SIGUSR2)
            await upgraded(it)
            found = re.search(r"process (\d+) serves in our place", it.said)
            pid = int(found[1]) if found else it.pid
            assert path.exists()
            assert (tmp_path / "status").exists()
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"one")
            writer.close()
            os.kill(pid, signal.SIGTERM)
            await it.until(lambda: it._reading.done(), "the end of the last one")
            assert not path.exists()
            assert not (tmp_path / "status").exists()


async def test_a_single_process_ends_when_its_successor_serves(folder: Path) -> None:
    async with service(folder, workers=1) as gatewayd:
        port, _ = await gatewayd.ready()
        gatewayd.signal(signal.SIGUSR2)
        found = await gatewayd.until_said(r"process (\d+) serves in our place")
        assert int(found[1]) != gatewayd.pid
        await gatewayd.until(lambda: gatewayd.process.returncode is not None, "the end of the old one")
        assert gatewayd.process.returncode == 0
        assert (await get(port, "/"))[2] == b"one"


async def test_a_supervisor_stays_the_same_process_and_reloads_as_before(folder: Path) -> None:
    async with service(folder, workers=2) as gatewayd:
        port, _ = await gatewayd.ready()
        gatewayd.signal(signal.SIGUSR2)
        await upgraded(gatewayd)
        assert gatewayd.process.returncode is None
        (folder / "1.yaml").write_text(answering("two"))
        await gatewayd.until_said("reload 1: ")
        for _ in range(8):
            assert (await get(port, "/"))[2] == b"two"
        gatewayd.signal(signal.SIGTERM)
        assert await gatewayd.ended() == 0


async def test_process_1_of_a_container_says_what_would_help(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = Single(asyncio.get_running_loop(), RunOptions(paths=(str(folder),)))
    single.worker.state = SERVING
    monkeypatch.setattr(os, "getpid", lambda: 1)
    ok, text = await single.upgrade()
    assert not ok
    assert "process 1 of a container cannot be another process; with --workers 2" in text
