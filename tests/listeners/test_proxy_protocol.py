"""PROXY protocol headers, versions 1 and 2 (semantics 10.12): one reading, whole or in pieces, and no other."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.listeners.proxy_protocol import (
    INVALID,
    MAX_V1_BYTES,
    MAX_V2_BYTES,
    MORE,
    Announced,
    read_header,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
NOTHING = Announced(None, None)
FOUR = ip_address("1.2.3.4").packed + ip_address("5.6.7.8").packed + struct.pack("!HH", 11, 22)
SIX = ip_address("2001:db8::1").packed + ip_address("::1").packed + struct.pack("!HH", 65535, 0)
FROM_FOUR = Announced(("1.2.3.4", 11), ("5.6.7.8", 22))
FROM_SIX = Announced(("2001:db8::1", 65535, 0, 0), ("::1", 0, 0, 0))


def v2(command: int, kind: int, body: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE + bytes([command, kind]) + struct.pack("!H", size) + body


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + struct.pack("!H", len(value)) + value


GOOD: list[tuple[bytes, Announced]] = [
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\n", FROM_FOUR),
    (b"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n", FROM_SIX),
    (b"PROXY TCP6 2001:0DB8:0:0:0:0:0:1 ::1 65535 0\r\n", FROM_SIX),
    (b"PROXY UNKNOWN\r\n", NOTHING),
    (b"PROXY UNKNOWN ffff::1 anything at all\r\n", NOTHING),
    (v2(0x21, 0x11, FOUR), FROM_FOUR),
    (v2(0x21, 0x12, FOUR), FROM_FOUR),  # a QUIC listener in front says datagram
    (v2(0x21, 0x21, SIX), FROM_SIX),
    (v2(0x21, 0x11, FOUR + tlv(5, b"id") + tlv(0x20, b"")), FROM_FOUR),
    (v2(0x20, 0x00), NOTHING),
    (v2(0x20, 0x11, FOUR), NOTHING),
    (v2(0x20, 0xFF, b"what a health check says"), NOTHING),
]

BAD: list[bytes] = [
    b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"proxy TCP4 1.2.3.4 5.6.7.8 11 22\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY UDP4 1.2.3.4 5.6.7.8 11 22\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22\rx\n",
    b"PROXY TCP4  1.2.3.4 5.6.7.8 11 22\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22 \r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 11\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22 33\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 011 22\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 +11 22\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 11 65536\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 11 \xd9\xa1\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.256 11 22\r\n",
    b"PROXY TCP4 01.2.3.4 5.6.7.8 11 22\r\n",
    b"PROXY TCP4 1.2.3 5.6.7.8 11 22\r\n",
    b"PROXY TCP4 1.2.3.4 ::1 11 22\r\n",
    b"PROXY TCP6 1.2.3.4 5.6.7.8 11 22\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 11 22\r\n",
    b"PROXY TCP4 a.test b.test 11 22\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22" + b" " * 80 + b"\r\n",
    b"PROXY UNKNOWN " + b"x" * 120 + b"\r\n",
    v2(0x11, 0x11, FOUR),  # another version
    v2(0x22, 0x11, FOUR),  # another command
    v2(0x21, 0x00),  # nobody to speak for; Envoy refuses it too
    v2(0x21, 0x10, FOUR),
    v2(0x21, 0x13, FOUR),
    v2(0x21, 0x41, FOUR),
    v2(0x21, 0x31, bytes(216)),  # a UNIX socket has no address for us
    v2(0x21, 0x11, FOUR[:-1]),
    v2(0x21, 0x21, SIX[:-1]),
    v2(0x21, 0x11, FOUR + b"\x05"),
    v2(0x21, 0x11, FOUR + b"\x05\xff\xffid"),
    v2(0x20, 0x00, b"", MAX_V2_BYTES),
    SIGNATURE[:-1] + b"\r" + b"\x21\x11\x00\x0c" + FOUR,
]


def in_pieces(data: bytes, cuts: list[int]) -> tuple[int, Announced | None]:
    """What a porter sees that asks again after each segment."""
    for cut in [*sorted(cuts), len(data)]:
        length, announced = read_header(data[:cut])
        if length != MORE:
            return length, announced
    return length, announced


@pytest.mark.parametrize(("header", "announced"), GOOD)
def test_a_header_says_who_the_client_is(header: bytes, announced: Announced) -> None:
    assert read_header(header) == (len(header), announced)


@pytest.mark.parametrize(("header", "announced"), GOOD)
def test_what_follows_the_header_is_not_looked_at(header: bytes, announced: Announced) -> None:
    assert read_header(header + b"GET / HTTP/1.1\r\n" * 9000) == (len(header), announced)
    assert read_header(header + header) == (len(header), announced)


@pytest.mark.parametrize(("header", "announced"), GOOD)
def test_every_beginning_of_a_header_wants_more(header: bytes, announced: Announced) -> None:
    for end in range(len(header)):
        assert read_header(header[:end]) == (MORE, None)


@pytest.mark.parametrize("header", BAD)
def test_anything_else_is_refused(header: bytes) -> None:
    assert read_header(header) == (INVALID, None)


@pytest.mark.parametrize("header", BAD)
def test_it_is_refused_however_it_is_cut(header: bytes) -> None:
    assert in_pieces(header, list(range(len(header)))) == (INVALID, None)


def test_a_line_is_read_up_to_its_bound_and_no_further() -> None:
    """The specification's 107 bytes with CRLF."""
    begin = b"PROXY UNKNOWN "
    longest = begin + b"x" * (MAX_V1_BYTES - len(begin) - 2) + b"\r\n"
    assert read_header(longest) == (107, NOTHING)
    assert read_header(longest[:-1]) == (MORE, None)
    assert read_header(longest[:-2] + b"x\r\n") == (INVALID, None)
    assert read_header(longest[:-2] + b"x\r") == (INVALID, None)


def test_a_header_of_version_2_is_bounded_before_it_is_read() -> None:
    room = MAX_V2_BYTES - 16 - len(FOUR) - 3
    largest = v2(0x21, 0x11, FOUR + tlv(4, bytes(room)))
    assert len(largest) == MAX_V2_BYTES
    assert read_header(largest) == (MAX_V2_BYTES, FROM_FOUR)
    assert read_header(v2(0x21, 0x11, b"", MAX_V2_BYTES - 15)) == (INVALID, None)


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.integers(0, 65535)


@given(st.data(), ADDRESSES, PORTS, PORTS, st.booleans(), st.lists(st.integers(0, 300)), st.binary())
def test_what_was_written_is_read_whatever_the_segments(
    data: Any, remote: Any, port: int, local_port: int, text: bool, cuts: list[int], rest: bytes
) -> None:
    local = data.draw(st.ip_addresses(v=remote.version))
    tail: tuple[int, ...] = () if remote.version == 4 else (0, 0)
    if text:
        header = f"PROXY TCP{remote.version} {remote} {local} {port} {local_port}\r\n".encode()
    else:
        body = remote.packed + local.packed + struct.pack("!HH", port, local_port)
        body += b"".join(
            tlv(*pair) for pair in data.draw(st.lists(st.tuples(st.integers(0, 255), st.binary())))
        )
        header = v2(0x21, 0x11 if remote.version == 4 else 0x21, body)
    expected = Announced((str(remote), port, *tail), (str(local), local_port, *tail))
    assert in_pieces(header + rest, cuts) == (len(header), expected)


def test_mutated_headers_never_raise_nor_say_more_than_a_header_can() -> None:
    """Seeded; whatever comes, the answer is a length within bounds, MORE or INVALID."""
    chance = random.Random(20)
    for _ in range(20_000):
        data = bytearray(chance.choice(GOOD)[0] if chance.random() < 0.7 else chance.choice(BAD))
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(data) + 1)
            data[at : at + chance.randrange(3)] = chance.choice(
                [b"", b" ", b"\r\n", b"\n", b"\x00", b"0", b":", b"PROXY ", SIGNATURE, chance.randbytes(2)]
            )
            data = data or bytearray(b"P")
        length, announced = read_header(bytes(data))
        if length > 0:
            assert length <= len(data)
            assert length <= (MAX_V1_BYTES if data[:1] == b"P" else MAX_V2_BYTES)
            assert announced is not None
            for address in filter(None, announced):
                assert str(ip_address(address[0])) == address[0]
                assert 0 <= address[1] <= 65535
        else:
            assert length in (MORE, INVALID)
            assert announced is None


def test_random_bytes_are_refused_at_once() -> None:
    chance = random.Random(21)
    for _ in range(2_000):
        data = chance.randbytes(chance.randrange(1, 40))
        if data[0] not in b"P\r":
            assert read_header(data) == (INVALID, None)
