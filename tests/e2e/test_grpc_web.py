"""gRPC-Web on servers of that protocol, translated for gRPC's own server (semantics 2.4.4)."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.front import front, gateway, rules, service
from tests.support.grpc_peers import EchoClient, EchoServer
from tests.support.h2_client import H2Client, H2Request
from tests.support.raw_client import RawClient, Response

RULES = """
- match: [{uri: {prefix: /empty.}}]
  route: [{destination: {host: empty.test}}]
- route: [{destination: {host: echo.test}}]
"""
TEXT = "application/grpc-web-text"


class World:
    def __init__(self, server: EchoServer, port: int) -> None:
        self.server = server
        self.port = port

    async def post(self, path: str, kind: str, body: bytes, *more: str) -> Response:
        """A request of a browser's library over HTTP/1.1."""
        lines = [f"POST {path} HTTP/1.1", "host: a.test", f"content-type: {kind}", "x-grpc-web: 1"]
        lines += [*more, f"content-length: {len(body)}"]
        data = "\r\n".join([*lines, "", ""]).encode() + body
        return (await RawClient(self.port).http(data)).response


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EchoServer())
        documents = [
            gateway(protocol="GRPC-WEB"),
            rules(RULES),
            service("echo.test", server.port, protocol="GRPC"),
            service("empty.test", protocol="GRPC"),
        ]
        proxy = await stack.enter_async_context(front("".join(documents), tmp_path))
        yield World(server, proxy.port(80))


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def unframed(data: bytes) -> tuple[list[bytes], dict[str, str]]:
    """Messages, and the trailers of the last frame."""
    messages, trailers = [], {}
    while data:
        kind, size = data[0], int.from_bytes(data[1:5], "big")
        part, data = data[5 : 5 + size], data[5 + size :]
        if kind & 0x80:
            lines = part.decode().split("\r\n")
            trailers = dict(tuple(line.split(":", 1)) for line in lines if line)
            assert not data, "nothing behind the trailers"
        else:
            messages.append(part)
    return messages, trailers


@pytest.mark.parametrize("kind", ["application/grpc-web", "application/grpc-web+proto"])
async def test_a_call_in_binary(world: World, kind: str) -> None:
    response = await world.post("/echo.Echo/Unary", kind, framed(b"hello"))
    assert (response.status, response.values("content-type")) == (200, ["application/grpc-web+proto"])
    messages, trailers = unframed(response.body)
    assert messages == [b"hello"]
    assert (trailers["grpc-status"], trailers["x-trailer"]) == ("0", "last")
    assert world.server.calls[0].messages == [b"hello"]


@pytest.mark.parametrize("kind", [TEXT, f"{TEXT}+proto"])
async def test_a_call_in_text(world: World, kind: str) -> None:
    body = base64.b64encode(framed(b"hello"))
    response = await world.post("/echo.Echo/Unary", kind, body, f"accept: {TEXT}")
    assert (response.status, response.values("content-type")) == (200, [f"{TEXT}+proto"])
    messages, trailers = unframed(decoded(response.body))
    assert (messages, trailers["grpc-status"]) == ([b"hello"], "0")


def decoded(text: bytes) -> bytes:
    """Base64 of pieces that may each end with padding."""
    whole = b""
    for at in range(0, len(text), 4):
        whole += base64.b64decode(text[at : at + 4])
    return whole


async def test_many_messages_one_after_the_other(world: World) -> None:
    response = await world.post(
        "/echo.Echo/ServerStream", "application/grpc-web", framed(b"m"), "x-messages: 5"
    )
    messages, trailers = unframed(response.body)
    assert (messages, trailers["grpc-status"]) == ([b"m"] * 5, "0")


async def test_an_error_of_the_server(world: World) -> None:
    response = await world.post(
        "/echo.Echo/Unary", "application/grpc-web", framed(b"x"), "x-fail: NOT_FOUND:no such thing"
    )
    assert response.status == 200
    fields = dict(response.headers) | unframed(response.body)[1]
    assert (fields["grpc-status"], fields["grpc-message"]) == ("5", "no such thing")


async def test_an_answer_of_the_proxy_keeps_its_status_and_says_it_as_grpc_too(world: World) -> None:
    response = await world.post("/empty.Echo/Unary", "application/grpc-web", framed(b"x"))
    fields = dict(response.headers)
    assert (response.status, response.body, fields["content-length"]) == (503, b"", "0")
    assert fields["content-type"] == "application/grpc-web+proto"
    assert (fields["grpc-status"], fields["grpc-message"]) == ("14", "no healthy upstream")


async def test_over_http2_and_beside_plain_grpc(world: World) -> None:
    request = H2Request(
        "/echo.Echo/Unary", "POST", headers=[("content-type", "application/grpc-web")], body=framed(b"hello")
    )
    response = (await H2Client(world.port).http(request)).response
    assert (unframed(response.body)[0], response.trailers) == ([b"hello"], [])
    async with EchoClient(world.port) as client:
        assert await client.unary(b"plain") == b"plain"
