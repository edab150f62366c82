"""However much there is to tell, nobody's request waits for it: no turn of the loop takes long (issue: 5 ms)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gatewayd.admin.api import Api
from gatewayd.admin.envoy import EnvoyPaths
from gatewayd.admin.messages import Answer, Request
from gatewayd.listeners.doors import Doors
from gatewayd.runtime.configuration import ConfigurationReader, first_configuration
from gatewayd.runtime.history import History
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.state import WorkerState
from gatewayd.runtime.worker import Worker
from gatewayd.upstream.registry import Registry
from tests.observe.infos import exchange
from tests.runtime.running import GATEWAY

HOSTS = 4000
LIMIT_S = 0.005
_TRIES = 4
_HOST = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v{n}, namespace: shop}}
spec:
  hosts: [h{n}.test]
  gateways: [istio-system/edge]
  http: [{{match: [{{uri: {{prefix: /a}}}}], route: [{{destination: {{host: s{n}.test}}}}]}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{n}, namespace: shop}}
spec:
  hosts: [s{n}.test]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 10.0.0.1}}]
"""


@asynccontextmanager
async def big_worker(folder: Path) -> AsyncIterator[WorkerState]:
    """A worker with ``HOSTS`` hosts and clusters, a few of which were asked for."""
    (folder / "0.yaml").write_text(GATEWAY)
    (folder / "1.yaml").write_text("".join(_HOST.format(n=n) for n in range(HOSTS)))
    loop = asyncio.get_running_loop()
    options = RunOptions(
        (str(folder),), port_map={80: 0}, bind=("127.0.0.1",), access_log="off", metrics=("127.0.0.1", 0)
    )
    reader, registry, doors = ConfigurationReader(options), Registry(loop), Doors(1)
    configuration = first_configuration(reader, options, registry.adopt)
    doors.open(configuration.snapshot.listeners)
    worker = Worker(loop, options, reader, registry, doors)
    worker.prepare(configuration)
    await worker.start(configuration)
    try:
        assert worker.measures is not None
        for name in list(registry.clusters)[::100]:
            worker.measures.traffic.take([exchange(upstream_cluster=name, route_name=None)])
        yield WorkerState(worker, History())
    finally:
        worker.stop()
        await worker.close()
        doors.close()


async def pieces_of(answer: Any) -> int:
    made = answer if isinstance(answer, Answer) else await answer
    if made.pieces is None:
        return len(made.body)
    return sum([len(piece) async for piece in made.pieces])


async def longest_turn(answer: Any) -> tuple[float, int]:
    """The longest turn of the loop (CPU seconds) while ``answer`` is made, and its size."""
    loop = asyncio.get_running_loop()
    last, longest, going = time.thread_time(), 0.0, True

    def beat() -> None:
        nonlocal last, longest
        now = time.thread_time()
        longest, last = max(longest, now - last), now
        if going:
            loop.call_soon(beat)

    loop.call_soon(beat)
    size = await pieces_of(answer)
    going = False
    beat()
    return longest, size


def paths(state: WorkerState) -> Iterator[tuple[str, Any]]:
    nothing: Any = None
    for path in (*EnvoyPaths(state).paths(), *Api(state, nothing).paths()):
        if path.method == "GET" and not path.name.endswith(("/events", "/tap")):
            yield (
                path.name,
                lambda query=None, path=path: path.handle(Request("GET", path.name, query=query or {})),
            )


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_no_answer_holds_the_loop(tmp_path: Path) -> None:
    async with big_worker(tmp_path) as state:
        for name, ask in paths(state):
            found = []
            for _ in range(_TRIES):  # whatever else the machine does, once it is quick
                found.append(await longest_turn(ask()))
                if found[-1][0] < LIMIT_S:
                    break
            assert min(seconds for seconds, _ in found) < LIMIT_S, (name, found)
            if name in ("/stats", "/stats/prometheus", "/clusters", "/config_dump", "/api/v1/routes"):
                assert found[0][1] > HOSTS * 200, "there was much to tell"
