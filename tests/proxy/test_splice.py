"""The pool of pipes: bounded, and no byte of one stream ever in another's pipe."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import sys
from typing import Any

import pytest

from gatewayd.proxy import splice
from gatewayd.proxy.splice import Pipe, PipePool, Splice


class Recorded:
    """An owner that notes what it is told."""

    def __init__(self) -> None:
        self.count = 0
        self.told: list[str] = []

    def on_spliced(self, count: int) -> None:
        self.count += count

    def on_splice_end(self) -> None:
        self.told.append("end")

    def on_splice_broken(self, *, at_source: bool) -> None:
        self.told.append("broken at " + ("source" if at_source else "target"))

    def on_splice_calm(self) -> None:
        self.told.append("calm")


class Bench:
    """Two pairs of connected sockets and a splice from one to the other."""

    def __init__(self, pool: PipePool, *, limit: int = sys.maxsize) -> None:
        self.writer, self.source = _pair()
        self.target, self.reader = _pair()
        self.owner = Recorded()
        pipe = pool.take()
        assert pipe is not None
        self.splice = Splice(
            asyncio.get_running_loop(),
            pool,
            pipe,
            self.source.fileno(),
            self.target.fileno(),
            self.owner,
            limit=limit,
        )

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.splice.stop()
        for sock in (self.writer, self.source, self.target, self.reader):
            sock.close()

    async def until_told(self) -> list[str]:
        async with asyncio.timeout(20):
            while not self.owner.told:  # noqa: ASYNC110 - the loop must turn, and nothing else
                await asyncio.sleep(0)
        return self.owner.told


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    for sock in (one, other):
        sock.setblocking(False)
    return one, other


def test_the_pool_lends_no_more_than_its_most() -> None:
    pool = PipePool(2)
    pipes = [pool.take(), pool.take()]
    assert None not in pipes
    assert pool.take() is None
    pool.give_back(pipes[0], empty=True)  # type: ignore[arg-type]
    assert pool.take() is pipes[0], "an empty one is used again"
    pool.give_back(pipes[1], empty=True)  # type: ignore[arg-type]
    pool.close()


def test_a_pipe_with_bytes_in_it_is_closed() -> None:
    pool = PipePool(1)
    pipe = pool.take()
    assert pipe is not None
    os.write(pipe.write_end, b"somebody's")
    read_end = pipe.read_end
    pool.give_back(pipe, empty=False)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.read(read_end, 1)
    other = pool.take()
    assert other is not None
    with pytest.raises(BlockingIOError):
        os.read(other.read_end, 1)
    pool.give_back(other, empty=True)
    pool.close()


def test_only_a_few_free_pipes_are_kept() -> None:
    pool = PipePool(40)
    pipes = [pool.take() for _ in range(40)]
    before = len(os.listdir("/proc/self/fd"))
    for pipe in pipes:
        assert pipe is not None
        pool.give_back(pipe, empty=True)
    assert before - len(os.listdir("/proc/self/fd")) == 2 * (40 - 16)
    pool.close()


def test_a_pipe_stays_usable_when_the_kernel_refuses_to_enlarge_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a user's limit F_SETPIPE_SZ fails; the size is then what the kernel gives."""
    real = fcntl.fcntl

    def refuse(fd: int, command: int, *arguments: Any) -> Any:
        if command == splice._F_SETPIPE_SZ:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return real(fd, command, *arguments)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    pipe = Pipe()
    assert 4096 <= pipe.size < splice.PIPE_BYTES
    pipe.close()


def test_a_pipe_too_small_to_pay_is_not_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far over the limit the kernel gives a page or two."""
    monkeypatch.setattr(splice, "PIPE_BYTES", 4096)
    before = len(os.listdir("/proc/self/fd"))
    pool = PipePool(1)
    assert pool.take() is None
    assert (pool.lent, len(os.listdir("/proc/self/fd"))) == (0, before)


def test_out_of_descriptors_there_is_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pipe2", none_left)
    pool = PipePool(1)
    assert pool.take() is None
    assert pool.lent == 0


async def test_bytes_go_through_and_the_end_comes_after_them() -> None:
    pool = PipePool(1)
    with Bench(pool) as bench:
        bench.writer.send(b"hello")
        bench.writer.shutdown(socket.SHUT_WR)
        assert await bench.until_told() == ["end"]
        assert bench.reader.recv(100) == b"hello"
        assert bench.owner.count == 5
        assert pool.lent == 0
        with pytest.raises(BlockingIOError):
            bench.reader.recv(1)  # ending the target is its owner's business
    pool.close()


async def test_a_broken_source_and_a_broken_target_are_told_apart() -> None:
    pool = PipePool(2)
    rst = b"\x01\0\0\0\0\0\0\0"
    with Bench(pool) as bench:
        bench.writer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, rst)
        bench.writer.close()
        assert await bench.until_told() == ["broken at source"]
    with Bench(pool) as bench:
        bench.reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, rst)
        bench.reader.close()
        bench.writer.send(b"x")
        assert await bench.until_told() == ["broken at target"]
    assert pool.lent == 0
    pool.close()


async def test_each_event_does_a_bounded_piece_of_work() -> None:
    """Another connection's turn comes while a fast one has more than its share ready."""
    pool = PipePool(1)
    pipe = pool.take()
    assert pipe is not None
    pipe.size = 4096  # so that what the socket holds is many rounds
    pool.give_back(pipe, empty=True)
    with Bench(pool) as bench:
        sent = bench.writer.send(bytes(200_000))
        bench.splice._move()
        assert 0 < bench.owner.count <= 4 * 4096 < sent
    pool.close()


async def test_what_was_taken_is_delivered_after_finish() -> None:
    pool = PipePool(1)
    with Bench(pool) as bench:
        while not bench.splice.waiting:  # until nothing fits into the target any more
            bench.writer.send(bytes(1 << 16))
            await asyncio.sleep(0)
        taken = bench.owner.count
        bench.splice.finish()
        received = 0
        while not bench.owner.told:
            try:
                received += len(bench.reader.recv(1 << 20))
            except BlockingIOError:
                await asyncio.sleep(0)
        while received < taken:
            received += len(bench.reader.recv(1 << 20))
        assert bench.owner.told == ["end"]
        assert received == taken == bench.owner.count
    pool.close()


@pytest.mark.parametrize("limit", [1, 5, 4096, 100_000, 3_000_000])
async def test_not_a_byte_beyond_the_limit_is_taken(limit: int) -> None:
    """What comes after it stays in the source for somebody else."""
    pool = PipePool(1)
    loop = asyncio.get_running_loop()
    with Bench(pool, limit=limit) as bench:
        sending = asyncio.ensure_future(loop.sock_sendall(bench.writer, bytes(limit) + b"next"))
        received = 0
        async with asyncio.timeout(20):
            while received < limit:
                received += len(await loop.sock_recv(bench.reader, 1 << 20))
            await sending
        assert await bench.until_told() == ["end"]
        assert received == limit == bench.owner.count
        assert await loop.sock_recv(bench.source, 100) == b"next"
        with pytest.raises(BlockingIOError):
            bench.reader.recv(1)
    assert pool.lent == 0
    pool.close()


async def test_the_end_before_the_limit_is_an_end() -> None:
    pool = PipePool(1)
    with Bench(pool, limit=100) as bench:
        bench.writer.send(b"hello")
        bench.writer.shutdown(socket.SHUT_WR)
        assert await bench.until_told() == ["end"]
        assert bench.owner.count == 5
    pool.close()


async def test_what_leaves_the_pipe_is_told_too() -> None:
    """A target that reads what was taken long ago is progress, though nothing is taken."""
    pool = PipePool(1)
    told: list[int] = []
    with Bench(pool) as bench:
        while not bench.splice.waiting:
            bench.writer.send(bytes(1 << 16))
            await asyncio.sleep(0)
        bench.owner.on_spliced = told.append  # type: ignore[method-assign, assignment]
        bench.splice.finish()  # nothing more can be taken
        waiting = bench.splice.waiting
        async with asyncio.timeout(20):
            while bench.splice.waiting == waiting:
                with contextlib.suppress(BlockingIOError):
                    bench.reader.recv(1 << 16)
                await asyncio.sleep(0)
        assert told == [0]
    pool.close()
