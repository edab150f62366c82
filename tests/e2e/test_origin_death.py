"""An origin dies and comes back (hardening 9.10): no request hangs, and none fails for longer than it has to."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from gatewayd.upstream.outlier import OutlierPolicy
from gatewayd.upstream.spec import Limits
from tests.support.in_process import InProcess, request
from tests.support.ports import PortReservation
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

#: What decides which pool serves a cluster, and how.
POOLS = pytest.mark.parametrize(
    "spec",
    [
        {},
        {"limits": Limits(max_connections=1, max_pending=1000)},
        {"limits": Limits(max_requests=1000)},
        {"proxy_protocol": "V1"},
        {"outlier": OutlierPolicy(consecutive_5xx=3)},
    ],
    ids=[
        "plain",
        "one connection",
        "counted",
        "a pool for each client",
        "outlier detection that may eject nobody",
    ],
)


class Origin:
    """An upstream on one port that can die, with a reset for whoever is connected, and come back."""

    def __init__(self, name: str = "alpha") -> None:
        self._name = name
        reservation = PortReservation()
        self.port = reservation.port
        reservation.release()
        self.recorder = Recorder(name)

    async def live(self) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        self.recorder = Recorder(self._name)
        await self.recorder.start(sock=sock)

    async def die(self) -> None:
        await self.recorder.close()

    async def __aenter__(self) -> Origin:
        await self.live()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()


async def ask(proxy: InProcess, method: str = "GET") -> int:
    outcome = await RawClient(proxy.port).http(request(method, body=b"abc" if method == "POST" else b""))
    return outcome.response.status


@POOLS
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_all_gone_is_503_for_everybody(spec: dict[str, Any], method: str) -> None:
    async with Origin() as origin, InProcess([origin.port], **spec) as proxy:
        assert await ask(proxy, method) == 200
        await origin.die()
        statuses = await asyncio.gather(*(ask(proxy, method) for _ in range(40)))
        assert set(statuses) == {503}


@POOLS
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_first_request_after_its_return_is_served(spec: dict[str, Any], method: str) -> None:
    """Whatever those before came to: nothing is remembered that would have to pass first."""
    async with Origin() as origin, InProcess([origin.port], **spec) as proxy:
        for _ in range(3):
            await asyncio.gather(*(ask(proxy, method) for _ in range(8)))
            await origin.die()
            before = [asyncio.ensure_future(ask(proxy, method)) for _ in range(8)]
            assert await before[0] == 503
            await origin.live()
            after = await asyncio.gather(*(ask(proxy, method) for _ in range(8)))
            assert set(after) == {200}
            assert set(await asyncio.gather(*before)) <= {200, 503}


async def test_a_restart_between_requests_is_not_noticed() -> None:
    """Its idle connections are gone with it; whoever would have used one opens another."""
    async with Origin() as origin, InProcess([origin.port]) as proxy:
        for _ in range(4):
            assert set(await asyncio.gather(*(ask(proxy, "POST") for _ in range(8)))) == {200}
            await origin.die()
            await origin.live()
        assert {record.status for record in proxy.records} == {200}


async def test_who_is_under_way_there_fails_and_others_see_nothing() -> None:
    async with Origin() as origin, Recorder("beta") as beta, InProcess([origin.port, beta.port]) as proxy:
        origin.recorder.play({"hang": True})
        there = []
        while len(origin.recorder.seen) < 4:
            there.append(asyncio.ensure_future(ask(proxy)))
            await asyncio.sleep(0.01)
        await origin.die()
        assert set(await asyncio.gather(*(ask(proxy, "POST") for _ in range(40)))) == {200}
        statuses = await asyncio.gather(*there)
        assert statuses.count(503) == 4
        assert set(statuses) == {200, 503}
        await origin.live()
        while not origin.recorder.seen:
            assert await ask(proxy) == 200
