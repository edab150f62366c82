"""Large request bodies of known length go through the kernel too, and nobody can tell, but by the CPU time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from hashlib import blake2b
from time import monotonic
from typing import Any

import pytest

from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from gatewayd.proxy import bodies, splice
from gatewayd.proxy.splice import PipePool, Splice
from tests.support.bare_sockets import Net, Peer, answer
from tests.support.bulk import DATA, Reader, digest, give
from tests.support.in_process import InProcess, forward, request
from tests.support.tcp_in_process import descriptors

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
LARGE = 24 << 20
SMALL_BUFFER = 4096


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[PipePool]:
    """The pool of each test, all of whose pipes must come back; the same for every other descriptor."""
    pool = PipePool(8)
    monkeypatch.setattr(splice, "_pool", pool)
    before = descriptors()
    yield pool
    assert pool.lent == 0
    pool.close()
    assert descriptors() <= before + 16


class Kernel:
    """The splices there were."""

    def __init__(self) -> None:
        self.bytes = 0
        self.live: list[Splice] = []

    @property
    def moves(self) -> bool:
        return any(each._pipe is not None for each in self.live)


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    real = bodies._Body.on_spliced

    def count(body: Any, size: int) -> None:
        kernel.bytes += size
        real(body, size)

    def make(*arguments: Any, **named: Any) -> Splice:
        kernel.live.append(Splice(*arguments, **named))
        return kernel.live[-1]

    monkeypatch.setattr(bodies._Body, "on_spliced", count)
    monkeypatch.setattr(bodies, "Splice", make)
    return kernel


def put(size: int, *fields: str) -> bytes:
    return request("PUT", headers=[f"content-length: {size}", *fields])


class Upload:
    """A client in the middle of a request body that the kernel moves."""

    def __init__(self, net: Net, proxy: InProcess, kernel: Kernel, size: int = LARGE) -> None:
        self.net, self.proxy, self.kernel, self.size = net, proxy, kernel, size
        self.sent = 0

    async def begin(self) -> Upload:
        self.client = await self.net.connect(self.proxy.port)
        self.client.send(put(self.size))
        self.reader = Reader(self.client)
        await self.send(1 << 18)
        self.upstream = await self.net.accept()
        self.below = Reader(self.upstream)
        await self.below.head()
        self.received = 0
        await self.take(self.sent)
        while not self.kernel.moves:
            assert self.sent < self.size // 2, "the kernel never took it"
            await self.move(1 << 18)
        return self

    async def send(self, count: int) -> None:
        data = memoryview(DATA)[self.sent : self.sent + count]
        self.sent += count
        await give(self.client, data)

    async def take(self, count: int) -> None:
        start = self.received
        self.received += count
        assert await self.below.body(count) == digest(count, start)

    async def move(self, count: int) -> None:
        await asyncio.gather(self.send(count), self.take(count))

    async def finish(self) -> None:
        await self.move(self.size - self.sent)
        self.upstream.send(answer())
        assert await self.reader.whole() == (b"200", digest_of_ok())


def digest_of_ok() -> bytes:
    return blake2b(b"ok").digest()


@BOTH_LOOPS
@pytest.mark.parametrize("size", [bodies._LEAST - 1, bodies._LEAST + (1 << 17), (5 << 20) + 12345, 64 << 20])
async def test_a_body_arrives_whole_and_both_connections_serve_on(size: int, kernel: Kernel) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            reader = Reader(client)
            upstream = below = None
            for _ in range(3):
                client.send(put(size))
                sending = asyncio.ensure_future(give(client, memoryview(DATA)[:size]))
                if upstream is None:
                    upstream = await net.accept()
                    below = Reader(upstream)
                assert below is not None
                await below.head()
                assert await below.body(size) == digest(size)
                await sending
                upstream.send(answer())
                assert await reader.whole() == (b"200", digest_of_ok())
            assert net.nothing_waits(), "one upstream connection is enough"
            records = await proxy.logged(3)
            assert [record.bytes_received for record in records] == [size] * 3
            assert {record.flags for record in records} == {""}
            (connection,) = proxy.endpoint.pools.all_idle
            assert connection._written > 3 * size, "what went past counts"
    if size >= 64 << 20:
        assert kernel.bytes > 3 * size * 0.9, "it went through the codecs"


@BOTH_LOOPS
async def test_a_request_that_follows_the_body_is_served_next(kernel: Kernel) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            upload = await Upload(net, proxy, kernel).begin()
            rest = DATA[upload.sent : upload.size] + request(path="/next")
            sending = asyncio.ensure_future(give(upload.client, rest))
            await upload.take(upload.size - upload.received)
            await sending
            upload.upstream.send(answer())
            assert await upload.reader.whole() == (b"200", digest_of_ok())
            assert b"GET /next" in await upload.upstream.receive(b"\r\n\r\n")
            upload.upstream.send(answer())
            assert await upload.reader.whole() == (b"200", digest_of_ok())


@BOTH_LOOPS
async def test_an_upstream_that_does_not_read_stops_the_client(kernel: Kernel) -> None:
    """Hardening 9.6: memory stays bounded, and everything arrives in the end."""
    with Net(receive_buffer=SMALL_BUFFER) as net:
        async with InProcess([net.port]) as proxy:
            upload = await Upload(net, proxy, kernel, 64 << 20).begin()
            with contextlib.suppress(TimeoutError):
                while True:
                    async with asyncio.timeout(0.5):
                        await upload.send(4096)
                    assert upload.sent < 48 << 20, "never stopped"
            (connection,) = proxy.endpoint.connections
            assert connection.transport.get_write_buffer_size() == 0
            got = upload.sent - upload.received - 4096
            await upload.take(got)


@BOTH_LOOPS
@pytest.mark.parametrize("closes", [True, False], ids=["and closes", "and reads on"])
async def test_an_answer_before_the_end_of_the_request_reaches_the_client(
    closes: bool, kernel: Kernel
) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            upload = await Upload(net, proxy, kernel).begin()
            upload.upstream.send(answer(b"no", status=413))
            if closes:
                upload.upstream.half_close()
            assert (await upload.reader.whole())[0] == b"413"
            assert not kernel.moves
            with contextlib.suppress(OSError):
                await upload.send(LARGE - upload.sent)
            assert await upload.reader.to_the_end() == 0
            (record,) = await proxy.logged(1)
            assert (record.status, record.flags) == (413, "")
            assert not proxy.endpoint.connections


@BOTH_LOOPS
async def test_an_answer_whose_upstream_resets_is_still_heard(kernel: Kernel) -> None:
    """It answered, read no further and closed: the kernel's reset must not take the answer with it."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            upload = await Upload(net, proxy, kernel).begin()
            moved = kernel.bytes + (1 << 16)
            await upload.send(1 << 16)
            await proxy.until(
                lambda: kernel.bytes == moved
            )  # unread at the close: a reset follows the answer
            upload.upstream.send(answer(b"no", status=413))
            upload.upstream.close()
            upload.client.send(bytes(1 << 10))
            kernel.live[-1]._move()  # meets the reset before anybody has read the answer
            assert (await upload.reader.whole())[0] == b"413"


@BOTH_LOOPS
@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("after", [0, 70_000, 5 << 20])
async def test_an_upstream_that_leaves_is_told_to_the_client(way: str, after: int, kernel: Kernel) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            upload = await Upload(net, proxy, kernel).begin()
            await upload.move(after)
            getattr(upload.upstream, way)()
            with contextlib.suppress(OSError):
                await upload.send(LARGE - upload.sent)
            assert (await upload.reader.whole())[0] == b"503"
            (record,) = await proxy.logged(1)
            assert record.flags == "UC"
            assert upload.received <= record.bytes_received <= LARGE


@BOTH_LOOPS
@pytest.mark.parametrize("way", ["close", "reset", "half_close"])
@pytest.mark.parametrize("after", [0, 1, 70_000, 5 << 20])
async def test_a_client_that_leaves_takes_the_upstream_with_it(way: str, after: int, kernel: Kernel) -> None:
    """What was sent arrives; the message is visibly unfinished."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            upload = await Upload(net, proxy, kernel).begin()
            await upload.move(after)
            getattr(upload.client, way)()
            assert await upload.below.to_the_end() == 0
            (record,) = await proxy.logged(1)
            assert record.flags == "DC"
            assert record.bytes_received == upload.received
            assert not proxy.endpoint.connections


@BOTH_LOOPS
async def test_the_route_timeout_waits_for_the_whole_request(kernel: Kernel) -> None:
    """Semantics 6.6.2: it begins when the request is complete."""
    with Net() as net:
        async with InProcess([net.port], route=lambda cluster: forward(cluster, timeout_s=300.0)) as proxy:
            upload = await Upload(net, proxy, kernel).begin()
            wheel = proxy.proxy.wheel
            wheel._clock = lambda: monotonic() + 301
            wheel.sweep()
            wheel._clock = monotonic
            await upload.finish()


@BOTH_LOOPS
async def test_a_stream_that_stands_still_is_idle(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardening section 8."""
    ahead_s = 0.0
    monkeypatch.setattr("gatewayd.http.h1.server.monotonic", lambda: monotonic() + ahead_s)
    monkeypatch.setattr("gatewayd.proxy.worker.monotonic", lambda: monotonic() + ahead_s)
    options = HttpOptions(limits=HttpLimits(stream_idle_timeout_s=100.0))
    with Net() as net:
        async with InProcess([net.port], options=options) as proxy:
            upload = await Upload(net, proxy, kernel).begin()
            for _ in range(3):  # as long as bytes go by it is not
                proxy.tick()
                ahead_s += 90
                await upload.move(1 << 20)
            proxy.tick()
            ahead_s += 101
            proxy.tick()
            assert (await upload.reader.whole())[0] == b"408"
            assert not kernel.moves
            assert (await proxy.logged(1))[0].flags == "SI"


@BOTH_LOOPS
async def test_a_trickle_goes_back_to_the_codecs(kernel: Kernel, pool: PipePool) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            upload = await Upload(net, proxy, kernel).begin()
            for _ in range(500):
                await upload.move(100)
                if not pool.lent:
                    break
            assert not pool.lent
            await upload.finish()


@BOTH_LOOPS
async def test_a_chunked_body_stays_with_the_codecs(kernel: Kernel) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(request("PUT", headers=["transfer-encoding: chunked"]))
            framed = b"400000\r\n%b\r\n0\r\n\r\n" % DATA[: 4 << 20]
            sending = asyncio.ensure_future(give(client, framed))
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            await upstream.receive(b"\r\n0\r\n\r\n")
            await sending
            upstream.send(answer())
            assert (await Reader(client).whole())[0] == b"200"
    assert not kernel.live


@BOTH_LOOPS
async def test_down_and_up_at_once(kernel: Kernel) -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            upload = await Upload(net, proxy, kernel).begin()
            await give(upload.upstream, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % LARGE)
            await upload.reader.head()
            most = LARGE - 100  # an answer that is whole before its request ends the connection
            _, _, down = await asyncio.gather(
                upload.move(LARGE - upload.sent),
                give(upload.upstream, memoryview(DATA)[:most]),
                upload.reader.body(most),
            )
            assert down == digest(most)
            await give(upload.upstream, memoryview(DATA)[most:LARGE])
            assert await upload.reader.body(100) == digest(100, most)
            (record,) = await proxy.logged(1)
            assert (record.bytes_sent, record.bytes_received) == (LARGE, LARGE)


@BOTH_LOOPS
@pytest.mark.parametrize("seed", range(8))
async def test_random_histories(seed: int, kernel: Kernel, pool: PipePool) -> None:
    """Several clients at a time; either side may go at any moment, and an upstream may answer early."""
    rng = random.Random(seed)

    async def upstream_side(upstream: Peer) -> None:
        below = Reader(upstream)
        with contextlib.suppress(OSError, AssertionError):
            while True:
                size = int((await below.head())[b"content-length"])
                stop = rng.randint(0, size) if rng.random() < 0.3 else size
                assert await below.body(stop) == digest(stop)
                if stop == size or rng.random() < 0.5:
                    await give(upstream, answer())
                if stop < size:
                    upstream.reset() if rng.random() < 0.5 else upstream.close()
                    return

    async def client_side(net: Net, port: int) -> None:
        client = await net.connect(port)
        reader = Reader(client)
        for _ in range(rng.randint(1, 4)):
            size = rng.choice([10, 200_000, bodies._LEAST + (1 << 18), 3 << 20, rng.randint(1, 8 << 20)])
            leaves = rng.randint(0, size) if rng.random() < 0.2 else size
            try:
                client.send(put(size))
                await give(client, memoryview(DATA)[:leaves])
                if leaves < size:
                    client.reset() if leaves % 2 else client.close()
                    return
                assert (await reader.whole())[0] in (b"200", b"503")
            except (OSError, AssertionError):
                return  # answered early, and closed
        client.close()

    with Net() as net:
        serving: set[asyncio.Task[None]] = set()

        async def accept() -> None:
            while True:
                serving.add(asyncio.ensure_future(upstream_side(await net.accept())))

        accepting = asyncio.ensure_future(accept())
        async with InProcess([net.port]) as proxy:
            await asyncio.gather(*(client_side(net, proxy.port) for _ in range(6)))
            for connection in list(proxy.connections):
                connection.abort()
            await proxy.until(lambda: not proxy.connections)
            assert not pool.lent
            accepting.cancel()
        await asyncio.gather(accepting, *serving, return_exceptions=True)
    assert not kernel.moves
