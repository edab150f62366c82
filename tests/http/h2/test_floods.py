"""What a peer may do for nothing is counted, each kind by itself; too much ends in ENHANCE_YOUR_CALM (hardening 3)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from gatewayd.http.h2 import floods
from gatewayd.http.h2.floods import Floods
from gatewayd.http.limits import HttpLimits
from tests.http.h2.rigs import Served
from tests.support import h2_wire as wire
from tests.support.h2_wire import ENHANCE_YOUR_CALM, request

GET = wire.block(request())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Turns the floods' clock on."""
    now = [1000.0]
    monkeypatch.setattr(floods, "monotonic", lambda: now[0])

    def turn(seconds: float) -> None:
        now[0] += seconds

    return turn


@pytest.mark.usefixtures("clock")
class TestOneKindAlone:
    """Twice what is allowed at once is the most that can pass: the count is looked at when it is full."""

    LIMITS = HttpLimits(h2_resets=10, h2_control_frames=20)

    def served(self) -> Served:
        return Served(self.LIMITS, answers=False)

    def until_cut(self, served: Served, frames: Callable[[int], bytes], most: int) -> int:
        for number in range(most):
            served.send(frames(number))
            if served.failed() is not None:
                assert served.failed() == ENHANCE_YOUR_CALM
                return number + 1
        raise AssertionError(f"{most} passed")

    def test_resets_by_the_client(self) -> None:
        """CVE-2023-44487."""
        served = self.served()
        count = self.until_cut(
            served, lambda n: wire.headers(2 * n + 1, GET, end=True) + wire.rst(2 * n + 1), 100
        )
        assert count == 11
        assert all(handler.aborted is not None for handler in served.begun)

    def test_resets_that_the_client_provokes(self) -> None:
        """CVE-2025-8671: the same budget."""
        block = wire.block(request("POST", headers=[("content-length", "1")]))
        served = self.served()
        count = self.until_cut(
            served, lambda n: wire.headers(2 * n + 1, block) + wire.data(2 * n + 1, b"xx", end=True), 100
        )
        assert count == 11

    def test_heads_that_are_too_large(self) -> None:
        served = self.served()
        block = b"\x82" * 200
        assert self.until_cut(served, lambda n: wire.headers(2 * n + 1, block, end=True), 100) == 11

    def test_streams_above_the_limit(self) -> None:
        served = Served(HttpLimits(h2_resets=10, h2_max_concurrent_streams=1))
        assert self.until_cut(served, lambda n: wire.headers(2 * n + 1, GET, end=True), 100) == 12

    @pytest.mark.parametrize(
        "frame",
        [
            wire.ping(),
            wire.ping(ack=True),
            wire.settings(),
            wire.settings(ack=True),
            wire.priority(1),
            wire.window_update(0, 1),
            wire.frame(0x77),
            wire.goaway(),
        ],
        ids=[
            "PING",
            "PING answer",
            "SETTINGS",
            "SETTINGS answer",
            "PRIORITY",
            "WINDOW_UPDATE",
            "unknown",
            "GOAWAY",
        ],
    )
    def test_control_frames(self, frame: bytes) -> None:
        assert 18 < self.until_cut(self.served(), lambda _: frame, 200) <= 22

    def test_settings_within_frames(self) -> None:
        windows = wire.settings(*[(wire.INITIAL_WINDOW_SIZE, size) for size in range(4)])
        assert 3 < self.until_cut(self.served(), lambda _: windows, 200) <= 5

    def test_settings_in_one_frame(self) -> None:
        served = Served()
        served.send(wire.settings(*[(wire.INITIAL_WINDOW_SIZE, size) for size in range(32)]))
        assert served.failed() is None
        served.send(wire.settings(*[(wire.INITIAL_WINDOW_SIZE, size) for size in range(33)]))
        assert served.failed() == ENHANCE_YOUR_CALM

    @pytest.mark.parametrize("frame", [wire.data(1, b"x"), wire.rst(1), wire.headers(1, GET, end=True)])
    def test_frames_on_closed_streams(self, frame: bytes) -> None:
        served = Served(self.LIMITS, answers=True)
        served.send(wire.headers(1, GET, end=True))
        assert self.until_cut(served, lambda _: frame, 200) == 21

    def test_empty_data_twice_in_a_row(self) -> None:
        served = self.served()
        served.send(
            wire.headers(1, wire.block(request("POST"))), wire.data(1), wire.data(1, b"x"), wire.data(1)
        )
        assert served.failed() is None
        served.send(wire.data(1))
        assert served.failed() == ENHANCE_YOUR_CALM

    def test_empty_data_too_often(self) -> None:
        served = Served(HttpLimits(h2_empty_frames=5))
        served.send(wire.headers(1, wire.block(request("POST"))))
        assert self.until_cut(served, lambda _: wire.data(1) + wire.data(1, b"x"), 100) == 6

    def test_continuations_without_end(self) -> None:
        served = Served(HttpLimits(h2_max_continuations=5))
        served.send(wire.headers(1, b"", end_headers=False))
        assert self.until_cut(served, lambda _: wire.continuation(1, b"\x82", end_headers=False), 100) == 5

    def test_an_empty_continuation(self) -> None:
        served = self.served()
        served.send(wire.headers(1, b"", end_headers=False), wire.continuation(1, b"", end_headers=False))
        assert served.failed() == ENHANCE_YOUR_CALM

    def test_a_block_beyond_twice_what_a_head_may_have(self) -> None:
        served = Served(HttpLimits(max_request_head_bytes=10_000))
        served.send(
            wire.headers(1, bytes(15_000), end_headers=False),
            wire.continuation(1, bytes(6_000), end_headers=False),
        )
        assert served.failed() == ENHANCE_YOUR_CALM

    def test_far_too_many_fields(self) -> None:
        served = self.served()
        served.send(wire.headers(1, b"\x82" * 1001, end=True))
        assert served.failed() == ENHANCE_YOUR_CALM


def test_counts_go_down_with_time(clock: Callable[[float], None]) -> None:
    served = Served(HttpLimits(h2_control_frames=10, h2_control_frames_per_s=5.0))
    for _ in range(100):
        served.send(wire.ping())
        clock(0.2)
    assert served.failed() is None


@pytest.mark.usefixtures("clock")
def test_what_answers_data_goes_down_with_the_data_sent() -> None:
    """A fast download brings a WINDOW_UPDATE for every few frames, and gRPC a PING for each."""
    counts = Floods(HttpLimits(h2_control_frames=10))
    for kind in (floods.WINDOW_UPDATES, floods.PINGS):
        assert not any(counts.is_flood(kind, sent) for sent in range(1000))
    assert any(counts.is_flood(floods.PRIORITIES, sent) for sent in range(1000))


@pytest.mark.usefixtures("clock")
def test_a_reset_of_a_stream_that_was_answered_is_no_abuse() -> None:
    served = Served(HttpLimits(h2_resets=5))
    for number in range(1, 101, 2):
        served.send(wire.headers(number, GET, end=True))
        served.begun[-1].answer(200, b"beginning", end=False)
        served.send(wire.rst(number))
    assert served.failed() is None


@pytest.mark.usefixtures("clock")
def test_a_reset_after_a_while_is_no_abuse() -> None:
    """A client whose deadline passes cancels what is not answered."""
    served = Served(HttpLimits(h2_resets=5))
    for number in range(1, 101, 2):
        served.send(wire.headers(number, GET, end=True))
        served.begun[-1].started_at -= 2.0
        served.send(wire.rst(number))
    assert served.failed() is None


def test_20_000_rapid_resets_are_cut_off_soon_and_cost_little() -> None:
    """By default within 1,000 streams and 30 ms of this thread's time."""
    data = b"".join(wire.headers(2 * n + 1, GET, end=True) + wire.rst(2 * n + 1) for n in range(20_000))
    pieces = [data[at : at + 65536] for at in range(0, len(data), 65536)]
    spent = []
    for _ in range(5):
        served = Served()
        before = time.thread_time()
        for piece in pieces:
            served.transport.deliver(piece)
        spent.append(time.thread_time() - before)
        assert served.failed() == ENHANCE_YOUR_CALM
        assert len(served.begun) < 1000
    assert min(spent) < 0.3, "ten times what is promised: a busy machine is no failure"


def test_hpack_tables_cannot_be_made_larger_than_we_allow() -> None:
    served = Served()
    served.send(wire.headers(1, b"\x3f\xe2\x1f" + GET, end=True))  # 4,097 bytes
    assert served.failed() == wire.COMPRESSION_ERROR


def test_a_bomb_of_fields_costs_no_memory_beyond_its_limit() -> None:
    served = Served()
    bomb = b"\x40\x01a" + wire.string("x" * 4000) + b"\xbe" * 90
    found = served.send(wire.headers(1, GET + bomb, end=True))
    assert [frame.code for frame in served.of(found, wire.RST_STREAM)] == [wire.INTERNAL_ERROR]
    assert served.begun == []


def test_a_window_kept_shut_ends_with_the_streams_idle_timeout() -> None:
    """Zero-window stalls, one byte now and then: time runs while nothing moves."""
    served = Served(HttpLimits(stream_idle_timeout_s=10.0))
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 0)), wire.headers(1, request(), end=True))
    handler = served.begun[0]
    handler.answer(200, b"abc", end=False)
    for now in (100.0, 105.0, 109.0):
        served.connection.tick(now)
    assert not handler.idle
    served.send(wire.window_update(1, 1))
    served.connection.tick(111.0)
    served.connection.tick(120.0)
    assert not handler.idle
    served.connection.tick(121.5)
    assert handler.idle


@pytest.mark.parametrize(("phase", "limit"), [("greeted", 300.0), ("silent", 10.0)])
def test_a_connection_without_requests_ends(phase: str, limit: float) -> None:
    served = Served(HttpLimits(idle_timeout_s=300.0, request_head_timeout_s=10.0), greet=phase == "greeted")
    since = served.connection.idle_since
    served.connection.tick(since + limit - 0.5)
    assert not served.transport.ended
    served.connection.tick(since + limit + 0.5)
    assert served.failed() in (wire.NO_ERROR, wire.SETTINGS_TIMEOUT)
