"""The upstream of the benchmarks: one nginx, the same for every proxy.

`/static/files/` serves files (`64k.bin`, and `big.bin`, a sparse file for downloads); everything else is
answered with 1 KiB and, except below `/api/same/`, an `etag` made of the path, so that responses repeat
exactly as far as requests do.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.macro.nginx import main_section
from benchmarks.macro.processes import free_port, spawn, stop, until
from benchmarks.macro.proxies import answers, greets
from benchmarks.macro.tools import tool

SMALL_BYTES = 1024
MEDIUM_BYTES = 64 * 1024

_SERVER = """\
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  types {{ }}
  default_type application/octet-stream;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    listen 127.0.0.2:{port} backlog=4096;
    listen 127.0.0.3:{port} backlog=4096;
    location /static/files/ {{ alias {folder}/files/; }}
    location /api/same/ {{
      default_type application/json;
      return 200 '{body}';
    }}
    location / {{
      default_type application/json;
      add_header ETag '"$uri"';
      return 200 '{body}';
    }}
  }}
}}
"""

GRPC_MESSAGE = b"\0\0\0\0\x40" + b"m" * 64
"""One message in its frame."""

GRPC_PATH = "/api/echo/Unary.grpc"


@dataclass
class Upstream:
    """A running upstream."""

    port: int
    process: subprocess.Popen[bytes]
    output: Path

    def stop(self) -> None:
        """End it."""
        stop(self.process)


def small_body() -> str:
    """1 KiB of JSON without a quote or dollar sign that nginx would read."""
    text = '{"items": ["' + "0123456789abcdef" * 64
    return text[: SMALL_BYTES - 3] + '"]}'


def _start(
    name: str,
    argv: list[str],
    port: int,
    core: int | None,
    output: Path,
    ready: Callable[[int], bool] = lambda port: answers(port, "any.test"),
) -> Upstream:
    upstream = Upstream(port, spawn(argv, core=core, output=output), output)
    if not until(lambda: ready(port), 10):
        upstream.stop()
        raise RuntimeError(f"the upstream ({name}) did not start\n{output.read_text()[-2000:]}")
    return upstream


def start_origin(folder: Path, core: int | None, big_bytes: int) -> Upstream:
    """Start the nginx that answers all small, medium and download requests."""
    files = folder / "files"
    files.mkdir(parents=True)
    (files / "64k.bin").write_bytes(b"x" * MEDIUM_BYTES)
    with (files / "big.bin").open("wb") as stream:
        stream.truncate(big_bytes)
    port = free_port()
    path, output = folder / "nginx.conf", folder / "output.log"
    path.write_text(main_section(folder) + _SERVER.format(port=port, folder=folder, body=small_body()))
    argv = [tool("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(path)]
    return _start("nginx", argv, port, core, output)


def start_grpc(folder: Path, core: int | None) -> Upstream:
    """Start the nghttpd that answers calls of `GRPC_PATH` with one message and trailers (nginx answers too early)."""
    file = folder / "files" / GRPC_PATH[1:]
    file.parent.mkdir(parents=True)
    file.write_bytes(GRPC_MESSAGE)
    (folder / "types").write_text("application/grpc grpc\n")
    port = free_port()
    argv = [
        *(tool("nghttpd"), "--no-tls", "-a", "127.0.0.1", "-d", str(folder / "files")),
        *("--mime-types-file", str(folder / "types"), "--trailer", "grpc-status: 0", str(port)),
    ]
    return _start("nghttpd", argv, port, core, folder / "output.log", greets)


def start_sink(folder: Path, core: int | None, rate_bytes_s: int) -> Upstream:
    """Start the program that swallows uploads (0: as fast as it can)."""
    folder.mkdir(parents=True)
    port, output = free_port(), folder / "output.log"
    argv = [sys.executable, "-m", "benchmarks.macro.sink", str(port), str(rate_bytes_s)]
    return _start("sink", argv, port, core, output)
