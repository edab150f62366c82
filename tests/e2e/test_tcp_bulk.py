"""Bulk streams of TCP sessions go through the kernel, and nobody can tell, but by the CPU time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from gatewayd.proxy import splice
from gatewayd.proxy.splice import PipePool
from tests.support.bare_sockets import Net, Peer
from tests.support.tcp_in_process import TcpInProcess, descriptors, tcp_route

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
PATTERN = random.Random("bulk").randbytes(1_000_003)
WAYS = pytest.mark.parametrize("way", ["up", "down"])


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[PipePool]:
    """The pool of each test, all of whose pipes must come back."""
    pool = PipePool(8)
    monkeypatch.setattr(splice, "_pool", pool)
    yield pool
    assert pool.lent == 0
    pool.close()


class Flow:
    """One client, one upstream, and a direction: ``source`` sends, ``sink`` receives."""

    def __init__(self, net: Net, proxy: TcpInProcess, way: str) -> None:
        self.net, self.proxy, self.way = net, proxy, way
        self.sent = self.received = 0

    async def join(self, *, sink_buffer: int = 0) -> Flow:
        client = await self.net.connect(self.proxy.port, receive_buffer=sink_buffer)
        upstream = await self.net.accept()
        self.source, self.sink = (client, upstream) if self.way == "up" else (upstream, client)
        return self

    @property
    def leg(self) -> Any:
        """Where the bytes of the flow arrive."""
        session = self.proxy.session
        return session.client if self.way == "up" else session.upstream

    async def send(self, count: int) -> None:
        """The next ``count`` bytes of the endless pattern."""
        loop = asyncio.get_running_loop()
        ends_at = self.sent + count
        while self.sent < ends_at:
            at = self.sent % len(PATTERN)
            piece = PATTERN[at : at + min(1 << 18, ends_at - self.sent)]
            await loop.sock_sendall(self.source.socket, piece)
            self.sent += len(piece)

    async def receive(self, count: int) -> None:
        """Read and compare ``count`` bytes."""
        loop = asyncio.get_running_loop()
        ends_at = self.received + count
        while self.received < ends_at:
            piece = await loop.sock_recv(self.sink.socket, min(1 << 18, ends_at - self.received))
            assert piece, f"ended after {self.received}"
            self._compare(piece)

    def _compare(self, piece: bytes) -> None:
        at = self.received % len(PATTERN)
        expected = PATTERN[at : at + len(piece)]
        while len(expected) < len(piece):
            expected += PATTERN[: len(piece) - len(expected)]
        assert piece == expected
        self.received += len(piece)

    async def move(self, count: int) -> None:
        """Send and receive ``count`` bytes."""
        await asyncio.gather(self.send(count), self.receive(count))

    async def become_bulk(self) -> None:
        """Until the kernel moves it."""
        for _ in range(100):
            await self.move(4 << 20)
            if self.leg.splice is not None:
                return
        raise AssertionError("never became bulk")

    async def rest(self) -> None:
        """Read and compare up to the end of stream."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(30):
            while piece := await loop.sock_recv(self.sink.socket, 1 << 18):
                self._compare(piece)

    @property
    def other_way(self) -> tuple[Peer, Peer]:
        """Sender and receiver of the other direction."""
        return self.sink, self.source


@BOTH_LOOPS
@WAYS
async def test_a_bulk_stream_arrives_whole_and_is_counted(way: str) -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            flow = await Flow(net, proxy, way).join()
            await flow.become_bulk()
            await flow.move(20 << 20)
            flow.source.half_close()
            await flow.rest()
            sender, receiver = flow.other_way
            sender.send(b"thanks")
            assert await receiver.receive(b"thanks") == b"thanks"
            sender.close()
            record = await proxy.logged()
            counts = (record.bytes_received, record.bytes_sent)
            assert counts == ((flow.sent, 6) if way == "up" else (6, flow.sent))
            assert flow.received == flow.sent
            assert record.flags == ""


@BOTH_LOOPS
async def test_both_directions_may_be_bulk_at_once() -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            up = await Flow(net, proxy, "up").join()
            down = Flow(net, proxy, "down")
            down.source, down.sink = up.sink, up.source
            await asyncio.gather(up.become_bulk(), down.become_bulk())
            await asyncio.gather(up.move(8 << 20), down.move(8 << 20))
            up.source.half_close()
            down.source.half_close()
            await asyncio.gather(up.rest(), down.rest())
            record = await proxy.logged()
            assert (record.bytes_received, record.bytes_sent) == (up.sent, down.sent)


@BOTH_LOOPS
async def test_the_other_direction_talks_meanwhile() -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            flow = await Flow(net, proxy, "down").join()
            await flow.become_bulk()
            sender, receiver = flow.other_way
            for number in range(20):
                sender.send(b"<%d>" % number)
                await asyncio.gather(flow.move(100_000), receiver.receive(b"<%d>" % number))


@BOTH_LOOPS
@WAYS
async def test_a_slow_reader_of_a_bulk_stream_holds_up_the_sender(way: str) -> None:
    with Net(receive_buffer=16_384) as net:
        async with TcpInProcess([net.port]) as proxy:
            flow = await Flow(net, proxy, way).join(sink_buffer=16_384)
            await flow.become_bulk()
            total = flow.sent + (40 << 20)
            sending = asyncio.ensure_future(flow.send(40 << 20))
            await proxy.until(lambda: bool(flow.leg.splice and flow.leg.splice.waiting))
            before = -1
            while flow.sent != before:
                before = flow.sent
                await asyncio.sleep(0.2)
            assert flow.leg.splice.waiting <= splice.PIPE_BYTES
            assert flow.sent - flow.received < 32 << 20
            await asyncio.gather(sending, flow.receive(total - flow.received))
            flow.source.half_close()
            await flow.rest()
            assert flow.received == flow.sent


@BOTH_LOOPS
@WAYS
async def test_the_senders_reset_reaches_the_reader(way: str) -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            flow = await Flow(net, proxy, way).join()
            await flow.become_bulk()
            flow.source.reset()
            with pytest.raises(ConnectionResetError):
                await flow.rest()
            assert (await proxy.logged()).flags == ("" if way == "up" else "UR")


@BOTH_LOOPS
@WAYS
async def test_the_readers_reset_reaches_the_sender(way: str) -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            flow = await Flow(net, proxy, way).join()
            await flow.become_bulk()
            flow.sink.reset()
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await flow.send(1 << 30)
            assert (await proxy.logged()).flags == ("UR" if way == "up" else "")


@BOTH_LOOPS
@WAYS
async def test_a_reader_that_resets_with_bytes_on_their_way_ends_it_all(way: str) -> None:
    with Net(receive_buffer=16_384) as net:
        async with TcpInProcess([net.port]) as proxy:
            flow = await Flow(net, proxy, way).join(sink_buffer=16_384)
            await flow.become_bulk()
            sending = asyncio.ensure_future(flow.send(1 << 30))
            await proxy.until(lambda: bool(flow.leg.splice and flow.leg.splice.waiting))
            flow.sink.reset()
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await sending
            await proxy.logged()


@BOTH_LOOPS
async def test_an_abort_in_bulk_holds_nothing(pool: PipePool) -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            before = descriptors()
            flow = await Flow(net, proxy, "down").join()
            await flow.become_bulk()
            assert pool.lent == 1
            proxy.session.abort()
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await flow.send(1 << 30)
            await proxy.logged()
            assert pool.lent == 0
            flow.source.close()
            flow.sink.close()
            pool.close()
            await proxy.until(lambda: descriptors() <= before)


@BOTH_LOOPS
async def test_a_close_in_bulk_still_delivers_what_was_read() -> None:
    """As end_tunnel does at the end of draining."""
    with Net(receive_buffer=16_384) as net:
        async with TcpInProcess([net.port]) as proxy:
            flow = await Flow(net, proxy, "down").join(sink_buffer=16_384)
            await flow.become_bulk()
            sending = asyncio.ensure_future(flow.send(1 << 30))
            await proxy.until(lambda: bool(flow.leg.splice and flow.leg.splice.waiting))
            taken = flow.leg.received
            proxy.session.end_tunnel()
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await sending
            await flow.rest()
            assert flow.received == taken
            assert (await proxy.logged()).bytes_sent == taken


@BOTH_LOOPS
async def test_a_stream_that_is_bulk_no_more_comes_back(pool: PipePool) -> None:
    """After a second without a byte, or after many small pieces."""
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            flow = await Flow(net, proxy, "up").join()
            await flow.become_bulk()
            proxy.proxy.tick()
            assert pool.lent == 1
            proxy.proxy.tick()
            assert (pool.lent, flow.leg.splice) == (0, None)
            await flow.move(1000)
            await flow.become_bulk()
            for _ in range(200):
                await flow.move(100)
            assert (pool.lent, flow.leg.splice) == (0, None)
            flow.source.half_close()
            await flow.rest()


@BOTH_LOOPS
async def test_a_bulk_stream_that_stalls_meets_the_idle_timeout() -> None:
    with Net(receive_buffer=16_384) as net:
        async with TcpInProcess([net.port], route=lambda c: tcp_route(c, idle_timeout_s=60.0)) as proxy:
            flow = await Flow(net, proxy, "down").join(sink_buffer=16_384)
            await flow.become_bulk()
            sending = asyncio.ensure_future(flow.send(1 << 30))
            before = -1
            while flow.sent != before:
                before = flow.sent
                await asyncio.sleep(0.2)
            now = monotonic()
            session = proxy.session
            session.tick(now)
            session.tick(now + 59)
            assert proxy.connections
            session.tick(now + 61)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await sending
            await proxy.logged()


@BOTH_LOOPS
async def test_without_a_pipe_to_be_had_the_transports_go_on(pool: PipePool) -> None:
    pool.most = 0
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            flow = await Flow(net, proxy, "up").join()
            await flow.move(40 << 20)
            assert flow.leg.splice is None
            flow.source.half_close()
            await flow.rest()
            assert flow.received == flow.sent


@BOTH_LOOPS
async def test_storms_in_bulk_leave_nothing(pool: PipePool) -> None:
    rng = random.Random("bulk storm")
    with Net(backlog=64) as net:
        async with TcpInProcess([net.port]) as proxy:
            before = descriptors()

            async def serve(peer: Peer) -> None:
                loop = asyncio.get_running_loop()
                try:
                    for _ in range(rng.randrange(1, 40)):
                        await loop.sock_sendall(peer.socket, bytes(1 << 18))
                        await loop.sock_recv(peer.socket, 1 << 18)
                except OSError:
                    pass
                rng.choice([peer.close, peer.reset])()

            async def one() -> None:
                loop = asyncio.get_running_loop()
                client = await net.connect(proxy.port)
                try:
                    for _ in range(rng.randrange(1, 60)):
                        await loop.sock_sendall(client.socket, bytes(1 << 17))
                        if not await loop.sock_recv(client.socket, 1 << 18):
                            break
                except OSError:
                    pass
                rng.choice([client.close, client.reset])()

            for _ in range(6):
                pairs = [asyncio.ensure_future(one()) for _ in range(6)]
                pairs += [asyncio.ensure_future(serve(await net.accept())) for _ in range(6)]
                _, pending = await asyncio.wait(pairs, timeout=20)
                for task in pending:  # both wait for the other's next byte
                    task.cancel()
                await asyncio.gather(*pairs, return_exceptions=True)
                for session in list(proxy.connections):
                    session.abort()
            await proxy.until_ticking(lambda: not proxy.connections)
            assert len(proxy.records) == 36
            assert pool.lent == 0
            pool.close()
            for peer in net._peers:
                peer.close()
            await proxy.until(lambda: descriptors() <= before)
