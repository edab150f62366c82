"""RFC 9113 section 8 and RFC 8441, for both roles; where Envoy is more lenient or stricter, it has the say.

Semantics 14.4.3, 14.5.2, 14.6.3, 14.6.4 and 14.6.9, as Istio 1.30 with Envoy 1.40 was seen to do; hardening section 3.
"""

from __future__ import annotations

import pytest

from gatewayd import errors
from gatewayd.http.limits import HttpLimits
from gatewayd.http.request import CHUNKED, LENGTH, NO_BODY
from tests.http.h2.rigs import Asked, Pairs, Served, response_head
from tests.support import h2_wire as wire
from tests.support.h2_wire import INTERNAL_ERROR, PROTOCOL_ERROR, request

#: Without one of the pseudo-fields.
NO_METHOD, NO_SCHEME, NO_PATH, NO_AUTHORITY = (
    [field for field in request() if field[0] != name]
    for name in (":method", ":scheme", ":path", ":authority")
)


def served(fields: wire.Headers, *, end: bool = True, **options: object) -> Served:
    rig = Served(**options)  # type: ignore[arg-type]
    rig.send(wire.headers(1, fields, end=end))
    return rig


# --- 8.2, 8.3: requests that are malformed end the connection, as in Envoy (semantics 14.5.2)

FIELD, MESSAGE = errors.H2_FIELD, errors.H2_MESSAGE
MALFORMED: list[tuple[str, wire.Headers, errors.Failure]] = [
    ("8.2.1 upper case", request(headers=[("X-A", "1")]), FIELD),
    ("8.2.1 space in a name", request(headers=[("x a", "1")]), FIELD),
    ("8.2.1 colon in a name", request(headers=[("x:a", "1")]), FIELD),
    ("8.2.1 parenthesis in a name", request(headers=[("x(", "1")]), FIELD),
    ("8.2.1 a name beyond ASCII", request(headers=[(b"x\xe9", b"1")]), FIELD),
    ("8.2.1 an empty name", request(headers=[("", "1")]), FIELD),
    ("8.2.1 NUL in a value", request(headers=[("x", "a\0b")]), FIELD),
    ("8.2.1 CR in a value", request(headers=[("x", "a\rb")]), FIELD),
    ("8.2.1 LF in a value", request(headers=[("x", "a\nb: c")]), FIELD),
    ("8.2.1 another control byte", request(headers=[("x", "a\x01")]), FIELD),
    ("8.2.1 DEL", request(headers=[("x", "a\x7f")]), FIELD),
    ("8.2.2 connection", request(headers=[("connection", "close")]), FIELD),
    ("8.2.2 keep-alive", request(headers=[("keep-alive", "1")]), FIELD),
    ("8.2.2 proxy-connection", request(headers=[("proxy-connection", "1")]), FIELD),
    ("8.2.2 transfer-encoding", request(headers=[("transfer-encoding", "chunked")]), FIELD),
    ("8.2.2 upgrade", request(headers=[("upgrade", "websocket")]), FIELD),
    ("8.2.2 te", request(headers=[("te", "gzip")]), FIELD),
    ("8.2.2 te with more", request(headers=[("te", "trailers, gzip")]), FIELD),
    ("8.3 an unknown pseudo-field", [*request(), (":foo", "1")], FIELD),
    ("8.3 one of responses", [*request(), (":status", "200")], FIELD),
    ("8.3 twice", [*request(), (":path", "/b")], FIELD),
    ("8.3 behind a field", [*NO_PATH, ("x", "1"), (":path", "/")], FIELD),
    ("8.3.1 no method", NO_METHOD, MESSAGE),
    ("8.3.1 no scheme", NO_SCHEME, MESSAGE),
    ("8.3.1 no path", NO_PATH, MESSAGE),
    ("8.3.1 no authority and no host", NO_AUTHORITY, MESSAGE),
    ("8.3.1 an empty method", request(""), FIELD),
    ("8.3.1 a method that is none", request("G T"), FIELD),
    ("8.3.1 an empty path", request(path=""), FIELD),
    ("8.3.1 a path without slash", request(path="x"), MESSAGE),
    ("8.3.1 a path with everything", request(path="http://a.test/"), MESSAGE),
    ("8.3.1 * without OPTIONS", request(path="*"), MESSAGE),
    ("a space in the path", request(path="/a b"), FIELD),
    ("a tab in the path", request(path="/a\tb"), FIELD),
    ("a line end in the path", request(path="/a\r\nx: y"), FIELD),
    ("an empty scheme", request(scheme=""), FIELD),
    ("a scheme that is none", request(scheme="1http"), FIELD),
    ("an empty authority", request(authority=""), FIELD),
    ("8.3.1 user information", request(authority="u@a.test"), FIELD),
    ("a space in the authority", request(authority="a b"), FIELD),
    ("a slash in the authority", request(authority="a/b"), FIELD),
    ("a bad host", [*NO_AUTHORITY, ("host", "a/b")], FIELD),
    ("a bad host beside an authority", request(headers=[("host", "a b")]), FIELD),
    ("an empty host beside an authority", request(headers=[("host", "")]), FIELD),
    ("a bad path before a missing method", request(path="/a b")[1:], FIELD),
    ("two hosts", request(headers=[("host", "a"), ("host", "a")]), FIELD),
    ("8.1.1 a length without a body", request("POST", headers=[("content-length", "3")]), MESSAGE),
    ("two lengths", request("POST", headers=[("content-length", "0"), ("content-length", "0")]), FIELD),
    ("a length that is none", request("POST", headers=[("content-length", "+3")]), FIELD),
    ("a length beyond 2^63", request("POST", headers=[("content-length", "9" * 19)]), FIELD),
    ("8.5 CONNECT with a path", request("CONNECT"), MESSAGE),
    ("8.5 CONNECT without authority", [(":method", "CONNECT")], MESSAGE),
    ("RFC 8441 not on offer", [*request("CONNECT"), (":protocol", "websocket")], FIELD),
]


@pytest.mark.parametrize(
    ("fields", "failure"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED]
)
def test_8_a_malformed_request_ends_the_connection_and_is_written_down(
    fields: wire.Headers, failure: errors.Failure
) -> None:
    rig = served(fields)
    assert rig.failed() == PROTOCOL_ERROR
    assert rig.begun == []
    assert rig.noted == [failure]


def test_8_others_on_that_connection_hear_of_it() -> None:
    rig = Served()
    rig.send(wire.headers(1, request(), end=True), wire.headers(3, request(headers=[("X", "1")]), end=True))
    (other,) = rig.begun
    assert other.aborted is not None
    assert other.aborted[0] == "DPE"


# --- requests that are good


def test_8_3_1_a_request_is_what_http1_parses_to() -> None:
    rig = served(
        request(
            "GET",
            "/a/../b?c=d",
            "A.test:80",
            "http",
            [("user-agent", "me"), ("x-a", " padded "), ("te", "trailers"), ("x-request-id", "theirs")],
        )
    )
    parsed = rig.begun[0].request
    assert parsed.head is not None
    head, block = parsed.head, parsed.block
    assert (head.method, head.target, head.authority, head.scheme) == (
        b"GET",
        b"/b?c=d",
        b"A.test:80",
        b"http",
    )
    assert (head.path, head.query, head.user_agent) == (b"/b", b"c=d", b"me")
    assert (parsed.body, block.close, block.upgrade) == (NO_BODY, False, b"")
    assert block.request_id == b"theirs"
    assert block.forward == [(b"user-agent", b"me"), (b"x-a", b"padded"), (b"te", b"trailers")]


def test_8_3_1_host_stands_in_for_authority_and_is_left_out_beside_it() -> None:
    """Semantics 14.5.2: whatever it says."""
    assert served([*NO_AUTHORITY, ("host", "h.test")]).begun[0].request.head.authority == b"h.test"  # type: ignore[union-attr]
    both = served(request(headers=[("host", "other.test")])).begun[0].request
    assert both.head is not None
    assert both.head.authority == b"a.test"
    assert both.block.forward == []


def test_8_2_3_cookie_crumbs_become_one() -> None:
    rig = served(request(headers=[("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"), ("cookie", "c=3")]))
    assert rig.begun[0].request.block.forward == [(b"x", b"1"), (b"cookie", b"a=1; b=2; c=3")]


def test_8_2_3_crumbs_are_joined_as_they_are() -> None:
    rig = served(request(headers=[("cookie", "a=1;"), ("cookie", ""), ("cookie", " b=2 ")]))
    assert rig.begun[0].request.block.forward == [(b"cookie", b"a=1;; ;  b=2")]
    assert served(request(headers=[("cookie", ""), ("cookie", "")])).begun[0].request.block.forward == []


@pytest.mark.parametrize(("value", "sent"), [("trailers", [(b"te", b"trailers")]), ("Trailers", [])])
def test_14_3_1_te_trailers_goes_on(value: str, sent: list[tuple[bytes, bytes]]) -> None:
    assert served(request(headers=[("te", value)])).begun[0].request.block.forward == sent


def test_5_8_lines_of_one_value_are_joined() -> None:
    rig = served(request(headers=[("accept", "a"), ("x", "1"), ("accept", "b"), ("x", "2")]))
    assert rig.begun[0].request.block.forward == [(b"accept", b"a,b"), (b"x", b"1"), (b"x", b"2")]


@pytest.mark.parametrize("method", ["BREW", "get", "M-SEARCH", "PRI"])
def test_5_2_any_token_is_a_method(method: str) -> None:
    """Unlike over HTTP/1.1 (semantics 5.2)."""
    assert served(request(method)).begun[0].method == method.encode()


@pytest.mark.parametrize("scheme", ["https", "ftp", "HTTP"])
def test_5_16_the_scheme_is_the_clients(scheme: str) -> None:
    assert served(request(scheme=scheme)).begun[0].request.head.scheme == scheme.encode()  # type: ignore[union-attr]


def test_14_4_paths_are_made_canonical() -> None:
    assert served(request(path="/a/%2e%2e/b")).begun[0].request.head.target == b"/b"  # type: ignore[union-attr]
    assert served(request(path="/a#b")).begun[0].request.error is errors.BAD_PATH
    beyond = served([*NO_PATH, (":path", b"/\xc3\xa9?\xff")]).begun[0].request
    assert beyond.head is not None
    assert beyond.head.target == b"/%C3%A9?%FF"
    merged = served(request(path="//a//b"), path_normalization="MERGE_SLASHES").begun[0].request
    assert merged.head is not None
    assert merged.head.target == b"/a/b"


ANSWERED = [
    (request(path="/%00"), errors.BAD_PATH),
    (request("OPTIONS", "*"), errors.ABSOLUTE_PATH),
    ([(":method", "CONNECT"), (":authority", "a.test:80")], errors.CONNECT_UNROUTED),
    (request("QUERY"), errors.QUERY_WITHOUT_TYPE),
]


@pytest.mark.parametrize(("fields", "failure"), ANSWERED)
def test_14_4_3_what_is_well_formed_gets_an_answer(fields: wire.Headers, failure: errors.Failure) -> None:
    rig = served(fields)
    assert rig.begun[0].request.error is failure
    assert rig.failed() is None


@pytest.mark.parametrize(
    ("fields", "end", "kind", "length"),
    [
        (request("POST"), True, NO_BODY, -1),
        (request("POST", headers=[("content-length", "0")]), True, NO_BODY, 0),
        (request("POST"), False, CHUNKED, -1),
        (request("GET"), False, CHUNKED, -1),
        (request("POST", headers=[("content-length", "5")]), False, LENGTH, 5),
        (request("POST", headers=[("content-length", "0")]), False, LENGTH, 0),
    ],
)
def test_8_1_1_how_the_body_is_framed(fields: wire.Headers, end: bool, kind: int, length: int) -> None:
    parsed = served(fields, end=end).begun[0].request
    assert (parsed.body, parsed.block.content_length) == (kind, length)
    chunked = (b"transfer-encoding", b"chunked") in parsed.block.forward
    assert chunked == (kind == CHUNKED)


def test_what_is_remembered_of_a_block_depends_on_whether_it_ends_the_request() -> None:
    rig = Served()
    block = wire.block(request("POST"))
    for number, end in ((1, True), (3, False), (5, True), (7, False)):
        rig.send(wire.headers(number, block, end=end))
    assert [handler.request.body for handler in rig.begun] == [NO_BODY, CHUNKED, NO_BODY, CHUNKED]
    assert rig.begun[0].request is rig.begun[2].request


def test_what_is_remembered_of_a_block_is_forgotten_with_the_table() -> None:
    rig = Served()
    block = wire.block(request())
    for number, more in (
        (1, b"\x40\x01a\x011"),
        (3, b"\xbe"),
        (5, b"\xbe"),
        (7, b"\x40\x01b\x012"),
        (9, b"\xbe"),
    ):
        rig.send(wire.headers(number, block + more, end=True))
    assert [handler.request.block.forward for handler in rig.begun] == [
        [(b"a", b"1")], [(b"a", b"1")], [(b"a", b"1")], [(b"b", b"2")], [(b"b", b"2")],
    ]  # fmt: skip


def test_also_when_trailers_changed_it() -> None:
    rig = Served()
    same = wire.block(request()) + b"\xbe"
    rig.send(
        wire.headers(1, wire.block(request()) + b"\x40\x01a\x011", end=True),
        wire.headers(3, same, end=True),
        wire.headers(5, request("POST")),
        wire.headers(5, b"\x40\x01b\x012", end=True),
        wire.headers(7, same, end=True),
    )
    assert [rig.begun[at].request.block.forward for at in (1, 3)] == [[(b"a", b"1")], [(b"b", b"2")]]


def test_what_is_remembered_of_answers_and_trailers_is_forgotten_with_the_table_too() -> None:
    asked = Asked()
    attempts = [asked.ask()[1] for _ in range(3)]
    head = wire.block([(":status", "200")])
    asked.send(
        *(wire.headers(1, head + b"\x40\x01a\x011"), wire.headers(1, b"\xbe", end=True)),
        *(wire.headers(3, head + b"\xbe"), wire.headers(3, b"\xbe", end=True)),
        *(wire.headers(5, head + b"\x40\x01b\x012"), wire.headers(5, b"\xbe", end=True)),
    )
    assert [list(attempt.trailers.pairs) for attempt in attempts if attempt.trailers] == [
        [(b"a", b"1")], [(b"a", b"1")], [(b"b", b"2")],
    ]  # fmt: skip
    assert [attempt.head.pairs[0] for attempt in attempts if attempt.head] == [
        (b"a", b"1"), (b"a", b"1"), (b"b", b"2"),
    ]  # fmt: skip


# --- 8.1.1: content-length and DATA


@pytest.mark.parametrize("pieces", [[b"abcdef"], [b"abc", b"def"], [b"abc", b""], [b""]])
def test_8_1_1_a_body_of_another_length_costs_the_stream(pieces: list[bytes]) -> None:
    rig = Served()
    rig.send(wire.headers(1, request("POST", headers=[("content-length", "5")])))
    found = rig.send(*[wire.data(1, piece, end=piece is pieces[-1]) for piece in pieces])
    (reset,) = rig.of(found, wire.RST_STREAM)
    assert reset.code == PROTOCOL_ERROR
    assert rig.begun[0].aborted == ("DPE", "http2.remote_reset")
    assert not rig.begun[0].ended, "the upstream must see an unfinished message"
    assert rig.failed() is None


def test_8_1_1_a_body_that_trailers_end_too_soon_ends_the_connection() -> None:
    """As in Envoy."""
    rig = Served()
    rig.send(wire.headers(1, request("POST", headers=[("content-length", "5")])), wire.data(1, b"abc"))
    rig.send(wire.headers(1, [("x-t", "1")], end=True))
    assert rig.failed() == PROTOCOL_ERROR
    assert rig.begun[0].aborted == ("DPE", "http2.violation.of.messaging.rule")


# --- 8.1: trailers


def test_8_1_trailers_end_the_request() -> None:
    rig = Served()
    rig.send(
        wire.headers(1, request("POST")), wire.data(1, b"abc"), wire.headers(1, [("x-t", "1")], end=True)
    )
    trailers = rig.begun[0].trailers
    assert trailers is not None
    assert trailers.pairs == [(b"x-t", b"1")]
    assert rig.begun[0].body == b"abc"


def test_8_1_trailers_that_frame_route_or_authenticate_are_dropped() -> None:
    rig = Served()
    fields = [("content-length", "3"), ("authorization", "x"), ("x-t", "1"), ("host", "b")]
    rig.send(wire.headers(1, request("POST")), wire.headers(1, fields, end=True))
    trailers = rig.begun[0].trailers
    assert trailers is not None
    assert trailers.pairs == [(b"x-t", b"1")]


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ([(":path", "/")], True),
        ([("X-T", "1")], True),
        ([("connection", "close")], True),
        ([("x-t", "a\0")], True),
        ([("x-t", "1")], False),
    ],
)
def test_8_1_malformed_trailers_end_the_connection(fields: Pairs, end: bool) -> None:
    rig = Served()
    rig.send(wire.headers(1, request("POST")), wire.data(1, b"abc"), wire.headers(1, fields, end=end))
    assert rig.failed() == PROTOCOL_ERROR
    assert rig.begun[0].aborted is not None
    assert rig.begun[0].aborted[0] == "DPE"
    assert not rig.begun[0].ended


# --- limits on heads (semantics 14.6.4): the stream is reset, nobody is asked


@pytest.mark.parametrize(
    ("fields", "failure"),
    [
        (request(headers=[(f"x-n{index}", "1") for index in range(97)]), errors.H2_TOO_MANY),
        (request(headers=[("x", "a" * 15000)] * 5), errors.H2_TOO_LARGE),
    ],
)
def test_14_6_4_too_large_a_head_costs_the_stream(fields: wire.Headers, failure: errors.Failure) -> None:
    rig = Served()
    block = wire.block(fields)
    parts = [block[at : at + 16384] for at in range(0, len(block), 16384)]
    frames = [wire.headers(1, parts[0], end=True, end_headers=len(parts) == 1)]
    frames += [wire.continuation(1, part, end_headers=part is parts[-1]) for part in parts[1:]]
    found = rig.send(b"".join(frames))
    assert [reset.code for reset in rig.of(found, wire.RST_STREAM)] == [INTERNAL_ERROR]
    assert rig.noted == [failure]
    rig.send(wire.headers(3, request(), end=True))
    assert len(rig.begun) == 1


def test_14_6_4_a_hundred_fields_with_the_pseudo_ones_pass() -> None:
    assert len(served(request(headers=[(f"x-n{index}", "1") for index in range(96)])).begun) == 1


def test_too_large_trailers_cost_the_stream_and_its_exchange() -> None:
    rig = Served()
    rig.send(wire.headers(1, request("POST")))
    found = rig.send(wire.headers(1, [(f"x-n{index}", "1") for index in range(101)], end=True))
    assert [reset.code for reset in rig.of(found, wire.RST_STREAM)] == [INTERNAL_ERROR]
    assert rig.begun[0].aborted == ("DR", "http2.too_many_headers")


# --- answers


def test_an_answer_made_here_leaves_framing_to_frames() -> None:
    rig = served(request())
    rig.begun[0].stream.respond(
        200,
        [(b"a", b"1"), (b"connection", b"close"), (b"transfer-encoding", b"chunked")],
        b"body",
        True,
        close=True,
    )
    assert rig.fields() == [(":status", "200"), ("a", "1")]
    assert [frame.payload for frame in rig.of(rig.frames, wire.DATA)] == [b"body"]
    assert rig.failed() is None


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_answers_without_a_body_end_with_their_head(method: str, status: int) -> None:
    rig = served(request(method))
    rig.begun[0].answer(status, b"body")
    (only,) = [frame for frame in rig.sent() if frame.stream == 1]
    assert (only.kind, only.ends) == (wire.HEADERS, True)


def test_8_1_an_answer_before_the_request_is_complete_stops_the_client() -> None:
    rig = served(request("POST"), end=False)
    rig.begun[0].answer(403)
    found = [frame for frame in rig.sent() if frame.stream == 1]
    assert [frame.kind for frame in found] == [wire.HEADERS, wire.RST_STREAM]
    assert found[-1].code == wire.NO_ERROR


def test_interim_answers_go_before_the_final_one() -> None:
    rig = served(request("POST"), end=False)
    rig.begun[0].stream.send_interim(103, [(b"link", b"x"), (b"content-length", b"5")])
    rig.send(wire.data(1, b"", end=True))
    rig.begun[0].answer(200)
    assert rig.reader.of([*rig.frames, *rig.sent()], 1) == [
        [(":status", "103"), ("link", "x")],
        [(":status", "200")],
    ]


def test_an_answer_that_breaks_off_is_visibly_unfinished() -> None:
    rig = served(request())
    rig.begun[0].answer(200, b"beginning", end=False)
    rig.begun[0].stream.truncate()
    assert [frame.code for frame in rig.of(rig.sent(), wire.RST_STREAM)] == [INTERNAL_ERROR]


def test_a_head_longer_than_a_frame_goes_on_in_continuations() -> None:
    rig = served(request())
    rig.begun[0].answer(200, x_big="a" * 40_000)
    assert dict(rig.fields())["x-big"] == "a" * 40_000
    assert [frame.kind for frame in rig.frames if frame.stream == 1] == [wire.HEADERS] + [
        wire.CONTINUATION
    ] * 2


# --- 8.3.2: responses of upstreams; what is malformed costs the stream, for others share the connection

BAD_RESPONSES: list[tuple[str, Pairs, bool]] = [
    ("no status", [("x", "1")], True),
    ("nothing", [], True),
    ("a status of letters", [(":status", "2x0")], True),
    ("a status below 100", [(":status", "099")], True),
    ("a status of four digits", [(":status", "2000")], True),
    ("two statuses", [(":status", "200"), (":status", "200")], True),
    ("a status behind a field", [("x", "1"), (":status", "200")], True),
    ("a pseudo-field of requests", [(":status", "200"), (":path", "/")], True),
    ("upper case", response_head("200", ("X-A", "1")), True),
    ("connection", response_head("200", ("connection", "close")), True),
    ("transfer-encoding", response_head("200", ("transfer-encoding", "chunked")), True),
    ("te", response_head("200", ("te", "gzip")), True),
    ("NUL", response_head("200", ("x", "a\0")), True),
    ("two lengths", response_head("200", ("content-length", "0"), ("content-length", "0")), True),
    ("a length that is none", response_head("200", ("content-length", "x")), True),
    ("a length without a body", response_head("200", ("content-length", "5")), True),
    ("a length of a 204", response_head("204", ("content-length", "5")), True),
    ("101", response_head("101"), False),
    ("an interim answer that ends", response_head("103"), True),
]


@pytest.mark.parametrize(
    ("fields", "end"), [row[1:] for row in BAD_RESPONSES], ids=[row[0] for row in BAD_RESPONSES]
)
def test_8_3_2_a_malformed_response_costs_its_stream(fields: Pairs, end: bool) -> None:
    asked = Asked()
    _, attempt = asked.ask()
    _, other = asked.ask()
    found = asked.send(wire.headers(1, fields, end=end))
    assert [reset.code for reset in asked.of(found, wire.RST_STREAM)] == [PROTOCOL_ERROR]
    assert attempt.failure == (errors.UPSTREAM_PROTOCOL, False)
    assert attempt.head is None
    asked.send(wire.headers(3, response_head(), end=True))
    assert other.ended


def test_8_3_2_a_response_is_what_http1_parses_to() -> None:
    asked = Asked()
    _, attempt = asked.ask()
    fields = response_head(
        "200",
        ("server", "theirs"),
        ("vary", "a"),
        ("x", "1"),
        ("vary", "b"),
        ("date", "today"),
        ("content-length", "5"),
    )
    asked.send(wire.headers(1, fields), wire.data(1, b"hello", end=True))
    head = attempt.head
    assert head is not None
    assert (head.status, head.content_length, head.has_date) == (200, 5, True)
    assert head.pairs == [(b"vary", b"a,b"), (b"x", b"1"), (b"date", b"today"), (b"content-length", b"5")]
    assert head.relay.startswith(b"HTTP/1.1 200 OK\r\nvary: a,b\r\nx: 1\r\n")
    assert (attempt.body, attempt.ended) == (b"hello", True)


@pytest.mark.parametrize("pieces", [[b"abcdef"], [b"abc", b""]])
def test_8_1_1_a_response_of_another_length_costs_its_stream(pieces: list[bytes]) -> None:
    asked = Asked()
    _, attempt = asked.ask()
    asked.send(wire.headers(1, response_head("200", ("content-length", "5"))))
    found = asked.send(*[wire.data(1, piece, end=piece is pieces[-1]) for piece in pieces])
    assert [reset.code for reset in asked.of(found, wire.RST_STREAM)] == [PROTOCOL_ERROR]
    assert attempt.failure == (errors.UPSTREAM_PROTOCOL, False)
    assert not attempt.ended


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200"), ("GET", "304")])
def test_8_1_1_a_length_may_speak_of_a_body_that_does_not_come(method: str, status: str) -> None:
    asked = Asked()
    _, attempt = asked.ask(method)
    asked.send(wire.headers(1, response_head(status, ("content-length", "5")), end=True))
    assert (attempt.ended, attempt.failure) == (True, None)


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200"), ("GET", "204"), ("GET", "304")])
def test_a_body_where_none_may_be_costs_the_stream(method: str, status: str) -> None:
    asked = Asked()
    _, attempt = asked.ask(method)
    asked.send(wire.headers(1, response_head(status)), wire.data(1, b"x", end=True))
    assert attempt.failure == (errors.UPSTREAM_PROTOCOL, False)


def test_data_before_the_head_costs_the_stream() -> None:
    asked = Asked()
    _, attempt = asked.ask()
    asked.send(wire.data(1, b"x"))
    assert attempt.failure == (errors.UPSTREAM_PROTOCOL, False)


def test_8_1_trailers_of_a_response_and_trailers_alone() -> None:
    asked = Asked()
    _, attempt = asked.ask()
    asked.send(
        wire.headers(1, response_head()),
        wire.data(1, b"x"),
        wire.headers(1, [("grpc-status", "0")], end=True),
    )
    assert attempt.trailers is not None
    assert attempt.trailers.pairs == [(b"grpc-status", b"0")]
    _, attempt = asked.ask()
    asked.send(wire.headers(3, response_head("200", ("grpc-status", "14")), end=True))
    assert attempt.head is not None
    assert (attempt.head.grpc_status, attempt.ended, attempt.trailers) == (b"14", True, None)


@pytest.mark.parametrize(("fields", "end"), [([(":status", "200")], True), ([("x", "1")], False)])
def test_8_1_malformed_trailers_of_a_response_cost_its_stream(fields: Pairs, end: bool) -> None:
    asked = Asked()
    _, attempt = asked.ask()
    asked.send(wire.headers(1, response_head()), wire.headers(1, fields, end=end))
    assert attempt.failure == (errors.UPSTREAM_PROTOCOL, False)
    assert asked.failed() is None


def test_interim_answers_are_passed_on_and_bounded() -> None:
    asked = Asked(HttpLimits(max_interim_responses=2))
    _, attempt = asked.ask()
    asked.send(wire.headers(1, response_head("103")) * 2)
    assert len(attempt.interim) == 2
    asked.send(wire.headers(1, response_head("103")))
    assert attempt.failure == (errors.UPSTREAM_PROTOCOL, False)


@pytest.mark.parametrize(
    "fields",
    [[(f"x-n{index}", "1") for index in range(101)], [("x", "a" * 15000)] * 5],
    ids=["many", "large"],
)
def test_14_6_4_too_large_a_response_head_reads_as_a_reset(fields: Pairs) -> None:
    asked = Asked()
    _, attempt = asked.ask()
    block = wire.block(response_head("200", *fields))
    parts = [block[at : at + 16384] for at in range(0, len(block), 16384)]
    frames = [wire.headers(1, parts[0], end_headers=len(parts) == 1)]
    frames += [wire.continuation(1, part, end_headers=part is parts[-1]) for part in parts[1:]]
    found = asked.send(b"".join(frames))
    assert [reset.code for reset in asked.of(found, wire.RST_STREAM)] == [INTERNAL_ERROR]
    assert attempt.failure == (errors.UPSTREAM_RESET, False)


def test_a_response_that_is_complete_before_its_request_ends_both() -> None:
    asked = Asked()
    _, attempt = asked.ask("POST", complete=False)
    found = asked.send(wire.headers(1, response_head("413"), end=True))
    assert [reset.code for reset in asked.of(found, wire.RST_STREAM)] == [wire.CANCEL]
    assert (attempt.ended, attempt.failure) == (True, None)


def test_an_attempt_that_is_given_up_is_cancelled_and_hears_no_more() -> None:
    asked = Asked()
    stream, attempt = asked.ask()
    stream.close()
    assert [reset.code for reset in asked.of(asked.sent(), wire.RST_STREAM)] == [wire.CANCEL]
    asked.send(wire.headers(1, response_head(), end=True), wire.data(1, b"x"))
    assert (attempt.head, attempt.failure) == (None, None)
    assert asked.failed() is None


# --- RFC 8441: extended CONNECT

TUNNEL = [
    (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"),
    (":authority", "a.test"), ("sec-websocket-version", "13"),
]  # fmt: skip


def test_rfc_8441_3_it_is_offered_when_asked_for() -> None:
    def offered(rig: Served) -> bool:
        return (wire.ENABLE_CONNECT_PROTOCOL).to_bytes(2, "big") + (1).to_bytes(4, "big") in rig.frames[
            0
        ].payload

    assert offered(Served(extended_connect=True))
    assert not offered(Served())


def test_rfc_8441_5_it_means_what_an_upgrade_means() -> None:
    rig = served(TUNNEL, end=False, extended_connect=True)
    parsed = rig.begun[0].request
    assert parsed.head is not None
    assert (parsed.method, parsed.head.target, parsed.block.upgrade) == (b"GET", b"/chat", b"websocket")
    assert (parsed.body, rig.begun[0].stream.request_done) == (NO_BODY, True)
    names = dict(parsed.block.forward)
    assert names[b"sec-websocket-version"] == b"13"
    assert len(names[b"sec-websocket-key"]) == 24
    assert b"transfer-encoding" not in names


def test_rfc_8441_5_bytes_go_through_once_it_is_granted() -> None:
    rig = served(TUNNEL, end=False, extended_connect=True)
    handler = rig.begun[0]
    rig.send(wire.data(1, b"early"))
    assert handler.tunnelled == []
    handler.stream.start_tunnel(b"websocket", [(b"sec-websocket-accept", b"x"), (b"a", b"1")], b"hi")
    assert handler.tunnelled == [b"early"]
    assert rig.fields() == [(":status", "200"), ("a", "1")]
    rig.send(wire.data(1, b"more"), wire.data(1, b"", end=True))
    assert handler.tunnelled == [b"early", b"more", b""]
    handler.stream.send_tunnel(b"bye")
    handler.stream.send_tunnel(b"")
    handler.stream.finish_tunnel()
    found = rig.of([*rig.frames, *rig.sent()], wire.DATA)
    assert [(frame.payload, frame.ends) for frame in found] == [(b"hi", False), (b"bye", False), (b"", True)]
    assert rig.connection.streams == {}


def test_rfc_8441_an_end_that_came_early_is_told_behind_the_bytes() -> None:
    rig = served(TUNNEL, end=False, extended_connect=True)
    rig.send(wire.data(1, b"all", end=True))
    rig.begun[0].stream.start_tunnel(b"websocket", [], b"")
    assert rig.begun[0].tunnelled == [b"all", b""]


def test_rfc_8441_what_comes_early_is_bounded_by_the_window() -> None:
    rig = served(TUNNEL, end=False, extended_connect=True)
    found = rig.send(*[wire.data(1, bytes(16384))] * 4)
    assert rig.of(found, wire.WINDOW_UPDATE) == []
    rig.begun[0].stream.start_tunnel(b"websocket", [], b"")
    assert [frame.stream for frame in rig.of(rig.sent(), wire.WINDOW_UPDATE)] == [1]


def test_rfc_8441_an_ordinary_answer_ends_the_stream() -> None:
    rig = served(TUNNEL, end=False, extended_connect=True)
    rig.begun[0].answer(403)
    assert [frame.kind for frame in rig.sent() if frame.stream == 1] == [wire.HEADERS, wire.RST_STREAM]


@pytest.mark.parametrize(
    "fields",
    [
        [(name, "GET" if name == ":method" else value) for name, value in TUNNEL],
        [(name, "other" if name == ":protocol" else value) for name, value in TUNNEL],
        [field for field in TUNNEL if field[0] != ":path"],
    ],
)
def test_rfc_8441_4_what_is_not_one_is_malformed(fields: Pairs) -> None:
    rig = served(fields, end=False, extended_connect=True)
    assert rig.failed() == PROTOCOL_ERROR


def test_tunnels_end_when_asked_to_and_other_streams_stay() -> None:
    rig = served(TUNNEL, end=False, extended_connect=True)
    rig.send(wire.headers(3, request(), end=True))
    rig.begun[0].stream.start_tunnel(b"websocket", [], b"")
    rig.connection.end_tunnel()
    assert rig.begun[0].aborted is not None
    assert rig.begun[1].aborted is None
    assert [frame.stream for frame in rig.of(rig.sent(), wire.RST_STREAM)] == [1]


def test_rfc_8441_towards_an_upstream() -> None:
    asked = Asked(settings=wire.settings((wire.ENABLE_CONNECT_PROTOCOL, 1)))
    stream, attempt = asked.ask(upgrade=b"websocket")
    asked.send(wire.headers(1, response_head("200", ("a", "1"))), wire.data(1, b"hi"))
    assert attempt.upgraded is not None
    assert (attempt.upgraded.upgrade, attempt.upgraded.pairs) == (b"websocket", [(b"a", b"1")])
    stream.send_tunnel(b"bytes")
    stream.send_tunnel(b"")
    asked.send(wire.data(1, b"", end=True))
    assert attempt.tunnelled == [b"hi", b""]
    assert [frame.payload for frame in asked.of(asked.frames, wire.DATA)] == [b"bytes", b""]
    assert asked.owner.released_count == 1


def test_rfc_8441_an_upstream_that_does_not_take_it_is_not_asked() -> None:
    asked = Asked()
    _, attempt = asked.ask(upgrade=b"websocket")
    assert asked.of(asked.sent(), wire.HEADERS) == []
    assert attempt.failure == (errors.UPSTREAM_PROTOCOL, False)


def test_rfc_8441_an_upstream_may_say_no() -> None:
    asked = Asked(settings=wire.settings((wire.ENABLE_CONNECT_PROTOCOL, 1)))
    _, attempt = asked.ask(upgrade=b"websocket")
    asked.send(wire.headers(1, response_head("403"), end=True))
    assert attempt.head is not None
    assert (attempt.head.status, attempt.upgraded) == (403, None)
