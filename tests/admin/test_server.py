"""The small HTTP server of operators' ports: what it reads, how it answers, and what a stranger cannot do to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.admin import server as module
from gatewayd.admin.messages import EVENTS, Answer, Rejected, Request, encode, pretty, read_head
from gatewayd.admin.server import HttpServer, in_slices
from tests.admin.asking import served, unchunked

GET = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"


def echo(request: Request) -> Answer:
    return Answer(200, f"{request.method} {request.path} {dict(request.query)} {request.body.decode()}")


# --- reading


def test_a_request_is_read() -> None:
    request, length = read_head(
        b"POST /a%20b?x=1&flag&e=%2F HTTP/1.1\r\nHost: a.test\r\nContent-Length: 12\r\nX-One: a\r\nx-one:  b "
    )
    assert (request.method, request.path, length) == ("POST", "/a b", 12)
    assert dict(request.query) == {"x": "1", "flag": "", "e": "/"}
    assert request.headers["x-one"] == "a, b"
    assert request.flag("flag")
    assert not request.flag("other")


@pytest.mark.parametrize("value", ["0", "n", "no", "FALSE"])
def test_a_flag_can_be_switched_off(value: str) -> None:
    request, _ = read_head(f"GET /x?flag={value} HTTP/1.1".encode())
    assert not request.flag("flag")


@pytest.mark.parametrize(
    "line",
    [
        *(b"GET /x", b"get /x HTTP/1.1", b"GET x HTTP/1.1", b"GET /x HTTP/1.1 ", b"GET /x\tHTTP/1.1"),
        *(b"GET /\x00 HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /x HTTP/3.0", b"CONNECT a:1 HTTP/1.1"),
    ],
)
def test_a_line_that_is_no_request_line_is_refused(line: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        read_head(line + b"\r\nhost: a")
    assert refused.value.answer.status == 400


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (b"no colon", 400),
        (b" folded: x", 400),
        (b"name : x", 400),
        (b": x", 400),
        (b"x: a\x00b", 400),
        (b"host: b", 400),
        (b"content-length: 1\r\ncontent-length: 1", 400),
        (b"content-length: -1", 400),
        (b"content-length: 0x10", 400),
        (b"content-length: 1, 1", 400),
        (b"content-length: \xb2", 400),
        (b"transfer-encoding: chunked", 411),
    ],
)
def test_a_field_that_could_be_read_in_two_ways_is_refused(field: bytes, status: int) -> None:
    with pytest.raises(Rejected) as refused:
        read_head(b"GET /x HTTP/1.1\r\nhost: a\r\n" + field)
    assert refused.value.answer.status == status


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange_to_be_refused(data: bytes) -> None:
    with contextlib.suppress(Rejected):
        read_head(data)


def test_json_of_anything_is_json() -> None:
    assert encode({"a": {1, 2} and [1], "b": None}) == b'{"a":[1],"b":null}'
    assert pretty({"a": 1}) == b'{\n "a": 1\n}\n'


# --- connections


async def test_several_requests_come_by_one_connection() -> None:
    async with served(HttpServer(echo)) as port:
        answer = await port.raw(
            GET, GET.replace(b"/x", b"/y"), GET.replace(b"a\r\n", b"a\r\nconnection: close\r\n")
        )
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.index(b"GET /x") < answer.index(b"GET /y")
    assert answer.count(b"connection: close") == 1


async def test_http_1_0_has_one_request_and_a_length() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 40_000

    async with served(HttpServer(lambda _: Answer(200, pieces=pieces()))) as port:
        answer = await port.raw(b"GET / HTTP/1.0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: 160000" in head
    assert len(body) == 160_000


async def test_a_body_is_read_and_bounded() -> None:
    async with served(HttpServer(echo, max_body_bytes=10)) as port:
        assert (await port.post("/x", b"0123456789")).text == "POST /x {} 0123456789"
        refused = await port.post("/x", b"0123456789a")
        assert refused.status == 413
        assert "10 bytes" in refused.text
        assert "connection: close" in refused.head


async def test_a_server_that_wants_no_body_takes_none() -> None:
    async with served(HttpServer(echo)) as port:
        assert (await port.post("/x", b"0")).status == 413


async def test_who_asks_first_whether_to_send_a_body_is_told_to() -> None:
    async with served(HttpServer(echo, max_body_bytes=10)) as port:
        reader, writer = await port.connect()
        writer.write(b"POST /x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        async with asyncio.timeout(30):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hi")
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        writer.close()


async def test_a_request_may_come_in_pieces() -> None:
    async with served(HttpServer(echo)) as port:
        answer = await port.raw(b"GET /pie", b"ces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r", b"\n")
    assert answer.endswith(b"GET /pieces {} ")


async def test_a_head_without_end_is_bounded() -> None:
    async with served(HttpServer(echo)) as port:
        answer = await port.raw(b"GET / HTTP/1.1\r\nx: " + b"a" * 9000)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_who_sends_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_TIMEOUT_S", 0.05)
    async with served(server := HttpServer(echo)) as port:
        assert await port.raw(b"GET /") == b""
        await port.until(lambda: not server.connections)


async def test_who_does_not_send_the_body_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_TIMEOUT_S", 0.05)
    async with served(HttpServer(echo, max_body_bytes=10)) as port:
        assert await port.raw(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab") == b""


async def test_who_does_not_read_is_cut_off_and_no_memory_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEND_TIMEOUT_S", 0.1)
    made = 0

    def pieces() -> Iterator[bytes]:
        nonlocal made
        for _ in range(10_000):
            made += 1
            yield b"x" * 100_000

    async with served(server := HttpServer(lambda _: Answer(200, pieces=pieces()))) as port:
        _, writer = await port.connect()
        writer.write(GET)
        await port.until(lambda: made and not server.connections)
        writer.close()
    assert made < 1000


async def test_a_crowd_is_turned_away() -> None:
    answered = asyncio.Event()

    async def later(_: Request) -> Answer:
        await answered.wait()
        return Answer(200)

    async with served(server := HttpServer(later, max_connections=2)) as port:
        crowd = [await port.connect() for _ in range(2)]
        for _, writer in crowd:
            writer.write(GET)
        await port.until(
            lambda: len(server.connections) == 2 and not any(map(_is_silent, server.connections.values()))
        )
        assert await port.raw() == b""
        answered.set()
        for _, writer in crowd:
            writer.close()
        await port.until(lambda: not server.connections)
        assert (await port.get("/x")).status == 200


def _is_silent(connection: Any) -> bool:
    return bool(connection.silent)


async def test_a_crowd_that_asks_for_nothing_makes_room() -> None:
    """Hardening 9.13: health and admin answers keep working; the oldest goes first, and who has asked stays."""
    async with served(server := HttpServer(echo, max_connections=3)) as port:
        crowd = [await port.connect() for _ in range(3)]
        for _, writer in crowd:
            writer.write(b"GET /slow HTTP/1.1\r\nx")
        await port.until(lambda: len(server.connections) == 3)
        for _ in range(5):
            assert (await port.get("/x")).status == 200
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionResetError):
                assert await crowd[0][0].read() == b""
        assert len(server.connections) <= 3
        for _, writer in crowd:
            writer.close()


async def test_close_cuts_what_is_open() -> None:
    async with served(server := HttpServer(echo)) as port:
        reader, writer = await port.connect()
        await port.until(lambda: server.connections)
        server.close()
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await port.connect()


# --- answers


async def test_an_answer_has_its_length_and_is_not_kept() -> None:
    async with served(HttpServer(echo)) as port:
        answer = await port.get("/x")
    assert f"content-length: {len(answer.body)}" in answer.head
    assert "cache-control: no-store" in answer.head
    assert "x-content-type-options: nosniff" in answer.head


async def test_head_has_no_body_whatever_the_answer_is() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * 100_000

    async with served(
        HttpServer(lambda r: Answer(200, pieces=pieces()) if r.path == "/long" else echo(r))
    ) as port:
        for path in ("/x", "/long"):
            assert (await port.get(path, "HEAD")).body == b""


async def test_short_pieces_get_a_length_and_long_ones_come_in_chunks() -> None:
    def pieces(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield b"0123456789" * 100

    async with served(HttpServer(lambda r: Answer(200, pieces=pieces(int(r.path[1:]))))) as port:
        short, long = await port.get("/3"), await port.get("/300")
    assert "content-length: 3000" in short.head
    assert "transfer-encoding: chunked" in long.head
    assert long.body == b"0123456789" * 30_000


async def test_a_rejection_is_an_answer() -> None:
    def handle(request: Request) -> Answer:
        raise Rejected(404, "try something else")

    async with served(HttpServer(handle)) as port:
        answer = await port.get("/x")
    assert (answer.status, answer.body) == (404, b"try something else\n")


async def test_an_error_in_an_answer_is_the_asker_s_trouble_alone(caplog: pytest.LogCaptureFixture) -> None:
    def handle(request: Request) -> Answer:
        if request.path == "/bad":
            raise ZeroDivisionError
        return echo(request)

    async with served(HttpServer(handle)) as port:
        assert (await port.get("/bad")).status == 500
        assert (await port.get("/good")).status == 200
    assert "/bad could not be answered" in caplog.text


async def test_an_error_in_the_midst_of_an_answer_breaks_it_off(caplog: pytest.LogCaptureFixture) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise ZeroDivisionError

    async with served(HttpServer(lambda _: Answer(200, pieces=pieces()))) as port:
        answer = await port.raw(GET)
    with pytest.raises((AssertionError, ValueError)):
        unchunked(answer.partition(b"\r\n\r\n")[2])


async def test_long_work_is_done_in_slices_with_the_loop_s_other_work_between() -> None:
    def slow() -> Iterator[Any]:
        for number in range(60):
            end = perf_counter() + 0.0004
            while perf_counter() < end:
                pass
            yield number if number % 2 else None

    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    found = [item async for item in in_slices(slow())]
    task.cancel()
    assert found == list(range(1, 60, 2))
    assert turns > 10


# --- streams


async def test_a_stream_goes_on_until_the_client_leaves() -> None:
    ended = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            for number in range(10_000):
                yield b"data: %d\n\n" % number
                await asyncio.sleep(0.001)
        finally:
            ended.set()

    answer = Answer(200, content_type=EVENTS, pieces=pieces(), stream=True)
    async with served(HttpServer(lambda _: answer)) as port:
        reader, writer = await port.connect()
        writer.write(GET)
        async with asyncio.timeout(30):
            await reader.readuntil(b"data: 5\n\n")
            writer.close()
            await ended.wait()


async def test_a_stream_that_ends_ends_well() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"

    answer = Answer(200, content_type=EVENTS, pieces=pieces(), stream=True)
    async with served(HttpServer(lambda _: answer)) as port:
        assert (await port.get("/x")).body == b"data: 1\n\n"
