"""RFC 7541, section by section; ``hpack`` is the independent peer."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.http.h2 import encoder, huffman
from gatewayd.http.h2.hpack import FLOODED, TOO_LARGE, TOO_MANY, Decoder
from gatewayd.http.h2.static_table import STATIC
from tests.support import h2_wire as wire

Pairs = list[tuple[bytes, bytes]]


def decoder(max_bytes: int = 1 << 20, max_fields: int = 1000) -> Decoder:
    return Decoder(max_bytes, max_fields)


def decoded(block: bytes, using: Decoder | None = None) -> Pairs:
    using = using or decoder()
    pairs = using.decode(block)
    assert not using.error, using.error
    assert not using.excess
    return pairs


def error(block: bytes, using: Decoder | None = None) -> str:
    using = using or decoder()
    using.decode(block)
    return using.error


# --- 2.3, Appendix A: the tables


def test_appendix_a_the_static_table_is_the_peers() -> None:
    theirs = [(bytes(name), bytes(value)) for name, value in hpack.table.HeaderTable.STATIC_TABLE]
    assert list(STATIC[1:]) == theirs


def test_2_3_3_indices_behind_the_static_table_are_the_newest_entries_first() -> None:
    using = decoder()
    decoded(b"\x40\x01a\x011" + b"\x40\x01b\x012", using)
    assert decoded(b"\xbe\xbf", using) == [(b"b", b"2"), (b"a", b"1")]


@pytest.mark.parametrize("block", [b"\x80", b"\xbe", b"\xff\x00", b"\x7f\x00\x01a", b"\x7e\x01a"])
def test_2_3_3_an_index_that_is_nowhere_is_an_error(block: bytes) -> None:
    assert error(block) == "index"


# --- 4: the dynamic table and its size


def test_4_1_an_entry_costs_its_bytes_and_32() -> None:
    using = decoder()
    decoded(b"\x40\x03abc\x02xy", using)
    assert using.table_size == 3 + 2 + 32


def test_4_2_a_size_update_is_bounded_by_what_we_allow() -> None:
    assert error(b"\x3f\xe1\x1f") == ""  # 4096
    assert error(b"\x3f\xe2\x1f") == "size update"  # 4097


def test_4_2_a_size_update_stands_only_at_the_beginning() -> None:
    assert error(b"\x82\x20") == "size update"
    assert error(b"\x20\x3f\xe1\x1f\x82") == ""


def test_4_2_when_we_allow_less_the_next_block_has_to_say_so() -> None:
    using = decoder()
    using.allow(100)
    assert error(b"\x82", using) == "no size update"
    using = decoder()
    using.allow(100)
    assert error(b"", using) == "no size update"
    using = decoder()
    using.allow(100)
    assert error(b"\x3f\x45\x82", using) == ""  # 100
    assert error(b"\x82", using) == ""


def test_4_3_a_smaller_table_forgets_the_oldest() -> None:
    using = decoder()
    decoded(b"\x40\x01a\x011" + b"\x40\x01b\x012", using)
    assert decoded(b"\x3f\x03\xbe", using) == [(b"b", b"2")]  # 34: one entry
    assert using.table_size == 34
    assert error(b"\xbf", using) == "index"


def test_4_4_an_entry_larger_than_the_table_empties_it() -> None:
    using = decoder()
    decoded(b"\x40\x01a\x011", using)
    big = b"x" * 5000
    assert decoded(b"\x40\x01b" + wire.string(big), using) == [(b"b", big)]
    assert using.table_size == 0


# --- 5: integers and strings


@pytest.mark.parametrize(
    ("value", "bits", "expected"),
    [
        (10, 5, b"\x0a"),
        (1337, 5, b"\x1f\x9a\x0a"),
        (42, 8, b"\x2a"),
        (31, 5, b"\x1f\x00"),
        (127, 7, b"\x7f\x00"),
    ],
)
def test_5_1_integers_are_those_of_the_examples(value: int, bits: int, expected: bytes) -> None:
    assert encoder.integer(value, (1 << bits) - 1) == expected == wire.integer(value, bits)


@given(st.integers(0, (1 << 27)))
def test_5_1_a_length_of_any_size_is_read(value: int) -> None:
    using = decoder()
    using.decode(b"\x00" + encoder.integer(value, 0x7F))
    assert using.error == "string"  # that many bytes are not there


@pytest.mark.parametrize(
    "block",
    [
        b"\xff\xff\xff\xff\xff\x7f",  # longer than any index
        b"\xff\x80\x80\x80\x80\x80\x80\x00",  # padded with zeros without end
        b"\x3f\xff\xff\xff\xff\xff\x0f",
        b"\xff",  # torn
        b"\xff\x80",
    ],
)
def test_5_1_an_integer_without_end_or_beyond_all_reason_is_an_error(block: bytes) -> None:
    assert error(block)


@pytest.mark.parametrize(
    "block", [b"\x00", b"\x00\x05ab", b"\x00\x01a", b"\x00\x01a\x7f", b"\x00\x01a\xff\xff"]
)
def test_5_2_a_string_that_is_not_there_is_an_error(block: bytes) -> None:
    assert error(block) == "string"


def _compressed(text: bytes) -> bytes:
    codes = hpack.huffman_constants
    return bytes(hpack.huffman.HuffmanEncoder(codes.REQUEST_CODES, codes.REQUEST_CODES_LENGTH).encode(text))


@given(st.binary(max_size=300))
def test_5_2_compressed_strings_are_read_as_the_peer_writes_them(text: bytes) -> None:
    assert huffman.decode(_compressed(text)) == text


@given(st.binary(min_size=1, max_size=12))
def test_5_2_what_is_no_compressed_string_is_refused_as_by_the_peer(data: bytes) -> None:
    try:
        theirs = bytes(hpack.huffman_table.decode_huffman(data))
    except hpack.exceptions.HPACKDecodingError:
        theirs = None
    assert huffman.decode(data) == theirs


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x07\xff", "padding of more than seven bits"),
        (b"\x00", "padding of zeros: 00000 is 0, and 000 is none"),
        (b"\xff\xff\xff\xff", "the end symbol"),
        (b"\xff", "eight bits of padding"),
    ],
)
def test_5_2_padding_is_the_beginning_of_the_end_symbol(data: bytes, why: str) -> None:
    assert huffman.decode(data) is None, why


# --- 6: representations


def test_6_1_indexed() -> None:
    assert decoded(b"\x82\x86\x84") == [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]


@pytest.mark.parametrize(("first", "indexed"), [(0x40, True), (0x00, False), (0x10, False)])
def test_6_2_literals_with_and_without_indexing(first: int, indexed: bool) -> None:
    using = decoder()
    assert decoded(bytes((first,)) + b"\x01a\x011", using) == [(b"a", b"1")]
    assert using.changed is indexed
    assert (using.table_size > 0) is indexed


def test_6_2_names_may_be_numbers() -> None:
    assert decoded(b"\x04\x02/x" + b"\x44\x02/y" + b"\x14\x02/z" + b"\x0f\x2e\x03abc") == [
        (b":path", b"/x"),
        (b":path", b"/y"),
        (b":path", b"/z"),
        (STATIC[15 + 0x2E][0], b"abc"),
    ]


def test_6_2_3_what_may_never_be_indexed_is_remembered_for_whoever_passes_it_on() -> None:
    using = decoder()
    decoded(b"\x10\x01a\x011" + b"\x00\x01b\x012", using)
    assert using.never_indexed() == {b"a"}
    decoded(b"\x00\x01b\x012", using)
    assert using.never_indexed() == frozenset()
    again = encoder.encode_all([(b"a", b"1"), (b"b", b"2")], frozenset({b"a"}))
    assert again == b"\x10\x01a\x011" + b"\x00\x01b\x012"


# --- Appendix C: the examples


def _hex(text: str) -> bytes:
    return bytes.fromhex(text)


REQUESTS: list[tuple[str, str, int, list[tuple[bytes, bytes]]]] = [
    (
        "828684410f7777772e6578616d706c652e636f6d",
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        57,
        [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")],
    ),
    (
        "828684be58086e6f2d6361636865",
        "828684be5886a8eb10649cbf",
        110,
        [
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"www.example.com"),
            (b"cache-control", b"no-cache"),
        ],
    ),
    (
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        164,
        [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":path", b"/index.html"),
            (b":authority", b"www.example.com"),
            (b"custom-key", b"custom-value"),
        ],
    ),
]


@pytest.mark.parametrize("compressed", [False, True])
def test_appendix_c_3_c_4_requests(compressed: bool) -> None:
    using = decoder()
    for plain, huffman_coded, size, expected in REQUESTS:
        assert decoded(_hex(huffman_coded if compressed else plain), using) == expected
        assert using.table_size == size


def test_appendix_c_6_responses_in_a_table_of_256_bytes() -> None:
    using = decoder()
    decoded(b"\x3f\xe1\x01", using)  # a size update to 256
    first = decoded(
        _hex(
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82"
            "ae43d3"
        ),
        using,
    )
    assert first == [
        (b":status", b"302"),
        (b"cache-control", b"private"),
        (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"),
        (b"location", b"https://www.example.com"),
    ]
    assert using.table_size == 222
    assert decoded(_hex("4883640effc1c0bf"), using)[0] == (b":status", b"307")
    assert using.table_size == 222
    third = decoded(
        _hex(
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5"
            "af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
        ),
        using,
    )
    assert third[-1] == (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
    assert using.table_size == 215


# --- limits (hardening section 3)


def test_a_little_too_much_costs_the_stream_and_the_table_follows() -> None:
    using = decoder(max_bytes=100)
    using.decode(b"\x40\x01a" + wire.string("x" * 100))
    assert (using.error, using.excess) == ("", TOO_LARGE)
    using.max_bytes = 200
    assert decoded(b"\xbe", using) == [(b"a", b"x" * 100)]


def test_too_many_fields_cost_the_stream() -> None:
    using = decoder(max_fields=10)
    assert len(using.decode(b"\x82" * 10)) == 10
    assert using.excess == 0
    using.decode(b"\x82" * 11)
    assert (using.error, using.excess) == ("", TOO_MANY)


def test_far_too_many_fields_are_not_decoded_at_all() -> None:
    assert error(b"\x82" * 101, decoder(max_fields=10)) == FLOODED


def test_an_entry_named_again_and_again_is_counted_each_time() -> None:
    """The bomb: a byte each for four kilobytes."""
    using = decoder(max_bytes=60 * 1024, max_fields=100)
    decoded(b"\x40\x01a" + wire.string("x" * 4000), using)
    using.decode(b"\xbe" * 16)
    assert (using.error, using.excess) == ("", TOO_LARGE)


# --- round trips with the peer

Field = tuple[bytes, bytes, bool]
NAMES = st.sampled_from([b"a", b"x-y", b"cookie", b"content-length", b":path", b":method", b"authorization"])
VALUES = st.one_of(
    st.sampled_from([b"", b"GET", b"/", b"1"]), st.binary(max_size=40), st.binary(max_size=600)
)
BLOCKS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=8)


@given(st.lists(st.tuples(BLOCKS, st.booleans(), st.sampled_from([None, None, 0, 100, 4096]))))
def test_what_the_peer_encodes_is_decoded(blocks: list[tuple[list[Field], bool, int | None]]) -> None:
    theirs = hpack.Encoder()
    ours = decoder()
    for fields, compressed, size in blocks:
        if size is not None:
            theirs.header_table_size = size
        block = theirs.encode(
            [
                (hpack.NeverIndexedHeaderTuple if secret else hpack.HeaderTuple)(name, value)
                for name, value, secret in fields
            ],
            huffman=compressed,
        )
        assert decoded(block, ours) == [(name, value) for name, value, _ in fields]
        assert ours.table_size == theirs.header_table._current_size


@given(st.lists(BLOCKS))
def test_what_we_encode_the_peer_decodes(blocks: list[list[Field]]) -> None:
    theirs = hpack.Decoder(max_header_list_size=1 << 20)
    for fields in blocks:
        pairs = [(name, value) for name, value, _ in fields]
        never = frozenset(name for name, _, secret in fields if secret)
        assert [tuple(pair) for pair in theirs.decode(encoder.encode_all(pairs, never), raw=True)] == pairs


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused_as_by_the_peer(block: bytes) -> None:
    theirs = hpack.Decoder(max_header_list_size=1 << 20)
    try:
        expected: Pairs | None = [(bytes(n), bytes(v)) for n, v in theirs.decode(block, raw=True)]
    except hpack.exceptions.HPACKError:
        expected = None
    using = decoder()
    pairs = using.decode(block)
    assert (pairs if not using.error else None) == expected


def test_lines_of_http1_leave_out_what_speaks_of_the_connection() -> None:
    """RFC 9113 8.2.2; ``te`` has been looked at."""
    lines = [b"a: 1", b"transfer-encoding: chunked", b"connection: close", b"te: trailers", b"upgrade: x"]
    found = hpack.Decoder().decode(encoder.encode_lines(lines), raw=True)
    assert [tuple(pair) for pair in found] == [(b"a", b"1"), (b"te", b"trailers")]


def test_secrets_are_never_indexed_wherever_they_come_from() -> None:
    """RFC 7541 7.1.3."""
    for name in (b"authorization", b"cookie", b"set-cookie", b"proxy-authorization"):
        assert encoder.encode((name, b"x"))[0] & 0xF0 == 0x10
    assert encoder.encode((b"accept", b"x"))[0] & 0xF0 == 0x00


#: Representations of few fields, so that the same runs of them come again under tables that differ.
PIECES = st.sampled_from(
    [
        b"\x04\x02/a", b"\x04\x03/bc", b"\x00\x01n\x01v", b"\x10\x01s\x01v",  # not indexed
        b"\x40\x01a\x011", b"\x40\x01b\x012", b"\x41\x03c.d",  # indexed from now on
        b"\x82\x84\x86\x82", b"\xbe\xbe\xbe\xbe\xbe", b"\xbe\xbf\x82\xbe\xbf", b"\xc0\xbf\xbe\xbf\xc0\xbf",
    ]
)  # fmt: skip


@given(st.lists(st.lists(PIECES, max_size=5), max_size=12))
def test_runs_that_are_remembered_are_what_they_would_be_read_as(blocks: list[list[bytes]]) -> None:
    ours = decoder()
    theirs = hpack.Decoder(max_header_list_size=1 << 20)
    for pieces in blocks:
        block = b"".join(pieces)
        try:
            expected = [(bytes(name), bytes(value)) for name, value in theirs.decode(block, raw=True)]
        except hpack.exceptions.HPACKDecodingError:
            assert error(block, ours)
            return
        assert decoded(block, ours) == expected
        secrets = frozenset({b"s"}) if b"\x10\x01s\x01v" in pieces else frozenset()
        assert ours.never_indexed() == secrets


def test_a_run_means_something_else_once_the_table_has_changed() -> None:
    using = decoder()
    run = b"\xbe\xbe\xbe\xbe"
    decoded(b"\x40\x01a\x011", using)
    for _ in range(3):
        assert decoded(b"\x04\x01/" + run, using)[1:] == [(b"a", b"1")] * 4
    decoded(b"\x40\x01b\x012", using)
    assert decoded(b"\x04\x01/" + run, using)[1:] == [(b"b", b"2")] * 4


def test_4_2_size_updates_without_end_are_an_error() -> None:
    decoded(b"\x20\x3f\xe1\x1f\x82")
    assert error(b"\x20" * 1000) == "size update"
