"""Flow control (RFC 9113 5.2, 6.9) tied to whoever is on the other side, and the memory it bounds (hardening 9.6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd import errors
from gatewayd.http.limits import HttpLimits
from gatewayd.http.message import Trailers
from tests.http.h2.rigs import Asked, Served, response_head
from tests.support import h2_wire as wire
from tests.support.h2_wire import FLOW_CONTROL_ERROR, request

WINDOW = 65_535
POST = request("POST")


def updates(found: list[wire.Frame]) -> dict[int, int]:
    """What was credited, by stream."""
    credited: dict[int, int] = {}
    for frame in found:
        if frame.kind == wire.WINDOW_UPDATE:
            credited[frame.stream] = credited.get(frame.stream, 0) + int.from_bytes(frame.payload, "big")
    return credited


def body(served: Served | Asked, found: list[wire.Frame], stream: int = 1) -> int:
    return sum(len(frame.payload) for frame in found if frame.kind == wire.DATA and frame.stream == stream)


# --- what a client sends


def test_6_9_the_windows_are_announced() -> None:
    served = Served(HttpLimits(h2_stream_window_bytes=100_000, h2_connection_window_bytes=500_000))
    first = served.frames[0]
    assert (wire.INITIAL_WINDOW_SIZE).to_bytes(2, "big") + (100_000).to_bytes(4, "big") in first.payload
    assert updates(served.frames) == {0: 500_000 - WINDOW}


def test_6_9_what_was_passed_on_is_credited_in_batches() -> None:
    served = Served()
    served.send(wire.headers(1, POST))
    credited = [updates(served.send(wire.data(1, bytes(8192)))) for _ in range(16)]
    assert credited == [{}, {}, {}, {1: 32768}] * 4
    assert sum(len(handler.body) for handler in served.begun) == 16 * 8192


def test_6_9_1_padding_counts_and_is_credited() -> None:
    served = Served()
    served.send(wire.headers(1, POST))
    found: list[wire.Frame] = []
    for _ in range(128):
        found += served.send(wire.data(1, b"x", padding=254))
    assert updates(found) == {1: 32768}
    assert len(served.begun[0].body) == 128


def test_6_9_while_the_upstream_takes_nothing_the_window_closes() -> None:
    """Nothing of what waits is credited, neither to the stream nor to the connection."""
    served = Served()
    served.send(wire.headers(1, POST))
    served.begun[0].stream.pause(True)
    found = served.send(*[wire.data(1, bytes(16384))] * 4)
    assert updates(found) == {}
    served.begun[0].stream.pause(False)
    assert updates(served.sent()) == {1: 65536}


def test_6_9_1_a_client_that_sends_beyond_its_window_is_given_up() -> None:
    served = Served()
    served.send(wire.headers(1, POST))
    served.begun[0].stream.pause(True)
    served.send(*[wire.data(1, bytes(16384))] * 4, wire.data(1, b"x"))
    assert served.failed() == FLOW_CONTROL_ERROR
    assert served.begun[0].aborted is not None


def test_6_9_1_and_so_is_one_that_does_so_on_the_connection() -> None:
    served = Served(HttpLimits(h2_connection_window_bytes=WINDOW))
    for number in (1, 3):
        served.send(wire.headers(number, POST))
        served.begun[-1].stream.pause(True)
        served.send(*[wire.data(number, bytes(16384))] * 2)
    assert served.failed() is None or served.failed() == FLOW_CONTROL_ERROR
    served.send(wire.data(1, bytes(16384)))
    assert served.failed() == FLOW_CONTROL_ERROR


def test_bytes_of_streams_that_are_over_are_credited_to_the_connection() -> None:
    served = Served()
    found: list[wire.Frame] = []
    for number in range(1, 41, 2):
        found += served.send(wire.headers(number, POST))
        served.begun[-1].stream.pause(True)
        found += served.send(*[wire.data(number, bytes(16384))] * 3)
        served.begun[-1].answer(403)  # and the stream is reset
    assert served.failed() is None
    assert updates(found) == {0: 11 * 3 * 16384}


def test_so_is_the_rest_of_a_frame_that_had_begun() -> None:
    served = Served()
    found: list[wire.Frame] = []
    for number in range(1, 101, 2):
        frame = wire.data(number, bytes(16384))
        found += served.send(wire.headers(number, POST), frame[:500])
        served.begun[-1].answer(403)
        found += served.send(frame[500:])
    assert served.failed() is None
    assert updates(found)[0] >= 512 * 1024


def test_large_frames_are_passed_on_before_they_are_complete() -> None:
    served = Served()
    served.send(wire.headers(1, POST))
    frame = wire.data(1, b"abc" * 1000, end=True)
    served.send(frame[:500])
    assert len(served.begun[0].body) == 491
    served.send(frame[500:2000], frame[2000:])
    assert (served.begun[0].body, served.begun[0].ended) == (b"abc" * 1000, True)


def test_frames_of_a_body_that_come_together_are_passed_on_together() -> None:
    served = Served()
    served.send(wire.headers(1, POST))
    pieces: list[bytes] = []
    served.begun[0].on_request_data = lambda data, end: pieces.append(data)  # type: ignore[method-assign]
    served.send(
        wire.data(1, b"a") + wire.data(1, b"b") + wire.ping() + wire.data(1, b"c") + wire.data(1, b"d")[:10]
    )
    assert pieces == [b"ab", b"cd"]


# --- what a client takes


def test_6_9_an_answer_goes_as_far_as_the_windows_and_its_sender_is_stopped() -> None:
    served = Served()
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 10)), wire.headers(1, request(), end=True))
    handler = served.begun[0]
    handler.answer(200, b"0123456789abcdef", end=False)
    assert body(served, served.sent()) == 10
    assert handler.paused == [True]
    assert body(served, served.send(wire.window_update(1, 3))) == 3
    assert handler.paused == [True]
    assert body(served, served.send(wire.window_update(1, 100))) == 3
    assert handler.paused == [True, False]
    handler.stream.send_data(b"!", True)
    assert [(frame.payload, frame.ends) for frame in served.sent()] == [(b"!", True)]


def test_6_9_the_end_and_trailers_wait_for_what_is_queued() -> None:
    served = Served()
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 0)))
    served.send(wire.headers(1, request(), end=True), wire.headers(3, request(), end=True))
    first, second = served.begun
    first.answer(200, b"abc", end=True)
    second.answer(200, b"abc", end=False)
    second.stream.send_trailers(Trailers([(b"x-t", b"1")]))
    assert not [frame for frame in served.sent() if frame.ends]
    found = served.send(wire.window_update(1, 10), wire.window_update(3, 10))
    assert [(frame.kind, frame.stream, frame.ends) for frame in found] == [
        (wire.DATA, 1, True),
        (wire.DATA, 3, False),
        (wire.HEADERS, 3, True),
    ]
    assert served.connection.queued == 0


def test_6_9_an_empty_end_needs_no_window() -> None:
    served = Served()
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 3)), wire.headers(1, request(), end=True))
    served.begun[0].answer(200, b"abc", end=False)
    served.begun[0].stream.send_data(b"", True)
    assert [frame.ends for frame in served.of(served.sent(), wire.DATA)] == [False, True]


def test_6_9_2_windows_of_open_streams_move_with_the_setting_and_may_be_negative() -> None:
    served = Served()
    served.send(wire.headers(1, request(), end=True))
    served.begun[0].answer(200, bytes(100), end=False)
    served.sent()
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 50)))
    assert served.connection.streams[1].send_window == 50 - 100
    served.begun[0].stream.send_data(b"x" * 30, False)
    assert body(served, served.sent()) == 0
    assert body(served, served.send(wire.window_update(1, 60))) == 10
    assert body(served, served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 1000)))) == 20


def test_6_9_1_a_stream_window_beyond_all_bounds_ends_the_connection() -> None:
    served = Served()
    served.send(wire.headers(1, POST), wire.window_update(1, (1 << 31) - 1))
    assert served.failed() == FLOW_CONTROL_ERROR
    served = Served()
    served.send(wire.headers(1, POST), wire.window_update(1, 1 << 16))
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, (1 << 31) - 1)))
    assert served.failed() == FLOW_CONTROL_ERROR


def test_6_9_the_connections_window_is_shared_in_turns() -> None:
    """A long answer does not keep the others waiting."""
    served = Served()
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 1 << 24)))
    served.send(*[wire.headers(number, request(), end=True) for number in (1, 3, 5)])
    for handler in served.begun:
        handler.answer(200, bytes(200_000), end=True)
    first = served.sent()
    assert sum(body(served, first, number) for number in (1, 3, 5)) == WINDOW
    found = served.send(wire.window_update(0, 3 * 32768))
    assert [body(served, found, number) for number in (3, 5, 1)] == [32768, 32768, 32768]


def test_only_the_stream_whose_reader_is_slow_waits() -> None:
    served = Served()
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 0)), wire.window_update(0, 1 << 20))
    served.send(
        wire.headers(1, request(), end=True),
        wire.headers(3, request(), end=True),
        wire.window_update(3, 1000),
    )
    served.begun[0].answer(200, bytes(100), end=False)
    served.begun[1].answer(200, bytes(100), end=False)
    assert [handler.paused for handler in served.begun] == [[True], []]


# --- memory


def test_9_6_a_client_that_takes_nothing_stops_all_its_upstreams_before_they_fill_the_memory() -> None:
    served = Served(HttpLimits(h2_queued_bytes=100_000))
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 0)))
    served.send(*[wire.headers(number, request(), end=True) for number in (1, 3, 5)])
    first, second, third = served.begun
    first.answer(200, bytes(60_000), end=False)
    assert third.paused == []
    second.answer(200, bytes(60_000), end=False)
    assert third.paused == [True]
    served.send(wire.headers(7, request(), end=True))
    assert served.begun[3].paused == [True]
    assert served.begun[3].stream.slow
    served.send(
        wire.window_update(0, 1 << 20), wire.window_update(1, 1 << 20), wire.window_update(3, 1 << 20)
    )
    assert [handler.paused for handler in served.begun] == [[True, False]] * 4


def test_9_6_what_was_queued_for_a_stream_goes_with_it() -> None:
    served = Served()
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 0)), wire.headers(1, request(), end=True))
    served.begun[0].answer(200, bytes(60_000), end=False)
    assert served.connection.queued == 60_000
    served.send(wire.rst(1))
    assert served.connection.queued == 0
    assert served.begun[0].aborted is not None


def test_9_6_while_the_transport_is_full_nothing_is_added_and_nothing_is_read() -> None:
    served = Served()
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 1 << 20)), wire.window_update(0, 1 << 20))
    served.send(wire.headers(1, request(), end=True))
    served.transport.stuck = True
    handler = served.begun[0]
    handler.answer(200, bytes(70_000), end=False)
    assert not served.transport.reading
    before = len(served.transport.sent)
    handler.stream.send_data(bytes(50_000), False)
    assert handler.paused == [True]
    assert len(served.transport.sent) == before
    served.transport.drain()
    assert served.transport.reading
    assert handler.paused == [True, False]
    assert body(served, [*served.frames, *served.sent()]) == 120_000


# --- towards upstreams


def test_an_upstream_that_takes_nothing_stops_its_client() -> None:
    asked = Asked(settings=wire.settings((wire.INITIAL_WINDOW_SIZE, 5)))
    stream, attempt = asked.ask("POST", complete=False)
    stream.send_data(b"0123456789", False)
    assert attempt.paused == [True]
    stream.send_data(b"", True)
    asked.sent()
    found = asked.send(wire.window_update(1, 100))
    assert [(frame.payload, frame.ends) for frame in found] == [(b"56789", True)]


def test_a_client_that_reads_nothing_closes_the_window_of_its_stream_alone() -> None:
    """The connection is credited at once: on it are other clients' answers."""
    asked = Asked()
    slow, _ = asked.ask()
    _, other = asked.ask()
    asked.send(wire.headers(1, response_head()), wire.headers(3, response_head()))
    slow.pause(True)
    found = asked.send(*[wire.data(1, bytes(16384))] * 4)
    assert 1 not in updates(found)
    for _ in range(70):
        found += asked.send(wire.data(3, bytes(16384)))
    assert other.failure is None
    assert updates(found)[0] >= 1 << 20
    slow.pause(False)
    assert updates(asked.sent()) == {1: 65536}


def test_an_upstream_beyond_its_window_loses_the_stream() -> None:
    asked = Asked()
    stream, attempt = asked.ask()
    asked.send(wire.headers(1, response_head()))
    stream.pause(True)
    found = asked.send(*[wire.data(1, bytes(16384))] * 4, wire.data(1, b"x"))
    assert [reset.code for reset in asked.of(found, wire.RST_STREAM)] == [FLOW_CONTROL_ERROR]
    assert attempt.failure == (errors.UPSTREAM_RESET, False)
    assert asked.failed() is None


# --- any order of events


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("data"), st.integers(0, 3), st.integers(0, 40_000)),
        st.tuples(st.just("window"), st.integers(0, 3), st.integers(1, 50_000)),
        st.tuples(st.just("connection"), st.just(0), st.integers(1, 50_000)),
        st.tuples(st.just("setting"), st.just(0), st.integers(0, 70_000)),
        st.tuples(st.just("full"), st.just(0), st.just(0)),
        st.tuples(st.just("drain"), st.just(0), st.just(0)),
        st.tuples(st.just("reset"), st.integers(0, 3), st.just(0)),
    ),
    max_size=40,
)


@given(EVENTS)
def test_no_window_is_ever_exceeded_and_nothing_is_lost_or_reordered(
    events: list[tuple[str, int, int]],
) -> None:
    served = Served()
    numbers = [1, 3, 5, 7]
    served.send(*[wire.headers(number, request(), end=True) for number in numbers])
    for handler in served.begun:
        handler.answer(200, b"", end=False)
    given_bytes = dict.fromkeys(numbers, 0)
    stream_window, connection_window, initial = dict.fromkeys(numbers, WINDOW), WINDOW, WINDOW
    reset: set[int] = set()
    for kind, index, amount in events:
        number = numbers[index]
        handler = served.begun[index]
        if kind in ("window", "connection", "setting", "reset") and not served.transport.reading:
            continue  # it would not be read
        if kind == "data" and number not in reset:
            given_bytes[number] += amount
            handler.stream.send_data(bytes(amount), False)
        elif kind == "window" and number not in reset:
            stream_window[number] += amount
            served.send(wire.window_update(number, amount))
        elif kind == "connection":
            connection_window += amount
            served.send(wire.window_update(0, amount))
        elif kind == "setting":
            for each in numbers:
                stream_window[each] += amount - initial
            initial = amount
            served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, amount)))
        elif kind == "full":
            served.transport.stuck = True
        elif kind == "drain":
            served.transport.drain()
        elif kind == "reset":
            reset.add(number)
            served.send(wire.rst(number))
        served.sent()
        sent = {each: body(served, served.frames, each) for each in numbers}
        assert sum(sent.values()) <= connection_window or kind == "setting"
        for each in numbers:
            assert sent[each] <= given_bytes[each]
            stream = served.connection.streams.get(each)
            if stream is not None:
                assert sent[each] + stream.queued == given_bytes[each]
                assert stream.send_window == stream_window[each] - sent[each]
                assert stream.slow == bool(stream.queued) or served.connection.congested
        assert served.connection.queued == sum(s.queued for s in served.connection.streams.values())
    served.transport.drain()
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 1 << 30)), wire.window_update(0, 1 << 30))
    for number in numbers:
        if number not in reset:
            assert body(served, served.frames, number) == given_bytes[number]


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 65535, 200_000])
def test_bodies_of_any_size_arrive(size: int) -> None:
    served = Served()
    served.send(wire.settings((wire.INITIAL_WINDOW_SIZE, 1 << 20)), wire.window_update(0, 1 << 20))
    served.send(wire.headers(1, request(), end=True))
    served.begun[0].answer(200, bytes(size), end=True)
    found = served.sent()
    assert body(served, found) == size
    assert [frame.ends for frame in found if frame.stream == 1].count(True) == 1
