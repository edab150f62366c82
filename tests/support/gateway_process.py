"""``python -m gatewayd run`` as a test needs it: free ports, readiness, its log, and a sure end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.ports import PortReservation

EXIT_CANNOT_BIND = 77
EXIT_NOTHING_TO_SERVE = 78
_REPOSITORY = Path(__file__).resolve().parents[2]
_BIND_ATTEMPTS = 5
_STOP_S = 20.0
_ANSWER_S = 10.0
LOG_S = 20.0  # for lines that must come; only ever reached by a test that fails
_READY_POLL_S = 0.02
_LOG_POLL_S = 0.005
_FLUSH_EVERY_S = 0.1


class GatewayError(Exception):
    """The process did not become ready; the text ends with the tail of its stderr.

    exit_code: its exit status when it ended by itself, else None.
    """

    def __init__(self, text: str, exit_code: int | None) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class GatewayProcess:
    """A running gateway; use ``async with GatewayProcess([folder], listen=[80]) as gateway``.

    paths: what to serve. listen: Gateway server ports, each mapped to a free port by ``--port-map``.
    flags: further flags. env: further environment. hosts: addresses the ports must be free on.
    log_format: "json" or "text" for the access log, a file of its own; "": as the mesh configuration says.
    cwd: where it is started.
    Raises GatewayError from ``__aenter__`` when it ends, or is not ready within ``ready_s`` seconds.
    """

    command: Sequence[str] = (sys.executable, "-m", "gatewayd")

    def __init__(
        self,
        paths: Sequence[Path | str],
        *,
        listen: Sequence[int] = (),
        flags: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        hosts: Sequence[str] = ("0.0.0.0",),
        log_format: str = "json",
        ready_s: float = 60.0,
        cwd: Path = _REPOSITORY,
    ) -> None:
        self.status_port = self.admin_port = self.metrics_port = 0
        self._paths = [str(path) for path in paths]
        self._listen = list(dict.fromkeys(listen))
        self._flags = list(flags)
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._hosts = hosts
        self._log_format = log_format
        self._ready_s = ready_s
        self._cwd = cwd
        self._ports: dict[int, int] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="gatewayd-test-")
        self._stderr = Path(self._folder.name, "stderr")
        self._access_log = Path(self._folder.name, "access.log")
        self._log_offset = 0
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> GatewayProcess:
        try:
            for attempt in range(_BIND_ATTEMPTS):
                await self._start()
                if await self._wait_ready():
                    return self
                if self.exit_code != EXIT_CANNOT_BIND or attempt == _BIND_ATTEMPTS - 1:
                    break
            raise GatewayError(f"{self._how_it_stands()}\n{self.stderr_tail()}", self.exit_code)
        except BaseException:
            await self.stop()
            self._folder.cleanup()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.returncode if self._process is not None else None

    def port(self, number: int) -> int:
        """The port that stands for the Gateway server port ``number``."""
        return self._ports[number]

    def stderr_text(self) -> str:
        """All of stdout and stderr so far."""
        return self._stderr.read_text(errors="replace") if self._stderr.exists() else ""

    def stderr_tail(self, lines: int = 15) -> str:
        """The last lines of stderr."""
        return "\n".join(self.stderr_text().splitlines()[-lines:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process is gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def log_lines(self, count: int, timeout_s: float = LOG_S) -> list[str]:
        """Access log lines written since the last call, once there are ``count`` or the time is up.

        SIGUSR1 makes the process write out what it holds back.
        """
        deadline = time.monotonic() + timeout_s
        flush_at = 0.0
        while True:
            now = time.monotonic()
            if now >= flush_at:
                self.signal(signal.SIGUSR1)
                flush_at = now + _FLUSH_EVERY_S
            lines = self._new_lines()
            if len(lines) >= count or now >= deadline or self.exit_code is not None:
                self._log_offset += sum(len(line) + 1 for line in lines)
                return [line.decode("utf-8", "surrogateescape") for line in lines]
            await asyncio.sleep(_LOG_POLL_S)

    async def log_records(self, count: int, timeout_s: float = LOG_S) -> list[dict[str, Any]]:
        """``log_lines`` of a JSON log, decoded; ValueError when a line is not a JSON object."""
        records = [json.loads(line) for line in await self.log_lines(count, timeout_s)]
        if not all(isinstance(record, dict) for record in records):
            raise ValueError("an access log line is not a JSON object")
        return records

    async def stop(self) -> int | None:
        """SIGINT, which ends it at once, then SIGKILL; always reaped. Gives the exit status."""
        process = self._process
        if process is None:
            return None
        if process.returncode is None:
            self.signal(signal.SIGINT)
            try:
                async with asyncio.timeout(_STOP_S):
                    await process.wait()
            except TimeoutError:
                self.signal(signal.SIGKILL)
            finally:
                if process.returncode is None:
                    self.signal(signal.SIGKILL)
        return await process.wait()

    async def _start(self) -> None:
        held = {number: PortReservation(self._hosts) for number in self._listen}
        status, admin, metrics = (PortReservation() for _ in range(3))
        self._ports = {number: reservation.port for number, reservation in held.items()}
        self.status_port, self.admin_port, self.metrics_port = status.port, admin.port, metrics.port
        arguments = [*self.command, "run", *self._paths]
        if held:
            arguments += ["--port-map", ",".join(f"{number}={port}" for number, port in self._ports.items())]
        arguments += ["--status", f"127.0.0.1:{status.port}", "--admin", f"127.0.0.1:{admin.port}"]
        arguments += ["--metrics", f"127.0.0.1:{metrics.port}", "--no-watch"]
        arguments += ["--access-log", str(self._access_log)]
        if self._log_format:
            arguments += ["--access-log-format", self._log_format]
        for reservation in (*held.values(), status, admin, metrics):
            reservation.release()
        with self._stderr.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *arguments,
                *self._flags,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._env,
                cwd=self._cwd,
            )

    async def _wait_ready(self) -> bool:
        deadline = time.monotonic() + self._ready_s
        while time.monotonic() < deadline and self.exit_code is None:
            if await self._asks_ready():
                return True
            await asyncio.sleep(_READY_POLL_S)
        return False

    async def _asks_ready(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.status_port)
                try:
                    writer.write(b"GET /healthz/ready HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
                    line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        return line.split(b" ")[1:2] == [b"200"]

    def _how_it_stands(self) -> str:
        if self.exit_code is None:
            return f"not ready within {self._ready_s:g} s"
        return f"ended with exit status {self.exit_code} before it was ready"

    def _new_lines(self) -> list[bytes]:
        """Complete lines of the access log behind the offset."""
        try:
            with self._access_log.open("rb") as file:
                file.seek(self._log_offset)
                data = file.read()
        except FileNotFoundError:
            return []
        return data.split(b"\n")[:-1]
