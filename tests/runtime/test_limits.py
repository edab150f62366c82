"""Descriptors run out (hardening 9.7): accepting stops, the rest goes on, nothing spins."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.runtime.running import client, configuration, get, serve, slow_upstream

DESCRIPTORS = 128
CLIENTS = 120


def cpu_s(pid: int) -> float:
    """CPU time a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_out_of_descriptors(tmp_path: Path, loop: str) -> None:
    configuration(tmp_path)
    async with slow_upstream() as slow, AsyncExitStack() as stack:
        pin = ("--endpoint", f"backend.test=127.0.0.1:{slow.port}")
        gatewayd = await stack.enter_async_context(
            serve(tmp_path, *pin, env={"GATEWAYD_LOOP": loop}, preexec_fn=few_descriptors)
        )
        port, status = await gatewayd.ready()
        # Each of the crowd has a request under way, so none is idle and may be closed.
        crowd = [await stack.enter_async_context(client(port)) for _ in range(CLIENTS)]
        for member in crowd:
            member.send("/slow")
        await gatewayd.until_said("accepting is paused until there is room")

        before, began = cpu_s(gatewayd.pid), time.monotonic()
        assert (await get(status, "/healthz/ready"))[0] == 200, "the status port answers"
        await asyncio.sleep(1.0)
        assert cpu_s(gatewayd.pid) - before < 0.05 * (time.monotonic() - began) + 0.05, "it spins"
        assert open_files(gatewayd.pid) < DESCRIPTORS, "a reserve stays"

        # Whoever was taken is answered and leaves; those who waited are served then, in turn.
        slow.go.set()
        for member in crowd:
            assert (await member.receive())[0] == 200
            await member.close()
        assert (await get(port, "/direct"))[0] == 200
        assert "Traceback" not in gatewayd.said


async def test_idle_connections_make_room_for_new_ones(tmp_path: Path) -> None:
    configuration(tmp_path)
    async with serve(tmp_path, preexec_fn=few_descriptors) as gatewayd, AsyncExitStack() as stack:
        port, _ = await gatewayd.ready()
        # More than there is room for (each counts for two), but not more than can be sent away in a moment.
        for _ in range(DESCRIPTORS // 2):
            idle = await stack.enter_async_context(client(port))
            idle.send("/direct")
        await gatewayd.until_said("accepting is paused")
        late = [await stack.enter_async_context(client(port)) for _ in range(5)]
        for member in late:
            assert (await member.get("/direct"))[0] == 200
