"""Request heads: each row of hardening section 2, as far as a head shows it, and semantics 14.3 to 14.6.

Where the two differ, ordinary traffic follows what Istio was seen to do (14.6.1, 14.6.6), and framing that two
readers could read in two ways is refused: line folding, bare line ends, two Host lines, odd white space.
"""

from __future__ import annotations

import time
import tracemalloc

import pytest

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.http.h1.head import METHODS, RequestParser
from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from gatewayd.http.request import CHUNKED, LENGTH, NO_BODY, ParsedRequest

H = b"Host: a.test\r\n"
TE = b"Transfer-Encoding: chunked"


def parse(head: bytes, options: HttpOptions | None = None) -> ParsedRequest:
    return RequestParser(options or HttpOptions()).parse(head)


def with_fields(*lines: bytes, method: bytes = b"POST") -> bytes:
    return method + b" / HTTP/1.1\r\n" + H + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


REFUSED: list[tuple[str, bytes, Failure]] = [
    # length and coding
    ("both length fields", with_fields(b"Content-Length: 5", TE), errors.LENGTH_AND_CHUNKED),
    ("both, the other way round", with_fields(TE, b"Content-Length: 0"), errors.LENGTH_AND_CHUNKED),
    ("another coding", with_fields(b"Transfer-Encoding: gzip"), errors.UNKNOWN_TRANSFER_CODING),
    ("identity", with_fields(b"Transfer-Encoding: identity"), errors.UNKNOWN_TRANSFER_CODING),
    ("two codings", with_fields(b"Transfer-Encoding: gzip, chunked"), errors.UNKNOWN_TRANSFER_CODING),
    ("chunked twice", with_fields(TE, TE), errors.UNKNOWN_TRANSFER_CODING),
    ("chunked, chunked", with_fields(b"Transfer-Encoding: chunked, chunked"), errors.UNKNOWN_TRANSFER_CODING),
    ("chunked with a comma", with_fields(b"Transfer-Encoding: chunked,"), errors.UNKNOWN_TRANSFER_CODING),
    ("chunked with a parameter", with_fields(b"Transfer-Encoding: chunked;q=1"), errors.UNKNOWN_TRANSFER_CODING),
    ("nearly chunked", with_fields(b"Transfer-Encoding: xchunked"), errors.UNKNOWN_TRANSFER_CODING),
    ("empty coding", with_fields(b"Transfer-Encoding:"), errors.UNKNOWN_TRANSFER_CODING),
    ("vertical tab before chunked", with_fields(b"Transfer-Encoding: \x0bchunked"), errors.INVALID_CHARACTERS),
    ("two lengths, equal", with_fields(b"Content-Length: 5", b"Content-Length: 5"), errors.BAD_REQUEST),
    ("two lengths, unlike", with_fields(b"Content-Length: 5", b"Content-Length: 6"), errors.BAD_REQUEST),
    ("a list of lengths", with_fields(b"Content-Length: 5, 5"), errors.BAD_REQUEST),
    *(
        (f"length {value!r}", with_fields(b"Content-Length: " + value), errors.BAD_REQUEST)
        for value in (b"+5", b"-5", b"0x5", b"5a", b"", b"5 5", b"1_0", "٥".encode(), b"9223372036854775808",
                      b"18446744073709551616", b"0" * 20)
    ),
    # names
    ("no colon", with_fields(b"nonsense"), errors.BAD_REQUEST),
    ("empty name", with_fields(b": v"), errors.BAD_REQUEST),
    ("space before the colon", with_fields(b"Transfer-Encoding : chunked"), errors.BAD_REQUEST),
    ("tab before the colon", with_fields(b"Content-Length\t: 5"), errors.BAD_REQUEST),
    *((f"{bytes([b])!r} in a name", with_fields(b"x%cy: v" % b), errors.BAD_REQUEST) for b in b' "(),/;<=>?@[\\]{}'),
    ("a byte above 7f in a name", with_fields(b"x\xe9: v"), errors.BAD_REQUEST),
    # values
    *((f"byte {b:#04x} in a value", with_fields(b"x: a%cb" % b), errors.INVALID_CHARACTERS)
      for b in (*range(9), 11, 12, *range(14, 32), 127)),
    ("bare CR in a value", with_fields(b"x: a\rb"), errors.BAD_REQUEST),
    ("bare LF in a value", with_fields(b"x: a\nContent-Length: 5"), errors.BAD_REQUEST),
    ("bare CR as line end", with_fields(b"x: a\rTransfer-Encoding: chunked"), errors.BAD_REQUEST),
    ("CR CR LF", with_fields(b"x: a\r"), errors.BAD_REQUEST),
    # lines
    ("line folding", with_fields(b"x: a", b" b"), errors.BAD_REQUEST),
    ("line folding with a tab", with_fields(b"Transfer-Encoding:", b"\tchunked"), errors.BAD_REQUEST),
    ("white space before the first field", b"GET / HTTP/1.1\r\n Host: a.test\r\n\r\n", errors.BAD_REQUEST),
    ("bare LF after the request line", b"GET / HTTP/1.1\nHost: a.test\r\n\r\n", errors.BAD_REQUEST),
    # request line
    ("two spaces", b"GET  / HTTP/1.1\r\n" + H + b"\r\n", errors.BAD_REQUEST),
    ("space at the end", b"GET / HTTP/1.1 \r\n" + H + b"\r\n", errors.BAD_REQUEST),
    ("space at the start", b" GET / HTTP/1.1\r\n" + H + b"\r\n", errors.BAD_REQUEST),
    ("tab in the request line", b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n", errors.BAD_REQUEST),
    ("tab after the target", b"GET /\tHTTP/1.1\r\n" + H + b"\r\n", errors.BAD_REQUEST),
    ("space in the target", b"GET /a b HTTP/1.1\r\n" + H + b"\r\n", errors.BAD_REQUEST),
    ("method alone", b"GET\r\n" + H + b"\r\n", errors.BAD_REQUEST),
    ("empty line only", b"\r\n\r\n", errors.BAD_REQUEST),
    ("not HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", errors.BAD_REQUEST),
    ("lower-case protocol", b"GET / http/1.1\r\n" + H + b"\r\n", errors.BAD_REQUEST),
    ("two digits", b"GET / HTTP/1.10\r\n" + H + b"\r\n", errors.BAD_REQUEST),
    ("another protocol", b"GET / RTSP/1.0\r\n" + H + b"\r\n", errors.BAD_REQUEST),
    ("unknown method", b"BREW / HTTP/1.1\r\n" + H + b"\r\n", errors.BAD_REQUEST),
    ("method in lower case", b"get / HTTP/1.1\r\n" + H + b"\r\n", errors.BAD_REQUEST),
    ("method not a token", b"G@T / HTTP/1.1\r\n" + H + b"\r\n", errors.BAD_REQUEST),
    # versions (semantics 14.6.1)
    *((f"HTTP/{v}", b"GET / HTTP/%b\r\n" % v.encode() + H + b"\r\n", errors.LOW_VERSION)
      for v in ("0.9", "1.0", "1.2", "2.0", "3.0")),
    ("HTTP/0.9, no version", b"GET /\r\n\r\n", errors.LOW_VERSION),
    ("coding from HTTP/1.0", b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n", errors.LOW_VERSION),
    # targets (semantics 14.4.3)
    *((f"byte {b:#04x} in the target", b"GET /a%cb HTTP/1.1\r\n" % b + H + b"\r\n", errors.BAD_REQUEST)
      for b in (0, 1, 9, 11, 31, 127, 128, 255)),
    ("no slash", b"GET a HTTP/1.1\r\n" + H + b"\r\n", errors.INVALID_URL),
    ("only a query", b"GET ?a HTTP/1.1\r\n" + H + b"\r\n", errors.INVALID_URL),
    ("asterisk with GET", b"GET * HTTP/1.1\r\n" + H + b"\r\n", errors.INVALID_URL),
    ("asterisk with OPTIONS", b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", errors.ABSOLUTE_PATH),
    ("userinfo", b"GET http://u:p@a.test/ HTTP/1.1\r\n" + H + b"\r\n", errors.INVALID_URL),
    ("another scheme", b"GET ftp://a.test/ HTTP/1.1\r\n" + H + b"\r\n", errors.INVALID_SCHEME),
    ("https on plaintext", b"GET https://a.test/ HTTP/1.1\r\n" + H + b"\r\n", errors.HTTPS_ON_PLAINTEXT),
    ("no authority in absolute form", b"GET http:///x HTTP/1.1\r\n" + H + b"\r\n", errors.INVALID_URL),
    ("escaped NUL", b"GET /a%00 HTTP/1.1\r\n" + H + b"\r\n", errors.BAD_PATH),
    ("CONNECT", b"CONNECT a.test:443 HTTP/1.1\r\n" + H + b"\r\n", errors.CONNECT_UNROUTED),
    ("CONNECT to nonsense", b"CONNECT a@b HTTP/1.1\r\n" + H + b"\r\n", errors.BAD_HOST),
    # Host
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", errors.MISSING_HOST),
    ("two Host lines", b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", errors.BAD_REQUEST),
    *((f"Host {value!r}", b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % value, errors.BAD_HOST)
      for value in (b"a@b", b"a:80@b", b"a/b", b"a\\b", b"a#b", b"a,b", b"a%20b", b"a b", b"a\tb", b"a:b", b"a:1:2",
                    b"a:-1", b"a:65536", b"a:99999", b"a:123456", b"[::1", b"::1", b"[]", b"[::1]x", b"[g::1]",
                    b"[:::1]", b"[1::2::3]", b"[1.2.3.4]", b"a?b", b"<a>", b"\xe9")),
    # upgrades (semantics 14.6.3)
    ("another upgrade", with_fields(b"Connection: upgrade", b"Upgrade: foo"), errors.UPGRADE_FAILED),
    ("two upgrades", with_fields(b"Connection: upgrade", b"Upgrade: websocket, foo"), errors.UPGRADE_FAILED),
    ("QUERY without a type", with_fields(method=b"QUERY"), errors.QUERY_WITHOUT_TYPE),
]  # fmt: skip


@pytest.mark.parametrize(("head", "failure"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_head_that_must_be_refused(head: bytes, failure: Failure) -> None:
    assert parse(head).error is failure


@pytest.mark.parametrize("failure", sorted({row[2] for row in REFUSED} - {errors.ABSOLUTE_PATH}))
def test_what_is_refused_for_its_framing_closes(failure: Failure) -> None:
    assert failure.close


def test_the_method_list_is_what_envoy_answered_to() -> None:
    """Semantics 5.2, golden 14_06 versions-and-methods."""
    for method in METHODS - {b"CONNECT", b"QUERY"}:
        assert parse(method + b" / HTTP/1.1\r\n" + H + b"\r\n").error is None, method


@pytest.mark.parametrize(
    ("lines", "body", "length"),
    [
        ((), NO_BODY, 0),
        ((b"Content-Length: 0",), NO_BODY, 0),
        ((b"Content-Length: 5",), LENGTH, 5),
        ((b"content-length:5  ",), LENGTH, 5),
        ((b"Content-Length: 0005",), LENGTH, 5),
        ((b"Content-Length: 9223372036854775807",), LENGTH, 2**63 - 1),
        ((TE,), CHUNKED, 0),
        ((b"transfer-encoding:\tChUnKeD ",), CHUNKED, 0),
        # look-alikes do not frame, and do not reach anybody who might think they do
        ((b"Content_Length: 5",), NO_BODY, 0),
        ((b"Transfer_Encoding: chunked",), NO_BODY, 0),
    ],
)
def test_one_answer_to_how_long_the_body_is(lines: tuple[bytes, ...], body: int, length: int) -> None:
    request = parse(with_fields(*lines))
    assert request.error is None
    assert (request.body, request.content_length) == (body, length)
    framing = [name for name, _ in request.block.forward if b"_" in name]
    assert framing == []


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"POST"])
def test_every_method_may_have_a_body(method: bytes) -> None:
    """Golden 14_06 get-with-body; a length is never ignored (CL.0)."""
    assert parse(with_fields(b"Content-Length: 5", method=method)).body == LENGTH
    assert parse(with_fields(TE, method=method)).body == CHUNKED


@pytest.mark.parametrize(
    "host",
    [b"", b"a.test.", b"A.Test:8080", b"a.test:", b"127.0.0.1:80", b"[::1]", b"[::1]:80", b"[::ffff:1.2.3.4]",
     b"a_b.test", b"xn--bcher-kva.test", b"a:65535", b"a:0"],
)  # fmt: skip
def test_a_host_that_is_taken_as_it_is(host: bytes) -> None:
    """Semantics 14.5: case and port kept; an empty value and a final dot are accepted."""
    request = parse(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
    assert request.error is None
    assert request.head is not None
    assert request.head.authority == host


@pytest.mark.parametrize(
    ("target", "authority", "path"),
    [
        (b"http://b.test/x?y", b"b.test", b"/x?y"),
        (b"HTTP://B.test:81", b"B.test:81", b"/"),
        (b"http://b.test?y", b"b.test", b"/?y"),
        (b"http://b.test/a/../b#f", b"b.test", b"/b"),
        (b"http://b.test#f", b"b.test", b"/"),
    ],
)
def test_absolute_form_replaces_host(target: bytes, authority: bytes, path: bytes) -> None:
    """Semantics 14.4.3, hardening 2."""
    request = parse(b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % target)
    assert request.error is None
    assert request.head is not None
    assert (request.head.authority, request.head.target) == (authority, path)
    assert request.head.fields.get(b"host") == authority


def test_bytes_above_7f_pass_in_values_and_tabs_too() -> None:
    request = parse(with_fields(b"x: caf\xc3\xa9\xff\tz"))
    assert (b"x", b"caf\xc3\xa9\xff\tz") in request.block.forward


def test_field_names_are_lower_case_values_trimmed_and_order_kept() -> None:
    request = parse(with_fields(b"X-B:  2\t", b"X-A:1", b"X-B: 3", b"X-Empty:"))
    assert request.block.forward == [(b"x-b", b"2"), (b"x-a", b"1"), (b"x-b", b"3"), (b"x-empty", b"")]
    assert request.block.forward_bytes == b"x-b: 2\r\nx-a: 1\r\nx-b: 3\r\nx-empty: \r\n"


@pytest.mark.parametrize(
    ("lines", "forwarded"),
    [
        # semantics 14.3.1
        ((b"Connection: keep-alive", b"Keep-Alive: 5", b"Proxy-Connection: x"), []),
        ((b"TE: gzip, Trailers",), [(b"te", b"trailers")]),
        ((b"TE: gzip",), []),
        ((b"Connection: X-A, x-b", b"X-A: 1", b"x-B: 2", b"x-c: 3"), [(b"x-c", b"3")]),
        ((b"Upgrade: h2c", b"HTTP2-Settings: x", b"Connection: Upgrade, HTTP2-Settings"), []),
        # hardening 4: what a client may not nominate
        ((b"Connection: content-length", b"Content-Length: 5"), [(b"content-length", b"5")]),
        ((b"Connection: transfer-encoding", TE), [(b"transfer-encoding", b"chunked")]),
        ((b"Connection: x-forwarded-host, x-envoy-x", b"x-forwarded-host: a", b"x-envoy-x: b"),
         [(b"x-envoy-x", b"b"), (b"x-forwarded-host", b"a")]),
        # semantics 14.3.2
        ((b"x-envoy-original-path: /x", b"X-Envoy-Retry-On: 5xx", b"x-envoy-internal: true"), []),
        ((b"x-forwarded-client-cert: By=x", b"x-envoy-attempt-count: 9"), []),
        ((b"x_envoy_internal: true", b"X_Forwarded_For: 1.2.3.4", b"x-forwarded_proto: https"), []),
        ((b"x_other: 1",), [(b"x_other", b"1")]),  # 14.6.5
        # semantics 5.8
        ((b"Accept: a", b"X-A: 1", b"ACCEPT: b"), [(b"accept", b"a,b"), (b"x-a", b"1")]),
        ((b"User-Agent: a", b"User-Agent: b"), [(b"user-agent", b"a,b")]),
        ((b"Cookie: a=1", b"Cookie: b=2"), [(b"cookie", b"a=1"), (b"cookie", b"b=2")]),
        # golden 14_connection_manager
        ((b"Trailer: X-T", b"Proxy-Authorization: x"), [(b"trailer", b"X-T"), (b"proxy-authorization", b"x")]),
        ((b"Expect: something",), [(b"expect", b"something")]),  # 14.6.2
    ],
)  # fmt: skip
def test_which_fields_go_upstream(lines: tuple[bytes, ...], forwarded: list[tuple[bytes, bytes]]) -> None:
    request = parse(with_fields(*lines))
    assert request.error is None
    assert sorted(request.block.forward) == sorted(forwarded)
    assert request.block.forward_bytes == b"".join(b"%b: %b\r\n" % pair for pair in request.block.forward)


@pytest.mark.parametrize(
    ("line", "close"),
    [(b"Connection: close", True), (b"connection: Foo , CLOSE", True), (b"Connection: closed", False),
     (b"X: close", False)],
)  # fmt: skip
def test_connection_close_is_a_token(line: bytes, close: bool) -> None:
    assert parse(with_fields(line)).close is close


@pytest.mark.parametrize(
    ("lines", "upgrade"),
    [
        ((b"Connection: Upgrade", b"Upgrade: WebSocket"), b"websocket"),
        ((b"Upgrade: websocket",), b""),
        ((b"Connection: keep-alive", b"Upgrade: foo"), b""),
        ((b"Connection: upgrade",), b""),
    ],
)
def test_an_upgrade_needs_connection_to_name_it(lines: tuple[bytes, ...], upgrade: bytes) -> None:
    """Semantics 14.6.3, RFC 9110 7.8."""
    request = parse(with_fields(*lines, method=b"GET"))
    assert request.error is None
    assert request.block.upgrade == upgrade


@pytest.mark.parametrize(
    ("lines", "hops", "proto"),
    [
        ((b"x-forwarded-proto: https",), 0, b"http"),
        ((b"x-forwarded-proto: https",), 1, b"https"),
        ((), 1, b"http"),
    ],
)
def test_x_forwarded_proto_is_believed_behind_trusted_proxies_only(
    lines: tuple[bytes, ...], hops: int, proto: bytes
) -> None:
    """Semantics 14.2.1, 14.2.2."""
    request = parse(with_fields(*lines), HttpOptions(trusted_proxies=hops))
    assert request.block.forwarded_proto == proto
    assert request.head is not None
    assert request.head.scheme == proto
    assert request.head.fields.get(b"x-forwarded-proto") == proto


@pytest.mark.parametrize(
    ("lines", "value"),
    [((), None), ((b"X-Forwarded-For:",), None), ((b"X-Forwarded-For: 1.1.1.1",), b"1.1.1.1"),
     ((b"X-Forwarded-For: 1.1.1.1", b"x-forwarded-for: 2.2.2.2"), b"1.1.1.1,2.2.2.2")],
)  # fmt: skip
def test_x_forwarded_for_is_kept_apart(lines: tuple[bytes, ...], value: bytes | None) -> None:
    """Semantics 14.1.1: the proxy appends; an empty one is replaced."""
    block = parse(with_fields(*lines)).block
    assert block.forwarded_for == value
    assert all(name != b"x-forwarded-for" for name, _ in block.forward)


def test_the_number_of_fields_has_a_limit() -> None:
    """Semantics 14.6.4."""
    options = HttpOptions(limits=HttpLimits(max_request_fields=3))
    assert parse(with_fields(b"a: 1", b"b: 2"), options).error is None
    assert parse(with_fields(b"a: 1", b"b: 2", b"c: 3"), options).error is errors.TOO_MANY_FIELDS


@pytest.mark.parametrize(
    "field",
    [b"x: " + b" " * 50_000, b"x: a" + b" " * 50_000 + b"b", b"x: a" + b" \t" * 25_000 + b"\x00", b"x" * 50_000,
     b"x: " + b"a " * 25_000, b"x: " + b"a:" * 25_000, b" " * 50_000, b"x:" + b"\r" * 50_000, b"x" * 50_000 + b" :"],
)  # fmt: skip
def test_no_field_costs_more_than_its_length(field: bytes) -> None:
    """Hardening 1: a request may not cost a hundred times what it cost to send."""
    parser = RequestParser(HttpOptions())
    began = time.process_time()
    parser.parse(with_fields(field))
    assert time.process_time() - began < 0.1  # a plain field of that size takes a tenth of a millisecond


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n",
        b"GET http://%b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n%b: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx: %b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nuser-agent: %b\r\n\r\n",
    ],
)
def test_nothing_large_that_a_stranger_makes_up_is_remembered(head: bytes) -> None:
    """Hardening 1 and 9.6: 16,384 Hosts of 60 KiB would be a gigabyte."""
    parser = RequestParser(HttpOptions())
    tracemalloc.start()
    try:
        for number in range(100):
            text = b"%d%b" % (number, b"a" * 50_000)
            assert parser.parse(head % text).error is None
            assert parser.parse(head % text).error is None
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000


@pytest.mark.parametrize(
    ("handling", "lines", "kept"),
    [
        ("SANITIZE_SET", (b"X-Forwarded-Client-Cert: By=x",), None),
        ("SANITIZE", (b"X-Forwarded-Client-Cert: By=x",), None),
        ("APPEND_FORWARD", (b"X-Forwarded-Client-Cert: By=x",), b"By=x"),
        ("FORWARD_ONLY", (b"x-forwarded-client-cert: a", b"x-forwarded-client-cert: b"), b"a,b"),
        ("ALWAYS_FORWARD_ONLY", (), None),
    ],
)
def test_a_received_client_certificate_is_kept_apart_where_it_may_go_on(
    handling: str, lines: tuple[bytes, ...], kept: bytes | None
) -> None:
    """Semantics 3.18: whether it goes on is the connection's matter."""
    for _ in range(3):  # also when the head is known, or built like one
        request = parse(with_fields(*lines), HttpOptions(client_certificate=handling))
        assert request.block.forwarded_certificate == kept
        assert b"client-cert" not in request.block.forward_bytes
