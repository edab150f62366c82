"""``gatewayd run`` with its admin port, as a process that several tests of a module look at; plain requests to it."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatewayd.admin.guard import HEADER
from tests.support.ports import PortReservation

LIMIT_S = 60.0  # only ever reached by a test that fails
_REPOSITORY = Path(__file__).resolve().parents[2]
_POLL_S = 0.01


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    port: int,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, fields, answer.read())
    finally:
        connection.close()


@dataclass
class Gateway:
    process: subprocess.Popen[bytes]
    output: Path
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def admin(self) -> int:
        return self.ports["admin"]

    def get(self, path: str, **headers: str) -> Reply:
        """From the admin port."""
        return ask(self.admin, path, headers=headers)

    def json(self, path: str) -> Any:
        answer = self.get(path)
        assert answer.status == 200, answer.text
        return answer.json

    def post(self, path: str, body: bytes | None = None, **headers: str) -> Reply:
        return ask(self.admin, path, "POST", {HEADER: "1", **headers}, body)

    def until(self, condition: Any, what: str = "") -> Any:
        """What ``condition`` gives, once that is something."""
        deadline = time.monotonic() + LIMIT_S
        while not (found := condition()):
            assert time.monotonic() < deadline, (
                f"waited in vain for {what or condition}; it said:\n{self.said}"
            )
            assert self.process.poll() is None, f"it ended; it said:\n{self.said}"
            time.sleep(_POLL_S)
        return found


@contextlib.contextmanager
def gateway(
    folder: Path, *words: str, admin: str = "127.0.0.1:0", listen: Sequence[int] = (80,)
) -> Iterator[Gateway]:
    """``gatewayd run WORDS`` on free ports; ``listen``: the Gateway's own numbers."""
    output = folder / f"output-{time.monotonic_ns()}"
    held = {number: PortReservation() for number in listen}
    mapped = ",".join(f"{number}={each.port}" for number, each in held.items())
    flags = ["--status", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--admin", admin, "--bind", "127.0.0.1"]
    flags += ["--port-map", mapped]
    if "--access-log" not in words:
        flags += ["--access-log", "off"]
    for reservation in held.values():
        reservation.release()
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "gatewayd", "run", *words, *flags],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=_REPOSITORY,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        )  # fmt: skip
    made = Gateway(process, output)
    try:
        made.until(lambda: re.search(r"^  admin ", made.said, re.MULTILINE), "the report of the start")
        for name in ("status", "metrics", "admin"):
            found = re.search(rf"^  {name} +http://127\.0\.0\.1:(\d+)", made.said, re.MULTILINE)
            if found:
                made.ports[name] = int(found[1])
        made.ports |= {str(number): reservation.port for number, reservation in held.items()}
        yield made
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: Any = self.server
        server.seen.append((self.path, dict(self.headers)))
        status = int(self.headers.get("x-wanted-status", "200"))
        body = f"{server.name} {self.path}".encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Upstream)
        self.name = name
        self.seen: list[tuple[str, dict[str, str]]] = []

    def handle_error(self, *_: Any) -> None:
        """Who leaves early is no news."""


@contextlib.contextmanager
def upstream(name: str) -> Iterator[_Server]:
    """An HTTP server that says its name and the path; its port is ``server_port``."""
    server = _Server(name)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def unused_port() -> int:
    """A port of the loopback where nobody listens, now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
