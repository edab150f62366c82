"""Random sequences of frames, right and wrong, through our codec and through hyper-h2: the same comes of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.http.h2.rigs import Served, response_head
from tests.http.h2.twin import TheirClient, TheirServer, asked, our_requests, our_responses
from tests.support import h2_wire as wire
from tests.support.h2_wire import request

Op = tuple[Any, ...]

NUMBERS = st.sampled_from([1, 3, 5])
EXTRA = st.sampled_from(
    [
        [],
        [("x-a", "1")],
        [("user-agent", "me"), ("accept", "*/*")],
        [("content-length", "5")],
        [("te", "trailers")],
    ]
)

# What a client may do: the model below leaves out what is not allowed at that point.
OPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), NUMBERS, st.booleans(), EXTRA, st.integers(0, 4)),
        st.tuples(st.just("data"), NUMBERS, st.integers(0, 12), st.booleans(), st.sampled_from([None, 0, 3])),
        st.tuples(st.just("trailers"), NUMBERS),
        st.tuples(st.just("reset"), NUMBERS),
        st.tuples(st.just("ping")),
        st.tuples(
            st.just("settings"), st.sampled_from([(4, 1000), (4, 65535), (1, 0), (5, 16384), (0xF0F0, 1)])
        ),
        st.tuples(st.just("window"), st.sampled_from([0, 1, 3, 5]), st.integers(1, 1000)),
        st.tuples(st.just("priority"), NUMBERS),
        st.tuples(st.just("unknown")),
    ),
    max_size=14,
)

#: Wrong whatever came before; the connection must not survive it. A stream number stands where one is needed.
FATAL = [
    wire.data(0, b"x"),
    wire.headers(0, request(), end=True),
    wire.headers(2, request(), end=True),
    wire.data(77, b"x"),
    wire.window_update(77, 1),
    wire.window_update(0, 0),
    wire.window_update(0, (1 << 31) - 1),
    wire.frame(wire.RST_STREAM, 0, 1, b"123"),
    wire.rst(0),
    wire.frame(wire.SETTINGS, 0, 1),
    wire.frame(wire.SETTINGS, 0, 0, b"12345"),
    wire.frame(wire.SETTINGS, wire.ACK, 0, b"123456"),
    wire.settings((wire.ENABLE_PUSH, 2)),
    wire.settings((wire.INITIAL_WINDOW_SIZE, 1 << 31)),
    wire.settings((wire.MAX_FRAME_SIZE, 1)),
    wire.frame(wire.PING, 0, 1, b"12345678"),
    wire.frame(wire.PING, 0, 0, b"1234567"),
    wire.frame(wire.GOAWAY, 0, 1, bytes(8)),
    wire.frame(wire.GOAWAY, 0, 0, bytes(7)),
    wire.frame(wire.PRIORITY, 0, 1, b"1234"),
    wire.priority(0),
    wire.continuation(1, b""),
    wire.headers(99, b"\xff\xff\xff\xff\xff\xff", end=True),
    wire.headers(99, b"\xbe", end=True),
    wire.headers(99, request(headers=[("X-A", "1")]), end=True),
    wire.headers(99, request(headers=[("connection", "close")]), end=True),
    wire.headers(99, [*request(), (":path", "/b")], end=True),
    wire.headers(99, [*request(), (":foo", "1")], end=True),
    wire.headers(99, [("x", "1"), *request()], end=True),
    wire.headers(99, request()[1:], end=True),
    wire.headers(99, request(path=""), end=True),
    wire.headers(99, request(headers=[("x", "a\0")]), end=True),
    wire.headers(99, b"", end_headers=False) + wire.ping(),
    wire.frame(wire.DATA, 0, 1, bytes(16385)),
]


def frames(ops: list[Op]) -> list[bytes]:
    """The bytes of ``ops``, without those that the state of their stream forbids."""
    out: list[bytes] = []
    state: dict[int, str] = {}  # open, done
    owed: dict[int, int] = {}
    last = 0
    empty = False
    for op in ops:
        kind, number = op[0], op[1] if len(op) > 1 else 0
        made = b""
        if kind == "open" and number > last:
            _, _, end, extra, cut = op
            if end:
                extra = [field for field in extra if field[0] != "content-length"]
            block = wire.block(request("POST", headers=extra))
            owed[number] = 5 if ("content-length", "5") in extra else -1
            if cut:
                parts = [block[:cut], block[cut:]]
                made = wire.headers(number, parts[0], end=end, end_headers=False) + wire.continuation(
                    number, parts[1]
                )
            else:
                made = wire.headers(number, block, end=end)
            state[number] = "done" if end else "open"
            last, empty = number, False
        elif kind == "data" and state.get(number) == "open":
            _, _, size, end, padding = op
            if owed[number] >= 0:
                size, end = min(size, owed[number]), size >= owed[number]
                owed[number] -= size
            if size or end or not empty:
                made = wire.data(number, bytes(size), end=end, padding=padding)
                empty = not size and not end
                if end:
                    state[number] = "done"
        elif kind == "trailers" and state.get(number) == "open" and owed[number] <= 0:
            made = wire.headers(number, [("x-t", "1")], end=True)
            state[number] = "done"
        elif kind == "reset" and number in state and state[number] != "reset":
            made = wire.rst(number)
            state[number] = "reset"
        elif kind == "ping":
            made = wire.ping()
        elif kind == "settings":
            made = wire.settings(op[1])
        elif kind == "window" and (not number or state.get(number) in ("open", "done")):
            made = wire.window_update(number, op[2])
        elif kind == "priority":
            made = wire.priority(number)
        elif kind == "unknown":
            made = wire.frame(0x99, 0, 0, b"abc")
        if made:
            out.append(made)
    return out


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """``data`` in pieces of ``sizes``, the last as long as need be."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in [*pieces, data] if piece]


SIZES = st.lists(st.integers(1, 60), max_size=12)


@given(OPS, SIZES)
def test_what_is_right_is_taken_alike(ops: list[Op], sizes: list[int]) -> None:
    data = b"".join(frames(ops))
    ours, theirs = Served(), TheirServer()
    theirs.send(wire.PREFACE + wire.settings() + wire.settings(ack=True))
    for piece in cut(data, sizes):
        ours.send(piece)
        theirs.send(piece)
    assert theirs.failed == ""
    assert ours.failed() is None
    assert our_requests(ours) == theirs.stories()


@given(OPS, st.sampled_from(FATAL), SIZES)
def test_what_is_wrong_is_refused_alike(ops: list[Op], fatal: bytes, sizes: list[int]) -> None:
    """And nothing of it is handed over; what came before is."""
    before = frames(ops)
    if before and fatal[3] in (wire.CONTINUATION,):
        before = before[:0]
    ours, theirs = Served(), TheirServer()
    theirs.send(wire.PREFACE + wire.settings() + wire.settings(ack=True))
    for piece in cut(b"".join(before), sizes):
        ours.send(piece)
        theirs.send(piece)
    expected = theirs.stories()
    ours.send(fatal)
    theirs.send(fatal)
    assert theirs.failed != ""
    assert ours.failed() is not None
    known = our_requests(ours)
    assert known.keys() == expected.keys()
    for number, (fields, body, trailers, _, _) in expected.items():
        assert known[number][:3] == (fields, body, trailers)


@given(OPS, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3), SIZES)
def test_damaged_bytes_never_give_a_request_that_the_peer_does_not_see(
    ops: list[Op], damage: list[tuple[int, int]], sizes: list[int]
) -> None:
    """One of the two may give up earlier; as far as both go they see the same requests."""
    data = bytearray(b"".join(frames(ops)))
    for at, byte in damage:
        if at < len(data):
            data[at] = byte
    ours, theirs = Served(), TheirServer()
    theirs.send(wire.PREFACE + wire.settings() + wire.settings(ack=True))
    for piece in cut(bytes(data), sizes):
        ours.send(piece)
        theirs.send(piece)
    ours.failed()
    known, expected = our_requests(ours), theirs.stories()
    for number in known.keys() & expected.keys():
        fields, body, _, _, _ = known[number]
        their_fields, their_body, _, _, _ = expected[number]
        assert {name for name, _ in fields} - {b"transfer-encoding"} <= {name for name, _ in their_fields} | {
            b"host"
        }
        assert body.startswith(their_body) or their_body.startswith(body)
    if not theirs.failed and ours.failed() is None:
        assert known.keys() <= expected.keys()


# --- responses

ANSWERS = st.lists(
    st.one_of(
        st.tuples(st.just("head"), NUMBERS, st.sampled_from(["200", "404", "204"]), st.booleans()),
        st.tuples(st.just("interim"), NUMBERS),
        st.tuples(st.just("data"), NUMBERS, st.integers(0, 12), st.booleans()),
        st.tuples(st.just("trailers"), NUMBERS),
        st.tuples(st.just("reset"), NUMBERS),
        st.tuples(st.just("ping")),
        st.tuples(st.just("settings"), st.sampled_from([(4, 1000), (3, 5), (1, 0), (6, 100)])),
    ),
    max_size=14,
)


def answer_frames(ops: list[Op]) -> list[bytes]:
    """The bytes of ``ops`` of an upstream that was asked on 1, 3 and 5; without those that are not allowed."""
    out: list[bytes] = []
    state = dict.fromkeys((1, 3, 5), "asked")
    bodiless: set[int] = set()
    empty = False
    for op in ops:
        kind, number = op[0], op[1] if len(op) > 1 else 0
        made = b""
        if kind == "interim" and state[number] == "asked":
            made = wire.headers(number, response_head("103", ("link", "x")))
        elif kind == "head" and state[number] == "asked":
            made = wire.headers(number, response_head(op[2], ("x-a", "1")), end=op[3])
            state[number] = "done" if op[3] else "answered"
            if op[2] == "204":
                bodiless.add(number)
            empty = False
        elif kind == "data" and state[number] == "answered":
            size = 0 if number in bodiless else op[2]
            if size or op[3] or not empty:
                made = wire.data(number, bytes(size), end=op[3])
                empty = not size and not op[3]
                state[number] = "done" if op[3] else "answered"
        elif kind == "trailers" and state[number] == "answered":
            made = wire.headers(number, [("x-t", "1")], end=True)
            state[number] = "done"
        elif kind == "reset" and state[number] in ("asked", "answered"):
            made = wire.rst(number)
            state[number] = "reset"
        elif kind == "ping":
            made = wire.ping()
        elif kind == "settings":
            made = wire.settings(op[1])
        if made:
            out.append(made)
    return out


@given(ANSWERS, SIZES)
def test_answers_that_are_right_are_taken_alike(ops: list[Op], sizes: list[int]) -> None:
    data = wire.settings() + wire.settings(ack=True) + b"".join(answer_frames(ops))
    (ours, attempts), theirs = asked(3), TheirClient(3)
    for piece in cut(data, sizes):
        ours.send(piece)
        theirs.send(piece)
    assert theirs.failed == ""
    assert ours.failed() is None
    assert our_responses(attempts) == theirs.stories()


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b-c", b"accept"]), st.binary(max_size=20)), max_size=6))
def test_values_that_are_wrong_are_wrong_for_both(fields: list[tuple[bytes, bytes]]) -> None:
    """Control bytes; spaces around a value are taken away here and refused there, more control bytes only here."""
    block = wire.block(request(headers=fields))
    ours, theirs = Served(), TheirServer()
    theirs.send(wire.PREFACE + wire.settings())
    ours.send(wire.headers(1, block, end=True))
    theirs.send(wire.headers(1, block, end=True))
    padded = any(value != value.strip(b" \t") for _, value in fields)
    if theirs.failed and not padded:
        assert ours.failed() is not None
    control = any((byte < 32 and byte != 9) or byte == 127 for _, value in fields for byte in value)
    assert (ours.failed() is not None) == control


def test_the_operations_cover_what_they_are_for() -> None:
    """Each operation, once, where it is allowed: none of them is silently left out."""
    ops: list[Op] = [
        ("open", 1, False, [], 0), ("data", 1, 3, False, None), ("trailers", 1), ("open", 3, False, [], 2),
        ("reset", 3), ("ping",), ("settings", (4, 1000)), ("window", 0, 5), ("priority", 1), ("unknown",),
    ]  # fmt: skip
    assert len(frames(ops)) == len(ops)
    answers: list[Op] = [
        ("interim", 1), ("head", 1, "200", False), ("data", 1, 3, False), ("trailers", 1), ("reset", 3), ("ping",),
    ]  # fmt: skip
    assert len(answer_frames(answers)) == len(answers)


def test_the_twin_is_what_it_says() -> None:
    twin = TheirServer()
    twin.send(b"GET / HTTP/1.1\r\n\r\n")
    assert "ProtocolError" in twin.failed
