"""The admin port of several workers is that of one: what is asked of it, and how it answers, is the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gatewayd.admin.envoy import server_state
from tests.runtime.running import GATEWAY, LIMIT_S, configuration
from tests.runtime.test_group import Service, group
from tests.runtime.test_reload import answering

#: What may be asked of any gatewayd, and every one answers.
PATHS = (
    *("/", "/help", "/server_info", "/ready", "/stats", "/stats?format=json", "/stats/prometheus", "/runtime"),
    *("/clusters", "/clusters?format=json", "/listeners", "/listeners?format=json", "/config_dump"),
    *(f"/api/v1/{name}" for name in ("overview", "listeners", "routes", "clusters", "endpoints", "certs")),
    *(f"/api/v1/{name}" for name in ("findings", "reloads", "timeseries")),
    *("/certs", "/memory"),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return configuration(tmp_path_factory.mktemp("group"), GATEWAY, answering("one"))


async def events(service: Service, path: str) -> AsyncIterator[dict[str, Any]]:
    """The rows of a stream."""
    reader, writer = await service.admin.connect()
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        await reader.readuntil(b": listening\n\n")
        while True:
            async with asyncio.timeout(LIMIT_S):
                line = await reader.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
    finally:
        writer.close()


async def test_every_path_answers(folder: Path) -> None:
    async with group(folder) as service:
        await service.requests(3)
        for path in PATHS:
            answer = await service.admin.get(path)
            assert (path, answer.status) == (path, 200)
            if "json" in answer.head:
                assert isinstance(answer.json, dict)
        overview = (await service.admin.get("/api/v1/overview")).json
        assert (overview["ready"], overview["supervisor"]["role"]) == (True, "supervisor")
        assert [row["worker"] for row in overview["workers"]] == [1, 2]
        assert (await service.admin.get("/server_info")).json["command_line_options"]["concurrency"] == 2
        (dump,) = (await service.admin.get("/config_dump?resource=dynamic_listeners")).json["configs"]
        assert dump["active_state"]["version_info"] == "1", "which the supervisor alone knows"
        (route,) = (await service.admin.get("/api/v1/routes")).json["routes"]
        assert route["hits"] == 3


async def test_a_tap_is_one_over_all_workers_and_so_is_its_limit(folder: Path) -> None:
    async with group(folder) as service:
        bad = await service.admin.get("/api/v1/tap?status=nope")
        assert (bad.status, bad.text.partition(":")[0]) == (400, "status=nope")
        rows = events(service, "/api/v1/tap?limit=5")
        seen: list[dict[str, Any]] = []

        async def watch() -> None:
            async for row in rows:
                seen.append(row)

        watching = asyncio.create_task(watch())
        async with asyncio.timeout(LIMIT_S):
            while not any("dropped" in row for row in seen):
                await service.requests(10)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        await rows.aclose()  # type: ignore[attr-defined]  # a generator
        told = [row for row in seen if "dropped" not in row]
        assert {row["worker"] for row in told} <= {1, 2}
        for second in {int(row["at"]) for row in told}:
            assert sum(int(row["at"]) == second for row in told) <= 2 * 5, "handed over a second later"


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"state": "SERVING", "ready": True}, "LIVE"),
        ({"state": "LOADING", "ready": False}, "INITIALIZING"),
        ({"state": "LOADING", "ready": True}, "LIVE"),  # an upgrade: the workers of the program before serve
        (
            {"state": "SERVING", "ready": False},
            "LIVE",
        ),  # not ready for want of memory, say: Envoy knows no such word
        ({"state": "SERVING", "ready": False, "draining": True}, "DRAINING"),
        ({"state": "SERVING", "ready": False, "health": "failed"}, "DRAINING"),
    ],
)
def test_the_state_is_the_supervisors_and_live_while_somebody_serves(row: dict[str, Any], word: str) -> None:
    first = {"draining": False, "health": "ok", **row}
    assert server_state([first, {**first, "state": "LOADING", "ready": False}]) == word
