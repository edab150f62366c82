"""HOT: one endpoint of a cluster: what balancers read, and the way to its connections.

The pools behind it are in ``pool.py``; a request looks at ``idle`` first and calls ``wait`` when nothing is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from time import monotonic
from typing import Any

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.upstream.dialer import NO_HINTS, Factory, Hints, dial
from gatewayd.upstream.keyed_pools import KeyedPools, needs_keys
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.make_pool import AnyPool, ClientsChoice, make_pool
from gatewayd.upstream.outlier import HostHealth
from gatewayd.upstream.pool import NO_IDLE
from gatewayd.upstream.spec import ClusterSpec, EndpointSpec


class Tally:
    """What became of the connections to a cluster's endpoints, those that left it included."""

    __slots__ = ("failed", "opened", "timed_out")

    def __init__(self) -> None:
        self.opened = 0
        self.failed = 0
        #: those of the failed ones whose time was up
        self.timed_out = 0


class Endpoint:
    """One address of a cluster."""

    __slots__ = (
        "_loop",
        "active",
        "address",
        "failed",
        "forget",
        "health",
        "host_port",
        "idle",
        "joined_at",
        "known_ready",
        "load",
        "locality",
        "opened",
        "pools",
        "port",
        "priority",
        "ready",
        "removed",
        "sink",
        "spec",
        "tally",
        "total",
        "wait",
        "weight",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        spec: ClusterSpec,
        address: str,
        port: int,
        budget: Budget | None = None,
    ) -> None:
        self._loop = loop
        self.spec = spec
        self.address = address  # IP, or "unix:/path"
        self.port = port
        self.weight = 1
        #: whether it may be selected: what discovery says, and nobody ejected it
        self.ready = self.known_ready = True
        self.locality = ""
        self.priority = 0
        #: passive health (semantics 9.8); kept as long as the endpoint stays
        self.health = HostHealth()
        #: since when it is an endpoint, monotonic, for warm-up (9.7)
        self.joined_at = monotonic()
        #: what it said of its load, if anybody wants to know (:mod:`gatewayd.upstream.load`)
        self.load: Any = None
        #: requests in progress, for least request
        self.active = 0
        self.total = 0
        #: connections to it
        self.opened = 0
        self.failed = 0
        #: its cluster's
        self.tally = Tally()
        #: as the log prints it
        self.host_port = (
            address
            if address.startswith("unix:")
            else ("[%s]:%d" if ":" in address else "%s:%d") % (address, port)
        )
        #: no longer in the cluster: connections close when they come back
        self.removed = False
        #: what answers of mirrored copies go to, once there are any (gatewayd.proxy.shadow)
        self.sink: Any = None
        #: a pool, or one for each kind of request; what becomes of connections is said to their owner, a Pool
        self.pools: AnyPool | ClientsChoice | KeyedPools
        self.pools = pools = (KeyedPools if needs_keys(spec) else make_pool)(loop, spec, self.open, budget)
        #: connections that any request may use, the one used last at the right; empty where a request has to
        #: say more of itself, or to be counted (``wait`` then finds its connection)
        self.idle = NO_IDLE if spec.limits.max_requests else pools.idle
        #: queue an exchange for a connection; no longer
        self.wait = pools.wait
        self.forget = pools.forget

    def __repr__(self) -> str:
        return f"Endpoint({self.host_port}, active {self.active}, {self.pools})"

    def use(self, spec: EndpointSpec) -> None:
        """What discovery says of it now."""
        self.weight = max(1, spec.weight)
        self.ready = self.known_ready = spec.ready
        self.locality = spec.locality
        self.priority = spec.priority

    async def open(self, factory: Factory, hints: Hints = NO_HINTS) -> tuple[Failure | None, str]:
        """Open a connection for ``factory()``; see :func:`gatewayd.upstream.dialer.dial`."""
        result = await dial(self._loop, self.spec, self.address, self.port, factory, hints)
        if result[0] is None:
            self.opened += 1
            self.tally.opened += 1
        else:
            self.failed += 1
            self.tally.failed += 1
            self.tally.timed_out += result[0] is errors.CONNECT_TIMEOUT
        return result

    def gone(self, connection: Any) -> None:
        """A connection is closed, or will be; may be told more than once."""
        connection.owner.gone(connection)

    @property
    def waiting(self) -> Collection[Any]:
        """Exchanges that wait for a connection."""
        return self.pools.waiting

    @property
    def connecting(self) -> int:
        """How many connections are being opened for them."""
        return self.pools.connecting

    @property
    def connections(self) -> set[Any]:
        """All open HTTP connections."""
        return self.pools.connections

    def sweep(self, now: float) -> None:
        """Close connections that were idle too long."""
        self.pools.sweep(now)

    def remove(self) -> None:
        """The endpoint left its cluster: idle connections close now, busy ones after their exchange."""
        self.removed = True
        self.pools.remove()

    def close(self) -> None:
        """Close everything at once (the process ends)."""
        self.removed = True
        self.pools.close()


def address_key(endpoint: Any) -> tuple[str, int]:
    """What makes two endpoints of one cluster the same."""
    return endpoint.address, endpoint.port
