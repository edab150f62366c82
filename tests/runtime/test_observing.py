"""What a process writes down: where the access log goes and what it looks like, and what happens when it cannot."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.running import GATEWAY, Running, client, configuration, get, running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "site"
    made.mkdir()
    return configuration(made)


def serve_mesh(folder: Path, mesh: str, *words: str | Path, **settings: Any) -> Any:
    """gatewayd with a mesh configuration, and no flags of logs but those given."""
    file = folder.parent / "mesh.config"
    file.write_text(mesh)
    flags = [
        "--port-map",
        "80=0",
        "--status",
        "127.0.0.1:0",
        "--bind",
        "127.0.0.1",
        "--metrics",
        "127.0.0.1:0",
    ]
    return running("run", folder, "--no-watch", "--mesh-config", file, *words, *flags, **settings)


async def until_written(gateway: Running, path: Path, lines: int) -> list[str]:
    """The lines of a file, once there are so many."""
    found: list[str] = []

    def there() -> bool:
        nonlocal found
        gateway.signal(signal.SIGUSR1)  # writes out what waits
        found = path.read_text().splitlines() if path.exists() else []
        return len(found) >= lines

    await gateway.until(there, f"{lines} lines in {path.name}")
    return found


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)


class TestTheMeshConfiguration:
    async def test_names_the_file_and_its_form(self, folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "access.log"
        mesh = f"accessLogFile: {path}\naccessLogFormat: 'got %REQ(:PATH)% %RESPONSE_CODE% %RESP(content-type)%'\n"
        async with serve_mesh(folder, mesh) as gateway:
            port, _ = await gateway.ready()
            await get(port, "/direct/a")
            await get(port, "/direct/b", "nobody.test")
            assert await until_written(gateway, path, 2) == [
                "got /direct/a 200 text/plain",
                "got /direct/b 404 -",
            ]

    async def test_in_json_of_its_own(self, folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "access.log"
        form = json.dumps({"code": "%RESPONSE_CODE%", "who": {"agent": "%REQ(user-agent)%"}})
        mesh = f"accessLogFile: {path}\naccessLogEncoding: JSON\naccessLogFormat: '{form}'\n"
        async with serve_mesh(folder, mesh) as gateway:
            port, _ = await gateway.ready()
            await get(port, "/direct")
            (line,) = await until_written(gateway, path, 1)
        assert json.loads(line) == {"code": 200, "who": {"agent": None}}

    async def test_counts_for_less_than_the_flags(self, folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "access.log"
        mesh = "accessLogFile: /nowhere/log\naccessLogEncoding: JSON\naccessLogFormat: '{}'\n"
        words = ("--access-log", path, "--access-log-format", "text")
        async with serve_mesh(folder, mesh, *words) as gateway:
            port, _ = await gateway.ready()
            await get(port, "/direct")
            (line,) = await until_written(gateway, path, 1)
        assert re.match(r'\[[^]]+\] "GET /direct HTTP/1.1" 200 ', line)

    async def test_is_followed_when_it_changes(self, folder: Path, tmp_path: Path) -> None:
        one, two = tmp_path / "one", tmp_path / "two"
        changed = f"accessLogFile: {two}\naccessLogFormat: 'new'\n"
        async with serve_mesh(folder, f"accessLogFile: {one}\naccessLogFormat: 'old'\n") as gateway:
            port, _ = await gateway.ready()
            await get(port, "/direct")
            rewrite(tmp_path / "mesh.config", changed)
            gateway.signal(signal.SIGHUP)
            await gateway.until_said("reload 1")
            await get(port, "/direct")
            assert await until_written(gateway, two, 1) == ["new"]
            assert await until_written(gateway, one, 1) == ["old"]

    async def test_with_a_form_that_cannot_be_used_is_refused(self, folder: Path) -> None:
        async with serve_mesh(folder, "accessLogFormat: '%NOPE%'\n") as gateway:
            assert await gateway.ended() == 78
        assert re.search(r"mesh.config:1:\d+", gateway.said)
        assert "unknown variable %NOPE%" in gateway.said

    async def test_with_a_file_that_cannot_be_opened_too(self, folder: Path) -> None:
        async with serve_mesh(folder, "accessLogFile: /nowhere/log\n") as gateway:
            assert await gateway.ended() == 1
        assert "gatewayd: accessLogFile /nowhere/log: no such file or directory" in gateway.said


TELEMETRY = """
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: quiet, namespace: istio-system}
spec: {accessLogging: [{disabled: true}]}
"""


async def test_a_telemetry_switches_the_log_off_and_the_flag_on(folder: Path, tmp_path: Path) -> None:
    path, flagged = tmp_path / "access.log", tmp_path / "flagged.log"
    rewrite(folder / "quiet.yaml", TELEMETRY)
    async with serve_mesh(folder, f"accessLogFile: {path}\naccessLogFormat: '%REQ(:PATH)%'\n") as gateway:
        port, _ = await gateway.ready()
        await get(port, "/direct/quiet")
        gateway.signal(signal.SIGUSR1)
        rewrite(folder / "quiet.yaml", TELEMETRY.replace("true", "false"))
        gateway.signal(signal.SIGHUP)
        await gateway.until_said("reload 1")
        await get(port, "/direct/loud")
        assert await until_written(gateway, path, 1) == ["/direct/loud"]
    rewrite(folder / "quiet.yaml", TELEMETRY)
    async with serve_mesh(folder, "", "--access-log", flagged) as gateway:
        port, _ = await gateway.ready()
        await get(port, "/direct")
        assert len(await until_written(gateway, flagged, 1)) == 1


async def dropped(metrics_port: int) -> int:
    """Lines of the access log that were lost, as the metrics say."""
    _, _, body = await get(metrics_port, "/stats/prometheus")
    found = re.search(rb'gatewayd_log_dropped_lines_total\{log="access"\} (\d+)', body)
    assert found, body
    return int(found[1])


async def metrics_port(gateway: Running) -> int:
    return int((await gateway.until_said(r"metrics\s+http://127\.0\.0\.1:(\d+)/"))[1])


class TestALogThatCannotBeWritten:
    """Hardening 9.11: lines are dropped and counted; serving never waits for a log."""

    async def test_a_full_disk(self, folder: Path) -> None:
        """``/dev/full`` is one: each write fails as on a disk without room."""
        async with serve_mesh(folder, "", "--access-log", "/dev/full") as gateway:
            port, _ = await gateway.ready()
            numbers = await metrics_port(gateway)
            async with client(port) as connection:
                for _ in range(300):
                    assert (await connection.get("/direct"))[0] == 200
            gateway.signal(signal.SIGUSR1)
            await asyncio.sleep(0)
            lost = 0
            while lost < 300:
                lost = await dropped(numbers)
                gateway.signal(signal.SIGUSR1)
            assert lost == 300
            await gateway.until_said(
                r"warning log: \d+ lines for /dev/full were dropped: no space left on device"
            )

    async def test_a_pipe_nobody_reads(self, folder: Path, tmp_path: Path) -> None:
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        async with serve_mesh(folder, "", "--access-log", fifo) as gateway:
            port, _ = await gateway.ready()
            numbers = await metrics_port(gateway)
            path = "/direct/" + "x" * 7000  # so that few requests make many bytes
            sent = 0
            async with client(port) as connection:
                while not await dropped(numbers):
                    for _ in range(128):
                        assert (await connection.get(path))[0] == 200
                        sent += 1
                    assert sent < 2000, "a bounded buffer"
                assert (await connection.get("/direct"))[0] == 200
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0

    async def test_stderr_nobody_reads(self, folder: Path) -> None:
        """The program's own log: debug lines into a pipe that is full."""
        reader, writer = os.pipe()
        try:
            words = ("--access-log", "off", "--log-level", "debug")
            async with serve_mesh(folder, "", *words, "--status", "127.0.0.1:0", stderr=writer) as gateway:
                os.close(writer)
                writer = -1
                said = b""
                while b"/healthz/ready" not in said:
                    said += os.read(reader, 65536)
                found = re.search(rb"listener\s+http://[\d.]+:(\d+)", said)
                assert found
                port = int(found[1])
                for number in range(200):
                    gateway.signal(signal.SIGQUIT)  # some lines for each
                    status, _, _ = await get(port, f"/direct/{number}")
                    assert status == 200
                gateway.signal(signal.SIGINT)
                assert await gateway.process.wait() == 0
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)


class TestTheProgramsLog:
    async def test_in_json_every_line_is_an_object(self, folder: Path) -> None:
        """What a terminal is shown at the start included."""
        rewrite(folder / "0.yaml", GATEWAY + "extra: 1\n")
        async with serve_mesh(folder, "", "--access-log", "off", "--log-format", "json") as gateway:
            assert await gateway.ended() == 78
        records = [json.loads(line) for line in gateway.said.splitlines()]
        finding = next(record for record in records if "code" in record)
        assert (finding["level"], finding["code"], finding["line"]) == ("error", "IST0106", 8)
        assert finding["file"].endswith("0.yaml")
        assert all({"time", "level", "component", "message"} <= record.keys() for record in records)
        assert records[-1]["level"] == "error"
        assert "nothing to serve" in records[-1]["message"]

    async def test_the_report_of_the_start_is_one_record(self, folder: Path) -> None:
        async with serve_mesh(folder, "", "--access-log", "off", "--log-format", "json") as gateway:
            await gateway.until_said("serves 1 listener")
            gateway.signal(signal.SIGHUP)
            await gateway.until_said("reload 1")
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0
        records = [json.loads(line) for line in gateway.said.splitlines()]
        report = next(record for record in records if "serves 1 listener" in record["message"])
        assert (report["level"], report["component"]) == ("info", "runtime")
        assert "/healthz/ready" in report["message"]

    async def test_a_component_is_louder_than_the_rest(self, folder: Path) -> None:
        words = ("--access-log", "off", "--log-level", "error,reload=info")
        async with serve_mesh(folder, "", *words) as gateway:
            await gateway.ready()
            gateway.signal(signal.SIGHUP)
            await gateway.until_said("info reload: reload 1")
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0
        assert "info runtime: draining" not in gateway.said
