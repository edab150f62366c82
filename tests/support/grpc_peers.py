"""gRPC's own server and clients for Python, with handlers of bytes: no .proto file and no generated code.

The server has a method of each kind under any service name, so that routes can tell calls apart by their paths.
What a call asks for stands in its metadata:

    x-sleep    seconds before the answer
    x-fail     ``STATUS:message`` instead of an answer; x-fail-times: only for that many calls of the same x-id
    x-messages how many messages ServerStream answers with, each as the request
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

# Its own words on stderr are for the hand: a test looks at what a call came to.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc
import grpc.aio

UNLIMITED: Final = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
#: A channel with a connection of its own, and no waiting longer than a test would.
CHANNEL: Final = [
    *UNLIMITED,
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_reconnect_backoff_ms", 200),
]


@dataclass
class Call:
    """One call as the server saw it. remaining_s: time left of its deadline when it came, None without one."""

    method: str
    metadata: dict[str, str]
    remaining_s: float | None
    messages: list[bytes] = field(default_factory=list)
    cancelled: bool = False


class _AnyService(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = handlers

    def service(self, details: Any) -> Any:
        """The handler of a method, whatever its service is called; None, which is UNIMPLEMENTED, for others."""
        return self._handlers.get(details.method.rpartition("/")[2])


class EchoServer:
    """The service on a free port of the loopback; use ``async with EchoServer() as server``."""

    def __init__(self, options: list[tuple[str, Any]] | None = None) -> None:
        self.calls: list[Call] = []
        self.port = 0
        self.open = 0  # calls under way
        self.most = 0  # the most there were at once
        self.released = asyncio.Event()  # Hold answers once this is set
        self._failures: Counter[str] = Counter()
        self._server = grpc.aio.server(options=[*UNLIMITED, *(options or [])])
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "Hold": grpc.unary_unary_rpc_method_handler(self._hold),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self._server_stream),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self._client_stream),
            "BidiStream": grpc.stream_stream_rpc_method_handler(self._bidi_stream),
        }
        self._server.add_generic_rpc_handlers((_AnyService(handlers),))

    async def __aenter__(self) -> EchoServer:
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End at once: calls under way are broken off."""
        await self._server.stop(None)

    async def _begin(self, method: str, context: Any) -> Call:
        metadata = dict(context.invocation_metadata() or ())
        remaining = context.time_remaining()
        call = Call(method, metadata, remaining)
        self.calls.append(call)
        if "x-early" in metadata:
            await context.send_initial_metadata((("x-initial", "first"),))
        context.set_trailing_metadata((("x-trailer", "last"), ("x-bin-bin", b"\x00\xff")))
        try:
            await asyncio.sleep(float(metadata.get("x-sleep", 0)))
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        if (failure := metadata.get("x-fail")) is not None:
            name, _, message = failure.partition(":")
            times, key = int(metadata.get("x-fail-times", 1 << 30)), metadata.get("x-id", "")
            self._failures[key] += 1
            if self._failures[key] <= times:
                await context.abort(grpc.StatusCode[name], message)
        return call

    async def _unary(self, request: bytes, context: Any) -> bytes:
        (await self._begin("Unary", context)).messages.append(request)
        return request

    async def _hold(self, request: bytes, context: Any) -> bytes:
        await self._begin("Hold", context)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await self.released.wait()
        finally:
            self.open -= 1
        return request

    async def _server_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        call = await self._begin("ServerStream", context)
        call.messages.append(request)
        left = int(call.metadata.get("x-messages", 3))
        try:
            while left:
                left -= 1
                yield request
        except (asyncio.CancelledError, GeneratorExit):
            call.cancelled = True
            raise

    async def _client_stream(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        call = await self._begin("ClientStream", context)
        async for message in requests:
            call.messages.append(message)
        return b"".join(call.messages)

    async def _bidi_stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        call = await self._begin("BidiStream", context)
        async for message in requests:
            call.messages.append(message)
            yield message


class EchoClient:
    """A channel to the proxy; use ``async with EchoClient(port) as client``. Methods give grpc's call objects.

    service: what the paths begin with.
    """

    def __init__(
        self, port: int, service: str = "echo.Echo", options: list[tuple[str, Any]] | None = None
    ) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[*CHANNEL, *(options or [])])
        self.unary = self._channel.unary_unary(f"/{service}/Unary")
        self.hold = self._channel.unary_unary(f"/{service}/Hold")
        self.server_stream = self._channel.unary_stream(f"/{service}/ServerStream")
        self.client_stream = self._channel.stream_unary(f"/{service}/ClientStream")
        self.bidi_stream = self._channel.stream_stream(f"/{service}/BidiStream")

    async def __aenter__(self) -> EchoClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()
