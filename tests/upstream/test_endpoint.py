"""An endpoint: its name in the log, and which connections it keeps for whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatewayd.tls.spec import ClientTlsSpec
from gatewayd.upstream.endpoint import Endpoint, address_key
from gatewayd.upstream.keyed_pools import KeyedPools
from gatewayd.upstream.pool import Pool
from gatewayd.upstream.spec import ClusterSpec
from tests.upstream.test_pool import Waiter

LOOP: Any = None  # nothing is opened
SNI = ClientTlsSpec("DestinationRule a/b", "SIMPLE", sni="a.test")
NO_SNI = ClientTlsSpec("DestinationRule a/b", "SIMPLE")


def endpoint(**spec: Any) -> Endpoint:
    return Endpoint(LOOP, ClusterSpec("c", "h", 80, **spec), "10.0.0.1", 80)


def test_the_log_s_form_of_an_address() -> None:
    """Semantics 17.3."""
    spec = ClusterSpec("c", "h", 80)
    forms = [Endpoint(LOOP, spec, address, port).host_port for address, port in
             (("10.0.0.1", 80), ("2001:db8::1", 80), ("unix:/x", 0))]  # fmt: skip
    assert forms == ["10.0.0.1:80", "[2001:db8::1]:80", "unix:/x"]


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({}, Pool),
        ({"tls": object(), "tls_spec": SNI}, Pool),
        ({"tls": object()}, Pool),  # never to be had: nothing to tell apart
        ({"tls": object(), "tls_spec": NO_SNI}, KeyedPools),
        ({"proxy_protocol": "V1"}, KeyedPools),
        ({"proxy_protocol": "V2", "tls": object(), "tls_spec": SNI}, KeyedPools),
    ],
)
def test_connections_are_shared_by_all_requests_unless_they_depend_on_them(
    spec: dict[str, Any], kind: type
) -> None:
    """Semantics 10.2, 10.11."""
    assert type(endpoint(**spec).pools) is kind


def test_two_endpoints_of_one_address_are_the_same() -> None:
    assert address_key(endpoint()) == address_key(endpoint(proxy_protocol="V1")) == ("10.0.0.1", 80)


async def test_it_opens_connections_for_whoever_asks(tmp_path: Any) -> None:
    """To an address ``unix:/path`` here (semantics 11)."""
    path = str(tmp_path / "s")
    server = await asyncio.start_unix_server(lambda _, writer: writer.close(), path)
    there = Endpoint(asyncio.get_running_loop(), ClusterSpec("c", "h", 80), f"unix:{path}", 0)
    made: asyncio.Future[asyncio.BaseTransport] = asyncio.get_running_loop().create_future()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.set_result(transport)

    assert await there.open(Protocol) == (None, "")
    made.result().close()
    waiter = Waiter()
    there.wait(waiter)
    async with asyncio.timeout(10.0):
        await waiter.told.wait()
    assert waiter.connection is not None
    assert waiter.connection.local_address == ""
    waiter.connection.close()
    await asyncio.sleep(0)
    server.close()
    await server.wait_closed()
