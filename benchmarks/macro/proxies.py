"""Start any of the proxies on a site: the table of proxies, and what a running one can be asked."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.macro import envoy, istio, nginx
from benchmarks.macro.h2_frames import PREFACE, SETTINGS
from benchmarks.macro.processes import Memory, free_ports, spawn, stop, tree_cpu_ns, tree_memory, until
from benchmarks.macro.site import Site
from benchmarks.macro.tls_client import client_context
from benchmarks.macro.tools import tool

READY_TIMEOUT_S = 60.0


@dataclass
class Running:
    """One proxy process tree that serves a site on `port`."""

    name: str
    port: int
    log: Path
    output: Path
    load_s: float
    """Seconds from the start of the process to the first answered request."""
    load_cpu_s: float
    """CPU time in s used until then."""
    process: subprocess.Popen[bytes]
    tls: bool = False
    """Whether `port` speaks TLS."""
    logged_bytes: int = 0
    """Size of the access log cleared so far."""

    def cpu_ns(self) -> int:
        """CPU time used so far."""
        return tree_cpu_ns(self.process.pid)

    def memory(self) -> Memory:
        """Memory held now."""
        return tree_memory(self.process.pid)

    def clear_log(self) -> None:
        """Empty the access log (it is opened for appending), so that long runs do not fill the disk."""
        if self.log.exists():
            with self.log.open("r+b") as stream:
                self.logged_bytes += stream.seek(0, os.SEEK_END)
                stream.truncate(0)

    def stop(self) -> None:
        """End the process tree."""
        stop(self.process)


@dataclass(frozen=True)
class Launch:
    """What a proxy is started with."""

    site: Site
    folder: Path
    port: int
    log: Path
    options: "ProxyOptions"


@dataclass(frozen=True)
class ProxyOptions:
    """Choices of a run that reach a proxy's configuration."""

    nginx_buffered_log: bool = True
    #: of gatewayd: whether it writes a log, and whether it counts (metrics and admin port)
    access_log: bool = True
    numbers: bool = True
    #: of gatewayd: its worker processes
    workers: int = 1
    #: on the core of the proxies; else on any
    pinned: bool = True


def gatewayd_command(launch: Launch) -> list[str]:
    """Write the Istio YAML and return the command line that serves it."""
    istio.write_site(launch.site, launch.folder / "config")
    admin, status, metrics = free_ports(3)
    return [
        *(sys.executable, "-m", "gatewayd", "run", str(launch.folder / "config")),
        *(
            "--port-map",
            f"{443 if launch.site.tls else 80}={launch.port}",
            "--bind",
            "127.0.0.1",
            "--workers",
            str(launch.options.workers),
        ),
        *("--status", f"127.0.0.1:{status}"),
        *("--admin", f"127.0.0.1:{admin}" if launch.options.numbers else "off"),
        *("--metrics", f"127.0.0.1:{metrics}" if launch.options.numbers else "off"),
        *("--access-log", str(launch.log) if launch.options.access_log else "off"),
    ]


def nginx_command(launch: Launch) -> list[str]:
    """Write nginx.conf and return the command line."""
    text = nginx.config(
        launch.site, launch.port, launch.folder, launch.log, buffered_log=launch.options.nginx_buffered_log
    )
    path = launch.folder / "nginx.conf"
    path.write_text(text)
    return [tool("nginx"), "-p", str(launch.folder), "-e", str(launch.folder / "error.log"), "-c", str(path)]


def envoy_command(launch: Launch) -> list[str]:
    """Write the bootstrap and return the command line."""
    path = launch.folder / "envoy.json"
    path.write_text(envoy.config(launch.site, launch.port, launch.log))
    return [
        *(tool("envoy"), "-c", str(path), "--concurrency", "1"),
        *("--disable-hot-restart", "--log-level", "error"),
    ]


PROXIES: dict[str, Callable[[Launch], list[str]]] = {
    "gatewayd": gatewayd_command,
    "nginx": nginx_command,
    "envoy": envoy_command,
}
"""In the order of the rounds: A B C A B C."""


def answers(port: int, host: str, *, tls: bool = False) -> bool:
    """Whether a request for `host` on `port` is answered at all, with any status."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            stream = client_context().wrap_socket(client, server_hostname=host) if tls else client
            stream.sendall(f"GET /login HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
            return stream.recv(12).startswith(b"HTTP/1.1")
    except OSError:
        return False


def greets(port: int) -> bool:
    """Whether a client's preface of HTTP/2 on `port` is answered with SETTINGS."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.sendall(PREFACE)
            return client.recv(9)[3:4] == bytes((SETTINGS,))
    except OSError:
        return False


def start(name: str, site: Site, folder: Path, core: int | None, options: ProxyOptions) -> Running:
    """Start a proxy and wait until it answers.

    Raises RuntimeError with the tail of its output when it ends or stays silent.
    """
    folder.mkdir(parents=True)
    port = free_ports(1)[0]
    output, log = folder / "output.log", folder / "access.log"
    command = PROXIES[name](Launch(site, folder, port, log, options))
    host = site.hosts[0].host.replace("*", "any.test")
    began = time.monotonic()
    process = spawn(command, core=core, output=output)

    def is_there() -> bool:
        return greets(port) if site.http2 and not site.tls else answers(port, host, tls=site.tls)

    ready = until(lambda: process.poll() is not None or is_there(), READY_TIMEOUT_S)
    load_s = time.monotonic() - began
    if not ready or process.poll() is not None:
        stop(process)
        raise RuntimeError(f"{name} did not start: {' '.join(command)}\n{output.read_text()[-2000:]}")
    load_cpu_s = tree_cpu_ns(process.pid) / 1e9
    return Running(name, port, log, output, load_s, load_cpu_s, process, site.tls)
