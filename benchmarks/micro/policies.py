"""The routes of the policy scenario, compiled from their YAML, each as a whole exchange without sockets.

The upstreams answer whatever was sent to them, mirrors included, so a mirrored exchange is two.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.macro import istio, policy_site
from benchmarks.macro.origin import SMALL_BYTES
from benchmarks.macro.site import plain_site
from benchmarks.micro import heads
from benchmarks.micro.handler import FakeTransport
from benchmarks.micro.timing import Timing, measure
from gatewayd.cells import Cells, columns_for
from gatewayd.compiler.compile import compile_snapshot
from gatewayd.compiler.options import CompileOptions
from gatewayd.http.h1.client import ClientConnection
from gatewayd.http.h1.server import ServerConnection
from gatewayd.observe.access_log import AccessLog
from gatewayd.proxy.worker import Proxy
from gatewayd.sources.load import load
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.pool import Pool
from gatewayd.upstream.registry import Registry

UPSTREAM_PORT = 8080


class AskedTransport(FakeTransport):
    """The way to an upstream: notes which connection has a request to answer."""

    def __init__(self, connection: ClientConnection, asked: list[ClientConnection]) -> None:
        super().__init__(("127.0.0.1", UPSTREAM_PORT))
        self._connection = connection
        self._asked = asked

    def write(self, data: bytes) -> None:
        """Count, and note."""
        self.written += len(data)
        self._asked.append(self._connection)


class PolicyRig:
    """One downstream connection, an idle one to every endpoint, joined by the real data path."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: AccessLog, folder: str, workers: int) -> None:
        cells = None
        if workers > 1:
            cells = Cells(columns_for(workers))
            cells.attach(cells.reserve())
        registry = Registry(loop, cells=cells)
        loaded = load((folder,), None)
        snapshot = compile_snapshot(loaded.resources, CompileOptions(), registry.adopt)
        problems = [*loaded.findings, *snapshot.findings]
        if problems:
            raise ValueError(f"the configuration of the benchmark is not good: {problems[0]}")
        self._asked: list[ClientConnection] = []
        for cluster in registry.clusters.values():
            assert isinstance(cluster, Cluster)
            cluster.start()
            for endpoint in cluster.endpoints:
                assert isinstance(endpoint.pools, Pool)
                self._connect(endpoint.pools)
        (listener,) = snapshot.listeners
        (chain,) = listener.chains
        self.downstream = Proxy(loop, registry, log.append).http(set(), chain)()
        assert isinstance(self.downstream, ServerConnection)
        self.down = FakeTransport(("10.0.0.9", 40000))
        self.downstream.connection_made(self.down)  # type: ignore[arg-type]

    def _connect(self, pool: Pool) -> None:
        connection = ClientConnection(pool)
        connection.connection_made(AskedTransport(connection, self._asked))  # type: ignore[arg-type]
        pool.connections.add(connection)
        pool.released(connection)

    def exchange(self, pair: tuple[bytes, bytes]) -> None:
        """One request, and the answer of every upstream that was asked."""
        self.downstream.data_received(pair[0])
        asked = self._asked
        while asked:
            asked.pop().data_received(pair[1])

    def upstreams_asked(self, pair: tuple[bytes, bytes]) -> int:
        """How many upstreams the request reaches; raises ValueError unless it is answered."""
        before = self.down.written
        self.downstream.data_received(pair[0])
        asked, self._asked[:] = list(self._asked), []
        for connection in asked:
            connection.data_received(pair[1])
        if self.down.written == before:
            raise ValueError("the exchange of the benchmark sends no response")
        return len(asked)


def source(name: str) -> heads.Source:
    """The heads of a route."""
    return heads.in_turn(policy_site.requests(policy_site.policy(name), SMALL_BYTES).requests)


def pairs(requests: heads.Source, count: int) -> list[tuple[bytes, bytes]]:
    """`count` requests with their answers."""
    return [(each, heads.response(each)) for each in requests(count)]


def make_rig(loop: asyncio.AbstractEventLoop, log: AccessLog, workers: int = 1) -> PolicyRig:
    """All routes of the scenario, in one of so many workers."""
    with TemporaryDirectory(prefix="bench-") as folder:
        site = replace(plain_site(UPSTREAM_PORT), istio=policy_site.documents(UPSTREAM_PORT))
        istio.write_site(site, Path(folder))
        return PolicyRig(loop, log, folder, workers)


def benchmarks(seconds: float) -> Iterator[Timing]:
    """Every route of the scenario, the plain one first; the access log is written to /dev/null."""
    loop = asyncio.new_event_loop()
    log = AccessLog(loop, "/dev/null", "text")
    try:
        rig = make_rig(loop, log)
        for each in policy_site.POLICIES:
            make = partial(pairs, source(each.name))
            rig.upstreams_asked(make(1)[0])
            yield measure(f"whole exchange, {each.row}", rig.exchange, make, seconds)
    finally:
        log.close()
        loop.close()
