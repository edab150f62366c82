"""What survives a configuration swap (hardening 9.1): equal specs are the same cluster."""

from __future__ import annotations

import asyncio
from typing import Any

from gatewayd.upstream.registry import Registry
from gatewayd.upstream.spec import DNS, ClusterSpec, EndpointSpec


def spec(name: str, address: str = "10.0.0.1", **fields: Any) -> ClusterSpec:
    return ClusterSpec(name, "a.test", 80, endpoints=(EndpointSpec(address, 80),), **fields)


class Resolver:
    """Answers nothing until told to."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.closed = False

    def watch(self, _: str, found: Any) -> Any:
        self.found.append(found)

        class Watch:
            def cancel(self) -> None:
                pass

        return Watch()

    async def close(self) -> None:
        self.closed = True


def registry(resolver: Resolver | None = None) -> Registry:
    answering: Any = resolver or Resolver()
    return Registry(asyncio.get_running_loop(), answering)


async def test_an_equal_spec_gives_the_same_cluster_with_its_pool() -> None:
    clusters = registry()
    first = clusters.adopt(spec("a"))
    clusters.retire(["a"])
    assert clusters.adopt(spec("a")) is first
    clusters.retire(["a"])
    assert not first.endpoints[0].removed
    await clusters.close()


async def test_metadata_does_not_make_another_cluster() -> None:
    clusters = registry()
    assert clusters.adopt(spec("a")) is clusters.adopt(spec("a", metadata={"x": "y"}))
    await clusters.close()


async def test_a_changed_spec_replaces_the_cluster_and_the_old_one_finishes() -> None:
    clusters = registry()
    old = clusters.adopt(spec("a"))
    new = clusters.adopt(spec("a", "10.0.0.2"))
    assert new is not old
    assert not old.endpoints[0].removed, "requests of the old snapshot may still begin"
    clusters.retire(["a"])
    assert old.endpoints[0].removed
    assert not new.endpoints[0].removed
    await clusters.close()


async def test_what_the_snapshot_no_longer_holds_is_retired() -> None:
    clusters = registry()
    kept, dropped = clusters.adopt(spec("a")), clusters.adopt(spec("b"))
    clusters.retire(["a", "unknown"])
    assert list(clusters.clusters.values()) == [kept]
    assert dropped.endpoints[0].removed
    await clusters.close()


async def test_warming_up_waits_for_the_first_answers_and_names_who_has_none() -> None:
    resolver = Resolver()
    clusters = registry(resolver)
    clusters.adopt(spec("static"))
    clusters.adopt(spec("silent", "a.test", discovery=DNS))
    clusters.adopt(spec("answered", "b.test", discovery=DNS))
    waiting = asyncio.ensure_future(clusters.warm(0.05))
    await asyncio.sleep(0)
    resolver.found[1](["10.0.0.9"])
    assert await waiting == ["silent"]
    resolver.found[0](["10.0.0.8"])
    assert await clusters.warm(0.05) == []
    await clusters.close()


async def test_closing_closes_everything() -> None:
    resolver = Resolver()
    clusters = registry(resolver)
    cluster = clusters.adopt(spec("a"))
    await clusters.close()
    assert cluster.endpoints[0].removed
    assert resolver.closed
