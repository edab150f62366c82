"""HTTP/2 connections in the proxy: backpressure stream by stream, farewells, new configurations, and floods.

RFC 9113 5.2, 6.8, 10.5; hardening sections 3, 8 and 9.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatewayd.http.limits import HttpLimits
from gatewayd.routing.index import Rule
from gatewayd.routing.route import DIRECT_RESPONSE, DirectResponseAction, Route
from gatewayd.routing.table import RouteTable, VirtualHost
from tests.proxy.place import Place
from tests.proxy.speakers import HTTP1, HTTP2, Asked, Http2Client, Http2Upstream
from tests.proxy.test_versions import from_either, to_either
from tests.support import h2_wire as wire

KIB = 1024


# --- backpressure (hardening 9.6)


@to_either
async def test_5_2_a_stream_nobody_reads_stops_its_upstream_and_no_other(upstream: str) -> None:
    async with Place(HTTP2, upstream, endpoints=1) as place:
        place.client = client = place.new_client(window=20 * KIB)
        stuck, other = client.ask("GET", "/stuck"), client.ask("GET", "/other")
        second, first = sorted(await place.asked(2), key=lambda asked: asked.path)
        first.answer(200, b"x" * 60 * KIB, end=False)
        second.answer(200, end=False)
        await place.settle()
        assert len(client.got(stuck).body) == 20 * KIB
        assert is_held(first)
        for _ in range(4):
            second.more(b"y" * 16 * KIB)
            await place.settle()
            client.transport.deliver(wire.window_update(other, 16 * KIB))
            await place.settle()
        assert not is_held(second)
        assert len(client.got(other).body) == 64 * KIB
        client.transport.deliver(wire.window_update(stuck, 64 * KIB))
        await place.settle()
        assert len(client.got(stuck).body) == 60 * KIB
        assert not is_held(first)
        first.more(b"", end=True)
        second.more(b"", end=True)
        await place.settle()
        assert client.got(stuck).whole
        assert client.got(other).whole


def is_held(asked: Asked) -> bool:
    """Whether its upstream may send no more: nothing is credited, or nothing read."""
    up = asked.upstream
    if isinstance(up, Http2Upstream):
        up.reader.read()
        return asked.stream not in up.reader.credit
    return not up.transport.reading


@from_either
async def test_5_2_an_upstream_that_reads_slowly_slows_its_client(client: str) -> None:
    """What it has not taken is not credited: the client's window closes."""
    async with Place(client, HTTP2, endpoints=1) as place:
        place.window = 10
        number = place.client.ask("POST", "/", body=b"x" * 4, end=False)
        await place.asked()
        place.client.more(number, b"x" * 60 * KIB)
        (asked,) = await place.asked()
        assert asked.body == b"x" * 10
        if client == HTTP2:
            reader = place.http2_client.reader
            reader.read()
            assert number not in reader.credit
        else:
            assert not place.client.transports[number].reading  # type: ignore[union-attr]
        asked.upstream.transport.deliver(wire.window_update(asked.stream, 100 * KIB))
        (asked,) = await place.asked()
        assert len(asked.body) == 60 * KIB + 4
        if client == HTTP2:
            reader.read()
            assert reader.credit[number] >= 32 * KIB
        else:
            assert place.client.transports[number].reading  # type: ignore[union-attr]
        place.client.more(number, b"", end=True)
        (asked,) = await place.asked()
        assert asked.whole
        asked.answer()


async def test_9_6_a_client_that_reads_nothing_costs_a_bounded_amount_of_memory() -> None:
    async with Place(HTTP2, HTTP2, endpoints=1) as place:
        place.client = client = place.new_client(window=64 * KIB)
        client.transport.stuck = True
        numbers = [client.ask("GET", f"/{at}") for at in range(60)]
        for asked in await place.asked(60):
            asked.answer(200, b"x" * 64 * KIB, end=False)  # as much as the upstream may send
        await place.settle()
        connection = client.transport.protocol
        assert client.transport.buffered + connection.queued <= 60 * 64 * KIB + 256 * KIB
        assert connection.queued <= 4 * KIB * KIB
        upstream = place.upstreams[0]
        assert isinstance(upstream, Http2Upstream)
        upstream.reader.read()
        assert sum(credit for stream, credit in upstream.reader.credit.items() if stream) <= 4 * 64 * KIB
        assert not client.transport.reading, "and nothing more is read from it"
        client.transport.drain()
        await place.settle()
        for asked in await place.asked(60):
            asked.more(b"", end=True)
        await place.settle()
        for number in numbers:
            assert len(client.got(number).body) == 64 * KIB
            assert client.got(number).whole


async def test_9_6_a_request_that_begins_while_its_client_takes_nothing_waits_with_the_others() -> None:
    limits = HttpLimits(h2_queued_bytes=10 * KIB)
    async with Place(HTTP2, HTTP1, endpoints=1, limits=limits) as place:
        place.client = client = place.new_client(window=KIB)
        client.ask("GET", "/first")
        (first,) = await place.asked()
        first.answer(200, b"x" * 20 * KIB, end=False)
        late = client.ask("GET", "/late")  # needs a connection of its own
        await place.settle()
        (late_asked,) = [asked for asked in await place.asked(2) if asked.path == "/late"]
        assert is_held(late_asked)
        client.transport.deliver(wire.window_update(1, 20 * KIB))
        await place.settle()
        assert not is_held(late_asked)
        first.more(b"", end=True)
        late_asked.answer(200, b"y")
        await place.settle()
        assert client.got(late).body == b"y"


@to_either
async def test_a_body_larger_than_what_is_kept_waits_for_the_connection_and_goes_on(upstream: str) -> None:
    async with Place(HTTP2, upstream, endpoints=1) as place:
        client = place.http2_client
        number = client.ask("POST", "/", body=b"x" * 60 * KIB, end=False)
        client.more(number, b"y" * 10 * KIB)
        (asked,) = await place.asked()
        assert len(asked.body) == 70 * KIB
        for _ in range(20):
            client.more(number, b"z" * 16 * KIB)  # which its window only allows if what was held is credited
            await place.settle()
        client.more(number, b"", end=True)
        (asked,) = await place.asked()
        assert (asked.whole, len(asked.body)) == (True, 390 * KIB)
        asked.answer()


# --- farewells (RFC 9113 6.8; hardening 9.4)


def last_goaway(client: Http2Client) -> tuple[int, int] | None:
    """(last stream, code) of the last GOAWAY."""
    client.reader.read()
    if not client.reader.goaways:
        return None
    last = client.reader.goaways[-1]
    return last.last_stream, last.code


@to_either
@pytest.mark.parametrize("how", ["drain", "retire"])
async def test_6_8_a_connection_drains_in_two_steps(upstream: str, how: str) -> None:
    async with Place(HTTP2, upstream) as place:
        client = place.http2_client
        first = client.ask()
        getattr(place.port, how)()
        await place.settle()
        assert last_goaway(client) == (2**31 - 1, wire.NO_ERROR)
        late = client.ask("GET", "/late")  # on its way when the client heard
        (ping,) = client.reader.pings
        client.transport.deliver(wire.ping(ping, ack=True))
        await place.settle()
        assert last_goaway(client) == (late, wire.NO_ERROR)
        too_late = client.ask("GET", "/too-late")
        for asked in await place.asked(2):
            asked.answer(200, b"ok")
        await place.settle()
        assert [client.got(number).body for number in (first, late)] == [b"ok", b"ok"]
        assert client.got(too_late).reset == wire.REFUSED_STREAM
        assert client.transport.ended
        assert len(place.records) == 2


async def test_6_8_an_idle_connection_says_farewell_and_ends() -> None:
    async with Place(HTTP2, HTTP1) as place:
        client = place.http2_client
        place.port.drain()
        await place.settle()
        (ping,) = _pings(client)
        client.transport.deliver(wire.ping(ping, ack=True))
        assert last_goaway(client) == (0, wire.NO_ERROR)
        assert client.transport.ended


async def test_6_8_a_client_that_answers_no_ping_is_not_waited_for() -> None:
    async with Place(HTTP2, HTTP1) as place:
        client = place.http2_client
        place.port.drain()
        await place.advance(1.5)
        assert last_goaway(client) == (0, wire.NO_ERROR)
        assert client.transport.ended


def _pings(client: Http2Client) -> list[bytes]:
    client.reader.read()
    return client.reader.pings


async def test_8_an_idle_client_connection_ends_after_its_time() -> None:
    async with Place(HTTP2, HTTP1) as place:
        client = place.http2_client
        number = client.ask()
        (asked,) = await place.asked()
        await place.advance(100)
        assert last_goaway(client) is None
        asked.answer()
        assert client.got(number).status == 200
        idle_s = HttpLimits().idle_timeout_s
        await place.advance(idle_s - 1)
        assert last_goaway(client) is None
        await place.advance(2)
        assert last_goaway(client) == (number, wire.NO_ERROR)
        assert client.transport.ended


async def test_8_a_client_that_says_nothing_at_all_is_not_waited_for_as_long() -> None:
    async with Place(HTTP2, HTTP1) as place:
        transport = place.connect()
        transport.deliver(wire.PREFACE)
        await place.advance(HttpLimits().h2_settings_timeout_s + 1)
        assert transport.ended
        assert wire.frames(bytes(transport.sent))[-1].code == wire.SETTINGS_TIMEOUT


# --- another configuration (hardening 9.1, 9.2)


async def test_9_2_requests_that_begin_later_are_served_by_the_new_configuration() -> None:
    async with Place(HTTP2, HTTP2) as place:
        client = place.http2_client
        old = client.ask("GET", "/same")
        (asked,) = await place.asked()
        here = Route("here", DIRECT_RESPONSE, direct=DirectResponseAction(200, b"new"))
        table = RouteTable([VirtualHost("all", ["*"], [Rule((), here)])])
        options = replace(place.chain.options, server_header=b"new")
        place.port.use(replace(place.chain, routes=table, options=options))
        new = client.ask("GET", "/same")  # the very same block
        asked.answer(200, b"old")
        await place.settle()
        assert (client.got(old).body, client.got(old).get("server")) == (b"old", "istio-envoy")
        assert (client.got(new).body, client.got(new).get("server")) == (b"new", "new")


# --- more than is allowed


async def test_5_1_2_streams_beyond_the_limit_are_refused() -> None:
    limits = HttpLimits(h2_max_concurrent_streams=2)
    async with Place(HTTP2, HTTP1, limits=limits) as place:
        client = place.http2_client
        numbers = [client.ask() for _ in range(3)]
        client.reader.read()
        assert client.reader.settings[wire.MAX_CONCURRENT_STREAMS] == 2
        for asked in await place.asked(2):
            asked.answer()
        await place.settle()
        assert [client.got(number).status for number in numbers] == [200, 200, 0]
        assert client.got(numbers[2]).reset == wire.REFUSED_STREAM
        last = client.ask(path="/last")
        next(asked for asked in await place.asked(3) if asked.path == "/last").answer()
        await place.settle()
        assert client.got(last).status == 200


@to_either
async def test_3_rapid_resets_end_the_connection_and_reach_few_upstreams(upstream: str) -> None:
    """CVE-2023-44487."""
    async with Place(HTTP2, upstream, endpoints=1) as place:
        client = place.http2_client
        block = wire.block(wire.request())
        for at in range(1, 40_000, 40):
            client.transport.deliver(
                b"".join(
                    wire.headers(number, block, end=True) + wire.rst(number)
                    for number in range(at, at + 40, 2)
                )
            )
            if client.transport.ended:
                break
        await place.settle()
        assert last_goaway(client) is not None
        assert last_goaway(client)[1] == wire.ENHANCE_YOUR_CALM  # type: ignore[index]
        assert 200 <= len(place.records) < 1000
        assert {record.flags for record in place.records} == {"DR"}
        asked = [one for up in place.upstreams for one in up.asked()]
        assert all(one.given_up for one in asked)


async def test_3_made_you_reset_counts_as_well() -> None:
    """CVE-2025-8671: errors that make the server reset streams."""
    async with Place(HTTP2, HTTP1, endpoints=1) as place:
        client = place.http2_client
        for number in range(1, 2001, 2):
            fields = wire.request("POST", headers=[("content-length", "1")])
            client.transport.deliver(wire.headers(number, fields) + wire.data(number, b"two"))
            if client.transport.ended:
                break
        await place.settle()
        assert last_goaway(client)[1] == wire.ENHANCE_YOUR_CALM  # type: ignore[index]
        assert len(place.records) < 1000


# --- whom a connection is for (RFC 9110 15.5.20)


@from_either
@pytest.mark.parametrize("misdirected", [False, True])
async def test_a_host_that_the_certificate_is_not_for(client: str, misdirected: bool) -> None:
    """Istio answers 404, for the route is not in the server's table; with the option, 421: come again elsewhere."""
    async with Place(client, HTTP1, misdirected_request=misdirected) as place:
        table = RouteTable([])
        place.port.use(replace(place.chain, routes=table, server_names=("a.test", "*.b.test")))
        for host, status in (
            ("a.test", 404),
            ("A.test:443", 404),
            ("x.b.test", 404),
            ("c.test", 421 if misdirected else 404),
            ("b.test", 421 if misdirected else 404),
        ):
            number = place.client.ask(host=host)
            assert place.client.got(number).status == status, host
