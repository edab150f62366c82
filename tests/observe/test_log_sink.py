"""A log never waits for its reader, and says what it dropped (hardening 9.11)."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatewayd.observe import log_sink
from gatewayd.observe.log_sink import MAX_WAITING_BYTES, LogSink

LINE = b"x" * 99 + b"\n"


class Pipe:
    """A stream that somebody may or may not read."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def read(self) -> bytes:
        taken = b""
        while True:
            try:
                piece = os.read(self.reader, 65536)
            except BlockingIOError:
                return taken
            if not piece:
                return taken
            taken += piece

    def close(self) -> None:
        for descriptor in (self.reader, self.writer):
            if descriptor >= 0:
                os.close(descriptor)
        self.reader = self.writer = -1

    def close_reader(self) -> None:
        os.close(self.reader)
        self.reader = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


async def until(condition: Callable[[], object], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("serving", [True, False])
async def test_lines_reach_a_file_soon_and_at_its_end(tmp_path: Path, serving: bool) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    sink = LogSink(str(path), asyncio.get_running_loop() if serving else None)
    sink.write(b"one\n")
    await until(lambda: path.read_bytes() == b"before\none\n")
    path.write_bytes(b"")  # copytruncate
    sink.write(b"two\n")
    await until(lambda: path.read_bytes() == b"two\n")
    sink.close()


async def test_a_disk_that_does_not_move_makes_nobody_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the loop does takes no time however long a write takes; what waits is bounded, the rest counted."""
    path = tmp_path / "log"
    sink = LogSink(str(path), asyncio.get_running_loop())
    moves = threading.Event()
    real = os.write
    stuck = threading.Event()

    def slow(descriptor: int, data: bytes) -> int:
        stuck.set()
        moves.wait(30.0)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", slow)
    count = (MAX_WAITING_BYTES + 300_000) // len(LINE)
    for _ in range(count):
        sink.write(LINE)
    assert stuck.wait(30.0)
    assert sink.full is False or sink.waiting_bytes <= MAX_WAITING_BYTES
    assert sink.dropped_lines >= 300_000 // len(LINE)
    assert sink._last_error == "the disk does not keep up"
    sink.reopen()  # does not wait either
    moves.set()
    await until(lambda: not sink.waiting_bytes)
    sink.close()
    assert path.read_bytes() == LINE * (count - sink.dropped_lines)


async def test_the_end_does_not_wait_for_a_disk_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = LogSink(str(tmp_path / "log"), asyncio.get_running_loop())
    moves = threading.Event()
    real = os.write

    def slow(descriptor: int, data: bytes) -> int:
        moves.wait(30.0)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", slow)
    sink.write(LINE)
    sink.write(LINE * 2)
    sink.close(0.05)
    assert sink.dropped_lines >= 2, "and says what it left behind"
    before = [thread for thread in threading.enumerate() if thread.name == "log"]
    moves.set()
    await until(lambda: not any(thread.is_alive() for thread in before))


async def test_the_child_of_a_fork_writes_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = LogSink(str(path), asyncio.get_running_loop())
    sink.write(b"parent\n")
    await until(lambda: path.read_bytes() == b"parent\n")
    child = os.fork()
    if not child:
        try:
            sink.write(b"child\n")
            sink.drain(20.0)
        finally:
            os._exit(0)
    await until(lambda: os.waitpid(child, os.WNOHANG)[0])
    assert path.read_bytes() == b"parent\nchild\n"
    sink.close()


async def test_the_file_is_not_for_everybody(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        LogSink(str(tmp_path / "log")).close()
    finally:
        os.umask(before)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640


async def test_after_a_rotation_lines_go_to_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = LogSink(str(path), asyncio.get_running_loop())
    sink.write(b"old\n")
    path.rename(tmp_path / "log.1")
    sink.write(b"still old\n")
    sink.reopen()
    sink.write(b"new\n")
    sink.close()
    assert (tmp_path / "log.1").read_bytes() == b"old\nstill old\n"
    assert path.read_bytes() == b"new\n"


async def test_a_failed_reopening_keeps_the_old_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "log"
    sink = LogSink(str(path), asyncio.get_running_loop())
    moved = tmp_path / "moved"
    folder.rename(moved)
    sink.reopen()
    sink.write(b"line\n")
    await until(lambda: caplog.records)
    assert "was not reopened, the old file stays in use: no such file or directory" in caplog.text
    sink.close()
    assert (moved / "log").read_bytes() == b"line\n"


async def test_a_name_that_is_no_file_any_more_is_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread would wait for the reader of a FIFO."""
    path = tmp_path / "log"
    sink = LogSink(str(path), asyncio.get_running_loop())
    path.rename(tmp_path / "old")
    os.mkfifo(path)
    sink.reopen()
    sink.write(b"line\n")
    await until(lambda: caplog.records)
    assert "it is no file any more" in caplog.text
    sink.close()
    assert (tmp_path / "old").read_bytes() == b"line\n"


async def test_a_missing_folder_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LogSink(str(tmp_path / "none" / "log"))


async def test_a_full_pipe_makes_nobody_wait_and_loses_nothing_below_the_bound(pipe: Pipe) -> None:
    sink = LogSink("-", asyncio.get_running_loop(), stream_fd=pipe.writer)
    lines = [b"%08d " % index + b"y" * 90 + b"\n" for index in range(5000)]
    began = time.monotonic()
    for line in lines:
        sink.write(line)
    assert time.monotonic() - began < 20.0
    assert 0 < sink.waiting_bytes < MAX_WAITING_BYTES
    taken = bytearray()

    def all_read() -> bool:
        taken.extend(pipe.read())
        return not sink.waiting_bytes

    await until(all_read)
    taken += pipe.read()
    assert bytes(taken) == b"".join(lines)
    assert sink.dropped_lines == 0
    sink.close()


async def test_beyond_the_bound_lines_are_dropped_counted_and_reported_once(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log_sink, "REPORT_AFTER_S", 0.02)
    monkeypatch.setattr(log_sink, "REPORT_INTERVAL_S", 0.02)
    sink = LogSink("-", asyncio.get_running_loop(), stream_fd=pipe.writer)
    count = (MAX_WAITING_BYTES + 300_000) // len(LINE)
    for _ in range(count):
        sink.write(LINE)
    assert sink.dropped_lines > 0
    assert sink.waiting_bytes <= MAX_WAITING_BYTES
    with caplog.at_level(logging.INFO):
        await until(lambda: len(caplog.records) == 2)
    first, second = (record.getMessage() for record in caplog.records)
    assert f"{sink.dropped_lines} lines" in first
    assert "written again, none was dropped since" in second
    taken = bytearray()

    def all_read() -> bool:
        taken.extend(pipe.read())
        return not sink.waiting_bytes

    await until(all_read)
    taken += pipe.read()
    assert taken.count(b"\n") == count - sink.dropped_lines, "every line is either there or counted"
    sink.close()


async def test_lines_of_two_writers_of_a_pipe_never_mix(pipe: Pipe) -> None:
    loop = asyncio.get_running_loop()
    first, second = (LogSink("-", loop, stream_fd=pipe.writer) for _ in range(2))
    taken = bytearray()
    for index in range(400):
        first.write((b"a" * 150 + b"\n") * 7)
        second.write((b"b" * 170 + b"\n") * 5)
        if index % 20 == 0:
            taken += pipe.read()

    def all_read() -> bool:
        taken.extend(pipe.read())
        return not (first.waiting_bytes or second.waiting_bytes)

    await until(all_read)
    taken += pipe.read()
    lines = set(bytes(taken).splitlines())
    assert lines == {b"a" * 150, b"b" * 170}
    first.close()
    second.close()


async def test_the_streams_own_blocking_mode_is_left_alone(pipe: Pipe) -> None:
    sink = LogSink("-", asyncio.get_running_loop(), stream_fd=pipe.writer)
    sink.write(LINE * 10_000)
    assert os.get_blocking(pipe.writer), "O_NONBLOCK would be shared with whoever started us"
    sink.drain(0.0)
    sink.close(0.0)


async def test_a_stream_that_cannot_be_opened_again_still_makes_nobody_wait(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogSink, "_open_stream", lambda self: os.dup(self._stream_fd))
    sink = LogSink("-", asyncio.get_running_loop(), stream_fd=pipe.writer)
    began = time.monotonic()
    for _ in range(5000):
        sink.write(LINE)
    assert time.monotonic() - began < 20.0
    assert sink.waiting_bytes
    taken = bytearray()

    def all_read() -> bool:
        taken.extend(pipe.read())
        return not sink.waiting_bytes

    await until(all_read)
    taken += pipe.read()
    assert bytes(taken) == LINE * 5000
    sink.close()


async def test_a_line_longer_than_a_pipe_takes_at_once_arrives_whole(pipe: Pipe) -> None:
    sink = LogSink("-", asyncio.get_running_loop(), stream_fd=pipe.writer)
    long = b"z" * 20_000 + b"\n"
    sink.write(LINE + long + LINE)
    taken = bytearray()

    def all_read() -> bool:
        taken.extend(pipe.read())
        return len(taken) == 2 * len(LINE) + len(long)

    await until(all_read)
    assert bytes(taken) == LINE + long + LINE
    sink.close()


async def test_a_reader_that_went_away_costs_lines_not_the_process(pipe: Pipe) -> None:
    sink = LogSink("-", asyncio.get_running_loop(), stream_fd=pipe.writer)
    pipe.close_reader()
    sink.write(LINE * 3)
    assert sink.dropped_lines == 3
    sink.write(LINE)
    assert sink.dropped_lines == 4
    sink.close()


async def test_a_full_disk_costs_lines_and_the_next_line_stands_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    sink = LogSink(str(path), asyncio.get_running_loop())
    real = os.write
    room = 15

    def short(descriptor: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        written = real(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", short)
    sink.write(b"0123456789\nabcdefghi\nlost\n")
    await until(lambda: sink.dropped_lines == 2)
    monkeypatch.setattr(os, "write", real)
    sink.write(b"after\n")
    sink.close()
    assert path.read_bytes() == b"0123456789\nabcd\nafter\n"


async def test_a_fifo_without_reader_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    sink = LogSink(str(path), asyncio.get_running_loop())
    sink.write(b"early\n")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert os.read(reader, 100) == b"early\n"
    finally:
        os.close(reader)
    sink.close()


async def test_a_socket_as_stdout_is_written_without_waiting() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sink = LogSink("-", asyncio.get_running_loop(), stream_fd=ours.fileno())
        began = time.monotonic()
        for _ in range(10_000):
            sink.write(LINE)
        assert time.monotonic() - began < 20.0
        theirs.setblocking(False)
        taken = bytearray()

        def all_read() -> bool:
            with contextlib.suppress(BlockingIOError):
                taken.extend(theirs.recv(1 << 20))
            return not sink.waiting_bytes

        await until(all_read)
        while len(taken) < (10_000 - sink.dropped_lines) * len(LINE):
            all_read()
        assert bytes(taken) == LINE * (10_000 - sink.dropped_lines)
        assert ours.getblocking()
        sink.close()


async def test_the_end_waits_a_little_for_the_reader_but_not_for_ever(pipe: Pipe) -> None:
    fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, 4096)
    sink = LogSink("-", asyncio.get_running_loop(), stream_fd=pipe.writer)
    sink.write(LINE * 1000)
    began = time.monotonic()
    sink.close(0.2)
    assert 0.1 < time.monotonic() - began < 20.0
    assert sink.dropped_lines == 1000 - pipe.read().count(b"\n")


async def test_without_a_loop_what_waits_goes_out_with_the_next_line(pipe: Pipe) -> None:
    fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, 4096)
    sink = LogSink("-", None, stream_fd=pipe.writer)
    sink.write(LINE * 100)
    waiting = sink.waiting_bytes
    assert waiting
    pipe.read()
    sink.write(LINE)
    assert sink.waiting_bytes < waiting
    sink.close(0.0)


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/stderr"])
def test_the_paths_of_the_standard_streams_are_the_streams(path: str) -> None:
    """As a socket each of them can be written but not opened."""
    code = f"from gatewayd.observe.log_sink import LogSink\ns = LogSink({path!r})\ns.write(b'line\\n')\ns.close()"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        streams = {"stdout": theirs} if path == "/dev/stdout" else {"stderr": theirs}
        subprocess.run([sys.executable, "-c", code], check=True, timeout=30, **streams)  # type: ignore[call-overload]
        assert ours.recv(100) == b"line\n"


# --- lines that are gathered


async def test_what_is_gathered_waits_for_more_or_to_be_settled(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = LogSink(str(path), asyncio.get_running_loop())
    sink.gather(LINE)
    sink.gather(LINE)
    assert sink.waiting_bytes == 2 * len(LINE)
    assert path.read_bytes() == b""
    sink.settle()
    sink.settle()
    sink.drain(10.0)
    assert path.read_bytes() == 2 * LINE
    written = 0
    while sink.waiting_bytes == written * len(LINE) and written < 10_000:  # nobody asks for it
        sink.gather(LINE)
        written += 1
    sink.close(10.0)
    assert path.read_bytes() == (2 + written) * LINE


async def test_order_is_kept_whatever_was_gathered(tmp_path: Path) -> None:
    path, rotated = tmp_path / "log", tmp_path / "log.1"
    sink = LogSink(str(path), asyncio.get_running_loop())
    sink.gather(b"1\n")
    sink.write(b"2\n")
    sink.gather(b"3\n")
    path.rename(rotated)
    sink.reopen()
    sink.gather(b"4\n")
    sink.attach(None)
    sink.gather(b"5\n")
    sink.close(10.0)
    assert (rotated.read_bytes(), path.read_bytes()) == (b"1\n2\n3\n", b"4\n5\n")


async def test_a_stream_is_given_what_is_gathered_at_once(pipe: Pipe) -> None:
    sink = LogSink(f"/proc/self/fd/{pipe.writer}", asyncio.get_running_loop())
    sink.gather(LINE)
    assert pipe.read() == LINE
    sink.close()


async def test_gathered_lines_count_as_waiting(tmp_path: Path) -> None:
    sink = LogSink(str(tmp_path / "log"), asyncio.get_running_loop())
    sink.gather(LINE)
    sink.gather(b"x" * MAX_WAITING_BYTES + b"\n")
    assert sink.dropped_lines == 1
    sink.close(10.0)
    assert (tmp_path / "log").read_bytes() == LINE
