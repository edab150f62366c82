"""The TCP data path alone, in the test's own loop: a listener on a free port of the loopback, and its upstreams.

Leaving the block checks what must hold after every connection, however it ended: one record each, counters at
zero, no exception that escaped into the loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

from gatewayd.observe.stream_info import StreamInfo
from gatewayd.proxy.worker import Proxy
from gatewayd.routing.l4 import TcpRoute
from gatewayd.routing.route import Destination
from gatewayd.snapshot import FilterChain
from gatewayd.upstream.registry import Registry
from tests.support.in_process import POLL_S, cluster_spec

SETTLE_S = 20.0  # only ever reached by a test that fails


def tcp_route(cluster: Any, **fields: Any) -> TcpRoute:
    """A route to one cluster."""
    destination = Destination(cluster, cluster.name if cluster is not None else "")
    return TcpRoute((destination,), lambda: destination, **fields)


class TcpInProcess:
    """A TCP proxy in front of ``ports``; use ``async with TcpInProcess([upstream.port]) as proxy``.

    route: makes the route from the cluster. spec: further fields of the ClusterSpec.
    """

    def __init__(
        self, ports: Sequence[int], *, route: Callable[[Any], TcpRoute] = tcp_route, **spec: Any
    ) -> None:
        self.records: list[StreamInfo] = []
        self.failures: list[dict[str, Any]] = []
        self.connections: set[Any] = set()
        self._make_route = route
        self._spec = cluster_spec(ports, **spec)

    async def __aenter__(self) -> TcpInProcess:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self.registry = Registry(loop)
        self.cluster = self.registry.adopt(self._spec)
        self.proxy = Proxy(loop, self.registry, self.records.append)
        self.proxy.watch(self.connections)
        self.chain = FilterChain("tcp.9000", 9000, tcp=self._make_route(self.cluster))
        self.tcp_port = self.proxy.tcp(self.connections, self.chain)
        self._server = await loop.create_server(self.tcp_port, "127.0.0.1", 0, backlog=256)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        self._server.close()
        for connection in list(self.connections):
            connection.abort()
        await self.until(lambda: not self.connections)
        try:
            if kind is None:
                self.check()
        finally:
            await self.registry.close()
            await self._server.wait_closed()

    @property
    def session(self) -> Any:
        """The one connection there is."""
        (only,) = self.connections
        return only

    async def until(self, condition: Callable[[], bool], timeout_s: float = SETTLE_S) -> None:
        """Wait for ``condition``; TimeoutError when it does not come true in time."""
        for _ in range(int(timeout_s / POLL_S)):
            if condition():
                return
            await asyncio.sleep(POLL_S)
        raise TimeoutError

    async def until_ticking(self, condition: Callable[[], bool]) -> None:
        """:meth:`until`, with what a worker does once a second done all the time."""

        def ticked() -> bool:
            self.proxy.tick()
            return condition()

        await self.until(ticked)

    async def logged(self, count: int = 1) -> StreamInfo:
        """The last record, once there are ``count``."""
        await self.until(lambda: len(self.records) >= count)
        assert len(self.records) == count
        return self.records[-1]

    def check(self) -> None:
        """What must hold when no connection is left."""
        assert not self.failures, self.failures
        assert len({id(record) for record in self.records}) == len(self.records), "one record per connection"
        assert self.cluster.active == 0
        assert all(endpoint.active == 0 for endpoint in self.cluster.endpoints)


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))
