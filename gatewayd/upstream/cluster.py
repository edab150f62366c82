"""HOT: a cluster at run time: its endpoints and the balancer made from them, swapped together.

``pick`` is the balancer's own function, bound here so that a request calls it directly. Endpoints whose
address stays keep their pool when membership changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from gatewayd.upstream.balancers import Balancer
from gatewayd.upstream.dns import Resolver, Watch
from gatewayd.upstream.endpoint import Endpoint, Tally, address_key
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.localities import balance
from gatewayd.upstream.outlier import Detector, OutlierPolicy
from gatewayd.upstream.spec import (
    DNS_ROUND_ROBIN,
    NO_LIMITS,
    STATIC,
    ClusterSpec,
    EndpointSpec,
    Limits,
)


class Cluster:
    """One upstream cluster of a worker."""

    __slots__ = (
        "_loop", "_resolved", "_resolver", "_watches", "active", "balancer", "budget", "detector", "endpoints",
        "is_http2", "name", "pick", "pick_for", "policed", "resolved", "spec", "tally", "total",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, resolver: Resolver, spec: ClusterSpec) -> None:
        self._loop = loop
        self._resolver = resolver
        self.spec = spec
        self.name = spec.name
        #: whether its endpoints are spoken to in HTTP/2, whatever the client speaks
        self.is_http2 = spec.is_http2
        #: connections opened and not
        self.tally = Tally()
        #: passive health, if the cluster's policy asks for it
        self.detector = self._new_detector(spec.outlier) if spec.outlier is not None else None
        #: what is left of the limits, if there are any
        self.budget = self._new_budget(spec.limits) if spec.limits != NO_LIMITS else None
        #: requests in progress
        self.active = 0
        self.total = 0
        #: whether requests to it need an exchange that knows policies
        asks = spec.balancer.hashes or spec.balancer.load is not None
        self.policed = self.detector is not None or self.budget is not None or asks
        self.endpoints: tuple[Endpoint, ...] = ()
        self.balancer: Balancer[Endpoint]
        self.pick: Callable[[], Endpoint | None]
        #: for a request whose hash is known
        self.pick_for: Callable[[int], Endpoint | None]
        self._watches: list[Watch] = []
        self._resolved: dict[int, list[str]] = {}
        #: set once every name has been answered for the first time
        self.resolved = asyncio.Event()
        self._use(())
        if spec.discovery == STATIC:
            self._use((e, e.address) for e in spec.endpoints)
            self.resolved.set()

    # What the cluster is made of; a cluster of a group of processes is made of other things (``group/``).

    def _new_detector(self, policy: OutlierPolicy) -> Detector[Any]:
        return Detector(policy, self._balance)

    def _new_budget(self, limits: Limits) -> Budget:
        return Budget(limits)

    def _new_endpoint(self, address: str, port: int) -> Endpoint:
        return Endpoint(self._loop, self.spec, address, port, self.budget)

    def start(self) -> None:
        """It is in force: begin to resolve names, if it has any."""
        if self.budget is not None:
            self.budget.start(self._loop, lambda: self.total)
        if self.spec.discovery == STATIC or self._watches:
            return
        if not self.spec.endpoints:
            self.resolved.set()
        for index, endpoint in enumerate(self.spec.endpoints):
            if endpoint.address.startswith("unix:"):
                self._answer(index, [endpoint.address])
            else:
                self._watches.append(
                    self._resolver.watch(endpoint.address, lambda found, at=index: self._answer(at, found))  # type: ignore[misc]
                )

    def _answer(self, index: int, addresses: list[str]) -> None:
        """The addresses of the spec's endpoint ``index`` are known, or have changed."""
        self._resolved[index] = addresses[:1] if self.spec.discovery == DNS_ROUND_ROBIN else addresses
        specs = self.spec.endpoints
        self._use((specs[at], address) for at, found in sorted(self._resolved.items()) for address in found)
        if len(self._resolved) == len(specs):
            self.resolved.set()

    def _use(self, members: Iterable[tuple[EndpointSpec, str]]) -> None:
        """Put a membership in force: endpoints and balancer as one."""
        known = {address_key(endpoint): endpoint for endpoint in self.endpoints}
        chosen: dict[tuple[str, int], Endpoint] = {}
        for spec, address in members:
            key = (address, spec.port)
            endpoint = known.get(key)
            if endpoint is None:
                endpoint = self._new_endpoint(address, spec.port)
                endpoint.tally = self.tally
            endpoint.use(spec)
            chosen.setdefault(key, endpoint)
        self.endpoints = tuple(chosen.values())
        if self.detector is not None:
            self.detector.use([endpoint.health for endpoint in self.endpoints])
        self._balance()
        for key, endpoint in known.items():
            if key not in chosen:
                endpoint.remove()

    def _balance(self) -> None:
        """Make the balancer anew: endpoints, or who of them is ejected, changed."""
        for endpoint in self.endpoints:
            endpoint.ready = endpoint.known_ready and not endpoint.health.ejected
        self.balancer = balancer = balance(self.spec, self.endpoints)
        self.pick = balancer.pick
        self.pick_for = balancer.pick_for

    def sweep(self, now: float) -> None:
        """Close connections that were idle too long; end ejections whose time is over."""
        if self.detector is not None:
            self.detector.sweep(now)
        for endpoint in self.endpoints:
            endpoint.sweep(now)

    def stop(self) -> None:
        """Nobody routes here any more: idle connections close, busy ones finish."""
        if self.budget is not None:
            self.budget.stop()
        for watch in self._watches:
            watch.cancel()
        self._watches = []
        for endpoint in self.endpoints:
            endpoint.remove()

    def close(self) -> None:
        """Close everything at once (the process ends)."""
        self.stop()
        for endpoint in self.endpoints:
            endpoint.close()


def as_cluster(adopted: Any) -> Cluster:
    """The object a route holds, as what it is at run time."""
    assert isinstance(adopted, Cluster)
    return adopted
