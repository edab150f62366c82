"""The recorder and the raw client against each other: each must see what the other did, byte by byte."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.ports import PortReservation
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

GET = b"GET /a?b=1 HTTP/1.1\r\nHost: x.test\r\nX-Case:  v \r\n\r\n"


async def _wait(condition: object) -> None:
    deadline = time.monotonic() + 30.0
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.005)


async def test_a_request_is_noted_as_it_came_and_answered_with_the_name() -> None:
    async with Recorder("alpha") as alpha:
        outcome = await RawClient(alpha.port).http(GET)
    assert outcome.outcome == "response"
    assert outcome.after == "open"
    response = outcome.response
    assert (response.status, response.version, response.body) == (200, "HTTP/1.1", b"alpha")
    assert response.headers == [("content-type", "text/plain"), ("content-length", "5")]
    (seen,) = alpha.seen
    assert (seen.method, seen.path, seen.version) == ("GET", "/a?b=1", "HTTP/1.1")
    assert seen.headers == [("Host", "x.test"), ("X-Case", "v")]
    assert seen.raw_head == GET
    assert seen.settled
    assert not seen.truncated


async def test_bodies_are_read_by_length_and_by_chunks() -> None:
    async with Recorder("alpha") as alpha:
        client = RawClient(alpha.port)
        await client.http(b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc")
        chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n0\r\nX-T: t\r\n\r\n"
        await client.http(chunked)
    sized, chunks = alpha.seen
    assert (sized.body, sized.chunked) == (b"abc", False)
    assert (chunks.body, chunks.chunked, chunks.content.trailers) == (b"abc", True, [("X-T", "t")])


async def test_a_body_that_breaks_off_is_truncated() -> None:
    async with Recorder("alpha") as alpha:
        client = RawClient(alpha.port, timeout_s=0.05)
        outcome = await client.http(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc")
        assert outcome.outcome == "timeout"
        await _wait(lambda: alpha.seen and alpha.seen[0].settled)
    assert alpha.seen[0].truncated
    assert alpha.seen[0].body == b"abc"


async def test_behaviours_are_played_one_per_request_and_the_last_repeats() -> None:
    async with Recorder("alpha") as alpha:
        script: list[dict[str, object]] = [{"status": 500, "reason": "X"}, {"status": 204}]
        alpha.play(script)
        outcome = await RawClient(alpha.port).http(GET * 3, responses=3)
    assert [response.status for response in outcome.responses] == [500, 204, 204]
    assert outcome.responses[1].headers == []
    assert alpha.connections == 1


@pytest.mark.parametrize(
    ("behaviour", "outcome", "truncated", "body"),
    [
        ({"close": "accept"}, "closed", None, b""),
        ({"reset": "accept"}, "reset", None, b""),
        ({"close": "before_headers"}, "closed", None, b""),
        ({"reset": "before_headers"}, "reset", None, b""),
        ({"close": "mid_body"}, "response", "closed", b"al"),
        ({"reset": "mid_body"}, "response", "reset", b"al"),
        ({"close": "mid_body", "chunked": True}, "response", "closed", b"al"),
        ({"raw": "nonsense\r\n\r\n"}, "garbage", None, b""),
        ({"raw": "HTTP/1.1 200 OK\r\nX: a"}, "garbage", None, b""),
        ({"raw": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}, "response", "garbage", b""),
        ({"hang": True}, "timeout", None, b""),
        ({"until_close": True}, "response", None, b"alpha"),
        ({"body_size": 200000}, "response", None, b"x" * 200000),
        ({"http": "1.0"}, "response", None, b"alpha"),
        ({"headers_only": True}, "response", None, b""),
        ({"delay_ms": 20, "then": "close"}, "response", None, b"alpha"),
    ],
)
async def test_each_behaviour_shows_at_the_client(
    behaviour: dict[str, object], outcome: str, truncated: str | None, body: bytes
) -> None:
    async with Recorder("alpha") as alpha:
        alpha.play(behaviour)
        closes = behaviour.get("then") == "close" or bool(behaviour.get("until_close"))
        client = RawClient(alpha.port, timeout_s=0.3 if outcome == "timeout" else 20.0)
        came = await client.http(GET, closes=closes)
        assert came.outcome == outcome
        if came.responses:
            assert came.response.truncated == truncated
            assert came.response.body == body
        if closes:
            assert came.after == "closed"
    assert not alpha.errors


async def test_chunks_trailers_and_interim_responses() -> None:
    async with Recorder("alpha") as alpha:
        alpha.play(
            {
                "interim": [100, 103],
                "chunks": ["ab", "cd"],
                "chunk_delay_ms": 5,
                "trailers": [["X-T", "1"]],
                "bare": True,
            }
        )
        response = (await RawClient(alpha.port).http(GET)).response
    assert [head.start_line for head in response.interim] == ["HTTP/1.1 100 Interim", "HTTP/1.1 103 Interim"]
    assert response.interim[1].headers == [("link", "</a.css>")]
    assert response.headers == [("transfer-encoding", "chunked")]
    assert (response.body, response.trailers) == (b"abcd", [("X-T", "1")])


async def test_expect_continue_is_answered_unless_told_otherwise() -> None:
    head = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    async with Recorder("alpha") as alpha:
        client = RawClient(alpha.port)
        response = (await client.http(head, pieces=[(0.02, b"hi")])).response
        assert [each.start_line for each in response.interim] == ["HTTP/1.1 100 Continue"]
        alpha.play({"no_100": True})
        assert (await client.http(head, pieces=[(0.02, b"hi")])).response.interim == []
        alpha.play({"before_body": True, "status": 417, "reason": "No"})
        early = (await client.http(head, pieces=[(0.02, b"hi")])).response
        assert (early.status, early.interim) == (417, [])
    assert [seen.body for seen in alpha.seen[:2]] == [b"hi", b"hi"]


async def test_an_upgrade_becomes_an_echoing_tunnel() -> None:
    async with Recorder("alpha") as alpha:
        alpha.play({"upgrade": True})
        request = b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        response = (await RawClient(alpha.port).http(request, tunnel=b"ping")).response
    assert (response.status, response.tunnel) == (101, b"echo:ping")
    assert response.values("upgrade") == ["websocket"]
    assert bytes(alpha.seen[0].tunnel) == b"ping"


async def test_tcp_echoes_with_its_name_and_notes_the_bytes() -> None:
    async with Recorder("utcp", "tcp") as utcp:
        outcome = await RawClient(utcp.port).tcp(b"ping", half_close=True)
        assert (outcome.outcome, outcome.data, outcome.after) == ("data", b"utcp:ping", "closed")
        assert utcp.seen[0].body == b"ping"
        utcp.play({"reset": "accept"})
        assert (await RawClient(utcp.port).tcp(b"x")).outcome == "reset"


async def test_refused_and_unasked_bytes_are_told() -> None:
    async with Recorder("alpha") as alpha:
        port = alpha.port
        alpha.play({"raw": "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP"})
        outcome = await RawClient(port).http(GET, closes=True)
        assert (outcome.response.body, outcome.extra) == (b"x", b"HTTP")
    held = PortReservation()
    assert (await RawClient(held.port).http(GET)).outcome == "refused"
    held.release()


def test_unknown_words_in_a_behaviour_are_refused() -> None:
    with pytest.raises(ValueError, match="statsu"):
        Recorder("alpha").play({"statsu": 200})


async def test_later_bytes_of_a_tcp_call_come_later() -> None:
    async with Recorder("alpha", "tcp") as alpha:
        outcome = await RawClient(alpha.port).tcp(b"a", pieces=[(0.0, b"b"), (0.1, b"c")])
        assert outcome.data.startswith(b"alpha:ab")
        await _wait(lambda: alpha.seen[0].body == b"abc")
