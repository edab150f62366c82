"""The processes under test, and what is done to them from outside."""

from __future__ import annotations

import asyncio
import math
import os
import re
import signal
import sys
import time
from pathlib import Path

from tests.admin.asking import Port
from tests.runtime.running import LIMIT_S, Running
from tests.soak.world import World
from tests.support.ports import PortReservation

_REQUESTS = re.compile(r"^istio_requests_total\{.*\} (\S+)$", re.MULTILINE)
_SUCCESSOR = re.compile(r"process (\d+) serves in our place")
#: For connections to end, those of a test that fails.
_END_S = 90.0
_SOCKET = re.compile(r"socket:\[(\d+)\]")


class Upstream:
    """An echo in a process of its own; ``module``: the program."""

    def __init__(self, name: str, module: str = "tests.soak.echo") -> None:
        self.name = name
        self._module = module
        self._reserved = PortReservation()
        self.port = self._reserved.port
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Serve, on the port of before."""
        self._reserved.release()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, self.name, str(self.port), stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), LIMIT_S)
        assert line == b"ready\n", f"upstream {self.name} did not start"

    async def kill(self, world: World, for_s: float) -> None:
        """End it in the middle of whatever it does, and start it again after ``for_s``."""
        world.upstreams_down[self.name] = math.inf
        await self.stop()
        await asyncio.sleep(for_s)
        await self.start()
        world.upstreams_down[self.name] = time.monotonic()

    async def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Service:
    """gatewayd with several workers."""

    def __init__(self, running: Running, size: int, ports: dict[str, int]) -> None:
        self.running = running
        #: of the operators, by name
        self.ports = ports
        self.admin = Port(("127.0.0.1", ports["admin"]))
        #: how many workers it has when nobody leaves
        self.size = size

    @property
    def pid(self) -> int:
        """The supervisor."""
        return self.running.pid

    def workers(self) -> list[int]:
        """Its processes, those that leave included."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(word) for word in path.read_text().split()]

    async def until(self, number: int, *, without: tuple[int, ...] = ()) -> None:
        """Wait until there are so many workers, and none of ``without`` among them."""

        def there() -> bool:
            found = self.workers()
            return len(found) == number and not set(without) & set(found)

        await self.running.until(there, f"{number} workers without {without}", _END_S)

    async def kill_worker(self, world: World, pid: int) -> None:
        """KILL a worker. Its clients are excused, and nobody else is."""
        os.kill(pid, signal.SIGSTOP)
        while _state(pid) != "T":  # noqa: ASYNC110, the kernel decides
            await asyncio.sleep(0.001)
        world.killed.update(dict.fromkeys(client_ports(pid), time.monotonic()))
        os.kill(pid, signal.SIGKILL)

    async def ended(self) -> bool:
        """Wait until it has ended by itself; whether it did so well."""
        return await self.running.ended(_END_S) == 0

    def stop(self) -> None:
        """End what would outlive the process that was started."""


class Alone(Service):
    """gatewayd as a process that is alone: whoever takes its place is another process."""

    @property
    def pid(self) -> int:
        """The one that took the last one's place."""
        return self._processes()[-1]

    def workers(self) -> list[int]:
        """Its processes that are alive."""
        return [pid for pid in self._processes() if _state(pid) != "Z"]

    def _processes(self) -> list[int]:
        return [self.running.pid, *(int(pid) for pid in _SUCCESSOR.findall(self.running.said))]

    async def ended(self) -> bool:
        """Wait until the last one has ended. How is not told to us, if it is not the first one."""
        if self.pid == self.running.pid:
            return await super().ended()
        deadline = time.monotonic() + _END_S
        while self.workers():  # they may be nobody's children: only the kernel tells
            assert time.monotonic() < deadline, f"it has not ended; it said:\n{self.running.said}"
            await asyncio.sleep(0.005)
        return True

    def stop(self) -> None:
        """End those that are nobody's children."""
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)


async def operators_ports(gatewayd: Running) -> dict[str, int]:
    """The numbers the kernel chose, by the names of the ports."""
    names = ("status", "metrics", "admin")
    found = [await gatewayd.until_said(rf"{name}\s+http://127\.0\.0\.1:(\d+)") for name in names]
    return {name: int(match[1]) for name, match in zip(names, found, strict=True)}


async def watch_counters(world: World, service: Service) -> None:
    """Scrape all the time: the count of requests never falls, whatever becomes of workers and programs.

    Only a process that is alone begins with nothing, as any that is started does.
    """
    metrics = Port(("127.0.0.1", service.ports["metrics"]))
    counted = 0.0
    while not world.draining and not world.done:
        reply = await metrics.get("/stats/prometheus")
        now = sum(float(value) for value in _REQUESTS.findall(reply.text))
        if now < counted and service.size > 1:
            world.lose(f"the count of requests fell from {counted:g} to {now:g}")
        counted = now
        world.answered["scrape"] += 1
        await asyncio.sleep(0.25)


def _state(pid: int) -> str:
    """As the kernel calls it; of a process that is gone, that of one nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def client_ports(pid: int) -> set[int]:
    """The remote ports of the TCP connections that a process has open."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found = _SOCKET.match(os.readlink(f"/proc/{pid}/fd/{name}"))
        except OSError:
            continue
        if found:
            inodes.add(found[1])
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[9] in inodes:
            ports.add(int(words[2].rpartition(":")[2], 16))
    return ports
