"""What a worker sees by looking once a second: ejections, renewed certificates, another configuration."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from gatewayd.observe.events import Events
from gatewayd.runtime.watchers import Watchers
from gatewayd.tls.store import Refreshed
from gatewayd.upstream.outlier import OutlierPolicy
from gatewayd.upstream.registry import Registry
from gatewayd.upstream.spec import ClusterSpec, EndpointSpec

SPEC = ClusterSpec(
    "outbound|80||shop.test",
    "shop.test",
    80,
    endpoints=tuple(EndpointSpec(f"10.0.0.{n}", 80) for n in range(10)),
    outlier=OutlierPolicy(consecutive_5xx=1, max_ejection_percent=50, base_ejection_s=0.0),
)


def watched() -> tuple[Watchers, Any, list[dict[str, Any]], Any]:
    loop = asyncio.get_running_loop()
    registry = Registry(loop)
    cluster = registry.adopt(SPEC)
    heard: list[dict[str, Any]] = []
    events = Events()
    events.listen(heard.append)
    store = SimpleNamespace(told=None)
    swaps: list[int] = []
    watchers = Watchers(loop, registry, store, events, lambda: swaps.append(1))  # type: ignore[arg-type]  # so much of one
    return (
        watchers,
        SimpleNamespace(cluster=cluster, registry=registry, store=store, swaps=swaps),
        heard,
        loop,
    )


async def test_an_endpoint_that_is_left_out_is_told_once_and_so_is_its_return() -> None:
    watchers, world, heard, loop = watched()
    watchers.look()
    assert heard == []
    endpoint = world.cluster.endpoints[3]
    world.cluster.detector.response(endpoint.health, 503, loop.time())
    watchers.look()
    watchers.look()
    assert [(event["kind"], event["endpoint"]) for event in heard] == [("ejection", "10.0.0.3:80")]
    assert heard[0]["cluster"] == SPEC.name
    world.cluster.detector.sweep(loop.time() + 1000)
    watchers.look()
    assert [event["kind"] for event in heard] == ["ejection", "return"]
    watchers.look()
    assert len(heard) == 2
    await world.registry.close()


async def test_certificates_are_told_from_the_thread_that_read_them() -> None:
    _, world, heard, loop = watched()
    await loop.run_in_executor(
        None, world.store.told, Refreshed(renewed=("Gateway a",), broken=("Gateway b",))
    )
    await asyncio.sleep(0)
    assert [(event["kind"], event["owner"], event["ok"]) for event in heard] == [
        ("certificate", "Gateway a", True),
        ("certificate", "Gateway b", False),
    ]
    await world.registry.close()


async def test_another_configuration_is_noticed_once() -> None:
    watchers, world, _, _ = watched()
    watchers.look()
    watchers.look()
    assert len(world.swaps) == 1
    world.registry.clusters = dict(world.registry.clusters)
    watchers.look()
    assert len(world.swaps) == 2
    await world.registry.close()
