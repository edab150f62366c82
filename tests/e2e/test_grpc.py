"""gRPC through the proxy, between gRPC's own client and server (semantics 6.6.3, 6.7, 14.7.5, 15.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.front import front, gateway, rules, service
from tests.support.grpc_peers import Call, EchoClient, EchoServer
from tests.support.h2_client import H2Client, H2Request
from tests.support.waiting import until

RULES = """
- match: [{uri: {prefix: /timeout.}}]
  timeout: 0.3s
  route: [{destination: {host: echo.test}}]
- match: [{uri: {prefix: /retry.}}]
  retries: {attempts: 2, retryOn: "resource-exhausted,internal,deadline-exceeded", backoff: 1ms}
  route: [{destination: {host: echo.test}}]
- match: [{uri: {prefix: /once.}}]
  retries: {attempts: 0}
  route: [{destination: {host: echo.test}}]
- match: [{uri: {prefix: /empty.}}]
  route: [{destination: {host: empty.test}}]
- match: [{uri: {prefix: /dead.}}]
  route: [{destination: {host: dead.test}}]
- match: [{uri: {prefix: /echo.}}]
  route: [{destination: {host: echo.test}}]
"""
MIB = 1 << 20


def documents(echo: int) -> str:
    return "".join(
        [
            gateway(),
            rules(RULES),
            service("echo.test", echo, protocol="GRPC"),
            service("empty.test", protocol="GRPC"),
            service("dead.test", 1, protocol="GRPC"),  # nobody listens on port 1
        ]
    )


class World:
    """The server, the proxy before it, and clients of the proxy."""

    def __init__(self, server: EchoServer, port: int, stack: AsyncExitStack) -> None:
        self.server = server
        self.port = port
        self._stack = stack

    async def client(self, service: str = "echo.Echo") -> EchoClient:
        return await self._stack.enter_async_context(EchoClient(self.port, service))

    @property
    def calls(self) -> list[Call]:
        return self.server.calls


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EchoServer())
        proxy = await stack.enter_async_context(front(documents(server.port), tmp_path))
        yield World(server, proxy.port(80), stack)


async def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_all_four_kinds_with_metadata_both_ways(world: World) -> None:
    client = await world.client()
    metadata = (("x-early", "1"), ("x-mine-bin", b"\x00\x01\xff"))
    unary = client.unary(b"hello", metadata=metadata)
    assert await unary == b"hello"
    assert ("x-initial", "first") in tuple(await unary.initial_metadata())
    assert {("x-trailer", "last"), ("x-bin-bin", b"\x00\xff")} <= set(await unary.trailing_metadata())
    assert world.calls[0].metadata["x-mine-bin"] == b"\x00\x01\xff"

    many = client.server_stream(b"m", metadata=(("x-messages", "5"),))
    assert [message async for message in many] == [b"m"] * 5

    async def messages() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"%d" % number

    assert await client.client_stream(messages()) == b"01234"
    both = client.bidi_stream()
    for number in range(5):
        await both.write(b"%d" % number)
        assert await both.read() == b"%d" % number  # each before the next is written
    await both.done_writing()
    assert await both.read() == grpc.aio.EOF
    assert await both.code() == grpc.StatusCode.OK
    assert [call.method for call in world.calls] == ["Unary", "ServerStream", "ClientStream", "BidiStream"]


async def test_messages_of_many_mib_pass_both_ways(world: World) -> None:
    client = await world.client()
    large = bytes(range(256)) * (5 * MIB // 256)
    assert await client.unary(large) == large
    both = client.bidi_stream()
    for size in (0, 1, MIB, 3 * MIB + 1):
        await both.write(large[:size])
        assert await both.read() == large[:size]
    await both.done_writing()
    assert await both.code() == grpc.StatusCode.OK


async def test_a_thousand_calls_are_under_way_at_once(world: World) -> None:
    clients = [await world.client() for _ in range(10)]
    calls = [client.hold(b"%d" % number) for client in clients for number in range(100)]
    waiting = asyncio.gather(*calls)
    await until(lambda: world.server.open == 1000)
    world.server.released.set()
    assert await waiting == [b"%d" % number for _ in clients for number in range(100)]
    assert world.server.most == 1000


async def test_6_6_3_the_server_is_told_the_deadline_of_the_client(world: World) -> None:
    client = await world.client()
    await client.unary(b"", timeout=60)
    await client.unary(b"")
    first, second = world.calls
    assert first.remaining_s is not None
    assert 0 < first.remaining_s <= 60
    assert second.remaining_s is None


async def test_6_6_3_the_timeout_of_the_route_cuts_the_deadline_and_the_call(world: World) -> None:
    client = await world.client("timeout.Echo")
    code, details = await failure(client.unary(b"", timeout=60, metadata=(("x-sleep", "50"),)))
    # The server keeps the time as well, by what is left of it; whichever is first.
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "upstream request timeout") or (
        code == grpc.StatusCode.DEADLINE_EXCEEDED
    )
    (call,) = world.calls
    assert call.remaining_s is not None
    assert call.remaining_s <= 0.3
    await until(lambda: call.cancelled)


async def test_a_deadline_that_passes_ends_the_call_at_the_server(world: World) -> None:
    client = await world.client()
    code, _ = await failure(client.unary(b"", timeout=1.5, metadata=(("x-sleep", "50"),)))
    # Client and proxy both keep the time; whichever is first.
    assert code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
    await until(lambda: world.calls[0].cancelled)


async def test_a_call_the_client_cancels_is_cancelled_at_the_server(world: World) -> None:
    client = await world.client()
    unary = client.unary(b"", metadata=(("x-sleep", "50"),))
    await until(lambda: world.calls)
    unary.cancel()
    await until(lambda: world.calls[0].cancelled)

    endless = client.server_stream(b"x", metadata=(("x-messages", "1000000000"),))
    assert await endless.read() == b"x"
    endless.cancel()
    await until(lambda: world.calls[1].cancelled)
    assert await client.unary(b"after") == b"after"  # the connection has stayed


async def test_a_server_that_breaks_off_is_an_error_of_the_call(world: World) -> None:
    client = await world.client("once.Echo")
    both = client.bidi_stream()
    await both.write(b"x")
    assert await both.read() == b"x"
    await world.server.stop()
    assert await both.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
    code, details = await failure(client.unary(b""))
    assert code == grpc.StatusCode.UNAVAILABLE
    assert details.startswith("upstream connect error or disconnect/reset before headers")


async def test_statuses_of_the_server_reach_the_client_with_their_words(world: World) -> None:
    client = await world.client("once.Echo")
    for code in list(grpc.StatusCode)[1:]:
        words = f"{code.name} of a naive one, 100%"
        assert await failure(client.unary(b"", metadata=(("x-fail", f"{code.name}:{words}"),))) == (
            code,
            words,
        )
    assert len(world.calls) == 16


async def test_an_error_before_any_answer_is_a_head_alone(world: World) -> None:
    request = H2Request(
        "/once.Echo/Unary",
        "POST",
        headers=[
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("x-fail", "NOT_FOUND:no such thing"),
        ],
        body=b"\0\0\0\0\0",
    )
    response = (await H2Client(world.port).http(request)).response
    assert (response.status, response.body, response.trailers) == (200, b"", [])
    assert response.values("content-type") == ["application/grpc"]
    assert (response.values("grpc-status"), response.values("grpc-message")) == (["5"], ["no such thing"])


LOCAL_REPLIES = [
    ("unrouted.Echo", grpc.StatusCode.UNIMPLEMENTED, ""),
    ("empty.Echo", grpc.StatusCode.UNAVAILABLE, "no healthy upstream"),
    ("dead.Echo", grpc.StatusCode.UNAVAILABLE, "upstream connect error or disconnect/reset before headers"),
]


async def test_14_7_5_answers_of_the_proxy_are_grpc_errors(world: World) -> None:
    for name, code, details in LOCAL_REPLIES:
        client = await world.client(name)
        for call in (client.unary(b"x"), client.server_stream(b"x").read()):
            came, words = await failure(call)
            assert (came, words[: len(details)], bool(words)) == (code, details, bool(details)), name
    assert not world.calls


#: Service, the status its first two answers have, how many calls the server sees.
RETRIES = [
    ("echo.Echo", "UNAVAILABLE", 3),
    ("echo.Echo", "CANCELLED", 3),
    ("echo.Echo", "RESOURCE_EXHAUSTED", 1),
    ("echo.Echo", "INTERNAL", 1),
    ("retry.Echo", "RESOURCE_EXHAUSTED", 3),
    ("retry.Echo", "INTERNAL", 3),
    ("retry.Echo", "DEADLINE_EXCEEDED", 3),
    ("retry.Echo", "UNAVAILABLE", 1),
    ("once.Echo", "UNAVAILABLE", 1),
]


async def test_15_4_statuses_in_heads_are_retried_as_the_route_says(world: World) -> None:
    for name, status, count in RETRIES:
        row = f"{name} {status}"
        world.calls.clear()
        client = await world.client(name)
        call = client.unary(
            b"x", metadata=(("x-fail", f"{status}:later"), ("x-fail-times", "2"), ("x-id", row))
        )
        if count == 3:
            assert await call == b"x", row
        else:
            assert await failure(call) == (grpc.StatusCode[status], "later"), row
        attempts = [call.metadata["x-envoy-attempt-count"] for call in world.calls]
        assert attempts == [str(number + 1) for number in range(count)], row


async def test_15_4_a_status_behind_a_head_is_not_retried(world: World) -> None:
    client = await world.client()
    failing = (("x-early", "1"), ("x-fail", "UNAVAILABLE:later"))
    assert await failure(client.unary(b"x", metadata=failing)) == (grpc.StatusCode.UNAVAILABLE, "later")
    assert len(world.calls) == 1
