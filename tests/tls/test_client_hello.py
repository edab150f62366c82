"""The ClientHello is read however it is cut, and nothing else is taken for one (hardening: TLS)."""

from __future__ import annotations

import ssl
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.tls.client_hello import (
    MAX_HELLO_BYTES,
    MAX_RECORDS,
    MORE,
    NOT_TLS,
    ClientHello,
    least_missing,
    read_client_hello,
)

NAMES = st.from_regex(r"([A-Za-z][A-Za-z0-9]{0,8}\.){1,3}[A-Za-z]{2,5}", fullmatch=True)


def spoken(name: str | None, alpn: list[str], maximum: str = "TLSv1_3") -> bytes:
    """What OpenSSL says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = ssl.TLSVersion[maximum]
    if alpn:
        context.set_alpn_protocols(alpn)
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def made(
    *extensions: tuple[int, bytes], head: bytes = b"\x03\x03" + bytes(32) + b"\0", tail: bytes = b""
) -> bytes:
    """A hello with just these extensions, in one record."""
    body = head + b"\0\x02\x13\x01\x01\0"
    if extensions:
        text = b"".join(struct.pack(">HH", kind, len(value)) + value for kind, value in extensions)
        body += struct.pack(">H", len(text)) + text
    body += tail
    return record(b"\x01" + len(body).to_bytes(3, "big") + body)


def record(payload: bytes) -> bytes:
    return b"\x16\x03\x01" + struct.pack(">H", len(payload)) + payload


def in_records(hello: bytes, cuts: list[int]) -> bytes:
    """The same message in more records."""
    message = hello[5:]
    at = [0, *sorted({1 + cut % (len(message) - 1) for cut in cuts}), len(message)]
    return b"".join(record(message[a:b]) for a, b in pairwise(at))


def named(*names: bytes, kind: int = 0) -> tuple[int, bytes]:
    entries = b"".join(struct.pack(">BH", kind, len(name)) + name for name in names)
    return 0, struct.pack(">H", len(entries)) + entries


def with_alpn(*protocols: bytes) -> tuple[int, bytes]:
    entries = b"".join(bytes([len(each)]) + each for each in protocols)
    return 16, struct.pack(">H", len(entries)) + entries


@given(
    NAMES | st.none(),
    st.lists(st.sampled_from(["h2", "http/1.1", "istio-peer-exchange", "x"]), max_size=4, unique=True),
    st.sampled_from(["TLSv1_2", "TLSv1_3"]),
    st.lists(st.integers(0, 10_000), max_size=8),
    st.binary(max_size=20),
)
def test_what_openssl_says_is_understood_however_it_is_cut_into_records(
    name: str | None, alpn: list[str], maximum: str, cuts: list[int], more: bytes
) -> None:
    hello = in_records(spoken(name, alpn, maximum), cuts)
    assert read_client_hello(hello + more) == ClientHello(
        (name or "").lower(), tuple(alpn), older=maximum == "TLSv1_2"
    )


@given(NAMES, st.lists(st.integers(0, 10_000), max_size=4))
def test_every_beginning_of_a_hello_asks_for_more(name: str, cuts: list[int]) -> None:
    hello = in_records(spoken(name, ["h2"]), cuts)
    assert {read_client_hello(hello[:size]) for size in range(len(hello))} == {MORE}


@given(NAMES, st.lists(st.integers(0, 10_000), max_size=4), st.booleans())
def test_a_hello_in_single_bytes_is_read_a_few_times_and_known_with_its_last(
    name: str, cuts: list[int], dust: bool
) -> None:
    """Hardening 1: reading it all again for each byte would cost a thousand times what the byte did."""
    hello = spoken(name, ["h2"])
    hello = in_records(hello, list(range(len(hello))) if dust else cuts)
    size, reads = 1, 1
    while read_client_hello(hello[:size]) is MORE:
        size += least_missing(hello[:size])
        reads += 1
    assert size == len(hello)
    assert reads < 60


def test_one_byte_per_record_is_read() -> None:
    hello = spoken("A.Test", [])
    assert read_client_hello(in_records(hello, list(range(len(hello))))) == ClientHello("a.test", ())


def test_a_hello_without_extensions_names_nobody() -> None:
    assert read_client_hello(made()) == ClientHello("", (), older=True)


def test_extensions_nobody_knows_are_passed_over() -> None:
    grease = (0x0A0A, b""), (0xFAFA, b"\0")
    hello = made(grease[0], named(b"B.Test"), (0x1234, bytes(300)), with_alpn(b"h2", b"\x8a\x8a"), grease[1])
    assert read_client_hello(hello) == ClientHello("b.test", ("h2", "\x8a\x8a"), older=True)


@pytest.mark.parametrize(
    "hello",
    [
        pytest.param(made(named(b"a.test", b"b.test")), id="two names"),
        pytest.param(made(named(b"a.test"), named(b"b.test")), id="two lists of names"),
        pytest.param(made(named(b"")), id="an empty name"),
        pytest.param(made(named()), id="no name"),
        pytest.param(made(named(b"a\0b")), id="a zero byte"),
        pytest.param(made(named(b"a" * 256)), id="a name too long"),
        pytest.param(made(named(b"a.test", kind=1)), id="another kind of name"),
        pytest.param(made((0, b"\0\x09\0\0\x09a.test")), id="a length that lies"),
        pytest.param(made(with_alpn()), id="no protocol"),
        pytest.param(made(with_alpn(b"h2", b"")), id="an empty protocol"),
        pytest.param(made((16, b"\0\x03\x05h2")), id="a protocol that is cut"),
        pytest.param(made(head=b"\x03\x03" + bytes(32) + b"\x21" + bytes(33)), id="a long session id"),
        pytest.param(made(head=b"\x03\x03"), id="no room for a random"),
        pytest.param(record(b"\x02\0\0\x04" + bytes(4)), id="a ServerHello"),
        pytest.param(record(b"\x01\0\0\0"), id="an empty hello"),
        pytest.param(record(b"") + made(), id="an empty record"),
        pytest.param(b"\x16\x03\x01\x40\x01" + bytes(9), id="a record too long"),
        pytest.param(b"\x15\x03\x01\0\x02\x02\x28", id="an alert"),
        pytest.param(b"\x16\x02\0\0\x05", id="SSL 2"),
        pytest.param(b"\x80\x2e\x01\x03\x01", id="SSL 2's own hello"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="plain HTTP"),
        pytest.param(b"SSH-2.0-x\r\n", id="SSH"),
        pytest.param(b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", id="a PROXY header nobody expects"),
        pytest.param(made(tail=b"\0"), id="a byte behind the suites"),
        pytest.param(made(named(b"a.test"), tail=b"\0"), id="a byte behind the extensions"),
    ],
)
def test_what_is_malformed_is_not_tls(hello: bytes) -> None:
    assert read_client_hello(hello) is NOT_TLS


@pytest.mark.parametrize("data", [b"G", b"\x80", b"\x15", b"\x16\x02", b"\x16\x03\x01\0\x01\x02"])
def test_what_cannot_become_a_hello_is_known_at_once(data: bytes) -> None:
    assert read_client_hello(data) is NOT_TLS


def test_a_hello_of_64_kib_is_read_and_a_larger_one_refused_by_what_it_announces() -> None:
    largest = _with_size(MAX_HELLO_BYTES)
    assert read_client_hello(largest) == ClientHello("", (), older=True)
    assert read_client_hello(largest[:-1]) is MORE
    announced = record(b"\x01" + (MAX_HELLO_BYTES - 3).to_bytes(3, "big"))
    assert read_client_hello(announced) is NOT_TLS
    assert read_client_hello(record(b"\x01\xff\xff\xff")) is NOT_TLS


def _with_size(size: int) -> bytes:
    """A hello of ``size`` bytes: the length of its extensions has only two bytes, so several share it."""
    bare = made((21, b""))[5:]
    extra = size - len(bare)
    message = made((21, bytes(extra)))[5:] if extra <= 65_000 else b""
    if not message:
        suites = 2 + (extra - 60_000) // 2 * 2
        body = b"\x03\x03" + bytes(32) + b"\0" + struct.pack(">H", suites) + bytes(suites) + b"\x01\0"
        padding = size - 4 - len(body) - 6
        body += struct.pack(">HHH", padding + 4, 21, padding) + bytes(padding)
        message = b"\x01" + len(body).to_bytes(3, "big") + body
    assert len(message) == size
    return b"".join(record(message[at : at + 16_384]) for at in range(0, size, 16_384))


def test_more_records_than_anybody_sends_are_refused() -> None:
    message = made((21, bytes(4_000)))[5:]
    dust = b"".join(record(message[at : at + 1]) for at in range(len(message)))
    assert read_client_hello(dust[: 6 * MAX_RECORDS]) is MORE
    assert read_client_hello(dust) is NOT_TLS


@given(st.binary(max_size=200))
def test_garbage_is_never_a_hello(data: bytes) -> None:
    assert read_client_hello(data) in (MORE, NOT_TLS)


HELLO = spoken("a.test", ["h2", "http/1.1"])


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_any_byte_changed_is_read_refused_or_waited_for(at: int, byte: int) -> None:
    changed = HELLO[:at] + bytes([byte]) + HELLO[at + 1 :]
    found = read_client_hello(changed)
    assert found in (MORE, NOT_TLS) or isinstance(found, ClientHello)
