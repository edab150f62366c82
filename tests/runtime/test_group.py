"""What operators see and do where there are several workers: one service (product.md section 4)."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatewayd.runtime.departed import Departed
from tests.admin.asking import Port
from tests.runtime.running import GATEWAY, LIMIT_S, Running, client, configuration, get, running
from tests.runtime.test_reload import answering
from tests.runtime.test_workers import (
    MANY,
    all_answer,
    connections,
    takes_connections,
    until_all_answer,
    until_replaced,
    workers_of,
)
from tests.support.ports import PortReservation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return configuration(tmp_path, GATEWAY, answering("one"))


class Service:
    """Two workers, and the ports of their supervisor."""

    def __init__(self, gatewayd: Running, port: int, ports: dict[str, int]) -> None:
        self.gatewayd = gatewayd
        self.port = port
        self.status = ports["status"]
        self.metrics = ports["metrics"]
        self.admin = Port(("127.0.0.1", ports["admin"]))

    async def requests(self, number: int, path: str = "/") -> None:
        for _ in range(number):
            assert (await get(self.port, path))[0] == 200

    async def scraped(self) -> dict[str, float]:
        """Sums of all samples, by name."""
        _, _, body = await get(self.metrics, "/stats/prometheus")
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0) + sample.value
        return found

    async def until_counted(self, name: str, value: float) -> dict[str, float]:
        async with asyncio.timeout(LIMIT_S):
            while (found := await self.scraped()).get(name, 0) < value:  # noqa: ASYNC110, others count
                await asyncio.sleep(0.01)
        assert found[name] == value
        return found

    async def ready(self) -> tuple[int, str]:
        code, _, body = await get(self.status, "/healthz/ready")
        return code, body.decode()


@asynccontextmanager
async def group(folder: Path, *words: str | Path, http: int = 0) -> AsyncIterator[Service]:
    flags = ["--port-map", f"80={http}", "--bind", "127.0.0.1", "--workers", "2", "--access-log", "off"]
    for name in ("status", "metrics", "admin"):
        flags += [f"--{name}", "127.0.0.1:0"]
    async with running("run", folder, *flags, *words) as gatewayd:
        port, _ = await gatewayd.ready()
        await gatewayd.until_said("workers   processes")
        ports = {
            name: int(found)
            for name, found in re.findall(
                r"(status|metrics|admin)\s+http://127\.0\.0\.1:(\d+)", gatewayd.said
            )
        }
        yield Service(gatewayd, port, ports)


class TestNumbers:
    async def test_are_those_of_all_workers(self, folder: Path) -> None:
        async with group(folder) as service, connections(service.port) as many:
            for connection in many:
                assert (await connection.get("/"))[0] == 200
            found = await service.until_counted("istio_requests_total", MANY)
            assert found["istio_request_duration_milliseconds_count"] == MANY
            assert found["envoy_listener_downstream_cx_active"] == MANY
            assert found["gatewayd_workers"] == 2
            assert found["envoy_server_concurrency"] == 2
            assert found["gatewayd_config_findings"] == 0, "of the configuration there is one"
            memory = found["process_resident_memory_bytes"]
            assert memory > 2 * 20 * 2**20, "of three processes"
            rows = (await service.admin.get("/api/v1/overview")).json
            assert rows["connections"] == MANY
            assert [row["worker"] for row in rows["workers"]] == [1, 2]
            assert {row["pid"] for row in rows["workers"]} == set(workers_of(service.gatewayd))

    async def test_go_on_when_workers_are_replaced_and_when_one_dies(self, folder: Path) -> None:
        async with group(folder) as service:
            await service.requests(MANY)
            await service.until_counted("istio_requests_total", MANY)
            before = workers_of(service.gatewayd)
            os.kill(before[0], signal.SIGTERM)
            await until_replaced(service.gatewayd, before[0])
            await service.requests(MANY)
            await service.until_counted("istio_requests_total", 2 * MANY)
            os.kill(before[1], signal.SIGKILL)
            await until_replaced(service.gatewayd, *before)
            await service.requests(MANY)
            found = await service.until_counted("istio_requests_total", 3 * MANY)
            assert found["istio_request_duration_milliseconds_count"] == 3 * MANY
            assert found["gatewayd_worker_deaths_total"] == 1

    async def test_what_a_worker_counted_that_was_never_asked_is_not_lost_when_it_goes(
        self, folder: Path
    ) -> None:
        async with group(folder) as service:
            await service.requests(MANY)
            before = workers_of(service.gatewayd)
            for pid in before:
                os.kill(pid, signal.SIGTERM)
            await until_replaced(service.gatewayd, *before)
            await service.until_counted("istio_requests_total", MANY)

    async def test_begin_at_0_when_told_to(self, folder: Path) -> None:
        async with group(folder) as service:
            await service.requests(MANY)
            before = workers_of(service.gatewayd)
            os.kill(before[0], signal.SIGTERM)
            await until_replaced(service.gatewayd, before[0])
            await service.until_counted("istio_requests_total", MANY)
            assert (await service.admin.post("/reset_counters")).status == 200
            assert (await service.scraped()).get("istio_requests_total", 0) == 0
            await service.requests(3)
            await service.until_counted("istio_requests_total", 3)

    def test_of_those_that_are_gone_are_kept_within_bounds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def rows(*names: str) -> list[dict[str, Any]]:
            samples = [[f'cluster="{name}"', 1] for name in names]
            counter = {"name": "requests", "kind": "counter", "help": "", "merge": "sum", "samples": samples}
            return [counter, {**counter, "name": "open", "kind": "gauge"}]

        monkeypatch.setattr("gatewayd.runtime.departed.MAX_SAMPLES", 3)
        departed = Departed()
        departed.note(1, rows("a", "b", "c"))
        departed.left(1)
        (row,) = departed.rows()
        assert len(row["samples"]) == 3
        assert row["kind"] == "counter", "gauges go with their worker"
        departed.note(2, rows("a", "d"))
        departed.note(3, rows("a"))
        departed.left(2)
        (row,) = departed.rows()
        assert row["samples"] == [['cluster="a"', 2]], "what nobody has any more is let go"


class TestOperating:
    async def test_a_drain_is_that_of_the_service_and_can_be_taken_back(self, folder: Path) -> None:
        async with group(folder) as service:
            assert (await service.admin.post("/api/v1/drain")).json["ok"]
            assert await service.ready() == (503, "draining\n")
            async with connections(service.port, 8) as many:
                for connection in many:
                    _, head, body = await connection.get("/")
                    assert (body, "connection: close" in head) == (b"one", True)
            assert (await service.admin.get("/ready")).text == "DRAINING\n"
            victim = workers_of(service.gatewayd)[0]
            os.kill(victim, signal.SIGKILL)
            await until_replaced(service.gatewayd, victim)
            async with connections(service.port, 8) as many:
                for connection in many:
                    assert "connection: close" in (await connection.get("/"))[1], (
                        "whoever comes in its place knows"
                    )
            assert (await service.admin.post("/api/v1/undrain")).json["ok"]
            assert (await service.ready())[0] == 200
            async with connections(service.port, 8) as many:
                for connection in many:
                    assert "connection: close" not in (await connection.get("/"))[1]

    async def test_listeners_that_were_closed_are_opened_again(self, folder: Path) -> None:
        reservation = PortReservation()
        reservation.release()
        async with group(folder, http=reservation.port) as service, client(service.port) as old:
            assert (await old.get("/"))[0] == 200
            assert (await service.admin.post("/drain_listeners")).status == 200
            async with asyncio.timeout(LIMIT_S):
                while await takes_connections(service.port):  # noqa: ASYNC110, other processes decide
                    await asyncio.sleep(0.01)
            assert (await old.get("/"))[2] == b"one", "who is there stays"
            victim = workers_of(service.gatewayd)[0]
            os.kill(victim, signal.SIGTERM)
            await until_replaced(service.gatewayd, victim)
            (folder / "1.yaml").write_text(answering("two"))
            assert (await service.admin.post("/api/v1/reload")).json["result"] == "IN_FORCE"
            assert not await takes_connections(service.port)
            assert (await service.admin.post("/api/v1/undrain")).json["ok"]
            async with asyncio.timeout(LIMIT_S):
                while not await takes_connections(service.port):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert await all_answer(service.port, "two")

    async def test_failed_health_checks_are_readiness_and_nothing_else(self, folder: Path) -> None:
        async with group(folder) as service:
            assert (await service.admin.post("/healthcheck/fail")).status == 200
            assert await service.ready() == (503, "failed by the admin\n")
            assert await all_answer(service.port, "one")
            assert (await service.admin.post("/healthcheck/ok")).status == 200
            assert (await service.ready())[0] == 200

    async def test_all_workers_are_replaced_one_after_the_other(self, folder: Path) -> None:
        async with group(folder) as service:
            before = workers_of(service.gatewayd)
            done = (await service.admin.post("/api/v1/replace_workers")).json
            assert done == {"ok": True, "message": "2 workers were replaced"}
            await until_replaced(service.gatewayd, *before)
            assert await all_answer(service.port, "one")

    async def test_one_that_is_about_to_begin_is_replaced_as_well(self, folder: Path) -> None:
        async with group(folder) as service:
            before = workers_of(service.gatewayd)
            os.kill(before[0], signal.SIGKILL)
            await service.gatewayd.until_said("has died")
            done = (await service.admin.post("/api/v1/replace_workers")).json
            assert done == {"ok": True, "message": "2 workers were replaced"}
            await until_replaced(service.gatewayd, *before)
            assert await all_answer(service.port, "one")

    async def test_a_worker_that_ends_says_nothing_of_it(self, folder: Path) -> None:
        """Though somebody listened to it."""
        async with group(folder) as service:
            before = workers_of(service.gatewayd)
            assert (await service.admin.post("/api/v1/replace_workers")).json["ok"]
            await until_replaced(service.gatewayd, *before)
            await service.gatewayd.until_said("has ended(?s:.*)has ended")
            assert "error" not in service.gatewayd.said

    async def test_an_upgrade_answers_before_it_begins(self, folder: Path) -> None:
        async with group(folder) as service:
            before = workers_of(service.gatewayd)
            done = (await service.admin.post("/api/v1/upgrade")).json
            assert done == {"ok": True, "message": "the new program was tried, and takes over"}
            await until_replaced(service.gatewayd, *before)
            assert await all_answer(service.port, "one")
            assert (await service.admin.get("/server_info")).json["state"] == "LIVE"

    async def test_levels_of_the_log_are_those_of_all_processes(self, folder: Path) -> None:
        async with group(folder) as service:
            assert (await service.admin.post("/logging?level=debug")).status == 200
            victim = workers_of(service.gatewayd)[0]
            os.kill(victim, signal.SIGTERM)
            # Said by the new worker, which was made after the change.
            await service.gatewayd.until_said("debug runtime: .* objects are exempt")

    async def test_a_reload_answers_when_all_workers_have_it(self, folder: Path) -> None:
        async with group(folder, "--no-watch") as service:
            (folder / "1.yaml").write_text(answering("two"))
            done = (await service.admin.post("/api/v1/reload")).json
            assert (done["ok"], done["result"]) == (True, "IN_FORCE")
            assert await all_answer(service.port, "two")

    async def test_lists_are_of_all_workers(self, folder: Path) -> None:
        async with group(folder) as service, connections(service.port) as many:
            for connection in many:
                await connection.get("/")
            (listener,) = (await service.admin.get("/api/v1/listeners")).json["listeners"]
            assert (listener["connections"], listener["accepted"]) == (MANY, MANY)
            (route,) = (await service.admin.get("/api/v1/routes")).json["routes"]
            assert route["hits"] == MANY
            assert (await service.admin.get("/server_info")).json["command_line_options"]["concurrency"] == 2
            dump = (await service.admin.get("/config_dump")).json
            assert any("dynamic_listeners" in config for config in dump["configs"])

    async def test_explain_is_answered_by_one_of_them(self, folder: Path) -> None:
        async with group(folder) as service:
            asked = b'{"method": "GET", "url": "http://shop.test/"}'
            assert (await service.admin.post("/api/v1/explain", asked)).json["outcome"] == "direct_response"


class TestStreams:
    async def test_requests_of_all_workers_are_tapped(self, folder: Path) -> None:
        async with group(folder) as service:
            seen = 0
            async with aclosing(lines(service, "/api/v1/tap?limit=1000")) as stream:
                async for line in stream:
                    if line.startswith(b": listening"):
                        asyncio.get_running_loop().create_task(service.requests(MANY))
                    seen += b'"path"' in line
                    if seen == MANY:
                        break

    async def test_what_happens_to_workers_is_an_event(self, folder: Path) -> None:
        async with group(folder) as service:
            victim = workers_of(service.gatewayd)[0]
            async with aclosing(lines(service, "/api/v1/events")) as stream:
                async for line in stream:
                    if line.startswith(b": listening"):
                        os.kill(victim, signal.SIGKILL)
                    if f"worker 1 (process {victim}) has died: killed by SIGKILL".encode() in line:
                        break

    async def test_a_reload_is_told_once(self, folder: Path) -> None:
        async with group(folder) as service:
            (folder / "1.yaml").write_text(answering("two"))
            await until_all_answer(service.port, "two")
            (folder / "1.yaml").write_text(answering("three"))
            await until_all_answer(service.port, "three")
            told = []
            async with aclosing(lines(service, "/api/v1/events?after=0")) as stream:
                async for line in stream:
                    if line.startswith(b"data: ") and b'"kind": "reload"' in line.replace(b'":"', b'": "'):
                        told.append(line)
                        if len(told) == 2:
                            break
            assert b"reload 1" in told[0]
            assert b"reload 2" in told[1]


async def lines(service: Service, path: str) -> AsyncGenerator[bytes, None]:
    """The lines of a stream, for as long as they are read."""
    reader, writer = await service.admin.connect()
    writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    try:
        async with asyncio.timeout(LIMIT_S):
            while line := await reader.readline():
                yield line
    finally:
        writer.close()
