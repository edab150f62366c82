"""Ordinary requests over real sockets: keep-alive, pipelining, bodies both ways, HEAD, 1xx, absolute-form."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from gatewayd.routing.route import DIRECT_RESPONSE, DirectResponseAction, Route
from tests.support.in_process import InProcess, request
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder


async def test_requests_share_the_connections_on_both_sides() -> None:
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        outcome = await RawClient(proxy.port).http(request() * 3, responses=3)
        assert [response.status for response in outcome.responses] == [200] * 3
        assert outcome.after == "open"
        assert alpha.connections == 1
        assert len(proxy.endpoint.idle) == 1
        assert [record.details for record in await proxy.logged(3)] == ["via_upstream"] * 3


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Hardening 2: answered in order; reading stops while an answer is pending."""
    paths = [f"/{number}" for number in range(20)]
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play(
            [{"body": path, "delay_ms": 5 if number % 7 == 0 else 0} for number, path in enumerate(paths)]
        )
        data = b"".join(request(path=path) for path in paths)
        outcome = await RawClient(proxy.port).http(data, responses=len(paths))
        assert [response.body.decode() for response in outcome.responses] == paths
        assert [seen.path for seen in alpha.seen] == paths


@pytest.mark.parametrize("fields", [1, 60, 99])
async def test_pipelined_heads_are_judged_one_by_one(fields: int) -> None:
    """Semantics 14.6.4: the limit of fields is that of one request, however many come in a segment."""
    lines = [f"x-{number}: {number}" for number in range(fields)]
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        data = b"".join(request(path=f"/{number}", headers=lines) for number in range(4))
        outcome = await RawClient(proxy.port).http(data, responses=4)
        assert [response.status for response in outcome.responses] == [200] * 4
        assert [seen.path for seen in alpha.seen] == ["/0", "/1", "/2", "/3"]


async def test_a_long_pipeline_costs_no_more_than_its_requests() -> None:
    """Hardening 1: what waits behind a head is not gone over again for each head before it."""
    here = Route("here", DIRECT_RESPONSE, direct=DirectResponseAction(200, b"x"))
    count = 1000
    costs = []
    async with InProcess([], route=lambda _: here) as proxy:
        for step in (1, count):
            began = time.process_time()
            for _ in range(count // step):
                data = b"".join(request(path=f"/{number}") for number in range(step))
                await RawClient(proxy.port).http(data, responses=step, observe_s=0.0)
            costs.append(time.process_time() - began)
    assert costs[1] < 3 * costs[0], costs


async def test_pipelined_requests_with_bodies_keep_their_boundaries() -> None:
    """Hardening 2: a body that looks like a request is a body."""
    inner = request(path="/inner")
    data = request("POST", "/a", inner) + request("POST", "/b", headers=["Transfer-Encoding: chunked"])
    data += b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner) + request(path="/c")
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        outcome = await RawClient(proxy.port).http(data, responses=3)
        assert [response.status for response in outcome.responses] == [200] * 3
        assert [(seen.path, seen.body) for seen in alpha.seen] == [("/a", inner), ("/b", inner), ("/c", b"")]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
async def test_a_request_may_come_in_pieces_of_any_size(size: int) -> None:
    data = request("POST", "/x", b"hello") + request("POST", "/y", headers=["transfer-encoding: chunked"])
    data += b"3;x\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n"
    pieces = [(0.0, data[at : at + size]) for at in range(0, len(data), size)]
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        outcome = await RawClient(proxy.port).http(b"", pieces=pieces, responses=2)
        assert [response.status for response in outcome.responses] == [200, 200]
        assert [seen.body for seen in alpha.seen] == [b"hello", b"abcde"]


async def test_chunks_pass_both_ways_and_trailers_are_dropped() -> None:
    """Semantics 14.6.8, 14.6.9."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({"chunks": ["ab", "cd"], "chunk_delay_ms": 5, "trailers": [["X-T", "1"]]})
        data = (
            request("POST", headers=["Transfer-Encoding: chunked"]) + b"5;e=1\r\nhello\r\n0\r\nX-R: 1\r\n\r\n"
        )
        outcome = await RawClient(proxy.port).http(data)
        assert (outcome.response.body, outcome.response.trailers) == (b"abcd", [])
        assert outcome.response.values("transfer-encoding") == ["chunked"]
        (seen,) = alpha.seen
        assert (seen.body, seen.chunked, seen.content.trailers) == (b"hello", True, [])
        assert len(proxy.endpoint.idle) == 1
        (record,) = await proxy.logged(1)
        assert (record.bytes_received, record.bytes_sent) == (5, 4)


async def test_a_body_that_ends_with_the_connection_becomes_chunked() -> None:
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({"until_close": True, "body": "x" * 100_000})
        outcome = await RawClient(proxy.port).http(request() * 2, responses=2)
        assert [len(response.body) for response in outcome.responses] == [100_000] * 2
        assert outcome.response.values("transfer-encoding") == ["chunked"]
        assert outcome.response.truncated is None
        assert alpha.connections == 2
        assert not proxy.endpoint.connections


@pytest.mark.parametrize("behaviour", [{}, {"chunked": True}, {"headers_only": True}, {"until_close": True}])
async def test_head_has_no_body_whatever_the_upstream_declares(behaviour: dict[str, object]) -> None:
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play(behaviour)
        outcome = await RawClient(proxy.port).http(request("HEAD") * 2, responses=2)
        assert [response.status for response in outcome.responses] == [200, 200]
        assert (outcome.after, outcome.extra) == ("open", b"")


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_body_carry_no_framing_that_promises_one(status: int) -> None:
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({"status": status})
        outcome = await RawClient(proxy.port).http(request() * 2, responses=2)
        assert [response.status for response in outcome.responses] == [status, status]
        assert outcome.response.values("transfer-encoding") == []
        assert alpha.connections == 1


async def test_expect_100_continue_is_relayed_both_ways() -> None:
    """Semantics 14.6.2."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        head = request("POST", headers=["Expect: 100-continue", "content-length: 5"])
        outcome = await RawClient(proxy.port).http(head, pieces=[(0.05, b"hello")])
        assert [each.start_line for each in outcome.response.interim] == ["HTTP/1.1 100 Continue"]
        assert (outcome.response.status, alpha.seen[0].body) == (200, b"hello")
        assert alpha.seen[0].values("expect") == ["100-continue"]


async def test_other_interim_responses_pass_with_their_fields() -> None:
    """Semantics 14.6.2."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({"interim": [103, 102]})
        outcome = await RawClient(proxy.port).http(request())
        assert [each.start_line[:12] for each in outcome.response.interim] == ["HTTP/1.1 103", "HTTP/1.1 102"]
        assert outcome.response.interim[0].headers == [("link", "</a.css>")]
        assert outcome.response.body == b"alpha"


async def test_an_unasked_100_is_not_passed_on() -> None:
    """Hardening 7."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({"interim": [100]})
        outcome = await RawClient(proxy.port).http(request())
        assert (outcome.response.status, outcome.response.interim) == (200, [])


async def test_an_interim_response_never_carries_framing_fields() -> None:
    """RFC 9110 8.6, 9112 6.1: a client that believed them would wait for a body."""
    raw = "HTTP/1.1 103 Hints\r\ncontent-length: 0\r\nlink: a\r\n\r\n"
    raw += "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({"raw": raw})
        outcome = await RawClient(proxy.port).http(request())
        assert outcome.response.interim[0].headers == [("link", "a")]
        assert outcome.response.body == b"hi"


@pytest.mark.parametrize("count", [32, 33])
async def test_interim_responses_are_bounded(count: int) -> None:
    """Hardening 7: more than 32 per request give 502."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({"interim": [103] * count})
        outcome = await RawClient(proxy.port).http(request())
        assert outcome.response.status == (200 if count == 32 else 502)


async def test_absolute_form_wins_over_host() -> None:
    """Semantics 14.4.3."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        await RawClient(proxy.port).http(b"GET http://b.test:81/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n")
        (seen,) = alpha.seen
        assert (seen.path, seen.values("host")) == ("/x?y", ["b.test:81"])


@pytest.mark.parametrize(
    ("field", "status"), [("a" * (60 * 1024 - 300), 200), ("a" * (60 * 1024), 431), ("a" * 200_000, 431)]
)
async def test_a_head_may_have_60_kib(field: str, status: int) -> None:
    """Semantics 14.6.4."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        outcome = await RawClient(proxy.port).http(request(headers=[f"x-big: {field}"]))
        assert outcome.response.status == status
        if status == 200:
            assert alpha.seen[0].values("x-big") == [field]
        else:
            assert outcome.response.body == b"Request Header Fields Too Large"
            assert outcome.response.values("connection") == ["close"]
            assert not alpha.seen


@pytest.mark.parametrize(("count", "status"), [(99, 200), (100, 431)])
async def test_a_head_may_have_100_fields(count: int, status: int) -> None:
    """Semantics 14.6.4; Host is one of them."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        outcome = await RawClient(proxy.port).http(request(headers=[f"x-{n}: v" for n in range(count)]))
        assert outcome.response.status == status
        assert len(alpha.seen) == (status == 200)


@pytest.mark.parametrize(("size", "status"), [(62_000, 200), (70_000, 502), (150_000, 502)])
@pytest.mark.parametrize("pause_s", [0.0, 0.01])
async def test_a_response_head_has_one_limit_however_it_comes(size: int, status: int, pause_s: float) -> None:
    """Semantics 14.6.4, hardening 7: the same whether it arrives in one piece or in many."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-big: %b\r\n\r\nhi" % (b"b" * size)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # it is refused in the middle
            await reader.readuntil(b"\r\n\r\n")
            step = len(head) if not pause_s else 40_000
            for at in range(0, len(head), step):
                writer.write(head[at : at + step])
                await asyncio.sleep(pause_s)
            await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, InProcess([server.sockets[0].getsockname()[1]]) as proxy:
        outcome = await RawClient(proxy.port).http(request())
        assert outcome.response.status == status


async def test_connection_close_is_obeyed_and_told() -> None:
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        outcome = await RawClient(proxy.port).http(request(headers=["Connection: close"]), closes=True)
        assert outcome.response.values("connection") == ["close"]
        assert outcome.after == "closed"
        assert alpha.seen[0].values("connection") == []


async def test_an_upstream_that_closes_after_its_answer_is_not_pooled() -> None:
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play({"headers": [["Connection", "close"]], "then": "close"})
        outcome = await RawClient(proxy.port).http(request() * 3, responses=3)
        assert [response.status for response in outcome.responses] == [200] * 3
        assert outcome.response.values("connection") == []
        assert alpha.connections == 3
