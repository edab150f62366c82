"""What is done to the service while clients watch. Each ends when it is over and its effect was seen."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.admin.asking import Port
from tests.runtime.running import LIMIT_S
from tests.soak.http_load import version_now
from tests.soak.service import Service, Upstream
from tests.soak.site import Site
from tests.soak.world import World

#: What needs more workers than one.
OF_SEVERAL = ("worker killed", "worker replaced", "all replaced")
#: So many new connections in a row have to agree before all workers count as agreed: they come to any of them.
_AGREED = 24
#: How long a mistake stays before it is mended.
_MISTAKE_S = 0.4


@dataclass
class Faults:
    """Does it, and notes how long it took until it was over."""

    world: World
    site: Site
    service: Service
    upstreams: list[Upstream]
    #: seconds, by what was done
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def table(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """All of them by name."""
        return {
            "reload": self.reload,
            "mistake": self.mistake,
            "half-written": self.half_written,
            "certificate": self.certificate,
            "upstream killed": self.kill_upstream,
            "worker killed": self.kill_worker,
            "worker replaced": self.replace_worker,
            "all replaced": self.replace_all,
            "drain and undrain": self.drain_for_a_while,
            "upgrade": self.upgrade,
        }

    async def do(self, name: str) -> None:
        """One of them."""
        began = time.monotonic()
        await self.table[name]()
        self.took[name].append(time.monotonic() - began)

    async def reload(self) -> None:
        """Another configuration, noticed by itself or told of."""
        version = self.world.newest = self.site.version + 1
        self.site.write(version)
        if self.world.rng.random() < 0.5:
            os.kill(self.service.pid, signal.SIGHUP)
        await self._agreed(version)

    async def mistake(self) -> None:
        """A configuration with an error in it: that of before stays, until it is mended."""
        version = self.world.newest = self.site.version + 1
        self.site.write_mistake(self.world.rng, version)
        os.kill(self.service.pid, signal.SIGHUP)
        await asyncio.sleep(_MISTAKE_S)
        found, _ = await version_now(self.world)
        if found == version:
            self.world.lose(f"version {version} is served, which has an error")
        self.site.write(version)
        await self._agreed(version)

    async def half_written(self) -> None:
        """The end of a file comes a moment after its beginning."""
        version = self.world.newest = self.site.version + 1
        self.site.write_half(version)
        await asyncio.sleep(self.world.rng.choice((0.05, 0.3)))
        self.site.write(version)
        await self._agreed(version)

    async def certificate(self) -> None:
        """Another certificate: all new connections meet it, the others stay."""
        serial = self.site.swap_certificate()
        await self._until_agreed(lambda: version_now(self.world, tls=True), lambda found: found[1] == serial)

    async def kill_upstream(self) -> None:
        """One of the upstreams is killed, and comes back; they take turns."""
        upstream = self.upstreams[0]
        self.upstreams = [*self.upstreams[1:], upstream]
        await upstream.kill(self.world, 0.2)

    async def kill_worker(self) -> None:
        """A worker is killed, and another one comes in its place."""
        await self._settled()
        before = self.service.workers()
        victim = self.world.rng.choice(before)
        await self.service.kill_worker(self.world, victim)
        await self.service.until(len(before), without=(victim,))

    async def replace_worker(self) -> None:
        """A worker is told to go: the next one serves before it does."""
        await self._settled()
        before = self.service.workers()
        victim = self.world.rng.choice(before)
        os.kill(victim, signal.SIGTERM)
        await self.service.until(len(before), without=(victim,))

    async def replace_all(self) -> None:
        """All workers are replaced, one after the other."""
        await self._settled()
        before = self.service.workers()
        reply = await self.service.admin.post("/api/v1/replace_workers")
        if reply.status != 200:
            self.world.lose(f"workers were not replaced: {reply.text}")
        await self.service.until(len(before), without=tuple(before))

    async def drain_for_a_while(self) -> None:
        """No traffic is wanted for a moment; what comes all the same is served."""
        status = Port(("127.0.0.1", self.service.ports["status"]))
        for action, code in (("drain", 503), ("undrain", 200)):
            reply = await self.service.admin.post(f"/api/v1/{action}")
            found = await status.get("/healthz/ready")
            if (reply.status, found.status) != (200, code):
                self.world.lose(f"{action}: {reply.status}, ready: {found.status} {found.text}")
            await asyncio.sleep(0.2)

    async def upgrade(self) -> None:
        """The program is replaced by itself."""
        await self._settled()
        before = self.service.workers()
        os.kill(self.service.pid, signal.SIGUSR2)
        await self.service.until(len(before), without=tuple(before))

    async def drain(self) -> None:
        """The end: what is under way is answered, and the process ends well."""
        self.world.draining = True
        os.kill(self.service.pid, signal.SIGTERM)
        if not await self.service.ended():
            self.world.lose("the service did not end well")

    async def _settled(self) -> None:
        """Nobody is leaving."""
        await self.service.until(self.service.size)

    async def _agreed(self, version: int) -> None:
        """Wait until every worker serves ``version``; from then on nobody may serve an older one."""
        began = time.monotonic()
        await self._until_agreed(lambda: version_now(self.world), lambda found: found[0] == version)
        self.took["in force everywhere"].append(time.monotonic() - began)
        self.world.oldest = version

    async def _until_agreed(
        self, ask: Callable[[], Awaitable[tuple[int, int]]], good: Callable[[tuple[int, int]], bool]
    ) -> None:
        deadline = time.monotonic() + LIMIT_S
        agreed = 0
        while agreed < _AGREED:
            assert time.monotonic() < deadline, (
                f"not everywhere in force; it said:\n{self.service.running.said}"
            )
            agreed = agreed + 1 if good(await ask()) else 0
