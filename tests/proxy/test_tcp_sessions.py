"""TCP sessions under random events: every move is in the table, counters agree, bytes arrive in order or not at all.

``GATEWAYD_STATE_RUNS`` sets how many random histories are played (each some 100 events).
"""

from __future__ import annotations

import asyncio
import os
import random
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from gatewayd import errors
from gatewayd.proxy import tcp_proxy
from gatewayd.proxy.tcp_proxy import (
    CLIENT_ENDED,
    CLOSING,
    CONNECTING,
    DONE,
    OPEN,
    STATES,
    UPSTREAM_ENDED,
    TcpPort,
    TcpSession,
)
from gatewayd.proxy.worker import Proxy
from gatewayd.routing.l4 import TcpRoute
from gatewayd.routing.route import Destination
from gatewayd.snapshot import FilterChain
from gatewayd.upstream.limits import Budget
from gatewayd.upstream.spec import Limits
from tests.support.fake_transport import FakeTransport

RUNS = int(os.environ.get("GATEWAYD_STATE_RUNS", "180"))
_STATE: Any = TcpSession.__dict__["state"]

#: How often each event happens. What ends things is rare, so that much happens before.
EVENTS = {
    "connect": 6, "open": 12, "refuse": 2, "send": 20, "answer": 20, "client end": 3, "upstream end": 3,
    "client reset": 1, "upstream reset": 1, "stick client": 2, "stick upstream": 2, "flow": 8, "time": 4,
    "long time": 1, "drain": 1, "end tunnel": 1, "early": 3,
}  # fmt: skip


class Watched(TcpSession):
    """Notes every move of ``state`` that is not in the table, and itself."""

    __slots__ = ("bad_moves",)
    all: list[Watched]

    def __init__(self, *arguments: Any) -> None:
        self.bad_moves: list[tuple[int, int]] = []
        super().__init__(*arguments)
        type(self).all.append(self)

    @property
    def state(self) -> int:
        return int(_STATE.__get__(self))

    @state.setter
    def state(self, to: int) -> None:
        try:
            was = _STATE.__get__(self)
        except AttributeError:
            was = to
        if to != was and to not in STATES[was]:
            self.bad_moves.append((was, to))
        _STATE.__set__(self, to)


class FakeEndpoint:
    """Opens what the test lets it open."""

    host_port = "10.0.0.1:9000"

    def __init__(self) -> None:
        self.active = self.total = 0
        self.connecting: list[tuple[Any, asyncio.Future[Any]]] = []

    async def open(self, factory: Any, _hints: Any) -> Any:
        allowed = asyncio.get_running_loop().create_future()
        self.connecting.append((factory, allowed))
        return await allowed


class World:
    """One listener, one endpoint, any number of clients, a clock that the test turns."""

    def __init__(self, patch: pytest.MonkeyPatch, *, idle_timeout_s: float, limit: int) -> None:
        patch.setattr(tcp_proxy, "TcpSession", Watched)
        Watched.all = []
        self.now = 0.0
        patch.setattr(tcp_proxy, "monotonic", self.clock)
        self.endpoint = FakeEndpoint()
        self.there = True
        self.cluster: Any = SimpleNamespace(
            name="c",
            budget=Budget(Limits(max_connections=limit)) if limit else None,
            active=0,
            total=0,
            pick=lambda: self.endpoint if self.there else None,
        )
        self.records: list[Any] = []
        self.proxy = Proxy(
            asyncio.get_running_loop(), SimpleNamespace(sweep=lambda now: None), self.records.append
        )
        destination = Destination(self.cluster, "c")
        route = TcpRoute((destination,), lambda: destination, idle_timeout_s=idle_timeout_s)
        self.connections: set[Any] = set()
        self.port = TcpPort(self.proxy, self.connections, FilterChain("t", 9000, tcp=route))
        self.clients: list[FakeTransport] = []
        self.upstreams: list[FakeTransport] = []
        #: what each side has sent, by its transport
        self.given: dict[FakeTransport, bytes] = {}

    def clock(self) -> float:
        return monotonic() + self.now

    def connect(self) -> None:
        self.clients.append(FakeTransport(self.port(), port=40000 + len(self.clients)))

    def open(self, failure: Any = None) -> None:
        """The oldest attempt succeeds, or fails."""
        while self.endpoint.connecting:
            factory, allowed = self.endpoint.connecting.pop(0)
            if allowed.done():
                continue
            if failure is None:
                self.upstreams.append(FakeTransport(factory(), port=50000 + len(self.upstreams)))
            allowed.set_result((failure, "" if failure is None else "delayed_connect_error:_x"))
            return

    def deliver(self, transport: FakeTransport, data: bytes) -> None:
        if transport.deliver(data):
            self.given[transport] = self.given.get(transport, b"") + data

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for session in list(self.connections):
            session.tick(self.clock())

    async def settle(self) -> None:
        for _ in range(3):
            for _ in range(4):
                await asyncio.sleep(0)
            for transport in [*self.clients, *self.upstreams]:
                transport.settle()
        await asyncio.sleep(0)

    def check(self) -> None:
        """What holds between any two events."""
        sessions = Watched.all
        for each in sessions:
            assert not each.bad_moves, each.bad_moves
        done = [each for each in sessions if each.state == DONE]
        assert len(self.records) == len({id(record) for record in self.records}) == len(done), (
            "a session is logged when it is done, and only then"
        )
        assert self.connections == {each for each in sessions if each.state != DONE}
        counted = [each for each in sessions if each.state != DONE and each.endpoint is not None]
        assert self.cluster.active == self.endpoint.active == len(counted)
        for each in sessions:
            self._check_session(each)

    def _check_session(self, session: Watched) -> None:
        client, upstream = session.client, session.upstream
        if session.state in (OPEN, CLIENT_ENDED, UPSTREAM_ENDED):
            down, up = client.transport, upstream.transport
            for source, target in ((down, up), (up, down)):
                if target.closing:
                    continue  # broken; the next turn of the loop tells
                expected = self.given.get(source, b"")
                assert bytes(target.sent) == expected, "everything, in its order"
                if target.buffered > target.HIGH and not source.peer_ended and not source.closing:
                    assert not source.reading, "a slow reader stops the other side"
                if not target._write_paused and not source.peer_ended and not source.closing:
                    assert source.reading, "nobody waits for nothing"
            assert up.closing or up.ended == (session.state == CLIENT_ENDED)
            assert down.closing or down.ended == (session.state == UPSTREAM_ENDED)
        elif session.state == CLOSING:
            for leg in (client, upstream):
                if leg.transport is not None and not leg.lost:
                    assert leg.transport.closing, "on its way out"
        elif session.state == CONNECTING:
            assert upstream.transport is None
        for source, target in (
            (client.transport, upstream.transport),
            (upstream.transport, client.transport),
        ):
            if source is not None and target is not None:
                assert self.given.get(source, b"").startswith(bytes(target.sent)), "nothing that was not sent"

    async def finish(self) -> None:
        """Everybody goes; nothing may be left."""
        for transport in [*self.clients, *self.upstreams]:
            transport.reset()
        await self.settle()
        for _ in Watched.all:
            self.open()
            await self.settle()
        self.check()
        assert all(each.state == DONE for each in Watched.all)
        assert (self.cluster.active, self.endpoint.active) == (0, 0)
        assert self.proxy.wheel.armed == 0 or not any(each._look for each in Watched.all)
        for upstream in self.upstreams:
            assert upstream.closing, "a forgotten upstream connection"


def _event(world: World, rng: random.Random, count: int) -> str:
    """One random event."""
    clients = [each for each in world.clients if not each.closing]
    upstreams = [each for each in world.upstreams if not each.closing]
    event = rng.choices(list(EVENTS), list(EVENTS.values()))[0]
    data = b"<%d>" % count * rng.choice([1, 1, 1, 40_000])
    if event == "connect" or not world.clients:
        world.there = rng.random() < 0.95
        world.connect()
    elif event == "open":
        world.open()
    elif event == "refuse":
        world.open(errors.CONNECT_REFUSED)
    elif event == "send" and clients:
        world.deliver(rng.choice(clients), data)
    elif event == "answer" and upstreams:
        world.deliver(rng.choice(upstreams), data)
    elif event == "early":  # as the porter replays what it has read, whatever the leg has asked for
        world.connect()
        world.deliver(world.clients[-1], data)
        if rng.random() < 0.3:
            world.clients[-1].end()
    elif event in ("client end", "upstream end"):
        side = clients if event == "client end" else upstreams
        if side:
            rng.choice(side).end()
    elif event in ("client reset", "upstream reset"):
        side = clients if event == "client reset" else upstreams
        if side:
            rng.choice(side).reset()
    elif event in ("stick client", "stick upstream"):
        side = clients if event == "stick client" else upstreams
        if side:
            rng.choice(side).stuck = True
    elif event == "flow":
        for transport in [*world.clients, *world.upstreams]:
            transport.drain()
    elif event == "time":
        world.advance(rng.choice([0.1, 1.0, 3.0]))
    elif event == "long time":
        world.advance(rng.choice([11.0, 61.0]))
    elif event in ("drain", "end tunnel") and world.connections:
        session = rng.choice(sorted(world.connections, key=id))
        session.drain() if event == "drain" else session.end_tunnel()
    return event


@pytest.mark.parametrize("limit", [0, 3], ids=["no limit", "limit of three"])
@pytest.mark.parametrize("idle_timeout_s", [0.0, 60.0, 2.0])
async def test_random_histories(idle_timeout_s: float, limit: int) -> None:
    for run in range(RUNS // 6 + 1):
        seed = f"{idle_timeout_s}-{limit}-{run}"
        rng = random.Random(seed)
        history: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            world = World(patch, idle_timeout_s=idle_timeout_s, limit=limit)
            try:
                for count in range(100):
                    history.append(_event(world, rng, count))
                    await (asyncio.sleep(0) if rng.random() < 0.3 else world.settle())
                    world.check()
                await world.finish()
            except BaseException as error:
                error.add_note(f"seed {seed!r}: {', '.join(history)}")
                raise


async def test_a_client_that_is_gone_when_the_upstream_stands_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection may be made in the very turn its session ends; uvloop then never says it is lost."""
    world = World(monkeypatch, idle_timeout_s=0.0, limit=0)
    world.connect()
    await world.settle()
    factory, _ = world.endpoint.connecting[0]
    world.clients[0].reset()
    world.clients[0].settle()
    late = FakeTransport(factory())
    assert late.closing
    world.check()
    assert [session.state for session in Watched.all] == [DONE]


async def test_a_connect_that_times_out_as_it_succeeds_still_ends_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The dialer then says "too late" for a transport that uvloop closes without a word."""
    world = World(monkeypatch, idle_timeout_s=0.0, limit=0)
    world.connect()
    await world.settle()
    factory, allowed = world.endpoint.connecting[0]
    FakeTransport(factory())
    assert Watched.all[0].state == OPEN
    allowed.set_result((errors.CONNECT_TIMEOUT, ""))
    await world.settle()
    assert world.clients[0].closing
    assert [session.state for session in Watched.all] == [DONE]
    world.check()


async def test_a_new_chain_is_for_new_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, idle_timeout_s=0.0, limit=0)
    world.connect()
    nowhere = Destination(None, "")
    world.port.use(FilterChain("t", 9000, tcp=TcpRoute((nowhere,), lambda: nowhere)))
    world.connect()
    await world.settle()
    world.open()
    first, second = Watched.all
    assert first.state == OPEN
    assert (second.state, second.flags) == (DONE, "NC")
