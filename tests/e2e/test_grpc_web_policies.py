"""gRPC-Web beside what routes ask for: whatever stands behind the translation sees gRPC (semantics 2.4.4, 6)."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_grpc_web import TEXT, decoded, framed, unframed
from tests.support.front import gateway, rules, service
from tests.support.gateway_process import GatewayProcess
from tests.support.grpc_peers import EchoServer
from tests.support.h2_recorder import H2Recorder
from tests.support.raw_client import RawClient, Response
from tests.support.waiting import until

RULES = """
- match: [{uri: {prefix: /abort.}}]
  fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
  route: [{destination: {host: echo.test}}]
- match: [{uri: {prefix: /plain.}}]
  route: [{destination: {host: plain.test}}]
- match: [{uri: {prefix: /slow.}}]
  timeout: 0.2s
  route: [{destination: {host: echo.test}}]
- corsPolicy: {allowOrigins: [{exact: "http://o.test"}], exposeHeaders: [grpc-status, grpc-message]}
  headers: {response: {add: {x-added: "%RESPONSE_CODE%"}}}
  route: [{destination: {host: echo.test}}]
"""
ORIGIN = "origin: http://o.test"
WEB = "application/grpc-web"


class World:
    def __init__(self, server: EchoServer, plain: H2Recorder, proxy: GatewayProcess) -> None:
        self.server = server
        self.plain = plain
        self.proxy = proxy
        self.port = proxy.port(80)

    async def post(self, path: str, body: bytes, *lines: str, kind: str = WEB) -> Response:
        head = [f"POST {path} HTTP/1.1", "host: a.test", f"content-type: {kind}", *lines]
        head += [f"content-length: {len(body)}", "", ""]
        return (await RawClient(self.port).http("\r\n".join(head).encode() + body)).response


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EchoServer())
        plain = await stack.enter_async_context(H2Recorder("plain"))
        documents = [
            gateway(protocol="GRPC-WEB"),
            rules(RULES),
            service("echo.test", server.port, protocol="GRPC"),
            service("plain.test", plain.port, protocol="GRPC"),
        ]
        (tmp_path / "all.yaml").write_text("".join(documents))
        proxy = await stack.enter_async_context(GatewayProcess([tmp_path / "all.yaml"], listen=[80]))
        yield World(server, plain, proxy)


async def test_6_10_cors_is_as_ever(world: World) -> None:
    preflight = f"OPTIONS /echo.Echo/Unary HTTP/1.1\r\nhost: a.test\r\n{ORIGIN}\r\n"
    preflight += "access-control-request-method: POST\r\n\r\n"
    answer = (await RawClient(world.port).http(preflight.encode())).response
    assert (answer.status, answer.values("access-control-allow-origin")) == (200, ["http://o.test"])
    assert not world.server.calls

    answer = await world.post("/echo.Echo/Unary", framed(b"hello"), ORIGIN)
    assert answer.values("access-control-allow-origin") == ["http://o.test"]
    assert answer.values("access-control-expose-headers") == ["grpc-status,grpc-message"]
    assert (unframed(answer.body)[0], answer.values("x-added")) == ([b"hello"], ["200"])


async def test_6_8_a_fault_is_told_of_in_both_languages(world: World) -> None:
    answer = await world.post("/abort.Echo/Unary", framed(b"x"))
    fields = dict(answer.headers)
    assert (answer.status, answer.body, fields["content-type"]) == (503, b"", f"{WEB}+proto")
    assert (fields["grpc-status"], fields["grpc-message"]) == ("14", "fault filter abort")


async def test_6_7_statuses_are_retried_as_of_grpc(world: World) -> None:
    answer = await world.post(
        "/echo.Echo/Unary", framed(b"x"), "x-fail: UNAVAILABLE:later", "x-fail-times: 2"
    )
    messages, trailers = unframed(answer.body)
    assert (messages, trailers["grpc-status"], len(world.server.calls)) == ([b"x"], "0", 3)


async def test_6_6_3_the_time_of_a_call_is_limited(world: World) -> None:
    answer = await world.post("/slow.Echo/Unary", framed(b"x"), "x-sleep: 50", "grpc-timeout: 20S")
    # The server ends its call at the same time: its own word may come first.
    assert (answer.status, answer.values("grpc-status")) in ((504, ["14"]), (200, ["4"]))
    await until(lambda: world.server.calls[0].cancelled)
    remaining = world.server.calls[0].remaining_s
    assert remaining is not None
    assert remaining <= 0.2


async def test_large_messages_in_text_both_ways(world: World) -> None:
    large = bytes(range(256)) * 12_000
    text = base64.b64encode(framed(large))
    answer = await world.post("/echo.Echo/Unary", text, f"accept: {TEXT}", kind=TEXT)
    messages, trailers = unframed(decoded(answer.body))
    assert (messages == [large], trailers["grpc-status"]) == (True, "0")
    (record,) = await world.proxy.log_records(1)
    assert (record["bytes_received"], record["bytes_sent"]) == (len(text), len(answer.body))


async def test_an_endless_answer_that_is_no_grpc_ends_all_the_same(world: World) -> None:
    step: dict[str, Any] = {"status": 404, "chunks": ["x" * 9000] * 1000, "chunk_delay_ms": 20}
    world.plain.play([step, {}])
    answer = await world.post("/plain.Echo/Unary", framed(b"x"))
    assert (answer.status, answer.values("grpc-status")) == (404, ["12"])
    assert answer.values("grpc-message") == ["x" * 16384]
    (record,) = await world.proxy.log_records(1)
    assert (record["response_code"], record["bytes_sent"]) == (404, 0)
    await until(lambda: all(seen.settled for seen in world.plain.seen))


async def test_nothing_of_such_an_answer_comes_behind_it(world: World) -> None:
    world.plain.play([{"status": 500, "body_size": 50_000}, {"status": 404, "body": "no"}])
    head = (
        f"POST /plain.Echo/Unary HTTP/1.1\r\nhost: a.test\r\ncontent-type: {WEB}\r\ncontent-length: 6\r\n\r\n"
    )
    outcome = await RawClient(world.port).http((head.encode() + framed(b"x")) * 2, responses=2)
    assert [(answer.status, answer.body) for answer in outcome.responses] == [(500, b""), (404, b"")]
    first, second = await world.proxy.log_records(2)
    assert (first["response_code"], first["bytes_sent"], second["bytes_sent"]) == (500, 0, 0)
