"""Request smuggling: nothing, or exactly one request with the same boundaries, reaches the upstream.

Each attack is a byte string that two readers could cut in two ways. The upstream is a recorder that keeps whatever
comes; ``POISON`` is a path that must never arrive as a request.
"""

from __future__ import annotations

import pytest

from tests.support.in_process import InProcess, request
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

POISON = b"GET /poison HTTP/1.1\r\nHost: a.test\r\n\r\n"
H = b"Host: a.test\r\n"
TE = b"Transfer-Encoding: chunked"


def post(*lines: bytes, body: bytes = b"", method: bytes = b"POST") -> bytes:
    return method + b" /first HTTP/1.1\r\n" + H + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


CHUNKED_END = b"0\r\n\r\n" + POISON
#: name -> (bytes, status answered). Nothing reaches the upstream.
REFUSED = {
    "CL.TE": (post(b"Content-Length: 48", TE, body=CHUNKED_END), 400),
    "TE.CL": (post(TE, b"Content-Length: 4", body=b"5c\r\n" + POISON + b"\r\n0\r\n\r\n"), 400),
    "TE.TE, second unknown": (post(TE, b"Transfer-Encoding: x", body=CHUNKED_END), 501),
    "TE.TE, first unknown": (post(b"Transfer-Encoding: x", TE, body=CHUNKED_END), 501),
    "TE identity, chunked": (post(b"Transfer-Encoding: identity, chunked", body=CHUNKED_END), 501),
    "TE with a vertical tab": (post(b"Transfer-Encoding:\x0bchunked", b"Content-Length: 5", body=CHUNKED_END), 400),
    "TE folded": (post(b"Transfer-Encoding:", b" chunked", b"Content-Length: 5", body=CHUNKED_END), 400),
    "TE, space before the colon": (post(b"Transfer-Encoding : chunked", b"Content-Length: 5", body=CHUNKED_END), 400),
    "TE behind a bare LF": (post(b"x: y\nTransfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKED_END), 400),
    "TE behind a bare CR": (post(b"x: y\rTransfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKED_END), 400),
    "TE in HTTP/1.0": (b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED_END, 426),
    "CL with space before the colon": (post(b"Content-Length : 41", body=POISON), 400),
    "CL twice": (post(b"Content-Length: 0", b"Content-Length: 41", body=POISON), 400),
    "CL as a list": (post(b"Content-Length: 0, 41", body=POISON), 400),
    "CL signed": (post(b"Content-Length: +41", body=POISON), 400),
    "CL too large": (post(b"Content-Length: 18446744073709551657", body=POISON), 400),
    "CL with a NUL": (post(b"Content-Length: 41\x00", body=POISON), 400),
    "name with a NUL": (post(b"Content\x00-Length: 41", body=POISON), 400),
    "bare LF ends the head": (b"POST /first HTTP/1.1\nHost: a.test\nContent-Length: 41\n\n" + POISON, 400),
    "bare LF hides a head": (b"GET /first HTTP/1.1\r\nHost: a.test\r\nx: y\n\nGET /poison HTTP/1.1\r\n\r\n", 400),
    "two Host lines": (b"GET /first HTTP/1.1\r\n" + H + b"Host: b.test\r\n\r\n", 400),
    "space at the front of a field": (b"GET /first HTTP/1.1\r\n Host: a.test\r\n\r\n", 400),
    "colon-less line": (post(b"Content-Length 41", body=POISON), 400),
}  # fmt: skip

#: Broken in the body: the upstream may see the one request, never finished, and nothing else.
BROKEN = {
    "chunk size with a sign": b"+5\r\nhello\r\n" + CHUNKED_END,
    "chunk size with a prefix": b"0x5\r\nhello\r\n" + CHUNKED_END,
    "chunk size with a space": b"5 \r\nhello\r\n" + CHUNKED_END,
    "chunk size that overflows": b"10000000000000005\r\nhello\r\n" + CHUNKED_END,
    "chunk size line with a bare LF": b"5\nhello\r\n" + CHUNKED_END,
    "extension with a bare LF": b"5;a\nb\r\nhello\r\n" + CHUNKED_END,
    "extension with a bare CR": b"5;a\rb\r\nhello\r\n" + CHUNKED_END,
    "junk after the chunk": b"5\r\nhelloXX\r\n" + CHUNKED_END,
    "no CRLF after the chunk": b"5\r\nhello" + CHUNKED_END,
    "trailer without a colon": b"5\r\nhello\r\n0\r\nGET /poison HTTP/1.1\r\n\r\n" + POISON,
    "trailer with a NUL": b"5\r\nhello\r\n0\r\nx: \x00\r\n\r\n" + POISON,
    "trailer folded": b"5\r\nhello\r\n0\r\nx: y\r\n z\r\n\r\n" + POISON,
    "end with a bare LF": b"5\r\nhello\r\n0\n\n" + POISON,
}

#: name -> (bytes, body of /first, paths that reach the upstream). Odd, but only one way to read it.
SERVED = {
    "a body that is a request": (post(b"Content-Length: %d" % len(POISON), body=POISON), POISON, ["/first"]),
    "CL.0 on GET": (post(b"Content-Length: %d" % len(POISON), body=POISON, method=b"GET"), POISON, ["/first"]),
    "CL.0 on HEAD": (post(b"Content-Length: %d" % len(POISON), body=POISON, method=b"HEAD"), POISON, ["/first"]),
    "0.CL": (post(b"Content-Length: 0") + request(path="/second"), b"", ["/first", "/second"]),
    "no length at all": (post() + request(path="/second"), b"", ["/first", "/second"]),
    "look-alike CL": (post(b"Content_Length: 41") + request(path="/second"), b"", ["/first", "/second"]),
    "look-alike TE": (post(b"Transfer_Encoding: chunked") + request(path="/second"), b"", ["/first", "/second"]),
    "a chunk that is a request": (
        post(TE, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(POISON), POISON)), POISON, ["/first"]),
    "TE in odd case and space": (
        post(b"tRANSFER-eNCODING: \t CHUNKED ", body=b"5\r\nhello\r\n0\r\n\r\n"), b"hello", ["/first"]),
    "trailer that frames": (
        post(TE, body=b"5\r\nhello\r\n0\r\nContent-Length: 41\r\n\r\n") + request(path="/second"),
        b"hello", ["/first", "/second"]),
    "nominated length": (
        post(b"Connection: content-length", b"Content-Length: 5", body=b"hello"), b"hello", ["/first"]),
    "nominated coding": (
        post(b"Connection: transfer-encoding", TE, body=b"5\r\nhello\r\n0\r\n\r\n"),
        b"hello", ["/first"]),
    "an upgrade with a body": (
        post(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: %d" % len(POISON), body=POISON),
        POISON, ["/first"]),
    "h2c with a body": (
        post(b"Connection: upgrade, http2-settings", b"Upgrade: h2c", b"HTTP2-Settings: x", b"Content-Length: 5",
             body=b"hello"),
        b"hello", ["/first"]),
}  # fmt: skip


def _one_framing(headers: list[tuple[str, str]]) -> bool:
    names = [name.lower().replace("_", "-") for name, _ in headers]
    return names.count("content-length") + names.count("transfer-encoding") <= 1 and names.count("host") == 1


@pytest.mark.parametrize("name", REFUSED)
async def test_what_could_be_read_in_two_ways_reaches_nobody(name: str) -> None:
    data, status = REFUSED[name]
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        outcome = await RawClient(proxy.port).http(data, observe_s=0.02)
        assert outcome.response.status == status
        assert outcome.response.values("connection") == ["close"]
        assert outcome.extra == b"", "a second answer"
        assert alpha.connections == 0
        assert len(await proxy.logged(1)) == 1


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("pieces", [False, True])
async def test_a_body_that_breaks_its_framing_is_never_finished(name: str, pieces: bool) -> None:
    data = post(TE, body=BROKEN[name])
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        rest = [(0.0, data[at : at + 1]) for at in range(60, len(data))] if pieces else []
        outcome = await RawClient(proxy.port).http(data[:60] if pieces else data, pieces=rest, observe_s=0.02)
        assert outcome.response.status == 400
        assert outcome.extra == b""
        for seen in alpha.seen:
            assert seen.path == "/first"
            await proxy.until(lambda seen=seen: seen.settled)  # type: ignore[misc]
            assert seen.truncated
        assert len(alpha.seen) <= 1
        assert all(connection.requests == 0 for connection in proxy.endpoint.idle)


@pytest.mark.parametrize("name", SERVED)
async def test_what_has_one_reading_arrives_with_the_same_boundaries(name: str) -> None:
    data, body, paths = SERVED[name]
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        outcome = await RawClient(proxy.port).http(data, responses=len(paths), observe_s=0.02)
        assert [response.status for response in outcome.responses] == [200] * len(paths)
        assert [seen.path for seen in alpha.seen] == paths
        assert alpha.seen[0].body == body
        assert not any(seen.truncated for seen in alpha.seen)
        assert all(_one_framing(seen.headers) for seen in alpha.seen)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison",
        b"HTTP/1.1 204 No Content\r\n\r\npoison",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\npoison",
    ],
)
async def test_bytes_after_an_answer_are_never_anybodys_answer(raw: bytes) -> None:
    """Hardening 7."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play([{"raw": raw}, {"body": "mine"}])
        outcome = await RawClient(proxy.port).http(request() * 2, responses=2, observe_s=0.02)
        assert outcome.responses[1].body == b"mine"
        assert b"poison" not in outcome.responses[0].body + outcome.extra
        assert alpha.connections == 2


async def test_a_body_to_a_head_request_is_dropped_with_its_connection() -> None:
    """Hardening 7."""
    async with Recorder("alpha") as alpha, InProcess([alpha.port]) as proxy:
        alpha.play([{"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"}, {"body": "mine"}])
        outcome = await RawClient(proxy.port).http(request("HEAD") + request(), responses=2, observe_s=0.02)
        assert outcome.responses[1].body == b"mine"
        assert alpha.connections == 2
