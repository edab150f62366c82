"""Clusters of a group of workers: what they share, under which names, and what a worker that is alone has of it."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from gatewayd.cells import Cells
from gatewayd.tls.spec import ClientTlsSpec
from gatewayd.upstream.balancers import BalancerOptions, SlowStart
from gatewayd.upstream.balancers.least_request import LeastRequest
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.dynamic import DynamicCluster
from gatewayd.upstream.endpoint import Endpoint
from gatewayd.upstream.group.cluster import GroupCluster
from gatewayd.upstream.group.endpoint import GroupEndpoint
from gatewayd.upstream.group.identity import cluster_key, endpoint_key
from gatewayd.upstream.outlier import OutlierPolicy
from gatewayd.upstream.registry import Registry
from gatewayd.upstream.spec import DNS, DYNAMIC_DNS, EndpointSpec, Limits
from tests.upstream.group.workers import Worker, picked, spec, workers

# --- what is shared


def test_a_worker_that_is_alone_has_plain_clusters() -> None:
    with closing(asyncio.new_event_loop()) as loop:
        cluster = Registry(loop).adopt(spec(limits=Limits(1), outlier=OutlierPolicy()))
        assert type(cluster) is Cluster
        assert {type(endpoint) for endpoint in cluster.endpoints} == {Endpoint}


@pytest.mark.parametrize(
    ("shared", "fields"),
    [
        (True, {}),
        (False, {"endpoints": (EndpointSpec("10.0.0.1", 80),)}),
        (True, {"endpoints": (EndpointSpec("a.test", 80),), "discovery": DNS}),
        (False, {"balancer": BalancerOptions("ROUND_ROBIN")}),
        (False, {"balancer": BalancerOptions("RANDOM")}),
        (True, {"balancer": BalancerOptions("ROUND_ROBIN"), "outlier": OutlierPolicy()}),
        (True, {"balancer": BalancerOptions("ROUND_ROBIN"), "limits": Limits(max_retries=3)}),
    ],
)
def test_so_has_one_of_several_where_there_is_nothing_to_share(shared: bool, fields: dict[str, Any]) -> None:
    cells = Cells(2, 64)
    cells.attach(0)
    with closing(asyncio.new_event_loop()) as loop:
        cluster = Registry(loop, cells=cells).adopt(spec(**fields))
        assert isinstance(cluster, GroupCluster) == shared


def test_names_that_traffic_brings_are_shared_too() -> None:
    """Two clusters of one DYNAMIC_DNS cluster: each name has its own."""
    wildcard = spec(host="*.a.test", discovery=DYNAMIC_DNS, endpoints=(), limits=Limits(max_requests=1))
    with workers(2) as (one, two):
        clusters = []
        for worker in (one, two):
            dynamic = worker.registry.adopt(wildcard)
            assert isinstance(dynamic, DynamicCluster)
            dynamic.for_host(b"x.a.test", lambda *_: None)
            dynamic.for_host(b"y.a.test", lambda *_: None)
            clusters.append([host.cluster for host in dynamic.hosts.values()])
        (x1, y1), (x2, y2) = clusters
        assert x1.budget is not None
        x1.budget.requests = 1
        assert not x2.budget.room_to_send()  # type: ignore[union-attr]  # has limits as well
        assert y2.budget.room_to_send()  # type: ignore[union-attr]
        assert y1 is not y2


# --- least request (9.1)


def busy(worker: Worker, endpoint: int, requests: int) -> None:
    """So many requests are in progress there, and the worker has had a second to say so."""
    worker.cluster.endpoints[endpoint].active = requests
    worker.cluster.total += 1
    worker.cluster.sweep(1000.0)


def everywhere(worker: Worker, endpoint: int) -> list[int]:
    """What the worker knows to be in progress there, by worker."""
    found = worker.cluster.endpoints[endpoint]
    assert isinstance(found, GroupEndpoint)
    return list(found.everywhere)


def test_9_1_the_less_busy_is_the_one_that_all_workers_together_use_less() -> None:
    with workers(2, spec(2)) as (one, two):
        busy(one, 0, 3)
        busy(two, 1, 1)
        # The busier one is only picked when it is drawn twice: a quarter of the draws, not three.
        first = [two.cluster.pick() is two.cluster.endpoints[0] for _ in range(400)]
        assert sum(first) < 200


@pytest.mark.parametrize(
    ("here", "there", "chosen"), [((2, 1), (0, 0), 1), ((1, 2), (5, 0), 1), ((3, 3), (1, 1), 0)]
)
def test_9_1_a_look_tells_what_is_in_progress_and_what_will_be(
    here: tuple[int, int], there: tuple[int, int], chosen: int
) -> None:
    """Both are drawn; the one that is picked has one more in a moment."""
    hosts = [
        SimpleNamespace(active=active, everywhere=[77, others], column=0, ready=True, weight=1)
        for active, others in zip(here, there, strict=True)
    ]
    pick = LeastRequest(hosts, iter([0.0, 0.9]).__next__).pick
    assert pick() is hosts[chosen]
    assert [host.everywhere for host in hosts] == [
        [here[index] + (index == chosen), there[index]] for index in (0, 1)
    ]


@pytest.mark.parametrize("slow_start", [None, SlowStart(3600.0)], ids=["settled", "warming up"])
def test_9_1_with_weights_too(slow_start: SlowStart | None) -> None:
    members = (EndpointSpec("10.0.0.1", 80, weight=1), EndpointSpec("10.0.0.2", 80, weight=2))
    with workers(2, spec(endpoints=members, balancer=BalancerOptions(slow_start=slow_start))) as (one, two):
        busy(one, 1, 1_000_000)
        first = [two.cluster.pick() is two.cluster.endpoints[0] for _ in range(100)]
        assert sum(first) >= 98


@pytest.mark.parametrize("weights", [(1, 1), (1, 2)])
def test_9_1_a_worker_that_picks_tells_the_others_at_once(weights: tuple[int, int]) -> None:
    members = tuple(
        EndpointSpec(f"10.0.0.{number}", 80, weight=weight) for number, weight in enumerate(weights)
    )
    with workers(2, spec(endpoints=members)) as (one, two):
        under_way = []
        for _ in range(300):
            endpoint = one.cluster.pick()
            assert endpoint is not None
            endpoint.active += 1
            under_way.append(endpoint)
        told = [everywhere(two, index)[0] for index in (0, 1)]
        assert all(
            at.active - 20 <= seen <= at.active for at, seen in zip(one.cluster.endpoints, told, strict=True)
        )
        for endpoint in under_way:
            endpoint.active -= 1
        for _ in range(60):
            one.cluster.pick()
        assert all(everywhere(two, index)[0] <= 1 for index in (0, 1)), "the one it would be sent to now"


def test_9_1_one_that_picks_no_more_tells_them_within_a_second() -> None:
    with workers(2, spec()) as (one, two):
        busy(one, 0, 2)
        assert everywhere(two, 0) == [2, 0]
        one.cluster.endpoints[0].active = 0
        one.cluster.active -= 2
        one.cluster.sweep(1001.0)
        assert everywhere(two, 0) == [0, 0]


def test_what_is_under_way_where_an_endpoint_left_is_nobody_else_s_business() -> None:
    named = spec(endpoints=(EndpointSpec("a.test", 80),), discovery=DNS)
    with workers(2, named) as (one, two):
        for worker in (one, two):
            worker.resolver.say("10.0.0.1", "10.0.0.2")
        busy(one, 0, 1)
        left = one.cluster.endpoints[0]
        one.resolver.say("10.0.0.2")
        assert everywhere(two, 0) == [0, 0]
        one.resolver.say("10.0.0.1", "10.0.0.2")
        assert one.cluster.endpoints[0] is not left
        busy(one, 0, 3)
        left.active -= 1
        left.tell()  # type: ignore[attr-defined]  # a GroupEndpoint
        assert everywhere(two, 0) == [3, 0]


def test_a_draft_that_comes_to_nothing_is_seen_by_nobody() -> None:
    with workers(2, spec()) as (one, two):
        before = one.cells.held
        made = one.registry.make(spec(5))
        made.close()
        assert one.cells.held == before
        assert picked(two.cluster) == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}


def test_a_registry_that_closes_leaves_nothing() -> None:
    with workers(2, spec(limits=Limits(1), outlier=OutlierPolicy())) as (one, two):
        assert one.cells.held == 4
        asyncio.run(one.registry.close())
        assert one.cells.held == 4, "the other one is still there"
        asyncio.run(two.registry.close())
        assert one.cells.held == 0


# --- names


def test_equal_specs_have_one_key_and_different_ones_different_keys() -> None:
    one, same = (
        spec(
            tls_spec=ClientTlsSpec("owner", "SIMPLE", sni="a.test"),
            tls=object(),
            outlier=OutlierPolicy(error_codes=frozenset({500, 429, 503})),
            metadata={"a": number},
        )
        for number in "12"
    )
    assert cluster_key(one) == cluster_key(same)
    others = [
        replace(one, name="d"),
        replace(one, limits=Limits(1)),
        replace(one, endpoints=one.endpoints[:1]),
        replace(one, tls_spec=None),
        replace(one, outlier=None),
    ]
    keys = {cluster_key(one), *map(cluster_key, others)}
    assert len(keys) == 1 + len(others)
    assert endpoint_key("c", "10.0.0.1", 80) != endpoint_key("c", "10.0.0.1", 81)
