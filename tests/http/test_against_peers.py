"""h11 and httptools read what we read: two independent parsers, on heads and bodies made at random.

What ours accepts, httptools must accept with the same method, target, fields and body, or the difference is one
of those written down here. What h11 and ours both accept they must understand alike.
"""

from __future__ import annotations

import re
from typing import Any

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.http.h1.chunked import ChunkedReader
from gatewayd.http.h1.head import RequestParser
from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import CHUNKED, LENGTH

Message = tuple[bytes, bytes, dict[bytes, list[bytes]], bytes]

_PARSER = RequestParser(HttpOptions(path_normalization="NONE"))


def ours(data: bytes) -> Message | None:
    """Method, target, forwarded fields (names in lower case, lines in order) and body; None: refused."""
    end = data.find(b"\r\n\r\n") + 4
    if end == 3:
        return None
    request = _PARSER.parse(data[:end])
    if request.error is not None or request.head is None:
        return None
    body = b""
    if request.body == LENGTH:
        body = data[end : end + request.content_length]
        if len(body) < request.content_length:
            return None
    elif request.body == CHUNKED:
        reader = ChunkedReader(HttpLimits())
        body = reader.feed(data[end:])
        if reader.error or not reader.done:
            return None
    fields: dict[bytes, list[bytes]] = {b"host": [request.head.authority]}
    for name, value in request.block.forward:
        fields.setdefault(name, []).append(value)
    return request.method, request.head.target, fields, body


class Heard:
    """What httptools says of the first message."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: dict[bytes, list[bytes]] = {}
        self.body = b""
        self.messages = 0
        self._in_body = False

    def on_message_begin(self) -> None:
        self.messages += 1

    def on_url(self, url: bytes) -> None:
        if self.messages == 1:
            self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.messages == 1 and not self._in_body:
            self.fields.setdefault(name.lower(), []).append(value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        if self.messages == 1:
            self.body += body


def with_httptools(data: bytes) -> tuple[bytes, Heard] | None:
    heard = Heard()
    parser = httptools.HttpRequestParser(heard)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # the head is read; a body does not follow for it
    except httptools.HttpParserError:
        return None
    return parser.get_method(), heard


def with_h11(data: bytes) -> Message | None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    try:
        event = connection.next_event()
        if not isinstance(event, h11.Request):
            return None
        fields: dict[bytes, list[bytes]] = {}
        for name, value in event.headers:
            fields.setdefault(bytes(name), []).append(bytes(value))
        body = b""
        while True:
            piece: Any = connection.next_event()
            if isinstance(piece, h11.Data):
                body += piece.data
            elif isinstance(piece, h11.EndOfMessage):
                return bytes(event.method), bytes(event.target), fields, body
            else:
                return None
    except h11.RemoteProtocolError:
        return None


TOKEN = st.text(st.sampled_from("abcXYZ019-_.!~*'"), min_size=1, max_size=8).map(lambda t: "x" + t)
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=12)
FIELDS = st.lists(st.builds(lambda n, v: f"{n}: {v}\r\n".encode("latin-1"), TOKEN, VALUE), max_size=6)
BODIES = st.one_of(
    st.just((b"", b"")),
    st.binary(max_size=30).map(lambda b: (b"Content-Length: %d\r\n" % len(b), b)),
    st.lists(st.binary(min_size=1, max_size=20), max_size=4).map(
        lambda chunks: (
            b"Transfer-Encoding: chunked\r\n",
            b"".join(b"%x;e=1\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\nT: 1\r\n\r\n",
        )
    ),
)
TARGETS = st.text(st.sampled_from("abc/.%2;=&?~-"), max_size=12).map(lambda t: "/" + t)


def _compare_forwarded(mine: dict[bytes, list[bytes]], theirs: dict[bytes, list[bytes]]) -> None:
    for name, values in mine.items():
        assert b",".join(values) == b",".join(theirs[name]), name


@settings(max_examples=150)
@given(st.sampled_from(["GET", "POST", "PUT", "OPTIONS"]), TARGETS, FIELDS, BODIES)
def test_good_messages_are_understood_alike_by_all_three(
    method: str, target: str, fields: list[bytes], framed: tuple[bytes, bytes]
) -> None:
    framing, body = framed
    data = (
        f"{method} {target} HTTP/1.1\r\nHost: a.test\r\n".encode()
        + b"".join(fields)
        + framing
        + b"\r\n"
        + body
    )
    mine = ours(data)
    assert mine is not None
    second, third = with_httptools(data), with_h11(data)
    assert second is not None
    assert mine[:2] == (second[0], second[1].target) == (method.encode(), target.encode())
    _compare_forwarded(mine[2], second[1].fields)
    assert mine[3] == second[1].body
    if third is not None:  # h11 takes no obs-text beside some odd white space
        assert mine[:2] == third[:2]
        _compare_forwarded(mine[2], third[2])
        assert mine[3] == third[3]


GRAFTS = [
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"content-length : 5\r\n", b"Content-Length: +5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n", b" folded: 1\r\n", b"\tchunked\r\n", b"x: a\rb\r\n",
    b"x: a\nb: c\r\n", b"\n", b"\r",
    b"\r\n", b"Host: b.test\r\n", b"x\x00: 1\r\n",
    b": 1\r\n", b"nocolon\r\n", b"Connection: close, x-a\r\n", b"\x80: 1\r\n",
    b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"HTTP/1.1", b"GET / HTTP/1.1\r\n", b" ", b"\t", b"\x7f", b"\xff",
]  # fmt: skip
BASES = [
    b"GET /a?b HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3;e\r\nabc\r\n0\r\nT: 1\r\n\r\n",
]


_FRAMING_TRAILER = re.compile(
    rb"\r\n0+(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*?(?:content-length|transfer-encoding)[ \t]*:", re.IGNORECASE
)
_EXTENSION = re.compile(rb"(\r\n[0-9A-Fa-f]+);[^\r\n]*")


@settings(max_examples=600)
@given(
    st.sampled_from(BASES),
    st.lists(
        st.tuples(st.integers(0, 120), st.integers(0, 3), st.sampled_from(GRAFTS)), min_size=1, max_size=3
    ),
)
def test_what_ours_accepts_of_mutilated_messages_httptools_accepts_with_the_same_meaning(
    base: bytes, grafts: list[tuple[int, int, bytes]]
) -> None:
    """The proof that strictness here hides no second reading: of the same bytes, the same request."""
    data = base
    for at, cut, graft in grafts:
        at %= len(data) + 1
        data = data[:at] + graft + data[at + cut :]
    while data.startswith(b"\r\n"):
        data = data[2:]  # empty lines before a request are the connection's business
    mine = ours(data)
    if mine is None:
        return
    alone = _first_message(data, mine[3])
    if _FRAMING_TRAILER.search(alone, data.find(b"\r\n\r\n")):
        return  # one difference: trailers that frame are dropped here, refused there
    # and the other: what stands in a chunk extension is discarded here, parsed there
    second = with_httptools(alone) or with_httptools(_EXTENSION.sub(rb"\1", alone))
    assert second is not None, data
    assert mine[0] == second[0]
    _compare_forwarded(mine[2], {**second[1].fields, b"host": mine[2][b"host"]})
    assert mine[3] == second[1].body


def _first_message(data: bytes, body: bytes) -> bytes:
    head = data[: data.find(b"\r\n\r\n") + 4]
    request = _PARSER.parse(head)
    if request.body == CHUNKED:
        reader = ChunkedReader(HttpLimits())
        reader.feed(data[len(head) :])
        return data[: len(data) - len(reader.rest)]
    return head + body


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx: %b\r\n\r\n" % (b"v" * 70_000),
    ],
)
def test_what_httptools_lets_through_is_refused(head: bytes) -> None:
    """Hardening 10: the list of what llhttp does not refuse; size is the connection's business."""
    if len(head) < 60 * 1024:
        assert ours(head) is None
    assert with_httptools(head) is not None
