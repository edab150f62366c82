"""The hot parser and its plain twin agree on any head; its memory never changes an answer."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.http.h1 import head as request_heads
from gatewayd.http.h1 import response as response_heads
from gatewayd.http.h1.fields import parse_lines
from gatewayd.http.h1.head import RequestParser
from gatewayd.http.h1.response import ResponseParser
from gatewayd.http.h1.shapes import MAX_SHAPES
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import ParsedRequest, RequestBlock
from gatewayd.http.response import ResponseHead
from tests.reference.h1_head import PlainHead, Refused, read_fields

NAMES = st.sampled_from(
    ["Host", "Content-Length", "Transfer-Encoding", "Connection", "TE", "Upgrade", "Keep-Alive", "Accept", "accept",
     "User-Agent", "Cookie", "X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Host", "X-Request-ID",
     "x-envoy-internal", "x-envoy-other",
     "Content_Length", "transfer_encoding", "X_A", "x-a", "X-B", "HTTP2-Settings", "Proxy-Connection",
     "x-forwarded-client-cert", "Via", "x a", "", "x\x01", "é"]
)  # fmt: skip
VALUES = st.sampled_from(
    ["", "a", " a ", "5", "05", "5,5", "+5", "9223372036854775807", "9223372036854775808", "chunked", "CHUNKED", "gzip",
     "close", "Close, x-a", "upgrade", "keep-alive", "content-length", "x-a,X-B , accept", "user-agent", "websocket",
     "h2c", "trailers", "gzip, trailers", "a.test", "A.test:80", "a@b", "1.2.3.4", "x\ty", "x\x00y", "x\ry", "\xff"]
)  # fmt: skip
LINES = st.lists(
    st.builds(lambda name, value: f"{name}:{value}".encode("latin-1"), NAMES, VALUES), max_size=9
)


def _by_name(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return sorted(pairs, key=lambda pair: pair[0])  # stable: order within a name counts


def _read(lines: list[bytes]) -> PlainHead | None:
    try:
        return read_fields(lines)
    except Refused:
        return None


def _agree(block: RequestBlock, lines: list[bytes]) -> None:
    plain = _read(lines)
    if plain is None:
        assert block.error is not None, lines
        return
    if block.error is not None:
        assert block.error.name == "bad_host", (lines, block.error)
        return
    assert _by_name(list(block.forward)) == _by_name(plain.forward)
    assert block.forward_bytes == b"".join(b"%b: %b\r\n" % pair for pair in block.forward)
    facts: list[tuple[Any, Any]] = [
        (block.authority, plain.host),
        (block.content_length, plain.content_length),
        (block.chunked, plain.chunked),
        (block.close, plain.close),
        (block.upgrade, plain.upgrade),
        (block.forwarded_for, plain.forwarded_for),
        (block.request_id, plain.request_id),
    ]
    assert [ours for ours, _ in facts] == [theirs for _, theirs in facts]
    nominated = {token.strip().lower() for name, value in plain.fields if name == b"connection"
                 for token in value.split(b",")}  # fmt: skip
    if b"user-agent" not in nominated:
        assert block.user_agent == plain.user_agent


@settings(max_examples=400)
@given(LINES)
def test_a_block_means_what_the_plain_twin_reads(lines: list[bytes]) -> None:
    _agree(parse_lines(lines, HttpOptions()), lines)


def _request_facts(request: ParsedRequest) -> object:
    head, block = request.head, request.block
    if request.error is not None or head is None:
        return request.error
    return (
        request.method, request.body, head.method, head.target, head.path, head.query, head.authority, head.scheme,
        head.user_agent, list(head.fields.pairs), block.authority, block.chunked, block.close, block.content_length,
        block.forward, block.forward_bytes, block.forwarded_for, block.forwarded_proto, block.request_id,
        block.upgrade, block.user_agent,
    )  # fmt: skip


TARGETS = st.sampled_from(
    ["/", "/a", "/a?b=c", "/a?b?c", "//a", "/./a", "/a/..", "/%41", "/a b", "a", "*", "http://b.test/a", "/\x7f",
     "/\xff", "/a#b", "/?", "/a\tb", "/a\r\nx:y"]
)  # fmt: skip
#: Names as a client sends them; each may occur more than once.
SENT_NAMES = st.sampled_from(
    ["Cookie", "cookie", "User-Agent", "Accept", "X-A", "Content-Length", "Transfer-Encoding", "Connection", "TE",
     "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-ID", "Upgrade", "x-envoy-internal", "Content_Length"]
)  # fmt: skip
SENT_VALUES = st.sampled_from(
    ["a", "b", "", " a ", "5", "7", "05", "+5", "999999999999999999", "9223372036854775808", "chunked", "close", "x-a",
     "keep-alive", "upgrade", "websocket", "trailers", "1.2.3.4", "https", "http", "x\ty", "\xff", "x\x00", "x\ry",
     "x\ny", "x\r\ny: z", "x\r\n\r\ny", "\ta"]
)  # fmt: skip
HOSTS = st.sampled_from(["a.test", "b.test:80", "A.test", "", "a@b", "a b", "[::1]", "\xff"])
#: A value that makes a good line of the name; "a" for others.
GOOD_VALUES = {
    "Content-Length": "5",
    "Transfer-Encoding": "chunked",
    "Connection": "keep-alive",
    "TE": "trailers",
}

MAY_VARY = {
    "Cookie", "cookie", "User-Agent", "Accept", "X-A", "Content-Length", "X-Forwarded-For", "X-Request-ID"
}  # fmt: skip


@settings(max_examples=600)
@given(
    st.lists(st.tuples(SENT_NAMES, st.sampled_from([":", ": ", ":  "])), max_size=5),
    st.lists(
        st.tuples(
            st.one_of(st.just("/b"), TARGETS), st.one_of(st.just("a.test"), HOSTS),
            st.dictionaries(st.integers(0, 4), SENT_VALUES, max_size=2),
        ),
        min_size=1, max_size=8,
    ),
    st.sampled_from(["GET", "POST", "CONNECT", "QUERY", "get"]),
    st.integers(0, 5),
    st.sampled_from([
        HttpOptions(), HttpOptions(trusted_proxies=1), HttpOptions(path_normalization="MERGE_SLASHES"),
        HttpOptions(path_normalization="NONE"), HttpOptions(scheme=b"https"),
    ]),
)  # fmt: skip
def test_a_request_head_built_like_one_before_means_what_it_means_to_a_parser_that_saw_none(
    names: list[tuple[str, str]],
    heads: list[tuple[str, str, dict[int, str]]],
    method: str,
    host_at: int,
    options: HttpOptions,
) -> None:
    parser = RequestParser(options)
    varied = {at: "7" for at, (name, _) in enumerate(names) if name in MAY_VARY}
    with patch.object(request_heads, "LEARN_ONE_IN", 1):
        for target, host, values in [("/b", "a.test", {}), ("/b", "b.test", varied), *heads]:
            lines = [
                f"{name}{colon}{values.get(at, GOOD_VALUES.get(name, 'a'))}"
                for at, (name, colon) in enumerate(names)
            ]
            lines.insert(host_at, f"Host: {host}")
            data = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")
            expected = _request_facts(RequestParser(options).parse(data))
            assert _request_facts(parser.parse(data)) == expected, data


def test_heads_that_differ_in_a_value_or_two_are_soon_read_by_their_shape() -> None:
    parser = RequestParser(HttpOptions())
    head = b"GET /%d HTTP/1.1\r\nHost: a.test\r\nCookie: %d\r\nX-A: b\r\n\r\n"
    for number in range(20):
        parser.parse(head % (number, number))
    with patch.object(RequestParser, "_parse", side_effect=AssertionError):
        request = parser.parse(head % (99, 99))
    assert request.head is not None
    assert request.head.target == b"/99"
    assert request.block.forward == [(b"cookie", b"99"), (b"x-a", b"b")]


def test_heads_that_are_all_built_differently_leave_a_bounded_memory() -> None:
    parser = RequestParser(HttpOptions())
    for number in range(200):
        parser.parse(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-%d: a\r\n\r\n" % number)
    assert [len(shapes) for shapes in parser._shapes.values()] == [MAX_SHAPES]


@settings(max_examples=100)
@given(st.lists(LINES, min_size=1, max_size=4), st.lists(st.integers(0, 3), max_size=30))
def test_the_memory_never_changes_an_answer(heads: list[list[bytes]], order: list[int]) -> None:
    """Hot heads, blocks and lines come from memory; each answer is still that of the very same bytes."""
    parser = RequestParser(HttpOptions())
    for at in order:
        lines = heads[at % len(heads)]
        data = b"GET /%d HTTP/1.1\r\n" % at + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
        request = parser.parse(data)
        if request.error is None:
            assert request.head is not None
            assert request.head.target == b"/%d" % at
            _agree(request.block, lines)
        else:
            fresh = RequestParser(HttpOptions()).parse(data)
            assert fresh.error is request.error


STATUS_LINES = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 Fine", b"HTTP/1.1 404 No", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 None", b"x: y",
     b"bad"]
)  # fmt: skip
RESPONSE_LINES = st.builds(
    lambda name, value: f"{name}:{value}".encode("latin-1"),
    st.sampled_from(["Content-Length", "content-length", "Date", "Vary", "Cache-Control", "Server", "X-A", "x-a",
                     "ETag",
                     "grpc-status", "Connection", "Transfer-Encoding", "Upgrade",
                     "x-envoy-upstream-service-time", "x a"]),
    st.sampled_from(["1", "5", " 5 ", "05", "5,5", "9223372036854775808", "a", "b\xff", "chunked", "close",
                     "upgrade", "\r"]),
)  # fmt: skip


def _facts(head: ResponseHead) -> object:
    if head.error:
        return None
    return (head.status, head.content_length, head.chunked, head.close, head.has_date, head.upgrade, head.grpc_status,
            head.simple, head.relay, head.pairs)  # fmt: skip


@settings(max_examples=400)
@given(
    st.lists(RESPONSE_LINES, max_size=6),
    st.lists(st.tuples(st.integers(0, 7), STATUS_LINES, RESPONSE_LINES), max_size=6),
    st.sampled_from([HttpOptions(), HttpOptions(server_header=None, debug_headers=False)]),
)
def test_a_response_head_like_the_last_but_for_some_lines_means_the_same(
    lines: list[bytes], changes: list[tuple[int, bytes, bytes]], options: HttpOptions
) -> None:
    """The same parser over and over against a fresh one for each head."""
    parser = ResponseParser(options)
    head = [b"HTTP/1.1 200 OK", b"content-length: 5", b"date: x", *lines]
    for at, status, line in [(7, b"", b""), *changes]:
        if at == 0:
            head = [status, *head[1:]]
        elif at < len(head):
            head = [*head[:at], line, *head[at + 1 :]]
        data = b"\r\n".join(head) + b"\r\n\r\n"
        with patch.object(response_heads, "LEARN_ONE_IN", 1):
            for _ in range(2):
                assert _facts(parser.parse(data)) == _facts(ResponseParser(options).parse(data)), data


def test_response_heads_that_differ_in_a_value_or_two_are_soon_read_by_their_shape() -> None:
    parser = ResponseParser(HttpOptions())
    data = b'HTTP/1.1 200 OK\r\nServer: x\r\nETag: "%d"\r\nContent-Length: %d\r\n\r\n'
    for number in range(20):
        parser.parse(data % (number, number))
    with patch.object(ResponseParser, "_parse", side_effect=AssertionError):
        head = parser.parse(data % (99, 99))
    assert head.content_length == 99
    assert head.pairs == [(b"etag", b'"99"'), (b"content-length", b"99")]
