"""Response heads: hardening 7 row by row, semantics 14.7, and the form that goes downstream."""

from __future__ import annotations

import pytest

from gatewayd.http.h1.response import ResponseParser
from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE
from gatewayd.http.response import REASONS, ResponseHead, status_line


def parse(data: bytes, options: HttpOptions | None = None) -> ResponseHead:
    return ResponseParser(options or HttpOptions()).parse(data)


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return status + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


REFUSED = [
    *(head(status=line) for line in (
        b"garbage", b"", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 abc", b"HTTP/1.1 99 x", b"HTTP/1.1 099 x",
        b"HTTP/1.1 1000 x",
        b"HTTP/1.1 20 x", b"HTTP/1.1  200 OK", b"HTTP/1.1 200OK", b"HTTP/1.1\t200 OK",
        b"http/1.1 200 OK", b"HTTP/11 200 OK",
        b"HTTP/1.1 +20 x", b" HTTP/1.1 200 OK", b"\r\nHTTP/1.1 200 OK", b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 OK\nX: y", b"ICY 200 OK",
    )),
    head(b"Content-Length: 5", b"Content-Length: 5"),
    head(b"Content-Length: 5", b"Content-Length: 6"),
    head(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    head(b"Transfer-Encoding: chunked", b"Content-Length: 0"),
    *(head(b"Content-Length: " + value) for value in
      (b"", b"5,5", b"+5", b"-1", b"5a", b"0x5", b"9223372036854775808", b"1" * 20)),
    *(head(b"Transfer-Encoding: " + value) for value in
      (b"", b"gzip", b"identity", b"gzip, chunked", b"chunked,", b"chunked, chunked", b"x")),
    head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    head(b"bad header"), head(b": v"), head(b"x : v"), head(b"x y: v"), head(b"x\x00: v"), head(b"\xe9: v"),
    head(b"x: a\x00b"), head(b"x: a\rb"), head(b"x: a\nb: c"), head(b"x: a\x7f"), head(b"x: \x1b[1m"),
    head(b"x: a", b" folded"), head(b"x: a", b"\tfolded"), head(b"x: a\r"),
    head(b"Content-Length: 5", status=b"HTTP/1.1 204 No Content"),  # semantics 14.7.5
]  # fmt: skip


@pytest.mark.parametrize("data", REFUSED)
def test_a_head_that_must_be_refused(data: bytes) -> None:
    assert parse(data).error


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0"])
@pytest.mark.parametrize("reason", [b"", b" ", b" OK", b" \xe9t\xe9", b" a\tb"])
def test_versions_and_reasons_that_are_taken(version: bytes, reason: bytes) -> None:
    """Golden 16 upstream-misbehaviour-b: Envoy takes any version; the reason phrase is our own."""
    got = parse(head(b"Content-Length: 0", status=version + b" 200" + reason))
    assert not got.error
    assert got.relay.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("method", "status", "lines", "kind"),
    [
        (b"GET", b"200", (b"Content-Length: 5",), LENGTH),
        (b"GET", b"200", (b"Content-Length: 0",), NO_BODY),
        (b"GET", b"200", (b"Transfer-Encoding: Chunked",), CHUNKED),
        (b"GET", b"200", (), UNTIL_CLOSE),
        (b"HEAD", b"200", (b"Content-Length: 5",), NO_BODY),
        (b"HEAD", b"200", (b"Transfer-Encoding: chunked",), NO_BODY),
        (b"HEAD", b"200", (), NO_BODY),
        (b"GET", b"304", (b"Content-Length: 5",), NO_BODY),
        (b"GET", b"204", (), NO_BODY),
        (b"GET", b"204", (b"Content-Length: 0",), NO_BODY),
        (b"GET", b"103", (b"Content-Length: 0",), NO_BODY),
    ],
)
def test_how_a_body_ends(method: bytes, status: bytes, lines: tuple[bytes, ...], kind: int) -> None:
    """RFC 9112 6.3."""
    got = parse(head(*lines, status=b"HTTP/1.1 " + status + b" x"))
    assert not got.error
    assert got.body_kind(method) == kind


@pytest.mark.parametrize("status", [b"204", b"103", b"100", b"101"])
@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 5"])
def test_a_body_where_there_can_be_none_is_refused(status: bytes, framing: bytes) -> None:
    """Hardening 7, RFC 9112 6.1: its bytes, coming late, would be the next answer. Envoy 1.40 says 502 too."""
    assert parse(head(framing, status=b"HTTP/1.1 " + status + b" x")).error
    assert b"content-length" not in parse(head(b"Content-Length: 0", status=b"HTTP/1.1 " + status)).relay


@pytest.mark.parametrize(
    ("version", "lines", "close"),
    [
        (b"HTTP/1.1", (), False),
        (b"HTTP/1.1", (b"Connection: Close",), True),
        (b"HTTP/1.1", (b"Connection: x, close",), True),
        (b"HTTP/1.0", (), True),
        (b"HTTP/1.0", (b"Connection: keep-alive",), False),
        (b"HTTP/1.0", (b"Connection: x",), True),
    ],
)
def test_when_the_upstream_will_close(version: bytes, lines: tuple[bytes, ...], close: bool) -> None:
    assert parse(head(b"Content-Length: 0", *lines, status=version + b" 200 OK")).close is close


def test_only_what_can_be_relayed_at_once_is_simple() -> None:
    """The fast path of the client codec trusts it to know the end of the message and that nothing closes."""
    assert parse(head(b"Content-Length: 5")).simple
    for lines, status in (
        ((), b"200"),
        ((b"Transfer-Encoding: chunked",), b"200"),
        ((b"Content-Length: 0",), b"204"),
        ((b"Content-Length: 5",), b"304"),
        ((b"Content-Length: 0",), b"103"),
        ((b"Content-Length: 5", b"Connection: close"), b"200"),
    ):
        assert not parse(head(*lines, status=b"HTTP/1.1 " + status)).simple


def test_the_relayed_form_is_built_from_parsed_values() -> None:
    """Semantics 14.7.1 to 14.7.3: hop-by-hop fields gone, ``server`` ours, repeated lines joined or kept."""
    got = parse(
        head(b"Server: nginx", b"Vary: a", b"Set-Cookie: a", b"X-Up:  b ", b"VARY: c", b"Set-Cookie: d",
             b"Keep-Alive: 5", b"Connection: x-up", b"Proxy-Connection: y", b"x-envoy-upstream-service-time: 9",
             b"Content-Length: 3")
    )  # fmt: skip
    assert got.relay.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.relay.endswith(b"server: istio-envoy\r\nx-envoy-upstream-service-time: ")
    lines = got.relay.split(b"\r\n")[1:-2]
    assert sorted(lines) == [
        b"content-length: 3",
        b"set-cookie: a",
        b"set-cookie: d",
        b"vary: a,c",
        b"x-up: b",
    ]
    assert [line for line in lines if line.startswith(b"set")] == [b"set-cookie: a", b"set-cookie: d"]
    assert sorted(b"%b: %b" % pair for pair in got.pairs) == sorted(lines)


def test_the_proxys_own_fields_can_be_switched_off() -> None:
    """Semantics 14.7.1, 14.7.4: then the upstream's own pass."""
    options = HttpOptions(server_header=None, debug_headers=False)
    got = parse(head(b"Server: nginx", b"x-envoy-upstream-service-time: 9"), options)
    assert sorted(got.relay.split(b"\r\n")) == [
        b"", b"HTTP/1.1 200 OK", b"server: nginx", b"x-envoy-upstream-service-time: 9",
    ]  # fmt: skip
    assert b"server: own\r\n" in parse(head(), HttpOptions(server_header=b"own")).relay


def test_facts_the_proxy_asks_for() -> None:
    got = parse(head(b"Date: x", b"grpc-status: 14", b"Connection: Upgrade", b"Upgrade: WebSocket"))
    assert (got.has_date, got.grpc_status, got.upgrade) == (True, b"14", b"websocket")
    assert parse(head(b"Upgrade: websocket")).upgrade == b""


@pytest.mark.parametrize(("count", "good"), [(100, True), (101, False)])
def test_the_number_of_fields_has_a_limit(count: int, good: bool) -> None:
    """Semantics 14.6.4."""
    assert (not parse(head(*(b"x%d: v" % n for n in range(count)))).error) is good


@pytest.mark.parametrize(("size", "good"), [(62_000, True), (70_000, False)])
def test_the_size_has_a_limit(size: int, good: bool) -> None:
    """Semantics 14.6.4."""
    assert (not parse(head(b"x: " + b"v" * size)).error) is good
    assert not parse(
        head(b"x: " + b"v" * size), HttpOptions(limits=HttpLimits(max_response_head_bytes=1 << 20))
    ).error


def test_status_lines() -> None:
    """Semantics 14.7: our own reason phrases."""
    assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"
    assert status_line(799) == b"HTTP/1.1 799 Unknown\r\n"
    assert REASONS[418]
