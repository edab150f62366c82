"""Listeners with real sockets, on both event loops, and the intake that pauses them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from gatewayd.http.limits import HttpLimits
from gatewayd.listeners import intake as intake_module
from gatewayd.listeners.doors import Doors
from gatewayd.listeners.intake import Intake, oldest_idle, open_descriptors
from gatewayd.listeners.listener import Listener
from gatewayd.snapshot import ListenerSpec

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


def spec(*bind: tuple[str, int]) -> ListenerSpec:
    return ListenerSpec("test", bind or (("127.0.0.1", 0),), 80, "HTTP", (), HttpLimits())


class Echo(asyncio.Protocol):
    """A downstream connection: registers itself, echoes, drains when told."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.idle_since = 0.0
        self.drained = self.aborted = self.tunnel_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.listener.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.listener.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def drain(self) -> None:
        self.drained = True
        self.transport.close()

    def discourage(self) -> None:
        self.discouraged = True

    def end_tunnel(self) -> None:
        self.tunnel_ended = True

    def abort(self) -> None:
        self.aborted = True
        self.transport.abort()


async def until(condition: Callable[[], Any], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        await asyncio.sleep(0.005)


def on(name: str, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(body())


@asynccontextmanager
async def opened(listener: Listener, doors: Doors | None = None) -> AsyncIterator[Listener]:
    doors = doors or Doors()
    await listener.open(asyncio.get_running_loop(), lambda: Echo(listener), doors.open([listener.spec]))
    try:
        yield listener
    finally:
        listener.close()
        doors.close()
        await until(lambda: not listener.connections)


class Client:
    """A connection to one of a listener's addresses."""

    def __init__(self, listener: Listener, index: int = 0) -> None:
        sock = listener.sockets[index]
        self.sock = socket.socket(sock.family)
        self.sock.setblocking(False)
        self.address = sock.getsockname()

    async def connect(self) -> Client:
        await asyncio.get_running_loop().sock_connect(self.sock, self.address)
        return self

    async def answered(self, within_s: float = 30.0) -> bool:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within_s):
                await loop.sock_sendall(self.sock, b"x")
                return await loop.sock_recv(self.sock, 1) == b"x"
        except (TimeoutError, OSError):
            return False

    def close(self) -> None:
        self.sock.close()


@pytest.fixture(params=list(LOOPS))
def loop_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_serves_every_address_it_is_given(loop_name: str) -> None:
    async def body() -> None:
        async with opened(Listener(spec(("127.0.0.1", 0), ("::1", 0)))) as listener:
            assert len(listener.addresses) == 2
            for index in range(2):
                client = Client(listener, index)
                assert await (await client.connect()).answered()
                client.close()

    on(loop_name, body)


def test_serves_a_unix_socket(loop_name: str, tmp_path: Any) -> None:
    async def body() -> None:
        async with opened(Listener(spec((f"unix:{tmp_path}/edge", 0)))) as listener:
            client = await Client(listener).connect()
            assert await client.answered()
            client.close()
        assert not (tmp_path / "edge").exists()

    on(loop_name, body)


def test_a_pause_keeps_who_comes_in_the_queue(loop_name: str) -> None:
    async def body() -> None:
        async with opened(Listener(spec())) as listener:
            first = await Client(listener).connect()
            assert await first.answered()
            listener.pause()
            assert not listener.accepting
            second = await Client(listener).connect()
            assert not await second.answered(within_s=0.1)
            assert await first.answered(), "a pause does not touch the connections there are"
            await listener.resume()
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(second.sock, 1) == b"x", "what it sent meanwhile is read"
            first.close()
            second.close()

    on(loop_name, body)


def test_stop_accepting_keeps_old_connections_and_can_be_taken_back(loop_name: str) -> None:
    async def body() -> None:
        doors = Doors()
        async with opened(Listener(spec()), doors) as listener:
            old = await Client(listener).connect()
            assert await old.answered()
            late, bound = Client(listener), listener.bound
            listener.stop_accepting()
            await listener.resume()
            assert not listener.accepting, "relief of a full process does not bring it back"
            await late.connect()
            assert not await late.answered(within_s=0.1), "the socket is its giver's, who has not closed it"
            assert await old.answered()
            assert len(listener.connections) == 1
            await listener.accept_again(bound)
            assert await asyncio.get_running_loop().sock_recv(late.sock, 1) == b"x"
            refused = Client(listener)
            listener.stop_accepting()
            doors.close()
            with pytest.raises(ConnectionRefusedError):
                await refused.connect()
            for client in (old, late, refused):
                client.close()

    on(loop_name, body)


def test_drain_tells_every_connection(loop_name: str) -> None:
    async def body() -> None:
        async with opened(Listener(spec())) as listener:
            clients = [await Client(listener).connect() for _ in range(3)]
            for client in clients:
                assert await client.answered()
            connections: list[Any] = list(listener.connections)
            listener.drain()
            assert [c.drained for c in connections] == [True] * 3
            await until(lambda: not listener.connections)
            for client in clients:
                client.close()

    on(loop_name, body)


def test_close_cuts_every_connection(loop_name: str) -> None:
    async def body() -> None:
        async with opened(Listener(spec())) as listener:
            client = await Client(listener).connect()
            assert await client.answered()
            (connection,) = listener.connections
            listener.close()
            assert connection.aborted
            await until(lambda: not listener.connections)
            client.close()

    on(loop_name, body)


class TestIntake:
    """hardening 9.7."""

    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(intake_module, "RECHECK_S", 0.02)

    def test_the_limit_holds_and_waiting_clients_are_served_in_turn(self, loop_name: str) -> None:
        async def body() -> None:
            intake = Intake(asyncio.get_running_loop(), 5, 20_000)
            async with opened(Listener(spec(), intake)) as listener:
                clients = [await Client(listener).connect() for _ in range(12)]
                await until(lambda: intake.paused)
                # plain asyncio accepts a burst before anybody is asked
                assert 5 <= len(listener.connections) <= (6 if loop_name == "uvloop" else 12)
                served = 0
                for client in clients:
                    assert await client.answered()
                    client.close()
                    served += 1
                assert served == 12
                await until(lambda: not listener.connections and listener.accepting)

        on(loop_name, body)

    def test_accepting_goes_on_within_a_second_of_relief(self, loop_name: str) -> None:
        async def body() -> None:
            intake = Intake(asyncio.get_running_loop(), 2, 20_000)
            async with opened(Listener(spec(), intake)) as listener:
                first = [await Client(listener).connect() for _ in range(2)]
                for client in first:
                    assert await client.answered()
                await until(lambda: not listener.accepting)
                waiting = await Client(listener).connect()
                assert not await waiting.answered(within_s=0.1)
                first[0].close()
                async with asyncio.timeout(20.0):  # some 0.25 s; the bound is for a machine that is busy
                    assert await asyncio.get_running_loop().sock_recv(waiting.sock, 1) == b"x"
                for client in (*first, waiting):
                    client.close()

        on(loop_name, body)

    def test_held_it_takes_nobody_until_it_is_let_go(self, loop_name: str) -> None:
        """Hardening 9.13; whoever comes meanwhile waits in the kernel, also at a listener that is new."""

        async def body() -> None:
            intake = Intake(asyncio.get_running_loop(), 100, 20_000)
            async with opened(Listener(spec(), intake)) as listener:
                client = await Client(listener).connect()
                assert await client.answered()
                intake.hold(True)
                assert not listener.accepting
                assert await client.answered(), "connections stay"
                waiting = await Client(listener).connect()
                assert not await waiting.answered(within_s=0.1)
                async with opened(Listener(spec(), intake)) as late:
                    await until(lambda: not late.accepting)
                    intake.hold(False)
                    await until(lambda: listener.accepting and late.accepting)
                    assert await waiting.answered()
                client.close()
                waiting.close()

        on(loop_name, body)

    def test_all_that_are_idle_can_be_asked_to_close(self, loop_name: str) -> None:
        async def body() -> None:
            intake = Intake(asyncio.get_running_loop(), 100, 20_000)
            async with opened(Listener(spec(), intake)) as listener:
                clients = [await Client(listener).connect() for _ in range(4)]
                for client in clients:
                    assert await client.answered()
                made: list[Any] = list(listener.connections)
                for connection, idle_since in zip(made, (5.0, 3.0, 0.0, time.monotonic()), strict=True):
                    connection.idle_since = idle_since
                intake.shed_idle()
                assert [connection.drained for connection in made] == [True, True, False, False]
                for client in clients:
                    client.close()

        on(loop_name, body)

    def test_the_oldest_idle_connections_make_room(self, loop_name: str) -> None:
        async def body() -> None:
            intake = Intake(asyncio.get_running_loop(), 3, 20_000)
            async with opened(Listener(spec(), intake)) as listener:
                clients = [await Client(listener).connect() for _ in range(2)]
                for client in clients:
                    assert await client.answered()
                made: list[Any] = list(listener.connections)
                made[0].idle_since = 5.0
                made[1].idle_since = 3.0  # idle for longer
                clients.append(await Client(listener).connect())
                await until(lambda: made[1].drained)
                assert not made[0].drained
                for client in clients:
                    client.close()

        on(loop_name, body)

    def test_it_stops_before_the_descriptors_are_gone(self) -> None:
        async def body() -> None:
            open_now = 40
            intake = Intake(asyncio.get_running_loop(), 10_000, 128, used=lambda: open_now)
            assert intake.capacity == (128 - 32 - 40) // 2
            async with opened(Listener(spec(), intake)) as listener:
                open_now = 128 - 32  # upstream connections took the rest
                client = await Client(listener).connect()
                await until(lambda: intake.paused)
                assert not listener.accepting
                open_now = 40
                await until(lambda: listener.accepting)
                client.close()

        on("uvloop", body)

    def test_room_is_counted_more_often_the_less_there_is(self) -> None:
        async def body() -> None:
            counted = 0

            def used() -> int:
                nonlocal counted
                counted += 1
                return 10

            intake = Intake(asyncio.get_running_loop(), 1000, 20_000, used)
            listener: Any = type("Full", (), {"connections": set()})()
            intake.join(listener)
            for index in range(900):
                listener.connections.add(index)
                intake.count()
            assert not intake.paused
            assert counted < 20

        on("uvloop", body)

    def test_a_descriptor_count_is_the_real_one(self) -> None:
        before = open_descriptors()
        with socket.socket(), socket.socket():
            assert open_descriptors() == before + 2


def test_busy_connections_are_never_the_oldest_idle() -> None:
    class Held:
        def __init__(self, idle_since: float) -> None:
            self.idle_since = idle_since

    busy, young, old = Held(0.0), Held(9.0), Held(2.0)
    assert oldest_idle([busy, young, old], 2, before=10.0) == [old, young]
    assert oldest_idle([busy, young, old], 1, before=10.0) == [old]
    assert oldest_idle([busy, young, old], 2, before=8.0) == [old], "the young one may have been asked"
    assert oldest_idle([busy], 5, before=10.0) == []
