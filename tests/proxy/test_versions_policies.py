"""What goes wrong, and what routes ask for, whatever the versions on either side (semantics 6, 8, 15, 16)."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gatewayd.http.options import W3C, TraceOptions
from tests.proxy.place import Place
from tests.proxy.speakers import HTTP1, HTTP2, Asked, Http2Client
from tests.proxy.test_versions import every_pair, from_either, to_either
from tests.support import h2_wire as wire

NO_RETRIES = """
  - route: [{destination: {host: a.test}}]
    retries: {attempts: 0}"""
RETRIES = """
  - route: [{destination: {host: a.test}}]
    retries: {attempts: 2, retryOn: "5xx,reset"}"""


def rule(more: str) -> str:
    """One rule to ``a.test`` with ``more`` fields, indented by four."""
    return f"\n  - route: [{{destination: {{host: a.test}}}}]\n{more}"


# --- an attempt that fails


@every_pair
async def test_16_2_an_upstream_that_breaks_off_before_its_answer(client: str, upstream: str) -> None:
    async with Place(client, upstream, NO_RETRIES) as place:
        number = place.client.ask()
        (asked,) = await place.asked()
        asked.break_off()
        await place.settle()
        answered = place.client.got(number)
        assert (answered.status, answered.whole) == (503, True)
        assert b"reset reason" in answered.body
        record = place.logged()
        assert record.flags == ("UC" if upstream == HTTP1 else "UR")


@every_pair
async def test_16_2_and_in_the_middle_of_it(client: str, upstream: str) -> None:
    """The client must see that the answer is not whole."""
    async with Place(client, upstream, NO_RETRIES) as place:
        number = place.client.ask()
        (asked,) = await place.asked()
        asked.answer(200, b"part", end=False)
        asked.break_off()
        await place.settle()
        answered = place.client.got(number)
        assert (answered.status, answered.body, answered.whole) == (200, b"part", False)
        assert answered.reset is not None
        if client == HTTP2:
            assert answered.reset == wire.INTERNAL_ERROR
            again = place.client.ask()
            (_, asked) = await place.asked(2) if upstream == HTTP2 else (None, (await place.asked(2))[1])
            asked.answer()
            await place.settle()
            assert place.client.got(again).status == 200, "the connection goes on"
        # What is missing of chunks is malformed.
        assert place.records[0].flags == ("UPE" if upstream == HTTP1 else "UR")


@every_pair
async def test_15_an_answer_the_policy_throws_away(client: str, upstream: str) -> None:
    async with Place(client, upstream, RETRIES) as place:
        number = place.client.ask("POST", body=b"body")
        (first,) = await place.asked()
        first.answer(503, b"no", end=False)
        await place.advance(1)
        second = next(asked for asked in await place.asked(2) if asked.upstream is not first.upstream)
        assert (second.body, second.get("x-envoy-attempt-count")) == (b"body", "2")
        assert second.upstream.name != first.upstream.name, "another endpoint"
        second.answer(200, b"yes")
        await place.settle()
        answered = place.client.got(number)
        assert (answered.status, answered.body, answered.whole) == (200, b"yes", True)
        if upstream == HTTP2:
            assert (await place.asked(2))[0].reset == wire.CANCEL
        record = place.logged()
        assert (record.status, record.attempts) == (200, 2)


@every_pair
async def test_15_trailers_are_sent_again_as_well(client: str, upstream: str) -> None:
    async with Place(client, upstream, RETRIES) as place:
        number = place.client.ask("POST", body=b"body", trailers=[("x-t", "1")])
        (first,) = await place.asked()
        first.break_off()
        await place.advance(1)
        second = next(asked for asked in await place.asked(2) if asked.upstream is not first.upstream)
        assert (second.body, second.whole) == (b"body", True)
        assert second.trailers == ([("x-t", "1")] if client == upstream == HTTP2 else None)
        second.answer()
        await place.settle()
        assert place.client.got(number).status == 200


def refusal(first: Asked, how: str) -> bytes:
    return wire.rst(first.stream, wire.REFUSED_STREAM) if how == "REFUSED_STREAM" else wire.goaway(0)


@from_either
@pytest.mark.parametrize("how", ["REFUSED_STREAM", "GOAWAY"])
async def test_15_2_what_an_upstream_has_refused_is_sent_again_if_the_policy_says_so(
    client: str, how: str
) -> None:
    """RFC 9113 8.7: any method, for it was not processed."""
    async with Place(client, HTTP2) as place:
        number = place.client.ask("POST", body=b"body")
        (first,) = await place.asked()
        first.upstream.transport.deliver(refusal(first, how))
        await place.advance(1)
        _, second = await place.asked(2)
        assert second.body == b"body"
        second.answer(200, b"ok")
        await place.settle()
        assert place.client.got(number).body == b"ok"
        assert place.logged().attempts == 2


@from_either
@pytest.mark.parametrize("how", ["REFUSED_STREAM", "GOAWAY"])
async def test_15_2_and_not_if_it_does_not(client: str, how: str) -> None:
    async with Place(client, HTTP2, NO_RETRIES) as place:
        number = place.client.ask()
        (first,) = await place.asked()
        first.upstream.transport.deliver(refusal(first, how))
        await place.settle()
        assert place.client.got(number).status == 503
        record = place.logged()
        assert (record.attempts, record.flags) == (1, "UR")


@every_pair
async def test_16_1_nobody_to_connect_to(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        place.refusing = {"10.0.0.1", "10.0.0.2"}
        number = place.client.ask()
        await place.settle()
        for _ in range(4):
            await place.advance(1)
        answered = place.client.got(number)
        assert answered.status == 503
        record = place.logged()
        assert "UF" in record.flags
        assert record.details.startswith("upstream_reset_before_response_started{remote_connection_failure")


@every_pair
async def test_the_client_is_gone(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        number = place.client.ask("POST", body=b"x", end=False)
        (asked,) = await place.asked()
        place.client.give_up(number)
        await place.settle()
        (asked,) = await place.asked()
        assert asked.given_up, "nobody works for nobody"
        record = place.logged()
        assert (record.status, record.flags) == (0, "DC" if client == HTTP1 else "DR")
        if upstream == HTTP2:
            assert asked.reset == wire.CANCEL
            assert any(one.connections for one in place.cluster().endpoints), "the connection stays"


@every_pair
async def test_the_client_is_gone_before_there_is_a_connection(client: str, upstream: str) -> None:
    async with Place(client, upstream) as place:
        number = place.client.ask()
        place.client.give_up(number)
        await place.settle()
        assert [asked for asked in (up.asked() for up in place.upstreams) if asked] == []
        place.logged()


# --- time


@every_pair
async def test_6_6_2_route_timeout(client: str, upstream: str) -> None:
    async with Place(client, upstream, rule("    timeout: 2s")) as place:
        number = place.client.ask()
        (asked,) = await place.asked()
        await place.advance(3)
        answered = place.client.got(number)
        assert (answered.status, answered.body) == (504, b"upstream request timeout")
        assert (await place.asked())[0].given_up
        assert place.logged().flags == "UT"
        assert asked.get("x-envoy-expected-rq-timeout-ms") == "2000"


@every_pair
async def test_6_7_per_try_timeout(client: str, upstream: str) -> None:
    retries = '    retries: {attempts: 1, perTryTimeout: 1s, retryOn: "5xx"}'
    async with Place(client, upstream, rule(retries)) as place:
        number = place.client.ask()
        (first,) = await place.asked()
        await place.advance(1.1)
        await place.advance(0.2)
        second = next(asked for asked in await place.asked(2) if asked.upstream is not first.upstream)
        second.answer(200, b"late")
        await place.settle()
        assert place.client.got(number).body == b"late"


@every_pair
async def test_nothing_moves_for_the_stream_idle_timeout(client: str, upstream: str) -> None:
    """Hardening section 8."""
    async with Place(client, upstream) as place:
        number = place.client.ask("POST", body=b"x", end=False)
        await place.asked()
        for _ in range(4):
            await place.advance(299)
            place.client.more(number, b"y")
        assert place.client.got(number).status == 0
        await place.advance(1)
        await place.advance(301)
        assert place.client.got(number).status == 408
        assert place.logged().details == "request_timeout" or place.logged().flags


# --- what is answered here


@from_either
async def test_6_8_1_a_fault(client: str) -> None:
    fault = "    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}"
    async with Place(client, HTTP1, rule(fault)) as place:
        number = place.client.ask()
        answered = place.client.got(number)
        assert (answered.status, answered.body, answered.whole) == (418, b"fault filter abort", True)
        assert place.logged().flags == "FI"


@every_pair
async def test_6_8_1_a_delay(client: str, upstream: str) -> None:
    fault = "    fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}"
    async with Place(client, upstream, rule(fault)) as place:
        number = place.client.ask("POST", body=b"x")
        await place.asked(0)
        await place.advance(2.1)
        (asked,) = await place.asked()
        assert asked.body == b"x"
        asked.answer(200, b"late")
        await place.settle()
        assert place.client.got(number).body == b"late"
        assert "DI" in place.logged().flags


@every_pair
async def test_6_10_cors(client: str, upstream: str) -> None:
    cors = '    corsPolicy: {allowOrigins: [{exact: "https://x.test"}], allowMethods: [PUT]}'
    async with Place(client, upstream, rule(cors)) as place:
        origin = ("origin", "https://x.test")
        asking = place.client.ask("OPTIONS", fields=[origin, ("access-control-request-method", "PUT")])
        answered = place.client.got(asking)
        assert (answered.status, answered.get("access-control-allow-methods")) == (200, "PUT")
        number = place.client.ask("PUT", fields=[origin], body=b"x")
        (asked,) = await place.asked()
        asked.answer(200, b"ok")
        await place.settle()
        assert place.client.got(number).get("access-control-allow-origin") == "https://x.test"


@from_either
async def test_a_redirect_and_a_host_nobody_serves(client: str) -> None:
    async with Place(
        client, HTTP1, "\n  - redirect: {uri: /there}\n    match: [{uri: {exact: /here}}]"
    ) as place:
        number = place.client.ask("POST", "/here", body=b"x")
        answered = place.client.got(number)
        assert (answered.status, answered.get("location"), answered.whole) == (
            301,
            "http://a.test/there",
            True,
        )
        number = place.client.ask("GET", "/elsewhere")
        assert place.client.got(number).status == 404
        assert [record.flags for record in place.records] == ["", "NR"]


# --- mirrors, hashes, limits


@every_pair
async def test_6_9_a_mirror_gets_the_request_in_its_own_version(client: str, upstream: str) -> None:
    mirror = "    mirrors: [{destination: {host: b.test}}]"
    async with Place(client, upstream, rule(mirror)) as place:
        number = place.client.ask("POST", "/p", [("x-a", "1")], body=b"body")
        found = {asked.upstream.name[:6]: asked for asked in await place.asked(2)}
        first, copy = found["10.0.0"], found["10.0.1"]
        assert (copy.method, copy.path, copy.body, copy.whole) == ("POST", "/p", b"body", True)
        assert (copy.authority, copy.get("x-a")) == ("a.test", "1")
        copy.answer(500, b"nobody reads it")
        first.answer(200, b"ok")
        await place.settle()
        assert place.client.got(number).body == b"ok"
        place.logged()


async def test_6_9_trailers_reach_the_mirror_too() -> None:
    mirror = "    mirrors: [{destination: {host: b.test}}]"
    async with Place(HTTP2, HTTP2, rule(mirror)) as place:
        place.client.ask("POST", "/p", body=b"body", trailers=[("x-t", "1")])
        found = await place.asked(2)
        assert [(asked.trailers, asked.whole) for asked in found] == [([("x-t", "1")], True)] * 2
        for asked in found:
            asked.answer()


DESTINATION = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: default}
spec:
  host: a.test
  trafficPolicy: %s
"""


@every_pair
async def test_9_4_hashes(client: str, upstream: str) -> None:
    policy = DESTINATION % "{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}"
    async with Place(client, upstream, more=policy) as place:
        where: dict[str, set[str]] = {}
        for count, user in enumerate(["ann", "bob", "cy", "di"] * 3, 1):
            number = place.client.ask(path=f"/{count}", fields=[("x-user", user)])
            (asked,) = [one for one in await place.asked(count) if one.path == f"/{count}"]
            where.setdefault(user, set()).add(asked.upstream.name)
            asked.answer()
            await place.settle()
            assert place.client.got(number).status == 200
        assert all(len(names) == 1 for names in where.values()), where


@every_pair
async def test_8_3_4_http2_max_requests_holds_for_both_versions(client: str, upstream: str) -> None:
    policy = DESTINATION % "{connectionPool: {http: {http2MaxRequests: 1}}}"
    async with Place(client, upstream, NO_RETRIES, more=policy) as place:
        first = place.client.ask()
        (asked,) = await place.asked()
        second = place.client.ask()
        await place.settle()
        answered = place.client.got(second)
        assert (answered.status, answered.get("x-envoy-overloaded")) == (503, "true")
        asked.answer(200, b"ok")
        await place.settle()
        assert place.client.got(first).body == b"ok"
        assert [record.flags for record in place.records] == ["UO", ""]


@to_either
async def test_8_3_5_max_requests_per_connection(upstream: str) -> None:
    policy = DESTINATION % "{connectionPool: {http: {maxRequestsPerConnection: 1}}}"
    async with Place(HTTP2, upstream, more=policy, endpoints=1) as place:
        for count in range(1, 4):
            place.client.ask()
            asked = (await place.asked(count))[-1]
            asked.answer()
            await place.settle()
        assert len(place.upstreams) == 3
        assert all(up.transport.closing for up in place.upstreams)


@every_pair
async def test_9_8_outliers_are_seen_in_either_version(client: str, upstream: str) -> None:
    policy = DESTINATION % (
        "{outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 30s, interval: 1s, maxEjectionPercent: 100}}"
    )
    async with Place(client, upstream, NO_RETRIES, more=policy) as place:
        place.client.ask()
        (asked,) = await place.asked()
        asked.answer(500)
        await place.settle()
        for count in range(2, 5):
            place.client.ask()
            later = next(
                one for one in reversed(await place.asked(count)) if one.upstream.name != asked.upstream.name
            )
            later.answer()
            await place.settle()
        assert len({one.upstream.name for one in (await place.asked(4))}) == 2
        assert len([one for one in await place.asked(4) if one.upstream.name == asked.upstream.name]) == 1


# --- WebSockets (semantics 14.6.2, 14.6.3)


def ask_websocket(place: Place) -> int:
    """By an upgrade, or by extended CONNECT (RFC 8441)."""
    if isinstance(place.client, Http2Client):
        return place.client.connect_websocket()
    upgrade = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k" * 22 + "==")]
    return place.client.ask(fields=upgrade)


@from_either
async def test_14_6_websockets_reach_an_http1_upstream(client: str) -> None:
    async with Place(client, HTTP1, extended_connect=True) as place:
        number = ask_websocket(place)
        (asked,) = await place.asked()
        assert (asked.method, asked.get("upgrade"), asked.get("connection")) == (
            "GET",
            "websocket",
            "Upgrade",
        )
        assert re.fullmatch("[A-Za-z0-9+/]{22}==", asked.get("sec-websocket-key") or "")
        up = asked.upstream.transport
        up.deliver(
            b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\nhi"
        )
        answered = place.client.got(number)
        assert (answered.tunnel, answered.status) == (b"hi", 101 if client == HTTP1 else 200)
        assert answered.get("sec-websocket-accept") == ("x" if client == HTTP1 else None)
        place.client.send_tunnel(number, b"there", end=True)
        await place.settle()
        assert up.sent.endswith(b"\r\n\r\nthere")
        assert up.ended
        up.end()
        await place.settle()
        assert place.client.got(number).whole
        record = place.logged()
        assert (record.status, record.bytes_sent, record.bytes_received) == (101, 2, 5)


async def test_14_6_3_istio_does_not_offer_it_over_http2() -> None:
    async with Place(HTTP2, HTTP1) as place:
        client = place.http2_client
        client.connect_websocket()
        client.got(1)
        assert wire.ENABLE_CONNECT_PROTOCOL not in client.reader.settings
        assert client.reader.goaways[-1].code == wire.PROTOCOL_ERROR
        assert place.logged().details == "http2.invalid.header.field"


@from_either
async def test_8441_websockets_reach_an_http2_upstream_that_offers_them(client: str) -> None:
    async with Place(client, HTTP2, extended_connect=True) as place:
        place.settings = [(wire.ENABLE_CONNECT_PROTOCOL, 1)]
        number = ask_websocket(place)
        (asked,) = await place.asked()
        assert (asked.method, asked.protocol, asked.path, asked.scheme) == (
            "CONNECT",
            "websocket",
            "/",
            "http",
        )
        assert asked.get("upgrade") is None
        asked.answer(200, b"hi", end=False)
        answered = place.client.got(number)
        assert (answered.tunnel, answered.status) == (b"hi", 101 if client == HTTP1 else 200)
        place.client.send_tunnel(number, b"there", end=True)
        (asked,) = await place.asked()
        assert (asked.body, asked.whole) == (b"there", True)
        asked.more(b"", end=True)
        await place.settle()
        assert place.client.got(number).whole
        assert place.logged().bytes_sent == 2


@from_either
async def test_8441_and_not_one_that_does_not(client: str) -> None:
    """It would be malformed there."""
    async with Place(client, HTTP2, extended_connect=True) as place:
        number = ask_websocket(place)
        await place.asked(0)
        assert place.client.got(number).status == 502
        assert place.logged().flags == "UPE"


@from_either
async def test_a_websocket_that_is_refused_gets_an_ordinary_answer(client: str) -> None:
    async with Place(client, HTTP1, extended_connect=True) as place:
        number = ask_websocket(place)
        (asked,) = await place.asked()
        asked.answer(403, b"no")
        await place.settle()
        answered = place.client.got(number)
        assert (answered.status, answered.body, answered.whole) == (403, b"no", True)
        assert place.logged().status == 403


# --- traces (docs/tracing.md), overload


TRACED = TraceOptions(10_000, W3C)


@every_pair
@pytest.mark.parametrize("asked_before", [False, True])
async def test_a_trace_is_told_of_in_either_version(client: str, upstream: str, asked_before: bool) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    mirror = "    mirrors: [{destination: {host: b.test}}]\n    retries: {attempts: 1, retryOn: reset}"
    async with Place(client, upstream, rule(mirror)) as place:
        place.port.use(replace(place.chain, options=replace(place.chain.options, tracing=TRACED)))
        fields = [("traceparent", f"00-{trace}-b7ad6b7169203331-01")] if asked_before else []
        number = place.client.ask("POST", fields=fields, body=b"x")
        found = {asked.upstream.name[:6]: asked for asked in await place.asked(2)}
        first = found["10.0.0"]
        first.break_off()
        await place.advance(1)
        attempts = await place.asked(3)
        told = [asked.get("traceparent") or "" for asked in attempts]
        assert len({text.split("-")[1] for text in told}) == 1, "one trace"
        assert len({text.split("-")[2] for text in told}) == 3, "a span each"
        if asked_before:
            assert told[0].split("-")[1] == trace
            assert all("b7ad6b7169203331" not in text for text in told)
        for asked in attempts:
            if asked is not first and not asked.given_up:
                asked.answer()
        await place.settle()
        assert place.client.got(number).status == 200


@from_either
async def test_9_13_under_overload_new_requests_get_503_and_those_under_way_are_served(client: str) -> None:
    async with Place(client, HTTP2) as place:
        first = place.client.ask()
        (asked,) = await place.asked()
        place.proxy.refuse(True)
        refused = place.client.ask()
        assert place.client.got(refused).status == 503
        asked.answer(200, b"ok")
        await place.settle()
        assert place.client.got(first).body == b"ok"
        place.registry.drop_idle()
        await place.settle()
        assert not place.cluster().endpoints[0].connections
        place.proxy.refuse(False)
        again = place.client.ask(path="/again")
        next(one for one in await place.asked(2) if one.path == "/again").answer(200, b"again")
        await place.settle()
        assert place.client.got(again).body == b"again"
        assert [record.status for record in place.records] == [503, 200, 200]
