"""RFC 9113 sections 3 to 7 at frame level, for both roles."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gatewayd import errors
from gatewayd.http.h2.states import STATES
from gatewayd.http.limits import HttpLimits
from tests.http.h2.rigs import Asked, Served, response_head
from tests.support import h2_wire as wire
from tests.support.h2_wire import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
)

GET = wire.request()
POST = wire.request("POST")


# --- 3.4: prefaces


def test_3_4_a_server_says_its_settings_first() -> None:
    first = Served(greet=False).sent()[0]
    assert (first.kind, first.flags, first.stream) == (wire.SETTINGS, 0, 0)


def test_3_4_a_client_sends_the_preface_and_its_settings() -> None:
    asked = Asked(greet=False)
    first = asked.sent()[0]
    assert first.kind == wire.SETTINGS
    assert (wire.ENABLE_PUSH, 0) in _settings(first.payload)


def _settings(payload: bytes) -> list[tuple[int, int]]:
    return [
        (int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big"))
        for at in range(0, len(payload), 6)
    ]


def test_3_4_the_preface_may_come_byte_by_byte() -> None:
    served = Served(greet=False)
    data = wire.PREFACE + wire.settings() + wire.headers(1, GET, end=True)
    served.send(*[data[at : at + 1] for at in range(len(data))])
    assert served.failed() is None
    assert len(served.begun) == 1


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", wire.PREFACE[:-1] + b"x", b"\x16\x03\x01"])
def test_3_4_another_preface_ends_the_connection(data: bytes) -> None:
    served = Served(greet=False)
    served.send(data)
    assert served.failed() == PROTOCOL_ERROR


@pytest.mark.parametrize("frame", [wire.headers(1, GET, end=True), wire.ping(), wire.data(1, b"x")])
def test_3_4_settings_come_before_everything_else(frame: bytes) -> None:
    served = Served(greet=False)
    served.send(wire.PREFACE + frame)
    assert served.failed() == PROTOCOL_ERROR
    asked = Asked(greet=False)
    asked.ask()
    asked.send(frame)
    assert asked.failed() == PROTOCOL_ERROR


# --- 4: frames


def test_4_1_frames_may_come_in_any_pieces() -> None:
    data = wire.headers(1, POST) + wire.data(1, b"abc") + wire.data(1, b"def", end=True)
    for size in (1, 2, 7, 9, 10, 13):
        served = Served()
        served.send(*[data[at : at + size] for at in range(0, len(data), size)])
        (request,) = served.begun
        assert (request.body, request.ended) == (b"abcdef", True)


def test_4_1_unknown_types_are_ignored_and_reserved_bits_too() -> None:
    served = Served()
    served.send(wire.frame(0x77, 0xFF, 5, b"whatever"), wire.frame(wire.PING, 0xFE, 0, b"12345678"))
    served.send(wire.frame(wire.HEADERS, 0xC2 | 0x5, (1 << 31) | 1, wire.block(GET)))
    assert served.failed() is None
    assert len(served.begun) == 1


@pytest.mark.parametrize("role", [Served, Asked])
def test_4_2_a_frame_larger_than_we_take_ends_the_connection(role: type[Served | Asked]) -> None:
    party = role()
    party.send(
        wire.frame(wire.DATA, 0, 1, b"")[:0] + (16385).to_bytes(3, "big") + b"\x00\x00\x00\x00\x00\x01"
    )
    assert party.failed() == FRAME_SIZE_ERROR


def test_4_2_we_send_no_larger_frames_than_everybody_takes() -> None:
    """Whatever the peer offers: streams beside it would wait."""
    served = Served()
    served.send(wire.settings((wire.MAX_FRAME_SIZE, 1 << 20), (wire.INITIAL_WINDOW_SIZE, 1 << 20)))
    served.send(wire.window_update(0, 1 << 20), wire.headers(1, GET, end=True))
    served.begun[0].answer(200, bytes(100_000))
    pieces = served.of(served.sent(), wire.DATA)
    assert [len(piece.payload) for piece in pieces] == [16384] * 6 + [100_000 - 6 * 16384]
    assert [piece.ends for piece in pieces] == [False] * 6 + [True]


@pytest.mark.parametrize("role", [Served, Asked])
def test_4_3_a_block_that_cannot_be_decoded_ends_the_connection(role: type[Served | Asked]) -> None:
    party = role()
    if isinstance(party, Asked):
        party.ask()
    party.send(wire.headers(1, b"\xff\xff\xff\xff\xff\xff", end=True))
    assert party.failed() == COMPRESSION_ERROR


def test_4_3_blocks_of_streams_that_are_over_still_change_the_table() -> None:
    """The server's table follows blocks it throws away: the client indexes against them."""
    served = Served(answers=True)
    served.send(wire.headers(1, GET, end=True))
    served.send(wire.headers(1, b"\x40\x01a\x011", end=True))  # on a closed stream
    served.send(wire.headers(3, wire.block(GET) + b"\xbe", end=True))
    assert served.failed() is None
    assert (b"a", b"1") in served.begun[1].request.block.forward


def test_4_3_a_block_may_go_on_in_continuations_and_nothing_may_come_between() -> None:
    block = wire.block(GET)
    served = Served()
    served.send(
        wire.headers(1, block[:5], end=True, end_headers=False)
        + wire.continuation(1, block[5:9], end_headers=False)
        + wire.continuation(1, block[9:])
    )
    assert served.begun[0].request.method == b"GET"
    served.send(wire.headers(3, block[:5], end=True, end_headers=False))
    served.send(wire.ping())
    assert served.failed() == PROTOCOL_ERROR


@pytest.mark.parametrize(
    "between",
    [
        wire.data(1, b"x"),
        wire.continuation(3, b""),
        wire.headers(5, GET, end=True),
        wire.settings(),
        wire.frame(0x99),
    ],
)
def test_4_3_whatever_comes_between_the_frames_of_a_block_ends_the_connection(between: bytes) -> None:
    served = Served()
    served.send(wire.headers(1, wire.block(GET)[:5], end_headers=False), between)
    assert served.failed() == PROTOCOL_ERROR
    assert served.begun == []


# --- 5.1: stream states


@pytest.mark.parametrize(
    "frame", [wire.data(1, b"x"), wire.rst(1), wire.window_update(1, 1), wire.data(2, b"x")]
)
def test_5_1_frames_on_an_idle_stream_end_the_connection(frame: bytes) -> None:
    served = Served()
    served.send(frame)
    assert served.failed() == PROTOCOL_ERROR


@pytest.mark.parametrize("frame", [wire.data(1, b"x"), wire.headers(1, [("x", "1")], end=True)])
def test_5_1_a_client_that_has_ended_its_side_sends_no_more(frame: bytes) -> None:
    served = Served()
    served.send(wire.headers(1, GET, end=True), frame)
    assert served.failed() == STREAM_CLOSED
    assert served.begun[0].aborted is not None
    assert served.begun[0].aborted[0] == "DPE"


@pytest.mark.parametrize(
    "frame",
    [
        wire.data(1, b"x", end=True),
        wire.headers(1, [("x", "1")], end=True),
        wire.rst(1),
        wire.window_update(1, 5),
        wire.priority(1, 3),
    ],
)
def test_5_1_frames_on_a_closed_stream_were_on_their_way(frame: bytes) -> None:
    served = Served(answers=True)
    served.send(wire.headers(1, GET, end=True), frame)
    served.send(wire.headers(3, GET, end=True))
    assert served.failed() is None
    assert len(served.begun) == 2


def test_5_1_frames_after_our_reset_are_read_and_forgotten() -> None:
    served = Served()
    served.send(wire.headers(1, POST))
    served.begun[0].answer(200)  # without waiting for the body: NO_ERROR
    assert [frame.code for frame in served.of(served.sent(), wire.RST_STREAM)] == [wire.NO_ERROR]
    served.send(wire.data(1, b"more") * 3, wire.headers(1, [("t", "1")], end=True))
    assert served.failed() is None


def test_5_1_every_move_of_a_stream_is_in_the_table() -> None:
    """The four ways a stream ends, watched."""
    served = Served()
    streams = []
    for number in (1, 3, 5, 7):
        served.send(wire.headers(number, POST))
        streams.append(served.connection.streams[number])
    moves: dict[int, list[int]] = {index: [stream.state] for index, stream in enumerate(streams)}

    def note() -> None:
        for index, stream in enumerate(streams):
            if moves[index][-1] != stream.state:
                moves[index].append(stream.state)

    served.send(wire.data(1, b"", end=True))
    note()
    served.begun[0].answer(200)
    note()
    served.begun[1].answer(200, b"x", end=False)
    served.begun[1].stream.send_data(b"", True)
    note()
    served.send(wire.rst(5))
    note()
    served.begun[3].stream.truncate()
    note()
    for path in moves.values():
        assert all(b in STATES[a] for a, b in pairwise(path)), path
        assert STATES[path[-1]] == frozenset(), "closed"
    assert served.connection.streams == {}


# --- 5.1.1: identifiers


@pytest.mark.parametrize("stream", [0, 2, 4])
def test_5_1_1_clients_open_odd_streams(stream: int) -> None:
    served = Served()
    served.send(wire.headers(stream, GET, end=True))
    assert served.failed() == PROTOCOL_ERROR


def test_5_1_1_a_lower_number_that_was_skipped_is_closed() -> None:
    served = Served()
    served.send(wire.headers(5, GET, end=True), wire.headers(3, GET, end=True))
    assert len(served.begun) == 1
    assert served.failed() is None


def test_5_1_1_a_server_opens_no_streams() -> None:
    asked = Asked()
    asked.ask()
    asked.send(wire.headers(2, response_head(), end=True))
    assert asked.failed() == PROTOCOL_ERROR


def test_5_1_1_our_numbers_are_odd_and_grow() -> None:
    asked = Asked()
    assert [asked.ask()[0].id for _ in range(3)] == [1, 3, 5]


# --- 5.1.2: concurrency


def test_5_1_2_streams_above_the_limit_are_refused_and_the_others_go_on() -> None:
    served = Served(HttpLimits(h2_max_concurrent_streams=2))
    greeting = _settings(served.frames[0].payload)
    assert (wire.MAX_CONCURRENT_STREAMS, 2) in greeting
    found = served.send(*[wire.headers(number, GET, end=True) for number in (1, 3, 5)])
    (reset,) = served.of(found, wire.RST_STREAM)
    assert (reset.stream, reset.code) == (5, wire.REFUSED_STREAM)
    served.begun[0].answer(200)
    served.send(wire.headers(7, GET, end=True))
    assert len(served.begun) == 3


def test_5_1_2_we_open_no_more_streams_than_the_peer_takes() -> None:
    asked = Asked(settings=wire.settings((wire.MAX_CONCURRENT_STREAMS, 2)))
    assert asked.connection.room == 2
    asked.ask()
    asked.ask()
    assert asked.connection.room <= 0
    asked.send(wire.headers(1, response_head(), end=True))
    assert asked.connection.room == 1
    asked.send(wire.settings((wire.MAX_CONCURRENT_STREAMS, 0)))
    assert asked.connection.room <= 0


def test_5_1_2_before_the_peer_has_spoken_a_hundred_are_enough() -> None:
    assert Asked(greet=False).connection.room == 100


# --- 5.3: priority is a piece of advice


def test_5_3_priority_is_read_and_changes_nothing() -> None:
    served = Served()
    served.send(
        wire.priority(1, 0),
        wire.priority(7, 7),
        wire.frame(
            wire.HEADERS,
            wire.END_HEADERS | wire.END_STREAM | wire.PRIORITY_FLAG,
            1,
            b"\x80\0\0\0\x10" + wire.block(GET),
        ),
    )
    assert served.failed() is None
    assert len(served.begun) == 1


@pytest.mark.parametrize(
    ("frame", "code"),
    [(wire.frame(wire.PRIORITY, 0, 1, b"1234"), FRAME_SIZE_ERROR), (wire.priority(0), PROTOCOL_ERROR)],
)
def test_5_3_but_it_must_be_one(frame: bytes, code: int) -> None:
    served = Served()
    served.send(frame)
    assert served.failed() == code


# --- 6: frames that are wrong, the same for both roles

WRONG: list[tuple[str, bytes, int]] = [
    ("6.1 DATA on stream 0", wire.data(0, b"x"), PROTOCOL_ERROR),
    ("6.2 HEADERS on stream 0", wire.headers(0, GET), PROTOCOL_ERROR),
    (
        "6.2 padding longer than the frame",
        wire.frame(wire.HEADERS, wire.PADDED | wire.END_HEADERS, 1, b"\x05abc"),
        PROTOCOL_ERROR,
    ),
    (
        "6.2 no room for the priority",
        wire.frame(wire.HEADERS, wire.PRIORITY_FLAG | wire.END_HEADERS, 1, b"1234"),
        PROTOCOL_ERROR,
    ),
    (
        "6.2 no room for the padding's length",
        wire.frame(wire.HEADERS, wire.PADDED | wire.END_HEADERS, 1, b""),
        PROTOCOL_ERROR,
    ),
    ("6.4 RST_STREAM on stream 0", wire.rst(0), PROTOCOL_ERROR),
    ("6.4 RST_STREAM of another size", wire.frame(wire.RST_STREAM, 0, 1, b"123"), FRAME_SIZE_ERROR),
    ("6.5 SETTINGS on a stream", wire.frame(wire.SETTINGS, 0, 1), PROTOCOL_ERROR),
    ("6.5 SETTINGS of another size", wire.frame(wire.SETTINGS, 0, 0, b"12345"), FRAME_SIZE_ERROR),
    (
        "6.5 an acknowledgement with settings",
        wire.frame(wire.SETTINGS, wire.ACK, 0, b"123456"),
        FRAME_SIZE_ERROR,
    ),
    ("6.5.2 ENABLE_PUSH neither 0 nor 1", wire.settings((wire.ENABLE_PUSH, 2)), PROTOCOL_ERROR),
    ("6.5.2 a window beyond 2^31-1", wire.settings((wire.INITIAL_WINDOW_SIZE, 1 << 31)), FLOW_CONTROL_ERROR),
    ("6.5.2 frames smaller than the least", wire.settings((wire.MAX_FRAME_SIZE, 16383)), PROTOCOL_ERROR),
    ("6.5.2 frames larger than the most", wire.settings((wire.MAX_FRAME_SIZE, 1 << 24)), PROTOCOL_ERROR),
    ("RFC 8441 3 neither 0 nor 1", wire.settings((wire.ENABLE_CONNECT_PROTOCOL, 2)), PROTOCOL_ERROR),
    (
        "6.6 PUSH_PROMISE",
        wire.frame(wire.PUSH_PROMISE, wire.END_HEADERS, 1, b"\0\0\0\x02" + wire.block(GET)),
        PROTOCOL_ERROR,
    ),
    ("6.7 PING on a stream", wire.frame(wire.PING, 0, 1, b"12345678"), PROTOCOL_ERROR),
    ("6.7 PING of another size", wire.frame(wire.PING, 0, 0, b"1234567"), FRAME_SIZE_ERROR),
    ("6.8 GOAWAY on a stream", wire.frame(wire.GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
    ("6.8 GOAWAY of another size", wire.frame(wire.GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    ("6.9 WINDOW_UPDATE of another size", wire.frame(wire.WINDOW_UPDATE, 0, 0, b"123"), FRAME_SIZE_ERROR),
    ("6.9 WINDOW_UPDATE of 0", wire.window_update(0, 0), PROTOCOL_ERROR),
    ("6.9.1 a connection window beyond 2^31-1", wire.window_update(0, (1 << 31) - 1), FLOW_CONTROL_ERROR),
    ("6.10 CONTINUATION of nothing", wire.continuation(1, b""), PROTOCOL_ERROR),
]


@pytest.mark.parametrize("role", [Served, Asked])
@pytest.mark.parametrize(("frame", "code"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_6_a_wrong_frame_ends_the_connection(role: type[Served | Asked], frame: bytes, code: int) -> None:
    party = role()
    party.send(frame)
    assert party.failed() == code
    if isinstance(party, Asked):
        assert party.owner.lost, "nobody may get a stream of it"


def test_6_everybody_on_a_connection_that_fails_is_told_once() -> None:
    asked = Asked()
    attempts = [asked.ask()[1] for _ in range(3)]
    asked.send(wire.frame(wire.PING, 0, 1, b"12345678"))
    assert [attempt.failure for attempt in attempts] == [(errors.UPSTREAM_PROTOCOL, False)] * 3
    asked.transport.settle()


def test_6_nothing_is_read_behind_a_failure() -> None:
    served = Served()
    served.send(
        wire.ping(b"1234567")[:0] + wire.frame(wire.PING, 0, 0, b"1") + wire.headers(1, GET, end=True)
    )
    served.send(wire.headers(3, GET, end=True))
    assert served.failed() == FRAME_SIZE_ERROR
    assert served.begun == []


def test_6_a_peer_that_goes_on_sending_is_cut_off() -> None:
    served = Served(HttpLimits(linger_bytes=1000))
    served.send(wire.frame(wire.PING, 0, 0, b"1"))
    served.send(bytes(900))
    assert not served.transport.closing
    served.send(bytes(200))
    assert served.transport.closing


# --- 6.1, 6.2: padding


def test_6_1_padding_of_data_is_taken_off() -> None:
    served = Served()
    served.send(
        wire.headers(1, POST), wire.data(1, b"abc", padding=0), wire.data(1, b"def", end=True, padding=200)
    )
    assert (served.begun[0].body, served.begun[0].ended) == (b"abcdef", True)


@pytest.mark.parametrize("payload", [b"\x05abc", b"\x04abc"[:4], b""])
def test_6_1_padding_longer_than_the_frame_ends_the_connection(payload: bytes) -> None:
    served = Served()
    served.send(wire.headers(1, POST), wire.frame(wire.DATA, wire.PADDED, 1, payload))
    assert served.failed() == PROTOCOL_ERROR


def test_6_2_padding_and_priority_of_headers_are_taken_off() -> None:
    block = wire.block(GET)
    flags = wire.PADDED | wire.PRIORITY_FLAG | wire.END_HEADERS | wire.END_STREAM
    served = Served()
    served.send(wire.frame(wire.HEADERS, flags, 1, b"\x03" + b"\0\0\0\0\x10" + block + b"\0\0\0"))
    assert served.begun[0].request.method == b"GET"


# --- 6.4, 7: resets


def test_6_4_a_reset_ends_the_exchange_and_leaves_the_connection() -> None:
    served = Served()
    served.send(wire.headers(1, GET, end=True), wire.headers(3, GET, end=True), wire.rst(1))
    assert served.begun[0].aborted == ("DR", "http2.remote_reset")
    assert served.begun[1].aborted is None
    served.begun[1].answer(200)
    assert served.fields(3)[0] == (":status", "200")


def test_6_4_nothing_is_sent_on_a_stream_behind_its_reset() -> None:
    served = Served()
    served.send(wire.headers(1, GET, end=True), wire.rst(1))
    served.begun[0].stream.respond(200, [], b"late", True)
    served.begun[0].stream.send_data(b"later", True)
    assert served.sent() == []


RESETS = [
    (wire.REFUSED_STREAM, errors.UPSTREAM_REFUSED, True),
    (wire.PROTOCOL_ERROR, errors.UPSTREAM_PROTOCOL, False),
    (wire.CONNECT_ERROR, errors.UPSTREAM_CONNECT_ERROR, False),
    (wire.CANCEL, errors.UPSTREAM_RESET, False),
    (wire.INTERNAL_ERROR, errors.UPSTREAM_RESET, False),
    (wire.HTTP_1_1_REQUIRED, errors.UPSTREAM_RESET, False),
    (wire.NO_ERROR, errors.UPSTREAM_RESET, False),
    (0xABCD, errors.UPSTREAM_RESET, False),
]


@pytest.mark.parametrize(("code", "failure", "unread"), RESETS)
def test_7_what_an_upstreams_reset_means(code: int, failure: errors.Failure, unread: bool) -> None:
    asked = Asked()
    _, attempt = asked.ask()
    asked.send(wire.rst(1, code))
    assert attempt.failure == (failure, unread)
    assert asked.owner.released_count == 1


def test_8_7_a_refused_stream_was_not_unread_once_it_was_answered() -> None:
    asked = Asked()
    _, attempt = asked.ask()
    asked.send(wire.headers(1, response_head()), wire.rst(1, wire.REFUSED_STREAM))
    assert attempt.failure == (errors.UPSTREAM_REFUSED, False)


# --- 6.5: settings


@pytest.mark.parametrize("role", [Served, Asked])
def test_6_5_3_settings_are_acknowledged_each_time(role: type[Served | Asked]) -> None:
    party = role()
    found = party.send(wire.settings((wire.HEADER_TABLE_SIZE, 100)) + wire.settings((0xFFFF, 7)))
    assert [(frame.kind, frame.flags) for frame in found] == [(wire.SETTINGS, wire.ACK)] * 2


@pytest.mark.parametrize("role", [Served, Asked])
def test_6_5_3_a_peer_that_acknowledges_nothing_is_given_up(role: type[Served | Asked]) -> None:
    party = role(HttpLimits(h2_settings_timeout_s=10.0), greet=False)
    party.send(wire.PREFACE + wire.settings() if role is Served else wire.settings())
    since = party.connection._since
    party.connection.tick(since + 9.9)
    assert party.failed() is None
    party.connection.tick(since + 10.1)
    assert party.failed() == wire.SETTINGS_TIMEOUT


def test_6_5_2_a_smaller_table_is_answered_by_having_none() -> None:
    """RFC 7541 4.2: the encoder has to say so, once."""
    served = Served(answers=True)
    served.send(wire.settings((wire.HEADER_TABLE_SIZE, 0)))
    found = served.send(wire.headers(1, GET, end=True), wire.headers(3, GET, end=True))
    blocks = [frame.payload for frame in served.of(found, wire.HEADERS)]
    assert [block[0] for block in blocks] == [0x20, 0x88]


def test_6_5_2_a_client_is_not_asked_to_take_pushes() -> None:
    asked = Asked()
    asked.send(wire.settings((wire.ENABLE_PUSH, 1)))
    assert asked.failed() == PROTOCOL_ERROR


# --- 6.7: ping


@pytest.mark.parametrize("role", [Served, Asked])
def test_6_7_a_ping_is_answered_with_its_own_words(role: type[Served | Asked]) -> None:
    party = role()
    (pong,) = party.send(wire.ping(b"abcdefgh"))
    assert (pong.kind, pong.flags, pong.payload) == (wire.PING, wire.ACK, b"abcdefgh")
    assert party.send(wire.ping(b"abcdefgh", ack=True)) == []


# --- 6.8: going away


def test_6_8_draining_lets_what_is_on_its_way_come_and_then_closes() -> None:
    served = Served()
    served.send(wire.headers(1, GET, end=True))
    served.connection.drain()
    first, ping = served.sent()
    assert (first.last_stream, first.code) == ((1 << 31) - 1, wire.NO_ERROR)
    assert ping.kind == wire.PING
    served.send(wire.headers(3, GET, end=True))  # had been sent before
    assert len(served.begun) == 2
    (second,) = served.send(wire.ping(ping.payload, ack=True))
    assert (second.kind, second.last_stream) == (wire.GOAWAY, 3)
    found = served.send(wire.headers(5, GET, end=True))
    assert [frame.code for frame in served.of(found, wire.RST_STREAM)] == [wire.REFUSED_STREAM]
    served.begun[0].answer(200)
    assert not served.transport.ended
    served.begun[1].answer(200)
    assert served.transport.ended
    assert {frame.stream for frame in served.sent() if frame.ends} == {1, 3}


def test_6_8_who_is_discouraged_before_the_first_request_may_send_it() -> None:
    served = Served()
    served.connection.discourage()
    assert served.sent() == []
    first, ping = served.send(wire.headers(1, GET, end=True))
    assert (first.kind, first.last_stream) == (wire.GOAWAY, (1 << 31) - 1)
    assert len(served.begun) == 1
    (second,) = served.send(wire.ping(ping.payload, ack=True))
    assert (second.kind, second.last_stream) == (wire.GOAWAY, 1)
    served.begun[0].answer(200)
    assert served.transport.ended


def test_6_8_who_is_discouraged_later_is_told_at_once() -> None:
    served = Served()
    served.send(wire.headers(1, GET, end=True))
    served.connection.discourage()
    first, _ = served.sent()
    assert (first.kind, first.last_stream) == (wire.GOAWAY, (1 << 31) - 1)


def test_6_8_a_client_that_does_not_answer_has_a_second() -> None:
    served = Served()
    served.connection.drain()
    since = served.connection._drain_since
    served.connection.tick(since + 0.5)
    assert not served.transport.ended
    served.connection.tick(since + 1.1)
    assert served.transport.ended
    assert [frame.last_stream for frame in served.of(served.sent(), wire.GOAWAY)] == [(1 << 31) - 1, 0]


def test_6_8_streams_an_upstream_has_not_seen_may_be_sent_again() -> None:
    asked = Asked()
    attempts = [asked.ask()[1] for _ in range(3)]
    asked.send(wire.goaway(3))
    assert [attempt.failure for attempt in attempts] == [None, None, (errors.UPSTREAM_REFUSED, True)]
    assert asked.connection.room <= 0
    assert asked.owner.refused
    asked.send(wire.headers(1, response_head(), end=True))
    assert attempts[0].ended


def test_6_8_a_second_goodbye_may_name_fewer() -> None:
    asked = Asked()
    attempts = [asked.ask()[1] for _ in range(2)]
    asked.send(wire.goaway((1 << 31) - 1), wire.goaway(1))
    assert [attempt.failure for attempt in attempts] == [None, (errors.UPSTREAM_REFUSED, True)]


def test_6_8_a_client_may_say_goodbye_and_still_be_answered() -> None:
    served = Served()
    served.send(wire.headers(1, GET, end=True), wire.goaway())
    served.begun[0].answer(200)
    assert served.fields()[0] == (":status", "200")
    assert served.failed() is None


# --- limits on header blocks (hardening section 3)


def test_a_block_without_end_is_bounded_in_time() -> None:
    served = Served()
    served.send(wire.headers(1, b"", end_headers=False))
    since = served.connection._block_since
    served.connection.tick(since + 9.9)
    assert served.failed() is None
    served.connection.tick(since + 10.1)
    assert served.failed() == ENHANCE_YOUR_CALM


def test_the_end_of_the_connection_is_told_to_everybody() -> None:
    served = Served()
    served.send(wire.headers(1, GET, end=True), wire.headers(3, POST))
    served.transport.reset()
    served.transport.settle()
    assert [request.aborted for request in served.begun] == [("DC", "downstream_remote_disconnect")] * 2
    assert served.connections == set()
    asked = Asked()
    attempts = [asked.ask()[1] for _ in range(2)]
    asked.transport.end()
    asked.transport.settle()
    assert [attempt.failure for attempt in attempts] == [(errors.UPSTREAM_CLOSED, False)] * 2
    assert asked.owner.lost
