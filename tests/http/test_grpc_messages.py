"""Messages of gRPC in bodies, and gRPC-Web's form of them (PROTOCOL-HTTP2 and PROTOCOL-WEB of the gRPC project)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd import errors
from gatewayd.http.grpc_messages import MessageCounter, TextDecoder, TextEncoder, trailers_message
from gatewayd.http.message import Trailers

MESSAGES = st.lists(st.binary(max_size=20), max_size=6)
CUTS = st.lists(st.integers(0, 150), max_size=8)


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in zip(places, [*places[1:], len(data)], strict=True)]


@given(MESSAGES, CUTS)
def test_18_1_messages_are_counted_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    counter = MessageCounter()
    for piece in pieces(b"".join(map(framed, messages)), cuts):
        counter.add(piece)
    assert counter.count == len(messages)


def test_18_1_a_message_counts_once_its_prefix_is_there() -> None:
    counter = MessageCounter()
    counter.add(b"\0\0\0\0")
    assert counter.count == 0
    counter.add(b"\xff")
    counter.add(b"x" * 200)
    assert counter.count == 1


@given(MESSAGES, CUTS)
def test_2_4_4_each_message_is_encoded_by_itself(messages: list[bytes], cuts: list[int]) -> None:
    encoder = TextEncoder()
    text = b"".join([encoder.encode(piece) for piece in pieces(b"".join(map(framed, messages)), cuts)])
    assert text + encoder.end() == b"".join(base64.b64encode(framed(message)) for message in messages)


def test_2_4_4_a_large_message_is_told_of_as_it_comes() -> None:
    encoder = TextEncoder()
    whole = framed(b"x" * 100_000)
    assert len(encoder.encode(whole[:50_000])) > 66_000


def test_2_4_4_what_is_no_message_is_left_out() -> None:
    encoder = TextEncoder()
    assert encoder.encode(framed(b"x") + b"\x07\0\0\0\0" + framed(b"y")) == base64.b64encode(framed(b"x"))
    assert encoder.encode(framed(b"z")) + encoder.end() == b""


@given(st.binary(max_size=100), CUTS)
def test_2_4_4_text_is_decoded_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    decoder = TextDecoder()
    parts = pieces(base64.b64encode(data), cuts)
    decoded = [decoder.decode(part, number == len(parts)) for number, part in enumerate(parts, 1)]
    assert (b"".join(decoded), decoder.failure) == (data, None)


BROKEN = [
    (b"!!!!", errors.WEB_TEXT),
    (b"AA==AAAA", errors.WEB_TEXT),
    (b"AAA\n", errors.WEB_TEXT),
    (b"====", errors.WEB_TEXT),
    (b"AAA", errors.WEB_TEXT_LENGTH),
    (b"AAAAA", errors.WEB_TEXT_LENGTH),
]


@pytest.mark.parametrize(("text", "failure"), BROKEN)
def test_2_4_4_what_is_no_base64(text: bytes, failure: errors.Failure) -> None:
    decoder = TextDecoder()
    assert (decoder.decode(text, True), decoder.failure) == (b"", failure)


def test_2_4_4_trailers_are_the_last_message() -> None:
    trailers = Trailers([(b"grpc-status", b"0"), (b"x-a", b"")])
    assert trailers_message(trailers) == b"\x80\0\0\0\x15grpc-status:0\r\nx-a:\r\n"
    assert trailers_message(Trailers([])) == b"\x80\0\0\0\0"
