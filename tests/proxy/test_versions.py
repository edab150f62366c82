"""Messages between a client and an upstream of either version: what is relayed, and how (RFC 9113 8; semantics 14)."""

from __future__ import annotations

from typing import Final

import pytest

from tests.proxy.place import Place
from tests.proxy.speakers import HTTP1, HTTP2, VERSIONS

PAIRS: Final = [(client, upstream) for client in VERSIONS for upstream in VERSIONS]
every_pair = pytest.mark.parametrize(("client", "upstream"), PAIRS)
to_either = pytest.mark.parametrize("upstream", VERSIONS)
from_either = pytest.mark.parametrize("client", VERSIONS)


@every_pair
async def test_a_get_and_its_answer(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        number = place.client.ask("GET", "/a?b=c", [("user-agent", "me"), ("x-a", "1")])
        (asked,) = await place.asked()
        assert (asked.method, asked.path, asked.authority, asked.whole) == ("GET", "/a?b=c", "a.test", True)
        assert (asked.get("user-agent"), asked.get("x-a")) == ("me", "1")
        assert asked.get("x-forwarded-proto") == "http"
        assert asked.get("x-request-id")
        assert asked.scheme == (None if upstream == HTTP1 else "http")
        assert (asked.body, asked.get("content-length"), asked.get("transfer-encoding")) == (b"", None, None)
        asked.answer(200, b"hello", [("x-b", "2"), ("server", "theirs")])
        answered = place.client.got(number)
        assert (answered.status, answered.body, answered.whole, answered.reset) == (200, b"hello", True, None)
        assert (answered.get("x-b"), answered.get("server")) == ("2", "istio-envoy")
        assert answered.get("date")
        assert answered.get("x-envoy-upstream-service-time") == "0"
        record = place.logged()
        assert (record.status, record.details, record.protocol) == (200, "via_upstream", client.encode())
        assert (record.bytes_sent, record.flags, record.request_id.decode()) == (
            5,
            "",
            asked.get("x-request-id"),
        )


@every_pair
async def test_a_body_of_known_length(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        number = place.client.ask("POST", "/", body=b"x" * 40_000)
        (asked,) = await place.asked()
        assert asked.get("content-length") == "40000"
        assert (asked.whole, asked.body) == (True, b"x" * 40_000)
        asked.answer(200, b"y" * 50_000, [] if upstream == HTTP1 else [("content-length", "50000")])
        answered = place.client.got(number)
        assert answered.get("content-length") == "50000"
        assert (answered.whole, answered.body) == (True, b"y" * 50_000)
        assert place.logged().bytes_received == 40_000


@every_pair
async def test_a_body_whose_length_nobody_knows_goes_on_as_it_comes(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        number = place.client.ask("PUT", "/", body=b"one", end=False)
        (asked,) = await place.asked()
        assert (asked.body, asked.whole) == (b"one", False)
        place.client.more(number, b"two")
        place.client.more(number, b"", end=True)
        (asked,) = await place.asked()
        assert (asked.body, asked.whole, asked.get("content-length")) == (b"onetwo", True, None)
        assert asked.get("transfer-encoding") == ("chunked" if upstream == HTTP1 else None)
        asked.answer(200, b"three", end=False)
        answered = place.client.got(number)
        assert (answered.body, answered.whole) == (b"three", False)
        asked.more(b"four", end=True)
        answered = place.client.got(number)
        assert (answered.body, answered.whole) == (b"threefour", True)
        assert answered.get("transfer-encoding") == ("chunked" if client == HTTP1 else None)


@every_pair
async def test_both_directions_at_once(client: str, upstream: str) -> None:
    """As gRPC streams: the answer begins, and goes on, while the request does."""
    async with Place(client, upstream) as place:
        number = place.client.ask("POST", "/", body=b"1", end=False)
        (asked,) = await place.asked()
        asked.answer(200, b"a", end=False)
        for more, reply in ((b"2", b"b"), (b"3", b"c")):
            place.client.more(number, more)
            (asked,) = await place.asked()
            assert asked.body.endswith(more)
            asked.more(reply)
            assert place.client.got(number).body.endswith(reply)
        place.client.more(number, b"", end=True)
        (asked,) = await place.asked()
        assert (asked.body, asked.whole) == (b"123", True)
        asked.more(b"", end=True)
        answered = place.client.got(number)
        assert (answered.body, answered.whole, answered.reset) == (b"abc", True, None)
        assert (place.logged().bytes_received, place.logged().bytes_sent) == (3, 3)


@every_pair
async def test_an_answer_before_the_end_of_its_request_ends_it(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        number = place.client.ask("POST", "/", body=b"1", end=False)
        (asked,) = await place.asked()
        asked.answer(413, b"too much")
        answered = place.client.got(number)
        assert (answered.status, answered.body, answered.whole) == (413, b"too much", True)
        (asked,) = await place.asked()
        if upstream == HTTP2:
            assert asked.reset is not None, "the upstream's place is free"
        if client == HTTP2:
            assert answered.reset == 0, "RFC 9113 8.1: NO_ERROR"
        place.logged()


@every_pair
@pytest.mark.parametrize(
    ("method", "status", "length"), [("HEAD", 200, "5"), ("GET", 204, None), ("GET", 304, "7")]
)
async def test_answers_without_a_body(
    client: str, upstream: str, method: str, status: int, length: str | None
) -> None:
    async with Place(client, upstream) as place:
        number = place.client.ask(method)
        (asked,) = await place.asked()
        asked.answer(status, fields=[("content-length", length)] if length else [])
        answered = place.client.got(number)
        assert (answered.status, answered.get("content-length")) == (status, length)
        if client == HTTP2:
            assert answered.whole
        assert answered.body == b""
        assert place.logged().bytes_sent == 0


# --- trailers (semantics 14.6.9)


@every_pair
async def test_14_6_9_trailers_are_relayed_between_http2_sides_only(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        number = place.client.ask("POST", "/", body=b"x", trailers=[("x-sum", "1")])
        (asked,) = await place.asked()
        both = client == upstream == HTTP2
        assert (asked.body, asked.whole) == (b"x", True)
        assert asked.trailers == ([("x-sum", "1")] if both else None)
        asked.answer(200, b"y", trailers=[("grpc-status", "0"), ("x-t", "2")])
        answered = place.client.got(number)
        assert (answered.body, answered.whole) == (b"y", True)
        assert answered.trailers == ([("grpc-status", "0"), ("x-t", "2")] if both else None)


async def test_trailers_of_fields_that_may_not_be_there_end_the_message_all_the_same() -> None:
    async with Place(HTTP2, HTTP2) as place:
        number = place.client.ask("POST", "/", body=b"x", trailers=[("content-length", "1")])
        (asked,) = await place.asked()
        assert (asked.whole, asked.trailers) == (True, None)
        asked.answer(200, b"y", trailers=[("content-length", "1")])
        answered = place.client.got(number)
        assert (answered.whole, answered.trailers) == (True, None)


async def test_an_answer_of_a_head_and_trailers_only() -> None:
    async with Place(HTTP2, HTTP2) as place:
        number = place.client.ask("POST", "/", body=b"x")
        (asked,) = await place.asked()
        asked.answer(200, trailers=[("grpc-status", "0")])
        answered = place.client.got(number)
        assert (answered.whole, answered.body, answered.trailers) == (True, b"", [("grpc-status", "0")])


async def test_grpc_an_error_without_a_message_is_a_head_alone() -> None:
    async with Place(HTTP2, HTTP2) as place:
        number = place.client.ask("POST", "/", [("content-type", "application/grpc")], body=b"x")
        (asked,) = await place.asked()
        asked.answer(200, fields=[("content-type", "application/grpc"), ("grpc-status", "5")])
        answered = place.client.got(number)
        assert (answered.whole, answered.body, answered.get("grpc-status")) == (True, b"", "5")


# --- fields (RFC 9113 8.2, 8.3)


@from_either
@to_either
async def test_8_2_2_nothing_said_of_a_connection_goes_beyond_it(client: str, upstream: str) -> None:
    said = [("connection", "x-hop, keep-alive"), ("x-hop", "1"), ("keep-alive", "5"), ("x-end", "2")]
    async with Place(client, upstream) as place:
        number = place.client.ask(fields=said if client == HTTP1 else [("x-end", "2")])
        (asked,) = await place.asked()
        assert asked.get("x-end") == "2"
        assert not {"connection", "keep-alive", "x-hop"} & {name for name, _ in asked.fields}
        asked.answer(200, b"", said if upstream == HTTP1 else [("x-end", "2")])
        answered = place.client.got(number)
        assert answered.get("x-end") == "2"
        assert not {"connection", "keep-alive"} & {name for name, _ in answered.fields}


@every_pair
async def test_8_2_2_te_says_trailers_or_nothing(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        place.client.ask(fields=[("te", "trailers")])
        (asked,) = await place.asked()
        assert asked.get("te") == "trailers"
        asked.answer()


@to_either
async def test_8_2_3_crumbs_of_a_cookie_are_joined(upstream: str) -> None:
    async with Place(HTTP2, upstream) as place:
        place.client.ask(fields=[("cookie", "a=1"), ("cookie", "b=2")])
        (asked,) = await place.asked()
        assert asked.get("cookie") == "a=1; b=2"
        asked.answer()


@every_pair
async def test_several_values_of_a_field_that_may_have_them_stay_apart(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        number = place.client.ask()
        (asked,) = await place.asked()
        cookies = [("set-cookie", "a=1"), ("set-cookie", "b=2")]
        asked.answer(200, fields=cookies)
        assert [pair for pair in place.client.got(number).fields if pair[0] == "set-cookie"] == cookies


@from_either
async def test_names_are_in_lower_case_beyond_an_http1_upstream(client: str) -> None:
    async with Place(client, HTTP1) as place:
        number = place.client.ask()
        (asked,) = await place.asked()
        asked.upstream.transport.deliver(b"HTTP/1.1 200 OK\r\nX-Big: 1\r\nContent-Length: 0\r\n\r\n")
        assert place.client.got(number).get("x-big") == "1"


@to_either
async def test_5_3_what_must_never_be_indexed_is_not_by_us(upstream: str) -> None:
    """RFC 7541 6.2.3; where there is an index at all."""
    async with Place(HTTP2, upstream) as place:
        place.client.ask(fields=[("authorization", "secret"), ("cookie", "a=1")])
        (asked,) = await place.asked()
        assert (asked.get("authorization"), asked.get("cookie")) == ("secret", "a=1")
        if upstream == HTTP2:
            sent = bytes(asked.upstream.transport.sent)
            assert b"\x1f\x08\x06secret" in sent
            assert b"\x1f\x11\x03a=1" in sent
        asked.answer()


@every_pair
async def test_rewrites_and_operations(client: str, upstream: str) -> None:
    rules = """
  - match: [{uri: {prefix: /old/}}]
    rewrite: {uri: /new/, authority: other.test}
    route:
    - destination: {host: a.test}
      headers:
        request: {set: {x-a: "2"}, remove: [x-gone]}
        response: {add: {x-b: "3"}, remove: [x-secret]}"""
    async with Place(client, upstream, rules) as place:
        number = place.client.ask("GET", "/old/x", [("x-a", "1"), ("x-gone", "1")])
        (asked,) = await place.asked()
        assert (asked.path, asked.authority) == ("/new/x", "other.test")
        assert (asked.get("x-a"), asked.get("x-gone")) == ("2", None)
        assert asked.get("x-envoy-original-path") == "/old/x"
        asked.answer(200, b"ok", [("x-secret", "1")])
        answered = place.client.got(number)
        assert (answered.get("x-b"), answered.get("x-secret"), answered.body) == ("3", None, b"ok")


# --- interim answers


@every_pair
async def test_early_hints_are_relayed(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        number = place.client.ask()
        (asked,) = await place.asked()
        asked.interim(103, [("link", "</a>")])
        answered = place.client.got(number)
        assert answered.interim == [(103, [("link", "</a>")])]
        asked.answer(200, b"x")
        answered = place.client.got(number)
        assert (answered.status, answered.body) == (200, b"x")


@every_pair
async def test_100_is_relayed_to_who_asked_for_it(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        number = place.client.ask("POST", fields=[("expect", "100-continue")], body=b"", end=False)
        (asked,) = await place.asked()
        assert asked.get("expect") == "100-continue"
        asked.interim(100)
        assert [status for status, _ in place.client.got(number).interim] == [100]
        place.client.more(number, b"x", end=True)
        (asked,) = await place.asked()
        assert asked.body == b"x"
        asked.answer()


@every_pair
async def test_and_to_nobody_else(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        number = place.client.ask()
        (asked,) = await place.asked()
        asked.interim(100)
        asked.answer(200)
        assert place.client.got(number).interim == []


# --- many at a time


@every_pair
async def test_answers_reach_whoever_asked(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        numbers = [place.client.ask("POST", f"/{at}", body=b"%d" % at) for at in range(20)]
        for asked in reversed(await place.asked(20)):
            assert asked.body == asked.path[1:].encode()
            asked.answer(200, b"to " + asked.path.encode())
        await place.settle()
        for at, number in enumerate(numbers):
            assert place.client.got(number).body == b"to /%d" % at
        connections = len(place.upstreams)
        assert connections == (2 if upstream == HTTP2 else 20)


async def test_8_3_8_use_client_protocol() -> None:
    more = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: default}
spec:
  host: a.test
  trafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}
"""
    for version in VERSIONS:
        async with Place(version, version, more=more) as place:
            number = place.client.ask()
            (asked,) = await place.asked()
            asked.answer(200, b"x")
            assert place.client.got(number).body == b"x"
