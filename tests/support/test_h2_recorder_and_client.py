"""The HTTP/2 recorder and client against each other, and each against a program that owes them nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, RstStreamFrame

from tests.cases.golden_check import same_end
from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.h2_client import H2Client, H2Request
from tests.support.h2_link import DEFAULT_WINDOW, FRAME_SIZE, PREFACE, STREAMS, WINDOW
from tests.support.h2_recorder import AnyVersionRecorder, H2Recorder
from tests.support.ports import PortReservation
from tests.support.raw_client import RawClient
from tests.support.waiting import until

GET = b"GET /a HTTP/1.1\r\nHost: x.test\r\n\r\n"


async def _output(*command: str, fails: bool = False) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert bool(process.returncode) == fails, output
    return output.decode()


async def test_a_request_is_noted_as_it_came_and_answered_with_the_name() -> None:
    request = H2Request(
        "/a?b=1",
        "POST",
        "x.test",
        headers=[("x-case", "v"), ("x-case", "w")],
        body=b"in",
        trailers=[("x-t", "1")],
    )
    async with H2Recorder("alpha") as alpha:
        outcome = await H2Client(alpha.port).http(request)
    assert outcome.outcome == "response"
    response = outcome.response
    assert (response.status, response.version, response.body) == (200, "HTTP/2", b"alpha")
    assert response.headers == [("content-type", "text/plain")]
    (seen,) = alpha.seen
    assert (seen.method, seen.path, seen.version) == ("POST", "/a?b=1", "HTTP/2")
    assert (seen.authority, seen.scheme) == ("x.test", "http")
    assert seen.headers == [("x-case", "v"), ("x-case", "w")]
    assert (seen.body, seen.content.trailers, seen.truncated, seen.settled) == (
        b"in",
        [("x-t", "1")],
        False,
        True,
    )
    assert not alpha.errors


@pytest.mark.parametrize(
    ("behaviour", "outcome", "h2_error", "truncated", "body"),
    [
        ({"close": "accept"}, "closed", "", None, b""),
        ({"reset": "accept"}, "closed", "", None, b""),
        ({"close": "before_headers"}, "closed", "", None, b""),
        ({"reset": "before_headers"}, "stream_reset", "INTERNAL_ERROR", None, b""),
        ({"reset": "before_headers", "code": "REFUSED_STREAM"}, "stream_reset", "REFUSED_STREAM", None, b""),
        ({"close": "mid_body"}, "response", "", "closed", b"al"),
        ({"reset": "mid_body", "code": "CANCEL"}, "response", "CANCEL", "stream_reset", b"al"),
        ({"raw": "nonsense"}, "closed", "", None, b""),
        ({"hang": True}, "timeout", "", None, b""),
        ({"goaway": "before"}, "timeout", "NO_ERROR", None, b""),
        ({"goaway": "after"}, "response", "", None, b"alpha"),
        ({"body_size": 200_000}, "response", "", None, b"x" * 200_000),
        ({"headers_only": True}, "response", "", None, b""),
        ({"status": 204}, "response", "", None, b""),
        ({"chunks": ["ab", "cd"], "chunk_delay_ms": 5}, "response", "", None, b"abcd"),
        ({"delay_ms": 20, "then": "close"}, "response", "", None, b"alpha"),
    ],
)
async def test_each_behaviour_shows_at_the_client(
    behaviour: dict[str, Any], outcome: str, h2_error: str, truncated: str | None, body: bytes
) -> None:
    async with H2Recorder("alpha") as alpha:
        alpha.play(behaviour)
        client = H2Client(alpha.port, timeout_s=0.3 if outcome == "timeout" else 20.0)
        came = await client.http(H2Request())
        assert (
            same_end(came.outcome),
            came.h2_error or (came.responses and came.response.h2_error) or "",
        ) == (
            outcome,
            h2_error,
        )
        if came.responses:
            assert (came.response.truncated, came.response.body) == (truncated, body)
    assert not alpha.errors


async def test_interim_responses_trailers_and_an_early_answer() -> None:
    async with H2Recorder("alpha") as alpha:
        alpha.play({"interim": [103], "trailers": [["x-t", "1"]], "bare": True})
        response = (await H2Client(alpha.port).http(H2Request())).response
        assert [(head.start_line, head.headers) for head in response.interim] == [
            ("HTTP/2 103", [("link", "</a.css>")])
        ]
        assert (response.headers, response.trailers) == ([], [("x-t", "1")])
        alpha.play({"before_body": True, "status": 417})
        early = H2Request(method="POST", pieces=[(0.05, b"late")])
        assert (await H2Client(alpha.port).http(early)).response.status == 417
        await until(lambda: alpha.seen[1].body == b"late")
        alpha.play()
        expecting = H2Request(method="POST", headers=[("expect", "100-continue")], pieces=[(0.05, b"hi")])
        continued = (await H2Client(alpha.port).http(expecting)).response
        assert [head.start_line for head in continued.interim] == ["HTTP/2 100"]


async def test_streams_of_one_connection_are_answered_as_they_are_ready() -> None:
    async with H2Recorder("alpha") as alpha:
        alpha.play([{"delay_ms": 50, "body": "slow"}, {"reset": "before_headers"}, {"body": "fast"}])
        slow, broken, fast = await H2Client(alpha.port).together([H2Request(f"/{n}") for n in range(3)])
    assert (slow.response.body, broken.h2_error, fast.response.body) == (b"slow", "INTERNAL_ERROR", b"fast")
    assert alpha.connections == 1
    assert [seen.path for seen in alpha.seen] == ["/0", "/1", "/2"]


async def test_a_request_that_breaks_off_is_truncated() -> None:
    async with H2Recorder("alpha") as alpha, H2Client(alpha.port).connection() as link:
        message = link.open()
        link.send_head(message.stream, H2Request().fields)
        await link.send_body(message, b"half")
        await until(lambda: alpha.seen and alpha.seen[0].body)
        link.send_reset(message.stream, "CANCEL")
        await until(lambda: alpha.seen[0].settled)
    assert (alpha.seen[0].truncated, alpha.seen[0].content.truncated) == (True, "reset")


async def test_a_body_waits_for_windows_and_large_heads_take_several_frames() -> None:
    async with H2Recorder("alpha", greeting={STREAMS: 10, WINDOW: 10, FRAME_SIZE: 16_384}) as alpha:
        request = H2Request(
            method="POST", headers=[("x-big", "a" * 50_000)], body=b"x" * (2 * DEFAULT_WINDOW)
        )
        async with H2Client(alpha.port).connection() as link:
            await link.until(lambda: link.greeted)
            outcome = await H2Client(alpha.port).exchange(link, request)
    assert outcome.response.status == 200
    assert (len(alpha.seen[0].headers[0][1]), len(alpha.seen[0].body)) == (50_000, 2 * DEFAULT_WINDOW)
    assert alpha.links[0].frames.count("Continuation") >= 1
    assert not alpha.errors


async def test_more_streams_than_allowed_are_told() -> None:
    async with H2Recorder("alpha", greeting={STREAMS: 2}) as alpha:
        alpha.play([{"hang": True}, {}])
        client = H2Client(alpha.port, timeout_s=0.2)
        async with client.connection() as link:
            await link.until(lambda: link.acknowledged)
            await asyncio.gather(*(client.exchange(link, H2Request(f"/{number}")) for number in range(3)))
            assert alpha.links[0].violations == ["stream 5 is one more than 2 at once"]
            assert alpha.links[0].active == {1}


async def test_an_extended_connect_becomes_an_echoing_tunnel() -> None:
    async with H2Recorder("alpha") as alpha:
        alpha.play({"upgrade": True})
        request = H2Request(method="CONNECT", protocol="websocket", tunnel=b"ping")
        response = (await H2Client(alpha.port).http(request)).response
    assert (response.status, response.tunnel) == (200, b"echo:ping")
    assert bytes(alpha.seen[0].tunnel) == b"ping"


async def test_what_a_peer_may_not_do_is_told() -> None:
    async with H2Recorder("alpha") as alpha:
        async with H2Client(alpha.port).connection() as link:
            await H2Client(alpha.port).exchange(link, H2Request())
            link.write(DataFrame(1, b"late").serialize())
            link.write(RstStreamFrame(9).serialize())
            link.write(ContinuationFrame(1, b"").serialize())
            await until(lambda: len(alpha.links[0].violations) == 3)
        async with H2Client(alpha.port).connection() as link:
            link.write(HeadersFrame(1, b"\xff\xff", flags=["END_HEADERS"]).serialize())
            await until(lambda: len(alpha.errors) == 4)
    assert {type(error) for error in alpha.errors} == {AssertionError}
    assert "DATA on stream 1" in str(alpha.errors[0])


async def test_more_data_than_the_window_is_told() -> None:
    async with H2Recorder("alpha") as alpha, H2Client(alpha.port).connection() as link:
        await link.until(lambda: link.acknowledged)
        message = link.open()
        alpha.links[0].reading = False
        link.send_head(message.stream, H2Request().fields)
        link.write(b"".join(DataFrame(1, b"x" * 16_384).serialize() for _ in range(4)))
        await until(lambda: alpha.links[0].violations)
        assert alpha.links[0].violations == ["DATA on stream 1 beyond the window"]


async def test_an_upstream_of_http2_takes_nothing_else_and_one_of_any_version_takes_both() -> None:
    async with H2Recorder("alpha") as alpha, AnyVersionRecorder("beta") as beta:
        for data in (GET, PREFACE[:10] + b"x" * 20):
            assert same_end((await RawClient(alpha.port).http(data)).outcome) == "closed"
        assert alpha.seen == []
        assert (await RawClient(beta.port).http(GET)).response.body == b"beta"
        assert (await H2Client(beta.port).http(H2Request())).response.body == b"beta"
    assert [seen.version for seen in beta.seen] == ["HTTP/1.1", "HTTP/2"]


async def test_over_tls_by_alpn(tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path, {"up": CertificateWish("up", ["a.test"], key="ec")})
    async with H2Recorder("alpha", folder.server_context("up", alpn=["h2"])) as alpha:
        client = H2Client(alpha.port, tls=folder.client_context(trust="up", alpn=["h2"]), sni="a.test")
        outcome = await client.http(H2Request(scheme="https"))
    assert outcome.response.body == b"alpha"
    assert outcome.tls is not None
    assert outcome.tls["alpn"] == "h2"
    assert (alpha.seen[0].tls or {})["sni"] == "a.test"
    assert alpha.seen[0].scheme == "https"


async def test_curl_is_served(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"x" * 300_000)
    async with H2Recorder("alpha") as alpha:
        alpha.play([{"body_size": 300_000}, {}])
        curl = ("curl", "-sS", "--http2-prior-knowledge", "-w", " %{http_version} %{size_download}")
        told = await _output(*curl, "-o", str(tmp_path / "out"), f"http://127.0.0.1:{alpha.port}/d")
        assert told == " 2 300000"
        told = await _output(*curl, "-T", str(tmp_path / "body"), f"http://127.0.0.1:{alpha.port}/u")
        assert told == "alpha 2 5"
    assert [len(seen.body) for seen in alpha.seen] == [0, 300_000]
    assert not alpha.errors


async def test_nghttpd_is_understood(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"y" * 300_000)
    held = PortReservation()
    held.release()
    server = await asyncio.create_subprocess_exec(
        *(
            "nghttpd",
            "--no-tls",
            "-d",
            str(tmp_path),
            "--trailer",
            "x-t: 1",
            "-a",
            "127.0.0.1",
            str(held.port),
        ),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        client = H2Client(held.port)
        outcome = await client.http(H2Request("/big"))
        while outcome.outcome == "refused":
            await asyncio.sleep(0.02)
            outcome = await client.http(H2Request("/big"))
        async with client.connection() as link:
            posted = await client.exchange(link, H2Request("/big", "POST", body=b"z" * 200_000))
            assert link.violations == []
    finally:
        server.terminate()
        await server.wait()
    assert (outcome.response.status, len(outcome.response.body)) == (200, 300_000)
    assert outcome.response.trailers == [("x-t", "1")]
    assert posted.response.status == 200
