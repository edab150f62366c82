"""Large response bodies of known length go through the kernel, and nobody can tell, but by the CPU time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from gatewayd.http.h1 import server
from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from gatewayd.proxy import bodies, splice
from gatewayd.proxy.splice import PipePool, Splice
from tests.support.bare_sockets import Net, Peer, answer
from tests.support.bulk import DATA, Reader, digest, give, head, serve
from tests.support.in_process import InProcess, forward, request
from tests.support.tcp_in_process import descriptors

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
LEAST = bodies._LEAST
LARGE = 24 << 20
SMALL_BUFFER = 4096


class Kernel:
    """What the kernel moved: ``bytes`` in ``streams`` splices."""

    def __init__(self) -> None:
        self.bytes = 0
        self.streams = 0
        self.emptied = 0  # how often a pipe was emptied further, and nothing taken
        self.live: list[Splice] = []

    @property
    def moves(self) -> bool:
        """Whether it moves something now."""
        return any(each._pipe is not None for each in self.live)


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[PipePool]:
    """The pool of each test, all of whose pipes must come back; the same for every other descriptor."""
    pool = PipePool(8)
    monkeypatch.setattr(splice, "_pool", pool)
    before = descriptors()
    yield pool
    assert pool.lent == 0
    pool.close()
    assert descriptors() <= before + 16, "the test's loop itself has some; what leaks per body is more"


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Counts what the kernel moves."""
    kernel = Kernel()
    real = bodies._Body.on_spliced

    def count(body: Any, size: int) -> None:
        kernel.bytes += size
        kernel.emptied += not size
        real(body, size)

    def make(*arguments: Any, **named: Any) -> Splice:
        made = Splice(*arguments, **named)
        kernel.streams += 1
        kernel.live.append(made)
        return made

    monkeypatch.setattr(bodies._Body, "on_spliced", count)
    monkeypatch.setattr(bodies, "Splice", make)
    return kernel


class Download:
    """A client in the middle of a body that the kernel moves."""

    def __init__(self, net: Net, proxy: InProcess, kernel: Kernel) -> None:
        self.net, self.proxy, self.kernel = net, proxy, kernel
        self.sent = self.received = 0
        self.size = LARGE

    async def begin(self, *, buffer: int = 0, size: int = LARGE) -> Download:
        self.size = size
        self.client = await self.net.connect(self.proxy.port, receive_buffer=buffer)
        self.client.send(request())
        self.upstream = await self.net.accept()
        await self.upstream.receive(b"\r\n\r\n")
        await give(self.upstream, head(size))
        self.reader = Reader(self.client)
        await self.reader.head()
        while not self.kernel.moves:
            assert self.sent < size // 2, "the kernel never took it"
            await self.move(1 << 18)
        return self

    async def send(self, count: int) -> None:
        data = memoryview(DATA)[self.sent : self.sent + count]
        self.sent += count
        await give(self.upstream, data)

    async def move(self, count: int) -> None:
        """``count`` more bytes, as they are."""
        start = self.received
        self.received += count
        _, got = await asyncio.gather(self.send(count), self.reader.body(count))
        assert got == digest(count, start)

    async def finish(self) -> None:
        """The rest."""
        await self.move(self.size - self.sent)


@BOTH_LOOPS
@pytest.mark.parametrize(
    "size",
    [LEAST - 1, LEAST, LEAST + 1, LEAST + bodies._KEPT, 2 * LEAST + 1, (5 << 20) + 12345, 64 << 20],
)
async def test_a_body_arrives_whole_and_both_connections_serve_on(size: int, kernel: Kernel) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            reader = Reader(client)
            client.send(request())
            upstream = await net.accept()
            for _ in range(3):
                _, got = await asyncio.gather(serve(upstream, size), reader.whole())
                assert got == (b"200", digest(size))
                client.send(request())
            _, got = await asyncio.gather(serve(upstream, 100), reader.whole())
            assert got == (b"200", digest(100))
            assert net.nothing_waits(), "one upstream connection is enough"
            records = await proxy.logged(4)
            assert [record.bytes_sent for record in records] == [size, size, size, 100]
            assert {record.flags for record in records} == {""}
    if size < LEAST:
        assert kernel.streams == 0
    elif size >= 64 << 20:
        assert kernel.bytes > 3 * size * 0.9, "it went through the codecs"


@BOTH_LOOPS
async def test_pipelined_requests_get_their_own_bodies(kernel: Kernel) -> None:
    sizes = [6 << 20, 10, 4 << 20, 3 << 20]
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(request() * len(sizes))
            upstream = await net.accept()
            reader = Reader(client)
            for size in sizes:
                _, got = await asyncio.gather(serve(upstream, size), reader.whole())
                assert got == (b"200", digest(size))
            assert len(await proxy.logged(4)) == 4
    assert kernel.bytes > 0


@BOTH_LOOPS
async def test_what_follows_a_body_reaches_nobody(kernel: Kernel) -> None:
    """Hardening section 7: bytes beyond the length end the connection, and no request gets them for an answer."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            download = await Download(net, proxy, kernel).begin()
            left = download.size - download.sent
            extra = answer(b"smuggled")
            sending = asyncio.ensure_future(
                give(download.upstream, DATA[download.sent : download.size] + extra)
            )
            assert await download.reader.body(left) == digest(left, download.received)
            await sending
            download.client.send(request(path="/next"))
            upstream = await net.accept()
            _, got = await asyncio.gather(serve(upstream, 5), download.reader.whole())
            assert got == (b"200", digest(5))


@BOTH_LOOPS
async def test_a_client_that_does_not_read_stops_the_upstream(kernel: Kernel) -> None:
    """Hardening 9.6, and what was taken from the upstream still arrives."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            download = await Download(net, proxy, kernel).begin(buffer=SMALL_BUFFER, size=64 << 20)
            with contextlib.suppress(TimeoutError):
                while True:
                    async with asyncio.timeout(0.5):
                        await download.send(4096)
                    assert download.sent < 48 << 20, "never stopped"
            assert download.kernel.moves
            (connection,) = proxy.connections
            assert connection.transport.get_write_buffer_size() == 0
            download.upstream.close()
            assert 0 <= download.sent - (download.received + await download.reader.to_the_end()) <= 4096
            assert (await proxy.logged(1))[0].flags == "UPE"


@BOTH_LOOPS
async def test_a_slow_reader_gets_everything(kernel: Kernel) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            download = await Download(net, proxy, kernel).begin(buffer=SMALL_BUFFER, size=4 << 20)
            sending = asyncio.ensure_future(download.send(download.size - download.sent))
            for _ in range(20):
                got = await download.reader.body(10_000)
                assert got == digest(10_000, download.received)
                download.received += 10_000
                await asyncio.sleep(0.005)
            left = download.size - download.received
            assert await download.reader.body(left) == digest(left, download.received)
            await sending


@BOTH_LOOPS
@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("after", [0, 1, 70_000, 5 << 20])
async def test_a_client_that_leaves_takes_the_upstream_with_it(way: str, after: int, kernel: Kernel) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            download = await Download(net, proxy, kernel).begin()
            await download.move(after)
            await asyncio.sleep(0.11)  # beyond the window in which an end is a half close
            getattr(download.client, way)()
            with contextlib.suppress(OSError):
                await download.send(download.size - download.sent)
            with contextlib.suppress(ConnectionResetError):
                assert await download.upstream.rest() == b""
            (record,) = await proxy.logged(1)
            assert record.flags == "DC"
            assert download.received <= record.bytes_sent < LARGE
            assert not proxy.endpoint.connections


@BOTH_LOOPS
@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("after", [0, 1, 70_000, 5 << 20])
async def test_an_upstream_that_leaves_truncates_the_message(way: str, after: int, kernel: Kernel) -> None:
    """Semantics 16.2: all that came goes on to the client, and then its connection ends."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            download = await Download(net, proxy, kernel).begin()
            await download.move(after)
            getattr(download.upstream, way)()
            assert await download.reader.to_the_end() == 0
            (record,) = await proxy.logged(1)
            assert (record.flags, record.bytes_sent) == ("UPE", download.received)


@BOTH_LOOPS
async def test_the_last_bytes_before_an_upstreams_end_arrive(kernel: Kernel) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            download = await Download(net, proxy, kernel).begin(buffer=SMALL_BUFFER)
            sending = asyncio.ensure_future(download.send(3 << 20))
            sending.add_done_callback(lambda _: download.upstream.close())
            left = 3 << 20
            assert await download.reader.body(left) == digest(left, download.received)
            assert await download.reader.to_the_end() == 0
            assert (await proxy.logged(1))[0].flags == "UPE"
            await sending


@BOTH_LOOPS
async def test_the_route_timeout_ends_it(kernel: Kernel) -> None:
    """Semantics 6.6.2: it runs on while the response goes through."""
    with Net() as net:
        async with InProcess([net.port], route=lambda cluster: forward(cluster, timeout_s=300.0)) as proxy:
            download = await Download(net, proxy, kernel).begin()
            wheel = proxy.proxy.wheel
            wheel._clock = lambda: monotonic() + 301
            wheel.sweep()
            await download.reader.to_the_end()
            (record,) = await proxy.logged(1)
            assert record.flags == "UT"
            with contextlib.suppress(ConnectionResetError):
                assert await download.upstream.rest() == b""


class Clock:
    """The clock of the server codec, which the test advances."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        monkeypatch.setattr(server, "monotonic", self)
        monkeypatch.setattr("gatewayd.proxy.worker.monotonic", self)

    def __call__(self) -> float:
        return monotonic() + self.ahead_s


@BOTH_LOOPS
async def test_a_stream_that_stands_still_is_idle(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardening section 8."""
    clock = Clock(monkeypatch)
    options = HttpOptions(limits=HttpLimits(stream_idle_timeout_s=100.0))
    with Net() as net:
        async with InProcess([net.port], options=options) as proxy:
            download = await Download(net, proxy, kernel).begin()
            for _ in range(3):  # as long as bytes go by it is not
                proxy.tick()
                clock.ahead_s += 90
                await download.move(1 << 20)
            proxy.tick()
            clock.ahead_s += 101
            proxy.tick()
            assert await download.reader.to_the_end() == 0
            assert (await proxy.logged(1))[0].flags == "SI"


@BOTH_LOOPS
async def test_a_client_that_takes_what_waits_is_not_idle(kernel: Kernel) -> None:
    """Nothing comes from the upstream while the pipe is emptied into a slow client, but it is progress."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            download = await Download(net, proxy, kernel).begin(buffer=SMALL_BUFFER)
            sending = asyncio.ensure_future(download.send(16 << 20))
            moving = kernel.live[-1]
            await proxy.until(lambda: moving.waiting > 0)
            moving._left = 0  # as if the upstream had nothing more
            (connection,) = proxy.connections
            waiting, taken, before = moving.waiting, kernel.bytes, connection.progress
            while moving.waiting == waiting:
                await download.reader.body(1_000)
                await asyncio.sleep(0)
            assert kernel.bytes == taken
            assert kernel.emptied == 1
            assert connection.progress > before
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


@BOTH_LOOPS
async def test_a_stream_that_rests_gives_its_pipe_back_and_takes_one_again(
    kernel: Kernel, pool: PipePool
) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            download = await Download(net, proxy, kernel).begin()
            await proxy.until(lambda: not pool.lent)
            await download.move(10)
            await download.move(10_000)
            assert not kernel.moves, "not for so little"
            await download.finish()
            assert kernel.streams >= 2
            await proxy.logged(1)


@BOTH_LOOPS
async def test_a_trickle_goes_back_to_the_codecs(kernel: Kernel, pool: PipePool) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            download = await Download(net, proxy, kernel).begin()
            for _ in range(500):
                await download.move(100)
                if not pool.lent:
                    break
            assert not pool.lent
            await download.finish()


@BOTH_LOOPS
async def test_draining_lets_it_finish(kernel: Kernel) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            download = await Download(net, proxy, kernel).begin()
            for connection in list(proxy.connections):
                connection.drain()
            await download.finish()
            assert await download.reader.to_the_end() == 0
            assert (await proxy.logged(1))[0].flags == ""


@BOTH_LOOPS
async def test_an_endpoint_that_leaves_lets_it_finish(kernel: Kernel) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            download = await Download(net, proxy, kernel).begin()
            proxy.endpoint.pools.remove()
            await download.finish()
            await proxy.logged(1)
            assert not proxy.endpoint.connections


@BOTH_LOOPS
async def test_the_end_of_the_process_closes_everything(kernel: Kernel, pool: PipePool) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            download = await Download(net, proxy, kernel).begin()
            for connection in list(proxy.connections):
                connection.abort()
            await download.reader.to_the_end()
            assert (await proxy.logged(1))[0].flags == "DC"
            assert not pool.lent


@BOTH_LOOPS
async def test_the_request_goes_up_while_the_response_comes_down(kernel: Kernel) -> None:
    size = 8 << 20
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(request("POST", headers=[f"content-length: {size}"]))
            upstream = await net.accept()
            reader, below = Reader(client), Reader(upstream)
            await below.head()
            await give(upstream, head(LARGE))
            await reader.head()
            most = LARGE - 100  # an answer that is whole before its request ends the connection
            _, _, down, up = await asyncio.gather(
                give(upstream, memoryview(DATA)[:most]),
                give(client, memoryview(DATA)[:size]),
                reader.body(most),
                below.body(size),
            )
            assert (down, up) == (digest(most), digest(size))
            await give(upstream, memoryview(DATA)[most:LARGE])
            assert await reader.body(100) == digest(100, most)
            (record,) = await proxy.logged(1)
            assert (record.bytes_sent, record.bytes_received) == (LARGE, size)
    assert kernel.bytes > 0


@BOTH_LOOPS
@pytest.mark.parametrize("fields", [("HEAD", 200), ("GET", 304)])
async def test_a_promised_length_without_a_body_is_nothing_to_move(
    fields: tuple[str, int], kernel: Kernel
) -> None:
    method, status = fields
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            reader = Reader(client)
            client.send(request(method))
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            upstream.send(head(LARGE).replace(b"200 OK", b"%d X" % status))
            assert (await reader.head())[b"content-length"] == str(LARGE).encode()
            client.send(request())
            _, got = await asyncio.gather(serve(upstream, 3 << 20), reader.whole())
            assert got == (b"200", digest(3 << 20))


@BOTH_LOOPS
async def test_a_body_of_unknown_length_stays_with_the_codecs(kernel: Kernel) -> None:
    """Also right after one of known length on the same connections."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            reader = Reader(client)
            client.send(request() + request())
            upstream = await net.accept()
            _, got = await asyncio.gather(serve(upstream, LARGE), reader.whole())
            assert got == (b"200", digest(LARGE))
            streams = kernel.streams
            await upstream.receive(b"\r\n\r\n")
            await give(upstream, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
            assert (await reader.head())[b"transfer-encoding"] == b"chunked"
            sending = asyncio.ensure_future(give(upstream, memoryview(DATA)[:LARGE]))
            sending.add_done_callback(lambda _: upstream.close())
            seen = 0
            while seen < LARGE:
                seen += len(reader._rest or await reader._more())
                reader._rest = b""
            await proxy.logged(2)
            assert kernel.streams == streams


@BOTH_LOOPS
@pytest.mark.parametrize("lacking", ["pipe", "descriptor"])
async def test_without_descriptors_it_goes_the_usual_way(
    lacking: str, kernel: Kernel, pool: PipePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    if lacking == "pipe":
        pool.most = 0
    else:
        monkeypatch.setattr(bodies, "Splice", none_left)
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(request())
            upstream = await net.accept()
            _, got = await asyncio.gather(serve(upstream, 5 << 20), Reader(client).whole())
            assert got == (b"200", digest(5 << 20))
            await proxy.logged(1)
    assert kernel.bytes == 0


@BOTH_LOOPS
@pytest.mark.parametrize("seed", range(12))
async def test_random_histories(seed: int, kernel: Kernel, pool: PipePool) -> None:
    """Several clients at a time, who read as they like; each side may go at any moment."""
    rng = random.Random(seed)
    ends: list[str] = []

    async def upstream_side(upstream: Peer) -> None:
        with contextlib.suppress(OSError, AssertionError):
            while True:
                asked = await upstream.receive(b"\r\n\r\n")
                size, stop = map(int, asked.split()[1].split(b"/")[1:3])
                await give(upstream, head(size))
                await give(upstream, memoryview(DATA)[: min(size, stop)])
                if stop < size:
                    upstream.reset() if stop % 2 else upstream.close()
                    return

    async def client_side(net: Net, port: int) -> None:
        client = await net.connect(port, receive_buffer=rng.choice([0, 0, 30_000]))
        reader = Reader(client)
        for _ in range(rng.randint(1, 4)):
            size = rng.choice([10, 200_000, LEAST, 2 << 20, rng.randint(1, 8 << 20)])
            stop = rng.randint(0, size - 1) if rng.random() < 0.15 else size
            leaves = rng.randint(0, size) if rng.random() < 0.2 else -1
            client.send(request(path=f"/{size}/{stop}"))
            try:
                await reader.head()
                if leaves >= 0 and leaves < stop:
                    assert await reader.body(leaves) == digest(leaves)
                    await asyncio.sleep(rng.choice([0, 0.001]))
                    client.reset() if leaves % 2 else client.close()
                    ends.append("left")
                    return
                assert await reader.body(stop) == digest(stop)
            except (OSError, AssertionError):
                if stop == size:
                    raise
                ends.append("broken")  # a reset may overtake what was under way
                return
            if stop < size:
                assert await reader.to_the_end() == 0
                ends.append("cut")
                return
            ends.append("whole")
        client.close()

    with Net() as net:
        serving: set[asyncio.Task[None]] = set()

        async def accept() -> None:
            while True:
                serving.add(asyncio.ensure_future(upstream_side(await net.accept())))

        accepting = asyncio.ensure_future(accept())
        async with InProcess([net.port]) as proxy:
            before = descriptors()
            await asyncio.gather(*(client_side(net, proxy.port) for _ in range(6)))
            records = await proxy.logged(len(ends))
            await proxy.until(lambda: not proxy.connections)
            assert sum(record.flags == "" for record in records) >= ends.count("whole")
            assert not pool.lent
            assert descriptors() <= before + 6 * 4 + 32
            accepting.cancel()
        await asyncio.gather(accepting, *serving, return_exceptions=True)
    assert kernel.live
    assert not kernel.moves
