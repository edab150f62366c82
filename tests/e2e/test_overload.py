"""Overload as clients see it (hardening 9.13): 503 for what is new, while what is under way goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gatewayd.listeners.intake import Intake
from gatewayd.runtime.cgroup import Memory
from gatewayd.runtime.overload import Overload
from gatewayd.upstream.spec import Limits
from tests.support.bare_sockets import Net, answer
from tests.support.in_process import InProcess, request
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


@BOTH_LOOPS
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_new_requests_get_503_and_reach_nobody(method: str) -> None:
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        message = request(method, body=b"abc" if method == "POST" else b"")
        client = RawClient(proxy.port)
        assert (await client.http(message, observe_s=0.0)).response.status == 200
        proxy.proxy.refuse(True)
        outcome = await client.http(message, observe_s=0.02)
        assert outcome.response.status == 503
        assert outcome.response.body == (b"" if method == "HEAD" else b"envoy overloaded")
        # Who was not heard to the end has to come again; any other connection is worth keeping.
        assert outcome.response.values("connection") == (["close"] if method == "POST" else [])
        assert len(alpha.seen) == 1
        assert proxy.proxy.refused == 1
        record = (await proxy.logged(2))[-1]
        assert (record.flags, record.details, record.upstream_cluster) == ("", "overload", "")
        proxy.proxy.refuse(False)
        assert (await client.http(message, observe_s=0.0)).response.status == 200, (
            "the same head is routed again"
        )


async def test_what_is_under_way_goes_on() -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(request())
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            proxy.proxy.refuse(True)
            upstream.send(answer(b"done"))
            assert (await client.receive(b"done")).startswith(b"HTTP/1.1 200 OK")
            client.send(request())
            assert (await client.receive(b"overloaded")).startswith(b"HTTP/1.1 503")


async def test_what_is_wrong_is_still_said_to_be_wrong() -> None:
    async with InProcess([1]) as proxy:
        proxy.proxy.refuse(True)
        outcome = await RawClient(proxy.port).http(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert outcome.response.status == 400
        assert proxy.proxy.refused == 0


async def test_a_configuration_that_comes_meanwhile_changes_nothing_of_it() -> None:
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        proxy.proxy.refuse(True)
        proxy.chain_port.use(proxy.chain_port.edge.spec)
        assert (await RawClient(proxy.port).http(request())).response.status == 503
        proxy.proxy.refuse(False)
        assert (await RawClient(proxy.port).http(request())).response.status == 200


async def test_a_grpc_client_is_told_in_fields() -> None:
    async with InProcess([1]) as proxy:
        proxy.proxy.refuse(True)
        outcome = await RawClient(proxy.port).http(
            request("POST", body=b"x", headers=["content-type: application/grpc"])
        )
        assert outcome.response.status == 200
        assert outcome.response.values("grpc-status") == ["14"]
        assert outcome.response.values("grpc-message") == ["envoy overloaded"]


@pytest.mark.parametrize(
    "spec",
    [{}, {"limits": Limits(max_connections=9)}, {"proxy_protocol": "V1"}],
    ids=["plain", "counted", "a pool for each client"],
)
async def test_idle_upstream_connections_can_be_closed(spec: dict[str, Any]) -> None:
    async with Recorder("alpha") as alpha, InProcess([alpha.port], **spec) as proxy:
        await asyncio.gather(*(RawClient(proxy.port).http(request()) for _ in range(3)))
        idle = set(proxy.endpoint.connections)
        assert idle
        proxy.registry.drop_idle()
        assert not proxy.endpoint.connections
        assert all(connection.closed for connection in idle)
        assert (await RawClient(proxy.port).http(request())).response.status == 200


async def test_a_full_control_group_end_to_end(tmp_path: Path) -> None:
    """Its files, the watch, the proxy and its listener's connections."""
    used = tmp_path / "memory.current"
    for name, text in (
        ("memory.max", "1000"),
        ("memory.current", "500"),
        ("memory.stat", ""),
        ("self", "0::/"),
    ):
        (tmp_path / name).write_text(text)
    loop = asyncio.get_running_loop()
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        listener: Any = type("Listener", (), {"connections": proxy.connections, "pause": lambda self: None})()
        intake = Intake(loop, 1000, 20_000)
        intake.join(listener)
        watch = Overload(loop, proxy.proxy, intake, proxy.registry, Memory(tmp_path, tmp_path / "self"))
        watch.start()
        try:
            assert (await RawClient(proxy.port).http(request())).response.status == 200
            used.write_text("960")
            await proxy.until(lambda: proxy.proxy.refusing)
            assert intake.held
            assert (await RawClient(proxy.port).http(request())).response.status == 503
            used.write_text("100")
            await proxy.until(lambda: not proxy.proxy.refusing)
            assert not intake.held
            assert (await RawClient(proxy.port).http(request())).response.status == 200
        finally:
            watch.close()
            intake.leave(listener)
