"""The backends' server: keep-alive, bodies both ways, and refusal of what cannot be read with certainty."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gatewayd.demo.web import BadMessage, Request, Response, fetch, json_response, serve


async def mirror(request: Request) -> Response:
    if request.path == "/broken":
        raise RuntimeError("on purpose")
    if request.path == "/nothing":
        return Response(204)
    return json_response([request.method, request.target, request.body.decode(), request.peer])


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = await serve(mirror)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def talk(port: int, data: bytes) -> bytes:
    """Everything the server says to ``data`` until it closes; our side is closed after sending."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


def bodies(answer: bytes) -> list[str]:
    return [part for part in answer.decode().replace("\n", "").split("HTTP/1.1 ") if part]


async def test_pipelined_requests_are_answered_in_order_on_one_connection(port: int) -> None:
    answer = await talk(port, b"GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b?c=1 HTTP/1.1\r\nhost: x\r\n\r\n")
    first, second = bodies(answer)
    assert '"/a"' in first
    assert '"/b?c=1"' in second
    assert "127.0.0.1" in first


@pytest.mark.parametrize(
    "framed",
    [
        b"content-length: 5\r\n\r\nhello",
        b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\ntrailer: 1\r\n\r\n",
    ],
)
async def test_a_body_is_read_whole_and_the_connection_goes_on(port: int, framed: bytes) -> None:
    answer = await talk(
        port, b"POST / HTTP/1.1\r\nhost: x\r\n" + framed + b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n"
    )
    first, second = bodies(answer)
    assert '"hello"' in first
    assert "/next" in second


async def test_head_has_the_length_but_no_body(port: int) -> None:
    answer = await talk(port, b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: " in head
    assert b"content-length: 0" not in head
    assert body == b""


async def test_204_has_no_length(port: int) -> None:
    assert b"content-length" not in await talk(port, b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")


@pytest.mark.parametrize("head", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"])
async def test_the_connection_is_closed_when_asked(port: int, head: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    answer = await asyncio.wait_for(reader.read(), 30)
    assert b"connection: close" in answer
    writer.close()


async def test_100_continue_comes_before_the_body_is_sent(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PUT / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"ok")
    assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    writer.close()


async def test_a_failing_backend_answers_500_and_stays(port: int) -> None:
    answer = await talk(port, b"GET /broken HTTP/1.1\r\nhost: x\r\n\r\nGET /a HTTP/1.1\r\nhost: x\r\n\r\n")
    first, second = bodies(answer)
    assert first.startswith("500")
    assert "on purpose" in first
    assert second.startswith("200")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n\r\n", b"400"),
        (b"GET  / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\na", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n", b"413"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
    ],
)
async def test_what_cannot_be_read_is_refused_and_the_connection_closed(
    port: int, data: bytes, status: bytes
) -> None:
    answer = await talk(port, data + b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in answer
    assert b"smuggled" not in answer


@pytest.mark.parametrize("data", [b"", b"GET / HT", b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nshort"])
async def test_a_client_that_leaves_in_the_middle_gets_nothing(port: int, data: bytes) -> None:
    assert await talk(port, data) == b""


async def test_fetch_reads_a_status_and_a_body(port: int) -> None:
    status, body = await fetch(f"127.0.0.1:{port}", "/a", [("host", "x")])
    assert status == 200
    assert b'"/a"' in body


async def test_fetch_of_nobody_and_of_silence_is_an_error() -> None:
    with pytest.raises(OSError, match="Connect call failed"):
        await fetch("127.0.0.1:1", "/", [("host", "x")])
    closing = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    with pytest.raises((BadMessage, ConnectionError)):
        await fetch(f"127.0.0.1:{closing.sockets[0].getsockname()[1]}", "/", [("host", "x")])
    closing.close()
