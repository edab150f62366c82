"""What survives a configuration swap (hardening 9.1): equal specs are the same cluster."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from gatewayd.upstream.registry import Draft, Registry
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
    draft = Draft(clusters)
    assert draft.adopt(spec("a")) is first
    assert not draft.fresh
    clusters.commit(draft)
    assert clusters.clusters == {"a": first}
    assert not first.endpoints[0].removed
    await clusters.close()


async def test_metadata_does_not_make_another_cluster() -> None:
    clusters = registry()
    assert clusters.adopt(spec("a")) is clusters.adopt(spec("a", metadata={"x": "y"}))
    await clusters.close()


async def test_a_changed_spec_replaces_the_cluster_and_the_old_one_finishes() -> None:
    clusters = registry()
    old = clusters.adopt(spec("a"))
    draft = Draft(clusters)
    new = draft.adopt(spec("a", "10.0.0.2"))
    assert draft.fresh == [new]
    assert clusters.clusters == {"a": old}, "a draft is not in force"
    assert not old.endpoints[0].removed, "requests of the old snapshot may still begin"
    clusters.commit(draft)
    assert clusters.clusters == {"a": new}
    assert old.endpoints[0].removed
    assert not new.endpoints[0].removed
    await clusters.close()


async def test_what_the_snapshot_no_longer_holds_is_retired() -> None:
    clusters = registry()
    kept, dropped = clusters.adopt(spec("a")), clusters.adopt(spec("b"))
    draft = Draft(clusters)
    draft.adopt(spec("a"))
    clusters.commit(draft)
    assert list(clusters.clusters.values()) == [kept]
    assert dropped.endpoints[0].removed
    await clusters.close()


async def test_a_draft_is_completed_with_what_the_snapshot_holds() -> None:
    """Only what is new or other is adopted: the compiler has the rest from before."""
    clusters = registry()
    kept, dropped = clusters.adopt(spec("a")), clusters.adopt(spec("b"))
    draft = Draft(clusters)
    passing, fresh = draft.adopt(spec("c")), draft.adopt(spec("d"))
    draft.complete({"a": kept, "d": fresh})
    assert draft.fresh == [fresh]
    assert passing.endpoints[0].removed
    clusters.commit(draft)
    assert clusters.clusters == {"a": kept, "d": fresh}
    assert not kept.endpoints[0].removed
    assert dropped.endpoints[0].removed
    await clusters.close()


async def test_a_draft_that_is_discarded_leaves_all_as_it_was() -> None:
    clusters = registry()
    kept = clusters.adopt(spec("a"))
    draft = Draft(clusters)
    draft.adopt(spec("a"))
    fresh = draft.adopt(spec("b"))
    draft.discard()
    assert fresh.endpoints[0].removed
    assert not kept.endpoints[0].removed
    assert clusters.clusters == {"a": kept}
    await clusters.close()


async def test_a_retired_cluster_is_looked_after_while_requests_are_under_way() -> None:
    clusters = registry()
    busy = clusters.adopt(spec("a"))
    busy.active = 1
    swept: list[float] = []
    nothing = lambda: None  # noqa: E731
    pools: Any = SimpleNamespace(sweep=swept.append, remove=nothing, close=nothing)
    busy.endpoints[0].pools = pools
    clusters.commit(Draft(clusters))
    clusters.sweep(1.0)
    busy.active = 0
    clusters.sweep(2.0)
    assert swept == [1.0]
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
