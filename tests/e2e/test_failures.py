"""What goes wrong on either side, and what the other side and the log see of it (semantics 15, 16; hardening 7)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from gatewayd.routing.route import RetryPolicy
from tests.support.bare_sockets import Net, Peer, answer
from tests.support.in_process import InProcess, forward, request
from tests.support.ports import PortReservation
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

PREFIX = "upstream connect error or disconnect/reset before headers. "
BEFORE = "upstream_reset_before_response_started{%s}"
AFTER = "upstream_reset_after_response_started{protocol_error}"
#: A time that is waited for, and in which a machine that is busy still gets everything else done.
SOON_S = 0.7
BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


@BOTH_LOOPS
@pytest.mark.parametrize(
    ("behaviour", "status", "flags", "details"),
    [
        ({"close": "accept"}, 503, "UC", BEFORE % "connection_termination"),
        ({"reset": "accept"}, 503, "UC", BEFORE % "connection_termination"),
        ({"close": "before_headers"}, 503, "UC", BEFORE % "connection_termination"),
        ({"reset": "before_headers"}, 503, "UC", BEFORE % "connection_termination"),
        ({"raw": "garbage\r\n\r\n"}, 502, "UPE", BEFORE % "protocol_error"),
        ({"raw": "HTTP/1.1 200 OK\r\nX-A: a"}, 502, "UPE", BEFORE % "protocol_error"),
        ({"raw": "x" * 70_000}, 502, "UPE", BEFORE % "protocol_error"),
        (
            {"raw": "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\nx"},
            502,
            "UPE",
            BEFORE % "protocol_error",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_upstream_that_fails_before_its_response(
    behaviour: dict[str, Any], status: int, flags: str, details: str, method: str
) -> None:
    """Semantics 16, 16.2; never tried again by default (6.7.1)."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play(behaviour)
        data = request(method, body=b"abc" if method == "POST" else b"")
        outcome = await RawClient(proxy.port).http(data, observe_s=0.02)
        assert outcome.response.status == status
        assert outcome.after == "open", "the client's connection can go on"
        (record,) = await proxy.logged(1)
        assert (record.flags, record.details, record.attempts) == (flags, details, 1)
        assert alpha.connections == 1


@BOTH_LOOPS
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_body_cut_short_is_left_visibly_unfinished(chunked: bool, how: str) -> None:
    """Semantics 16.2, hardening 7: no last chunk, and the connection closed."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({how: "mid_body", "chunked": chunked})
        outcome = await RawClient(proxy.port).http(request() * 2, responses=2)
        assert len(outcome.responses) == 1
        assert (outcome.response.status, outcome.response.body) == (200, b"al")
        assert outcome.response.truncated == "closed"
        record = (await proxy.logged(1))[0]
        assert (record.flags, record.details) == ("UPE", AFTER)


@pytest.mark.parametrize(
    "raw",
    ["2\r\nab\r\nzz\r\n", "2\r\nab\r\n", "2\r\nabX\r\n0\r\n\r\n", "2\r\nab\r\n0\r\nbad trailer\r\n\r\n"],
)
async def test_broken_chunks_of_an_upstream(raw: str) -> None:
    """Golden 16 bad-chunk, chunked-without-end."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({"raw": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + raw})
        outcome = await RawClient(proxy.port).http(request())
        assert (outcome.response.body, outcome.response.truncated) == (b"ab", "closed")
        assert (await proxy.logged(1))[0].flags == "UPE"


@BOTH_LOOPS
async def test_a_refused_connection_is_tried_twice_more_and_told() -> None:
    """Semantics 6.7.1, 16: URX,UF and the words of a retry."""
    held = PortReservation()
    async with InProcess([held.port]) as proxy:
        outcome = await RawClient(proxy.port).http(request("POST", body=b"abc"), observe_s=0.02)
        assert outcome.response.status == 503
        words = PREFIX + "retried and the latest reset reason: remote connection failure"
        assert outcome.response.body.decode() == words
        (record,) = await proxy.logged(1)
        assert (record.flags, record.attempts) == ("URX,UF", 3)
        assert record.details.startswith("upstream_reset_before_response_started{remote_connection_failure|")
        assert outcome.after == "open"
    held.release()


async def test_a_retry_prefers_an_endpoint_not_tried_yet() -> None:
    """Semantics 6.7.6: with one endpoint down and one up every request is answered."""
    held = PortReservation()
    async with Recorder("alpha") as alpha, InProcess([held.port, alpha.port]) as proxy:
        outcome = await RawClient(proxy.port).http(request() * 20, responses=20)
        assert [response.status for response in outcome.responses] == [200] * 20
        records = await proxy.logged(20)
        assert {record.attempts for record in records} == {1, 2}
        assert {seen.values("x-envoy-attempt-count")[0] for seen in alpha.seen} == {"1", "2"}
    held.release()


async def test_no_retries_when_the_route_has_none() -> None:
    """Semantics 6.7.2."""
    held = PortReservation()
    async with InProcess([held.port], route=lambda c: forward(c, retry=None)) as proxy:
        outcome = await RawClient(proxy.port).http(request())
        assert outcome.response.body.decode() == PREFIX + "reset reason: remote connection failure"
        assert (await proxy.logged(1))[0].flags == "UF"
    held.release()


async def test_a_cluster_without_endpoints() -> None:
    """Semantics 16."""
    async with InProcess([]) as proxy:
        outcome = await RawClient(proxy.port).http(request())
        assert (outcome.response.status, outcome.response.body) == (503, b"no healthy upstream")
        assert (await proxy.logged(1))[0].flags == "UH"


RETRY_ALL = RetryPolicy(attempts=2, retry_on=frozenset({"5xx", "reset"}), base_interval_s=0.001)


@pytest.mark.parametrize(
    "first",
    [
        {"status": 503},
        {"status": 500, "chunked": True},
        {"reset": "before_headers"},
        {"raw": "garbage\r\n\r\n"},
    ],
)
async def test_a_retry_sends_the_body_again(first: dict[str, Any]) -> None:
    """Semantics 15.1, 15.6."""
    async with (
        Recorder("alpha") as alpha,
        InProcess([alpha.port], route=lambda c: forward(c, retry=RETRY_ALL)) as proxy,
    ):
        alpha.play([first, {}])
        outcome = await RawClient(proxy.port).http(request("POST", body=b"hello"))
        assert (outcome.response.status, outcome.response.body) == (200, b"alpha")
        assert [seen.body for seen in alpha.seen] == [b"hello"] * 2
        assert (await proxy.logged(1))[0].attempts == 2


async def test_a_chunked_body_is_sent_again_too() -> None:
    async with (
        Recorder("alpha") as alpha,
        InProcess([alpha.port], route=lambda c: forward(c, retry=RETRY_ALL)) as proxy,
    ):
        alpha.play([{"status": 503}, {}])
        data = request("POST", headers=["Transfer-Encoding: chunked"]) + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        assert (await RawClient(proxy.port).http(data)).response.status == 200
        assert [seen.body for seen in alpha.seen] == [b"abcde"] * 2


async def test_the_last_retriable_response_is_returned_with_urx() -> None:
    """Semantics 15.7."""
    async with (
        Recorder("alpha") as alpha,
        InProcess([alpha.port], route=lambda c: forward(c, retry=RETRY_ALL)) as proxy,
    ):
        alpha.play([{"status": 503, "body": "a"}, {"status": 502, "body": "b"}, {"status": 500, "body": "c"}])
        outcome = await RawClient(proxy.port).http(request(), observe_s=0.02)
        assert (outcome.response.status, outcome.response.body, outcome.after) == (500, b"c", "open")
        assert (await proxy.logged(1))[0].flags == "URX"


async def test_a_body_larger_than_the_buffer_is_not_sent_again() -> None:
    """Semantics 15.5: the response is returned as it is, without URX."""
    async with (
        Recorder("alpha") as alpha,
        InProcess([alpha.port], route=lambda c: forward(c, retry=RETRY_ALL)) as proxy,
    ):
        alpha.play([{"status": 503, "body": "no"}, {}])
        outcome = await RawClient(proxy.port).http(request("POST", body=b"x" * 2_000_000))
        assert (outcome.response.status, outcome.response.body) == (503, b"no")
        (record,) = await proxy.logged(1)
        assert (record.flags, record.attempts, record.bytes_received) == ("", 1, 2_000_000)


async def test_a_response_that_began_is_never_retried() -> None:
    """Semantics 15.5."""
    async with (
        Recorder("alpha") as alpha,
        InProcess([alpha.port], route=lambda c: forward(c, retry=RETRY_ALL)) as proxy,
    ):
        alpha.play([{"reset": "mid_body"}, {}])
        assert (await RawClient(proxy.port).http(request())).response.truncated
        assert alpha.connections == 1


# --- time


async def test_silence_ends_with_the_route_timeout() -> None:
    """Semantics 6.6.2; the connection is not used again."""
    async with (
        Recorder("alpha") as alpha,
        InProcess([alpha.port], route=lambda c: forward(c, timeout_s=SOON_S)) as proxy,
    ):
        alpha.play([{"hang": True}, {}])
        outcome = await RawClient(proxy.port).http(request() * 2, responses=2)
        assert [response.status for response in outcome.responses] == [504, 200]
        assert outcome.response.body == b"upstream request timeout"
        assert [record.flags for record in await proxy.logged(2)] == ["UT", ""]
        assert alpha.connections == 2


async def test_the_route_timeout_begins_when_the_request_is_complete() -> None:
    """Semantics 6.6.2."""
    async with (
        Recorder("alpha") as alpha,
        InProcess([alpha.port], route=lambda c: forward(c, timeout_s=SOON_S)) as proxy,
    ):
        head = request("POST", headers=["content-length: 4"])
        pieces = [(SOON_S / 2, b"a"), (SOON_S / 2, b"b"), (SOON_S / 2, b"c"), (0.0, b"d")]
        assert (await RawClient(proxy.port).http(head, pieces=pieces)).response.status == 200


async def test_the_route_timeout_in_a_response_cuts_it() -> None:
    """Semantics 6.6.2."""
    async with (
        Recorder("alpha") as alpha,
        InProcess([alpha.port], route=lambda c: forward(c, timeout_s=SOON_S)) as proxy,
    ):
        alpha.play({"chunks": ["a"] * 1000, "chunk_delay_ms": 10})
        outcome = await RawClient(proxy.port).http(request())
        assert (outcome.response.status, outcome.response.truncated) == (200, "closed")
        assert (await proxy.logged(1))[0].flags == "UT"


async def test_a_try_that_takes_too_long_is_tried_again() -> None:
    """Semantics 6.7.4, 15.2."""
    policy = RetryPolicy(
        attempts=1, retry_on=frozenset({"reset"}), per_try_timeout_s=SOON_S, base_interval_s=0.001
    )
    async with (
        Recorder("alpha") as alpha,
        InProcess([alpha.port], route=lambda c: forward(c, retry=policy)) as proxy,
    ):
        alpha.play([{"hang": True}, {}])
        assert (await RawClient(proxy.port).http(request())).response.status == 200
        alpha.play({"hang": True})
        assert (await RawClient(proxy.port).http(request("POST", body=b"abc"))).response.status == 504
        records = await proxy.logged(2)
        assert (records[1].flags, records[1].details) == ("URX,UT", "upstream_per_try_timeout")


async def test_a_connection_that_cannot_be_made_in_time() -> None:
    """Semantics 16: connection timeout. A full backlog answers no SYN."""
    with Net(backlog=0) as net:
        fillers = [asyncio.ensure_future(net.connect(net.port)) for _ in range(4)]
        await asyncio.sleep(0.05)
        async with InProcess(
            [net.port], route=lambda c: forward(c, retry=None), connect_timeout_s=0.1
        ) as proxy:
            outcome = await RawClient(proxy.port).http(request())
            assert outcome.response.body.decode() == PREFIX + "reset reason: connection timeout"
            assert (await proxy.logged(1))[0].flags == "UF"
        for filler in fillers:
            filler.cancel()
        await asyncio.gather(*fillers, return_exceptions=True)


def limits(**values: Any) -> HttpOptions:
    return HttpOptions(limits=HttpLimits(**values))


async def _ticking(proxy: InProcess) -> None:
    while True:
        await asyncio.sleep(0.01)
        proxy.tick()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost:", request() + b"GET"])
async def test_a_head_must_come_in_time(sent: bytes) -> None:
    """Hardening 8: request_head_timeout, from accept or the first byte; single bytes do not extend it."""
    async with (
        Recorder("alpha") as alpha,
        InProcess([alpha.port], options=limits(request_head_timeout_s=SOON_S)) as proxy,
    ):
        ticking = asyncio.ensure_future(_ticking(proxy))
        drip = [(0.03, b"x")] * 50 if sent else []
        outcome = await RawClient(proxy.port).http(sent, pieces=drip, responses=2)
        ticking.cancel()
        statuses = [response.status for response in outcome.responses]
        assert statuses == ([200, 408] if sent.startswith(request()) else [408] if sent else [])
        assert outcome.outcome == ("response" if sent else "closed")
        assert len(alpha.seen) == sent.startswith(request())


async def test_an_idle_connection_is_closed_in_time_on_both_sides() -> None:
    """Hardening 8: idle_timeout, upstream_idle_timeout; not earlier."""
    async with (
        Recorder("alpha") as alpha,
        InProcess([alpha.port], options=limits(idle_timeout_s=SOON_S), idle_timeout_s=SOON_S) as proxy,
    ):
        ticking = asyncio.ensure_future(_ticking(proxy))
        outcome = await RawClient(proxy.port).http(
            request(), pieces=[(SOON_S / 2, request())], responses=2, closes=True
        )
        ticking.cancel()
        assert [response.status for response in outcome.responses] == [200, 200]
        assert outcome.after == "closed"
        await proxy.until(lambda: not proxy.endpoint.connections)
        assert alpha.connections == 1


@pytest.mark.parametrize(
    ("data", "behaviour", "status", "flags"),
    [
        (request(), {"hang": True}, 504, "UT"),
        (request("POST", headers=["content-length: 9"]) + b"abc", {}, 408, "SI"),
        (request(), {"raw": "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"}, 200, "SI"),
    ],
)
async def test_an_exchange_in_which_nothing_moves_ends(
    data: bytes, behaviour: dict[str, Any], status: int, flags: str
) -> None:
    """Hardening 7, 8: stream_idle_timeout."""
    with Net() as net:
        async with InProcess([net.port], options=limits(stream_idle_timeout_s=SOON_S)) as proxy:
            ticking = asyncio.ensure_future(_ticking(proxy))
            client = await net.connect(proxy.port)
            client.send(data)
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            if "raw" in behaviour:
                upstream.send(behaviour["raw"].encode())
            assert b" %d " % status in (await client.receive(b"\r\n\r\n")).split(b"\r\n")[0]
            (record,) = await proxy.logged(1)
            ticking.cancel()
            assert record.flags == flags
            assert not proxy.endpoint.connections


async def test_a_slow_but_moving_exchange_is_left_alone() -> None:
    async with (
        Recorder("alpha") as alpha,
        InProcess([alpha.port], options=limits(stream_idle_timeout_s=SOON_S)) as proxy,
    ):
        ticking = asyncio.ensure_future(_ticking(proxy))
        alpha.play({"chunks": ["a"] * 10, "chunk_delay_ms": SOON_S * 200})
        outcome = await RawClient(proxy.port).http(request())
        ticking.cancel()
        assert outcome.response.body == b"a" * 10


# --- clients


@BOTH_LOOPS
async def test_a_client_that_half_closes_with_its_request_gets_the_answer() -> None:
    """Hardening 2: the answer is still delivered."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(request("POST", body=b"abc"))
            client.half_close()
            upstream = await net.accept()
            await upstream.receive(b"abc")
            await asyncio.sleep(0.02)
            upstream.send(answer())
            data = await client.rest()
            assert data.startswith(b"HTTP/1.1 200 OK")
            assert data.endswith(b"ok")
            assert (await proxy.logged(1))[0].flags == ""


@BOTH_LOOPS
@pytest.mark.parametrize("how", ["half_close", "reset"])
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"])
async def test_a_client_that_leaves_while_it_waits_aborts_the_upstream(how: str, sent: bytes) -> None:
    """Semantics 16: DC. An end of stream this late is a client that has gone."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(request())
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            if sent:
                upstream.send(sent)
                await client.receive(b"ab")
            await asyncio.sleep(0.15)
            getattr(client, how)()
            assert await upstream.rest() == b""
            (record,) = await proxy.logged(1)
            assert record.flags == "DC"
            assert record.status == (200 if sent else 0)


@BOTH_LOOPS
@pytest.mark.parametrize("how", ["half_close", "close", "reset"])
@pytest.mark.parametrize("framing", ["content-length: 9", "transfer-encoding: chunked"])
async def test_a_client_that_leaves_in_mid_request_never_finishes_it(how: str, framing: str) -> None:
    """Hardening 2: the origin sees an unfinished message; never the last chunk."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(
                request("POST", headers=[framing]) + (b"3\r\nabc\r\n" if "chunked" in framing else b"abc")
            )
            upstream = await net.accept()
            await upstream.receive(b"abc")
            getattr(client, how)()
            assert b"0\r\n\r\n" not in await upstream.rest()
            (record,) = await proxy.logged(1)
            assert (record.flags, record.status) == ("DC", 0)
            assert not proxy.endpoint.connections


async def test_an_early_response_is_passed_on_at_once_and_ends_both_connections() -> None:
    """Semantics 14.6.8, hardening 2: unless the body was fully sent the upstream connection is not used again."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(request("POST", headers=["content-length: 100000"]) + b"begin")
            upstream = await net.accept()
            await upstream.receive(b"begin")
            upstream.send(answer(b"enough", status=413))
            data = await client.receive(b"enough")
            assert data.startswith(b"HTTP/1.1 413 ")
            assert b"connection: close\r\n" in data
            assert await upstream.rest() == b""
            client.send(b"x" * 1000)  # still read, so that the answer is not reset away
            client.half_close()
            assert await client.rest() == b""
            assert not proxy.endpoint.connections


async def test_a_refused_request_is_answered_before_the_connection_goes() -> None:
    """Hardening 2: answer, close, read up to 64 KiB for at most a second so that the client can see the answer."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(b"POST / HTTP/1.1\r\nHost: a b\r\ncontent-length: 50000\r\n\r\n" + b"x" * 50_000)
            data = await client.receive(b"Bad Request")
            assert data.startswith(b"HTTP/1.1 400 ")
            client.send(b"x" * 10_000)
            await asyncio.sleep(0.01)
            assert proxy.connections, "it lingers"
            connection = next(iter(proxy.connections))
            connection._deadline -= 10
            proxy.tick()
            assert await client.rest() == b""


async def _send_for_ever(client: Peer) -> None:
    async with asyncio.timeout(30.0):
        while True:
            await asyncio.get_running_loop().sock_sendall(client.socket, b"x" * 65536)
            await asyncio.sleep(0)


async def test_lingering_has_an_end_in_bytes() -> None:
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(b"nonsense\r\n\r\n")
            await client.receive(b"Bad Request")
            with pytest.raises(ConnectionError):
                await _send_for_ever(client)


async def test_pipelined_bytes_behind_a_last_request_do_not_reset_its_answer() -> None:
    """A close on unread bytes would be a reset that overtakes the answer."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(request(headers=["Connection: close"]) + request())
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            upstream.send(answer(b"y" * 200_000))
            await asyncio.sleep(0.05)
            data = await client.receive(b"y" * 100)
            while len(data) < 200_000:
                data += await asyncio.get_running_loop().sock_recv(client.socket, 65536)
            assert b"connection: close" in data
            assert len(await proxy.logged(1)) == 1
