"""The chunked coding (RFC 9112 7.1, hardening 2): the same result however it is cut, and one form only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.http.h1.chunked import MAX_CHUNKS, ChunkedReader
from gatewayd.http.limits import HttpLimits


def read(pieces: list[bytes], limits: HttpLimits | None = None) -> tuple[bytes, bool, str, bytes]:
    """Payload, done, error and rest of a message fed in ``pieces``."""
    reader = ChunkedReader(limits or HttpLimits())
    payload, rest = b"", b""
    for piece in pieces:
        if reader.done:
            rest += piece
        elif not reader.error:
            payload += reader.feed(piece)
    return payload, reader.done, reader.error, reader.rest + rest


MESSAGES = [
    (b"0\r\n\r\n", b"", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    (b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"hello", b"GET / HTTP/1.1\r\n\r\n"),
    (b"1\r\na\r\nA\r\n0123456789\r\n00000\r\n\r\n", b"a0123456789", b""),
    (b"a\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n0\r\n\r\n", b""),
    (b'3;a=1;b="x"\r\nabc\r\n0;last\r\n\r\n', b"abc", b""),
    (b"3;\r\nabc\r\n0\r\n\r\n", b"abc", b""),
    (b"0000000000000003\r\nabc\r\n0\r\nX-T: 1\r\nContent-Length: 9\r\n\r\nrest", b"abc", b"rest"),
    (b"2\r\n\r\n\r\n0\r\nA:\r\nB: \t b \r\n\r\n", b"\r\n", b""),
]


@pytest.mark.parametrize(("message", "payload", "rest"), MESSAGES)
def test_every_way_to_cut_a_message_in_three_gives_the_same(
    message: bytes, payload: bytes, rest: bytes
) -> None:
    for first in range(len(message) + 1):
        for second in range(first, len(message) + 1):
            pieces = [message[:first], message[first:second], message[second:]]
            assert read([piece for piece in pieces if piece]) == (payload, True, "", rest)
    assert read([message[at : at + 1] for at in range(len(message))]) == (payload, True, "", rest)


INVALID = [
    b"\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n", b"5\t;x\r\nhello\r\n", b"+5\r\nhello\r\n",
    b"-5\r\nhello\r\n",
    b"0x5\r\nhello\r\n", b"5_0\r\n", b"g\r\n", b"5h\r\n", b";x\r\n", b"5,5\r\n", b"5.0\r\n", "٥\r\n".encode(),
    b"00000000000000005\r\nhello\r\n",  # seventeen digits
    b"8000000000000000\r\n", b"ffffffffffffffff\r\n",  # beyond 2^63-1
    b"5\nhello\r\n", b"5\rhello", b"5;a\x00b\r\n", b"5;a\rb\r\nhello\r\n", b"5;a\nb\r\n", b"5;\x7f\r\n",
    b"5\r\nhelloX\r\n", b"5\r\nhello\n", b"5\r\nhello\r0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n", b"5\r\nhello\n\r\n0\r\n\r\n",
    b"0\r\nno colon\r\n\r\n", b"0\r\n: x\r\n\r\n", b"0\r\nX : x\r\n\r\n", b"0\r\n folded\r\n\r\n",
    b"0\r\nX: a\x00\r\n\r\n",
    b"0\r\nX: a\rb\r\n\r\n", b"0\r\nX: a\n\r\n", b"0\r\nX: a\r\n b\r\n\r\n", b"0\r\n\n", b"0\n\r\n",
    b"0\r\nX\xe9: a\r\n\r\n",
    b"5\r\nhello\r\n5\r\nhel\r\n0\r\n\r\nxx",
]  # fmt: skip


@pytest.mark.parametrize("message", INVALID)
def test_any_other_form_is_an_error_however_it_is_cut(message: bytes) -> None:
    padded = message + b"0\r\n\r\n" * 20  # enough that no verdict can wait for more
    for cut in range(len(message) + 1):
        _, done, error, _ = read([piece for piece in (padded[:cut], padded[cut:]) if piece])
        assert error, cut
        assert not done
    _, done, error, _ = read([padded[at : at + 1] for at in range(len(padded))])
    assert error
    assert not done


def test_nothing_is_decoded_after_an_error() -> None:
    reader = ChunkedReader(HttpLimits())
    assert reader.feed(b"3\r\nabc\r\nzz\r\n3\r\nabc\r\n0\r\n\r\n") == b"abc"
    assert reader.error


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_extensions_are_bounded_per_message(size: int) -> None:
    """Hardening 8: max_chunk_ext_bytes."""
    limits = HttpLimits(max_chunk_ext_bytes=100)
    fits = b"1;%b\r\nx\r\n" % (b"e" * 49) * 2 + b"0\r\n\r\n"
    over = b"1;%b\r\nx\r\n" % (b"e" * 49) * 2 + b"0;\r\n\r\n"
    endless = b"1;" + b"e" * 5000
    for message, good in ((fits, True), (over, False), (endless, False)):
        _, done, error, _ = read([message[at : at + size] for at in range(0, len(message), size)], limits)
        assert (done, bool(error)) == (good, not good)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_trailers_are_bounded(size: int) -> None:
    """Hardening 8: max_trailer_bytes, max_trailer_fields."""
    limits = HttpLimits(max_trailer_bytes=200, max_trailer_fields=3)
    messages = [
        (b"0\r\n" + b"a: b\r\n" * 3 + b"\r\n", True),
        (b"0\r\n" + b"a: b\r\n" * 4 + b"\r\n", False),
        (b"0\r\na: %b\r\n\r\n" % (b"v" * 195), True),
        (b"0\r\na: %b\r\n\r\n" % (b"v" * 196), False),
        (b"0\r\na: " + b"v" * 5000, False),
    ]
    for message, good in messages:
        _, done, error, _ = read([message[at : at + size] for at in range(0, len(message), size)], limits)
        assert (done, bool(error)) == (good, not good)


@pytest.mark.parametrize("size", [b"1", b"01", b"1;x"])
def test_many_small_chunks_are_read_in_turns(size: bytes) -> None:
    """Hardening 1: a read may bring a hundred thousand chunks of a byte, and others wait meanwhile."""
    count = 3 * MAX_CHUNKS
    reader = ChunkedReader(HttpLimits(max_chunk_ext_bytes=1 << 20))
    got = [reader.feed(b"%b\r\nx\r\n" % size * count + b"0\r\na: b\r\n\r\nrest")]
    while reader.more:
        assert not reader.done
        got.append(reader.feed(b""))
    assert [len(payload) for payload in got] == [MAX_CHUNKS, MAX_CHUNKS, MAX_CHUNKS, 0]
    assert (reader.done, reader.error, reader.rest) == (True, "", b"rest")


def test_the_middle_of_a_large_chunk_is_passed_on_without_a_copy() -> None:
    reader = ChunkedReader(HttpLimits())
    reader.feed(b"100000\r\n")
    data = b"x" * 65536
    assert reader.feed(data) is data


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.integers(1, 30), min_size=1, max_size=30),
)
def test_what_is_written_in_chunks_is_read_back(chunks: list[bytes], sizes: list[int]) -> None:
    message = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\nnext"
    pieces: list[bytes] = []
    at = 0
    while at < len(message):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(message[at : at + size])
        at += size
    assert read(pieces) == (b"".join(chunks), True, "", b"next")


@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes_give_the_same_verdict_in_one_piece_and_in_two(data: bytes, cut: int) -> None:
    cut = min(cut, len(data))
    whole, halves = read([data] if data else []), read([piece for piece in (data[:cut], data[cut:]) if piece])
    assert bool(whole[2]) == bool(halves[2])
    assert whole[1] == halves[1]
    if not whole[2]:
        assert whole == halves
