"""Resolution DYNAMIC_DNS on real sockets (semantics 11.3): requests go where their Host says, TLS where its SNI does.

Statuses, flags, details and bodies were seen from Envoy 1.40 with its dynamic forward proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from gatewayd.routing.route import RetryPolicy
from gatewayd.upstream import dynamic
from gatewayd.upstream.spec import DYNAMIC_DNS
from tests.support.bare_sockets import Net
from tests.support.in_process import InProcess, forward, request
from tests.support.names import Names
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder
from tests.support.tcp_in_process import TcpInProcess


@asynccontextmanager
async def egress(proxy: Any, **wild: Any) -> AsyncIterator[tuple[Any, Names]]:
    """``proxy`` with a cluster for ``*.wild.test``, and what its resolver is told."""
    proxy._spec = replace(proxy._spec, host="*.wild.test", discovery=DYNAMIC_DNS, endpoints=(), **wild)
    names = Names(a_wild_test="127.0.0.1", b_wild_test="127.0.0.1")
    async with proxy:
        proxy.registry.resolver._lookup = names
        yield proxy, names


async def get(port: int, host: str, **more: Any) -> Any:
    return (await RawClient(port).http(request(host=host, **more))).response


async def test_the_host_says_where_a_request_goes_and_stays_as_it_is() -> None:
    async with Recorder("alpha") as alpha, egress(InProcess([])) as (proxy, names):
        for _ in range(3):
            response = await get(proxy.port, f"a.wild.test:{alpha.port}")
            assert response.status == 200
        assert [seen.values("host") for seen in alpha.seen] == [[f"a.wild.test:{alpha.port}"]] * 3
        assert len({seen.connection for seen in alpha.seen}) == 1, "connections are kept"
        assert names.asked["a.wild.test"] == 1
        record = (await proxy.logged(3))[-1]
        assert record.upstream_host == f"127.0.0.1:{alpha.port}"
        assert (record.upstream_cluster, record.flags, record.attempts) == ("outbound|80||a.test", "", 1)


async def test_names_do_not_share_connections() -> None:
    async with Recorder("alpha") as alpha, egress(InProcess([])) as (proxy, _):
        for name in ("a", "b", "a"):
            assert (await get(proxy.port, f"{name}.wild.test:{alpha.port}")).status == 200
        first, second, third = (seen.connection for seen in alpha.seen)
        assert first == third != second


async def test_a_body_that_comes_while_the_name_is_looked_up_arrives_whole() -> None:
    async with Recorder("alpha") as alpha, egress(InProcess([])) as (proxy, names):
        names.silent.add("a.wild.test")
        body = b"b" * 200_000
        sending = asyncio.ensure_future(
            get(proxy.port, f"a.wild.test:{alpha.port}", method="POST", body=body)
        )
        await proxy.until(lambda: names.asked["a.wild.test"])
        names.answer("a.wild.test")
        assert (await sending).status == 200
        assert alpha.seen[0].body == body


async def test_a_name_that_does_not_exist_is_503_df() -> None:
    async with egress(InProcess([])) as (proxy, _):
        response = await get(proxy.port, "nx.wild.test")
        assert (response.status, response.body) == (503, b"DNS resolution failure")
        assert response.values("content-type") == ["text/plain"]
        (record,) = await proxy.logged(1)
        assert (record.flags, record.attempts, record.upstream_host) == ("DF", 0, "")
        assert record.details == "dns_resolution_failure{cares_norecords:Domain_name_not_found}"
        assert record.upstream_cluster == "outbound|80||a.test"


async def test_too_many_names_are_503_without_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamic, "MAX_HOSTS", 1)
    async with Recorder("alpha") as alpha, egress(InProcess([])) as (proxy, _):
        assert (await get(proxy.port, f"a.wild.test:{alpha.port}")).status == 200
        response = await get(proxy.port, f"b.wild.test:{alpha.port}")
        assert (response.status, response.body) == (503, b"DNS cache overflow")
        record = (await proxy.logged(2))[-1]
        assert (record.flags, record.details) == ("", "dns_cache_overflow")


async def test_a_foreign_name_is_503_uh() -> None:
    async with Recorder("alpha") as alpha, egress(InProcess([])) as (proxy, names):
        response = await get(proxy.port, f"127.0.0.1:{alpha.port}")
        assert (response.status, response.body) == (503, b"no healthy upstream")
        assert not alpha.seen
        assert not names.asked


async def test_an_address_where_nobody_listens_is_tried_again_and_fails_as_ever() -> None:
    with Net() as net:
        port = net.port
    retry = RetryPolicy(attempts=2, base_interval_s=0.001)
    proxy = InProcess([], route=lambda cluster: forward(cluster, retry=retry))
    async with egress(proxy) as (proxy, _):
        response = await get(proxy.port, f"a.wild.test:{port}")
        assert response.status == 503
        (record,) = await proxy.logged(1)
        assert (record.flags, record.attempts) == ("URX,UF", 3)
        assert record.details.endswith("|delayed_connect_error:_Connection_refused}")


async def test_a_client_that_leaves_while_its_name_is_looked_up() -> None:
    async with egress(InProcess([])) as (proxy, names):
        names.silent.add("a.wild.test")
        with Net() as net:
            client = await net.connect(proxy.port)
            client.send(request(host="a.wild.test"))
            await proxy.until(lambda: names.asked["a.wild.test"])
            client.reset()
            (record,) = await proxy.logged(1)
        assert record.flags == "DC"
        names.answer("a.wild.test")


async def test_the_route_timeout_begins_when_the_name_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up has a limit of its own, in Envoy five seconds."""
    monkeypatch.setattr(dynamic, "QUERY_TIMEOUT_S", 0.2)
    proxy = InProcess([], route=lambda cluster: forward(cluster, timeout_s=0.05))
    async with egress(proxy) as (proxy, names):
        names.silent.add("a.wild.test")
        response = await get(proxy.port, "a.wild.test")
        assert (response.status, response.body) == (503, b"DNS resolution failure")
        (record,) = await proxy.logged(1)
        assert (record.flags, record.details) == ("DF", "dns_resolution_failure{resolve_timeout}")
        names.answer("a.wild.test")


# -- TLS by its SNI -------------------------------------------------------------------------------------------


@asynccontextmanager
async def by_sni(port: int) -> AsyncIterator[tuple[Any, Names]]:
    async with egress(TcpInProcess([]), port=port) as pair:
        yield pair


async def _connect(proxy: Any, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client whose ClientHello, which the listener has read, asks for ``name``."""
    make = proxy.tcp_port
    server = await asyncio.get_running_loop().create_server(lambda: make(None, name), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    server.close()
    return reader, writer


async def test_a_connection_goes_where_its_sni_says_on_the_service_s_port() -> None:
    with Net() as net:
        async with by_sni(net.port) as (proxy, names):
            names.silent.add("a.wild.test")
            reader, writer = await _connect(proxy, "a.wild.test")
            writer.write(b"hello")
            await proxy.until(lambda: names.asked["a.wild.test"])
            names.answer("a.wild.test")
            upstream = await net.accept()
            assert await upstream.receive(b"hello") == b"hello"
            upstream.send(b"world")
            upstream.close()
            assert await reader.read() == b"world"
            writer.close()
            record = await proxy.logged()
            assert (record.flags, record.upstream_host) == ("", f"127.0.0.1:{net.port}")
            assert (record.bytes_received, record.bytes_sent) == (5, 5)


@pytest.mark.parametrize("name", ["nx.wild.test", "", "a.evil.test"])
async def test_a_connection_whose_name_leads_nowhere_is_closed_with_uh(name: str) -> None:
    with Net() as net:
        async with by_sni(net.port) as (proxy, _):
            reader, writer = await _connect(proxy, name)
            assert await reader.read() == b""
            writer.close()
            record = await proxy.logged()
            assert (record.flags, record.upstream_host, record.attempts) == ("UH", "", 0)
            assert net.nothing_waits()


async def test_a_connection_that_leaves_while_its_name_is_looked_up() -> None:
    with Net() as net:
        async with by_sni(net.port) as (proxy, names):
            names.silent.add("a.wild.test")
            _, writer = await _connect(proxy, "a.wild.test")
            await proxy.until(lambda: names.asked["a.wild.test"])
            proxy.session.abort()
            await proxy.logged()
            names.answer("a.wild.test")
            assert net.nothing_waits()
            writer.close()
