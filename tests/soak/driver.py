"""Runs a plan of faults against a service under load, and tells what was lost."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tests.runtime.running import running
from tests.soak.faults import OF_SEVERAL, Faults
from tests.soak.grpc_load import Call, Calling
from tests.soak.http2_load import Multiplexing
from tests.soak.http_load import Keeping, OneEach
from tests.soak.service import Alone, Service, Upstream, operators_ports, watch_counters
from tests.soak.site import Site
from tests.soak.stream_load import Streaming
from tests.soak.world import Client, World
from tests.support.ports import PortReservation

#: Who watches. Another protocol is another line.
CLIENTS: tuple[Client, ...] = (
    Keeping("keep-alive", tls=False, pause_s=0.004),
    Keeping("keep-alive", tls=False, pause_s=0.004),
    Keeping("keep-alive TLS", tls=True, pause_s=0.01),
    OneEach("one each", tls=False, pause_s=0.01),
    OneEach("one each TLS", tls=True, pause_s=0.03),
    Multiplexing("HTTP/2", tls=False, streams=4, pause_s=0.02),
    Multiplexing("HTTP/2 TLS", tls=True, streams=4, pause_s=0.03),
    Calling("gRPC", Call.unary, pause_s=0.01),
    Calling("gRPC of many messages", Call.split, Call.join, pause_s=0.02),
    Calling("gRPC conversation", Call.talk, pause_s=0.01),
    Streaming("WebSocket", upgrade=True, pause_s=0.01),
    Streaming("TCP", upgrade=False, pause_s=0.01),
)


@dataclass(frozen=True)
class Result:
    """What came of it."""

    world: World
    took: Mapping[str, Sequence[float]]
    seconds: float
    said: str

    @property
    def report(self) -> str:
        """All of it, in lines."""
        world = self.world
        lines = [
            f"{sum(world.answered.values()):,} messages in {self.seconds:.0f} s: "
            + ", ".join(f"{kind} {count:,}" for kind, count in sorted(world.answered.items()))
        ]
        for name, times in sorted(self.took.items()):
            middle = sorted(times)[len(times) // 2]
            lines.append(f"{len(times):5} x {name}: median {middle:.2f} s, longest {max(times):.2f} s")
        lines.append(f"excused: {dict(world.excused) or 'none'}")
        lines.append(f"lost, mixed or failed: {world.lost_count}")
        return "\n".join([*lines, *world.lost])


async def run(
    folder: Path, plan: Mapping[str, int], *, seed: int, workers: int = 2, clients: Sequence[Client] = CLIENTS
) -> Result:
    """Do everything in ``plan`` as often as it says, in an order that ``seed`` decides; then drain.

    What befalls workers does not befall a process that is alone.
    """
    async with AsyncExitStack() as stack:
        upstreams = [Upstream("alpha"), Upstream("beta")]
        called = [Upstream(name, "tests.soak.grpc_echo") for name in ("gamma", "delta")]
        for upstream in upstreams + called:
            await upstream.start()
            stack.push_async_callback(upstream.stop)
        held = [PortReservation() for _ in range(4)]
        http, https, tcp, extra = (each.port for each in held)
        ports = ([each.port for each in group] for group in (upstreams, called))
        site = Site(folder / "site", folder / "secrets", tcp, extra, *ports)
        site.swap_certificate()
        site.write(0)
        world = World(http, https, tcp, *_trust(site), random.Random(seed))
        for each in held:
            each.release()
        flags: list[str | Path] = ["--admin", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]
        flags += ["--port-map", f"80={http},443={https}", "--status", "127.0.0.1:0", "--bind", "127.0.0.1"]
        flags += [
            "--secrets",
            str(site.secrets),
            "--workers",
            str(workers),
            "--access-log",
            folder / "access.log",
        ]
        gatewayd = await stack.enter_async_context(running("run", site.folder, *flags))
        await gatewayd.ready()
        service = (Service if workers > 1 else Alone)(gatewayd, workers, await operators_ports(gatewayd))
        stack.callback(service.stop)
        faults = Faults(world, site, service, [*chain.from_iterable(zip(upstreams, called, strict=True))])
        began = time.monotonic()
        tasks = [asyncio.ensure_future(client(world)) for client in clients]
        tasks.append(asyncio.ensure_future(watch_counters(world, service)))
        for name in _in_some_order(plan, world.rng):
            if workers > 1 or name not in OF_SEVERAL:
                await faults.do(name)
        await faults.drain()
        world.done = True
        await asyncio.gather(*tasks)
        return Result(world, faults.took, time.monotonic() - began, gatewayd.said)


def _trust(site: Site) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a client believes: one of HTTP/1.1, one of HTTP/2."""
    plain, h2 = (ssl.create_default_context(cadata=site.authority.certificate.decode()) for _ in range(2))
    h2.set_alpn_protocols(["h2"])
    return plain, h2


def _in_some_order(plan: Mapping[str, int], rng: random.Random) -> list[str]:
    names = list(Counter(plan).elements())
    rng.shuffle(names)
    return names
