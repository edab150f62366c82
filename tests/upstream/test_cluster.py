"""A cluster at run time: endpoints keep their pools when others come and go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatewayd.upstream.cluster import Cluster, as_cluster
from gatewayd.upstream.spec import DNS, DNS_ROUND_ROBIN, ClusterSpec, EndpointSpec


class Resolver:
    """Keeps who watches which name; ``answer`` tells them."""

    def __init__(self) -> None:
        self.watching: dict[str, Callable[[list[str]], None]] = {}
        self.cancelled: list[str] = []

    def watch(self, name: str, found: Callable[[list[str]], None]) -> Any:
        self.watching[name] = found
        resolver = self

        class Watch:
            def cancel(self) -> None:
                resolver.cancelled.append(name)

        return Watch()

    def answer(self, name: str, *addresses: str) -> None:
        self.watching[name](list(addresses))


def cluster(*endpoints: EndpointSpec, **fields: Any) -> tuple[Cluster, Resolver]:
    resolver: Any = Resolver()
    loop: Any = object()
    spec = ClusterSpec("outbound|80||a.test", "a.test", 80, endpoints=endpoints, **fields)
    return Cluster(loop, resolver, spec), resolver


def addresses(of: Cluster) -> list[tuple[str, int, int]]:
    return [(endpoint.address, endpoint.port, endpoint.weight) for endpoint in of.endpoints]


def test_a_static_cluster_has_its_endpoints_at_once() -> None:
    made, resolver = cluster(EndpointSpec("10.0.0.1", 80, weight=3), EndpointSpec("10.0.0.2", 81, weight=0))
    assert addresses(made) == [("10.0.0.1", 80, 3), ("10.0.0.2", 81, 1)]
    assert made.resolved.is_set()
    made.start()
    assert not resolver.watching
    assert made.pick() in made.endpoints


def test_a_cluster_without_endpoints_picks_none() -> None:
    """Semantics 16: UH."""
    made, _ = cluster()
    assert made.pick() is None
    assert made.balancer.pick_other([]) is None


def test_an_endpoint_that_is_not_ready_is_never_picked() -> None:
    """Semantics 9.13."""
    made, _ = cluster(EndpointSpec("10.0.0.1", 80, ready=False), EndpointSpec("10.0.0.2", 80))
    assert {made.pick() for _ in range(20)} == {made.endpoints[1]}
    none, _ = cluster(EndpointSpec("10.0.0.1", 80, ready=False))
    assert none.pick() is None


def test_the_same_address_twice_is_one_endpoint() -> None:
    made, _ = cluster(
        EndpointSpec("10.0.0.1", 80), EndpointSpec("10.0.0.1", 80), EndpointSpec("10.0.0.1", 81)
    )
    assert len(made.endpoints) == 2


def test_all_addresses_of_all_names_are_used() -> None:
    """Semantics 11.3."""
    made, resolver = cluster(EndpointSpec("a.test", 80), EndpointSpec("b.test", 81), discovery=DNS)
    made.start()
    assert made.endpoints == ()
    resolver.answer("b.test", "10.0.0.3")
    assert not made.resolved.is_set()
    resolver.answer("a.test", "10.0.0.1", "10.0.0.2")
    assert addresses(made) == [("10.0.0.1", 80, 1), ("10.0.0.2", 80, 1), ("10.0.0.3", 81, 1)]
    assert made.resolved.is_set()


def test_round_robin_dns_uses_the_first_address() -> None:
    made, resolver = cluster(EndpointSpec("a.test", 80), discovery=DNS_ROUND_ROBIN)
    made.start()
    resolver.answer("a.test", "10.0.0.1", "10.0.0.2")
    assert addresses(made) == [("10.0.0.1", 80, 1)]


def test_an_address_that_stays_keeps_its_pool() -> None:
    """Hardening 9.1, 9.16."""
    made, resolver = cluster(EndpointSpec("a.test", 80), discovery=DNS)
    made.start()
    resolver.answer("a.test", "10.0.0.1", "10.0.0.2")
    stays, goes = made.endpoints
    resolver.answer("a.test", "10.0.0.3", "10.0.0.1")
    assert made.endpoints[1] is stays
    assert not stays.removed
    assert goes.removed
    assert goes not in [made.pick() for _ in range(50)]


def test_a_name_without_addresses_leaves_none() -> None:
    made, resolver = cluster(EndpointSpec("a.test", 80), discovery=DNS)
    made.start()
    resolver.answer("a.test", "10.0.0.1")
    (gone,) = made.endpoints
    resolver.answer("a.test")
    assert made.pick() is None
    assert gone.removed


def test_starting_twice_watches_once_and_stopping_ends_it() -> None:
    made, resolver = cluster(EndpointSpec("a.test", 80), EndpointSpec("unix:/x", 0), discovery=DNS)
    made.start()
    made.start()
    assert list(resolver.watching) == ["a.test"]
    resolver.answer("a.test", "10.0.0.1")
    made.stop()
    assert resolver.cancelled == ["a.test"]
    assert all(endpoint.removed for endpoint in made.endpoints)


def test_a_dns_cluster_without_names_is_resolved_at_once() -> None:
    made, _ = cluster(discovery=DNS)
    made.start()
    assert made.resolved.is_set()


def test_only_clusters_are_clusters() -> None:
    made, _ = cluster()
    assert as_cluster(made) is made
    with pytest.raises(AssertionError):
        as_cluster(object())
