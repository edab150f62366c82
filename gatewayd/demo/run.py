"""Run the demo: start the backends, start ``gatewayd run`` on the example, print the tour, end both.

Both are child processes in our process group, so Ctrl-C on a terminal reaches all three; whichever way
this process ends, it takes them along, and on Linux the kernel ends them even if it is killed.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

from gatewayd.demo.backends import BOOKINFO
from gatewayd.demo.certificates import make_certificates, secrets_folder
from gatewayd.demo.folders import example_folder
from gatewayd.demo.tour import Place, tour_text
from gatewayd.demo.web import BadMessage, fetch
from gatewayd.exit_codes import EXIT_CANNOT_BIND, EXIT_OK, EXIT_RUNTIME

#: Server ports of the example's Gateway.
GATEWAY_PORT: Final = 80
GATEWAY_HTTPS_PORT: Final = 443
#: Where `gatewayd run` has its admin port unless told otherwise.
_ADMIN: Final = ("127.0.0.1", 15000)
_READY_S: Final = 30.0
_POLL_S: Final = 0.05
_STOP_S: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    http_port: int
    https_port: int
    bind: tuple[str, ...]
    run_flags: tuple[str, ...]


def serve_demo(wish: Wish) -> int:
    """What :func:`gatewayd.demo.run_demo` promises."""
    folder = example_folder("bookinfo")
    if folder is None:
        print("demo: this installation came without examples/bookinfo", file=sys.stderr)
        return EXIT_RUNTIME
    with tempfile.TemporaryDirectory(prefix="gatewayd-demo-", ignore_cleanup_errors=True) as own:
        return asyncio.run(_Demo(folder, Path(own), wish).run())


class _Demo:
    def __init__(self, folder: Path, own: Path, wish: Wish) -> None:
        self._folder = folder
        self._own = own
        self._wish = wish
        self._told = asyncio.Event()
        self._children: list[asyncio.subprocess.Process] = []

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._told.set)
        try:
            return await self._serve()
        finally:
            await self._end_children()

    async def _serve(self) -> int:
        told = asyncio.create_task(self._told.wait())
        try:
            trusted = make_certificates(self._own, self._wish.bind)
            backends, addresses = await self._start_backends()
            if not addresses:
                return EXIT_OK if told.done() else EXIT_RUNTIME
            status = _free_port()
            gateway = await self._start_gateway(addresses, status)
            ready = asyncio.create_task(_wait_ready(status))
            ended = {asyncio.create_task(child.wait()) for child in (backends, gateway)}
            await asyncio.wait({told, ready, *ended}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done() and not told.done() and gateway.returncode is None:
                if not ready.result():
                    print(f"demo: the gateway is not ready after {_READY_S:g} s", file=sys.stderr)
                    return EXIT_RUNTIME
                print(tour_text(self._place(trusted), self._folder), flush=True)
                await asyncio.wait({told, *ended}, return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            return EXIT_OK if told.done() else await self._explain(gateway)
        finally:
            told.cancel()

    async def _start_backends(self) -> tuple[asyncio.subprocess.Process, dict[str, str]]:
        child = await self._start(
            "gatewayd.demo.backends",
            "--gateway",
            f"{self._client_host()}:{self._wish.http_port}",
            *BOOKINFO,
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        line = await child.stdout.readline()
        return child, json.loads(line) if line else {}

    async def _start_gateway(self, addresses: dict[str, str], status: int) -> asyncio.subprocess.Process:
        ports = f"{GATEWAY_PORT}={self._wish.http_port},{GATEWAY_HTTPS_PORT}={self._wish.https_port}"
        arguments = ["run", str(self._folder), "--port-map", ports]
        arguments += ["--secrets", str(secrets_folder(self._own)), "--status", f"127.0.0.1:{status}"]
        arguments += ["--metrics", "127.0.0.1:0", *_admin_flags()]
        for address in self._wish.bind:
            arguments += ["--bind", address]
        for name, address in addresses.items():
            service, _, version = name.partition("-")
            arguments += [
                "--endpoint",
                f"{service}:{version}={address}" if version else f"{service}={address}",
            ]
        return await self._start("gatewayd", *arguments, *self._wish.run_flags)

    async def _start(
        self, module: str, *arguments: str, stdout: int | None = None
    ) -> asyncio.subprocess.Process:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            preexec_fn=partial(_in_the_child, os.getpid()),
        )
        self._children.append(child)
        return child

    async def _explain(self, gateway: asyncio.subprocess.Process) -> int:
        if gateway.returncode is None:
            print("demo: the backends ended", file=sys.stderr)
            return EXIT_RUNTIME
        if gateway.returncode == EXIT_CANNOT_BIND:
            http, https = _free_port(), _free_port()
            print(
                f"demo: port {self._wish.http_port} or {self._wish.https_port} cannot be used; choose others, "
                f"for example: gatewayd demo --http-port {http} --https-port {https} "
                f"(or make run PORT={http} HTTPS_PORT={https})",
                file=sys.stderr,
            )
        else:
            print(f"demo: gatewayd ended with exit code {gateway.returncode}", file=sys.stderr)
        return gateway.returncode if gateway.returncode > 0 else EXIT_RUNTIME

    async def _end_children(self) -> None:
        """TERM and INT, which is "at once" for gatewayd; KILL to what is left after five seconds."""
        for numbers in ((signal.SIGTERM, signal.SIGINT), (signal.SIGKILL,)):
            alive = [child for child in self._children if child.returncode is None]
            for child, number in product(alive, numbers):
                if child.returncode is None:
                    child.send_signal(number)
            if alive:
                await asyncio.wait([asyncio.create_task(child.wait()) for child in alive], timeout=_STOP_S)

    def _client_host(self) -> str:
        """Where a client on this machine finds the gateway."""
        first = self._wish.bind[0] if self._wish.bind else "127.0.0.1"
        return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(first, f"[{first}]" if ":" in first else first)

    def _place(self, trusted: Path) -> Place:
        host = self._client_host()
        name = "localhost" if host in ("127.0.0.1", "[::1]") else host
        return Place(
            f"http://{host}:{self._wish.http_port}", f"https://{name}:{self._wish.https_port}", trusted
        )


async def _wait_ready(status: int) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _READY_S
    while loop.time() < deadline:
        try:
            code, _ = await fetch(f"127.0.0.1:{status}", "/healthz/ready", [("host", "localhost")])
        except (OSError, EOFError, TimeoutError, ValueError, BadMessage):
            code = 0
        if code == 200:
            return True
        await asyncio.sleep(_POLL_S)
    return False


def _admin_flags() -> list[str]:
    """Another admin port if somebody has the usual one: a second demo must not fail for it."""
    if "GATEWAYD_ADMIN" in os.environ:
        return []
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(_ADMIN)
        except OSError:
            return ["--admin", "127.0.0.1:0"]
    return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _in_the_child(parent: int) -> None:
    """Before the child's program runs: end when the parent dies, and leave Ctrl-C to the parent.

    Until a program has set its own handler, an INT from the terminal would print a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signal.SIGTERM)
