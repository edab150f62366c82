"""Names that the traffic gives (DYNAMIC_DNS, semantics 11.3): which are resolved, kept, refused and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from gatewayd import errors
from gatewayd.tls.spec import ClientTlsSpec
from gatewayd.upstream import dynamic
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.dns import Resolver
from gatewayd.upstream.dns_lookup import HostsFile
from gatewayd.upstream.dynamic import HOST_TTL_S, DynamicCluster
from gatewayd.upstream.registry import Registry
from gatewayd.upstream.spec import DYNAMIC_DNS, ClusterSpec
from tests.support.names import Names


class Asker:
    """Asks a cluster for names and keeps what it is told, as ``address:port`` or the failure's details."""

    def __init__(self, cluster: DynamicCluster, names: Names) -> None:
        self.cluster = cluster
        self.names = names
        self.told: list[str] = []
        self._heard = asyncio.Event()

    def hear(self, found: Cluster | None, failure: Any) -> None:
        self._heard.set()
        if failure is not None:
            self.told.append(failure.details)
        else:
            assert found is not None
            endpoint = found.pick()
            assert endpoint is not None
            self.told.append(endpoint.host_port)

    def ask(self, authority: str) -> dynamic.Pending | None:
        return self.cluster.for_host(authority.encode(), self.hear)

    async def heard(self, authority: str) -> str:
        self._heard.clear()
        self.ask(authority)
        async with asyncio.timeout(20):
            await self._heard.wait()
        return self.told[-1]


@asynccontextmanager
async def asking(folder: Path, **more: Any) -> AsyncIterator[Asker]:
    loop = asyncio.get_running_loop()
    names = Names(a_wild_test="10.0.0.1", b_wild_test="10.0.0.2")
    resolver = Resolver(loop, lookup=names, hosts=HostsFile(folder / "hosts"))
    registry = Registry(loop, resolver)
    cluster = registry.adopt(
        ClusterSpec("outbound|8000||*.wild.test", "*.wild.test", 8000, discovery=DYNAMIC_DNS, **more)
    )
    assert await registry.warm(0.0) == []
    yield Asker(cluster, names)
    await registry.close()


# -- the name and the port ------------------------------------------------------------------------------------


async def test_a_host_is_resolved_once_and_its_port_is_taken_as_envoy_does(tmp_path: Path) -> None:
    async with asking(tmp_path) as asker:
        assert await asker.heard("a.wild.test") == "10.0.0.1:80"
        assert await asker.heard("A.Wild.Test:8443") == "10.0.0.1:8443"
        assert await asker.heard("a.wild.test:80") == "10.0.0.1:80"
        assert await asker.heard("b.wild.test") == "10.0.0.2:80"
        assert asker.names.asked == {"a.wild.test": 1, "b.wild.test": 1}
        assert len(asker.cluster.hosts) == 3, "one for each name and port"


async def test_with_tls_the_port_is_443_unless_the_host_has_one(tmp_path: Path) -> None:
    async with asking(tmp_path, tls_spec=ClientTlsSpec("rule", "SIMPLE")) as asker:
        assert await asker.heard("a.wild.test") == "10.0.0.1:443"
        assert await asker.heard("a.wild.test:80") == "10.0.0.1:80"


async def test_an_sni_name_goes_to_the_service_s_port(tmp_path: Path) -> None:
    async with asking(tmp_path) as asker:
        asker.cluster.for_sni("A.wild.test", asker.hear)
        assert await asker.heard("a.wild.test:8000") == "10.0.0.1:8000"
        assert asker.told == ["10.0.0.1:8000", "10.0.0.1:8000"]
        assert len(asker.cluster.hosts) == 1


@pytest.mark.parametrize(
    "host",
    [
        "wild.test",
        ".wild.test",
        "evil.test",
        "127.0.0.1",
        "[::1]:80",
        "a.wild.test.evil.test",
        "awild.test",
        "",
    ],
)
async def test_names_outside_the_wildcard_are_not_even_asked_for(tmp_path: Path, host: str) -> None:
    """Stricter than Envoy, which resolves every Host: a route for all hosts shall be no open proxy."""
    async with asking(tmp_path) as asker:
        assert asker.ask(host) is None
        assert asker.told == [errors.NO_HEALTHY_UPSTREAM.details]
        assert not asker.names.asked


@pytest.mark.parametrize(
    "host",
    [
        "a.wild.test:65536",
        "a.wild.test:",
        "a.wild.test:99999999",
        "a..wild.test",
        "a" * 64 + ".wild.test",
        "a." * 130 + "wild.test",
    ],
)
async def test_what_is_no_name_or_no_port_fails_without_a_question(tmp_path: Path, host: str) -> None:
    """Envoy: ``dns_resolution_failure{cares_failure:Misformatted_domain_name}``."""
    async with asking(tmp_path) as asker:
        assert asker.ask(host) is None
        assert asker.told == ["dns_resolution_failure{cares_failure:Misformatted_domain_name}"]
        assert not asker.names.asked
        assert not asker.cluster.hosts


# -- failures -------------------------------------------------------------------------------------------------


async def test_a_name_that_does_not_exist_fails_and_is_not_asked_for_again_at_once(tmp_path: Path) -> None:
    async with asking(tmp_path) as asker:
        expected = "dns_resolution_failure{cares_norecords:Domain_name_not_found}"
        assert await asker.heard("nx.wild.test") == expected
        assert asker.ask("nx.wild.test") is None
        assert asker.told == [expected, expected]
        assert asker.names.asked["nx.wild.test"] == 1


async def test_no_answer_fails_after_a_while_and_a_later_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic, "QUERY_TIMEOUT_S", 0.01)
    async with asking(tmp_path) as asker:
        asker.names.silent.add("a.wild.test")
        assert await asker.heard("a.wild.test") == "dns_resolution_failure{resolve_timeout}"
        asker.names.answer("a.wild.test")
        assert await asker.heard("a.wild.test") == "10.0.0.1:80"


async def test_all_who_wait_for_a_name_share_one_question_and_who_left_hears_nothing(tmp_path: Path) -> None:
    async with asking(tmp_path) as asker:
        asker.names.silent.add("a.wild.test")
        pending = [asker.ask("a.wild.test") for _ in range(3)]
        assert pending[1] is not None
        pending[1].cancel()
        asker.names.answer("a.wild.test")
        assert asker.told == ["10.0.0.1:80", "10.0.0.1:80"]
        assert asker.names.asked["a.wild.test"] == 1


# -- how many, how long ---------------------------------------------------------------------------------------


async def test_their_number_is_bounded_and_names_that_lead_nowhere_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic, "MAX_HOSTS", 2)
    async with asking(tmp_path) as asker:
        assert await asker.heard("a.wild.test") == "10.0.0.1:80"
        assert await asker.heard("b.wild.test") == "10.0.0.2:80"
        assert asker.ask("a.wild.test:81") is None
        assert asker.told[-1] == "dns_cache_overflow"
        asker.cluster.sweep(monotonic() + HOST_TTL_S)
        assert (
            await asker.heard("nx.wild.test")
            == "dns_resolution_failure{cares_norecords:Domain_name_not_found}"
        )
        assert await asker.heard("b.wild.test") == "10.0.0.2:80"
        assert await asker.heard("a.wild.test") == "10.0.0.1:80", "in the place of nx"


async def test_a_name_nobody_asks_for_is_forgotten_unless_it_is_in_use(tmp_path: Path) -> None:
    async with asking(tmp_path) as asker:
        await asker.heard("a.wild.test")
        await asker.heard("b.wild.test")
        busy = asker.cluster.hosts["a.wild.test", 80].cluster
        busy.active += 1
        asker.cluster.sweep(monotonic() + HOST_TTL_S - 1)
        assert len(asker.cluster.hosts) == 2
        asker.cluster.sweep(monotonic() + HOST_TTL_S)
        assert list(asker.cluster.hosts) == [("a.wild.test", 80)]
        assert asker.cluster.active == 1
        busy.active -= 1
        asker.cluster.sweep(monotonic() + HOST_TTL_S)
        assert not asker.cluster.hosts


async def test_a_cluster_that_is_replaced_still_answers_who_waits(tmp_path: Path) -> None:
    async with asking(tmp_path) as asker:
        asker.names.silent.add("a.wild.test")
        asker.ask("a.wild.test")
        (host,) = asker.cluster.hosts.values()
        asker.cluster.stop()
        asker.names.answer("a.wild.test")
        assert asker.told == ["10.0.0.1:80"]
        assert host.cluster.endpoints[0].removed, "connections close when they are done"
