"""A gRPC upstream, grpcio's own server, that gives back what it got: ``python -m tests.soak.grpc_echo NAME PORT``.

Who it was and what it saw is in the metadata: that of the trailers where one message is the answer, so that an answer
comes as a whole or not at all, and that of the head where a stream is, so that a client knows whose stream it has.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from tests.soak.echo import ECHOED, run_until_orphaned

SERVICE = "soak.Echo"
#: So many messages answer one that asks for a stream.
PIECES = 5


class _Echo(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, name: str) -> None:
        self._name = name
        self._handlers = {
            f"/{SERVICE}/Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            f"/{SERVICE}/Split": grpc.unary_stream_rpc_method_handler(self._split),
            f"/{SERVICE}/Join": grpc.stream_unary_rpc_method_handler(self._join),
            f"/{SERVICE}/Talk": grpc.stream_stream_rpc_method_handler(self._talk),
        }

    def service(self, details: Any) -> Any:
        return self._handlers.get(details.method)

    def _seen(self, context: Any) -> tuple[tuple[str, str], ...]:
        got = dict(context.invocation_metadata())
        own = [(said.decode(), got[seen.decode()]) for seen, said in ECHOED.items() if seen.decode() in got]
        return ("x-upstream", self._name), *own

    async def _unary(self, request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(self._seen(context))
        return request

    async def _split(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        await context.send_initial_metadata(self._seen(context))
        for at in range(PIECES):
            yield request[at::PIECES]

    async def _join(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        context.set_trailing_metadata(self._seen(context))
        return b"".join([message async for message in requests])

    async def _talk(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        await context.send_initial_metadata(self._seen(context))
        async for message in requests:
            yield message


async def serve(name: str, port: int) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Echo(name),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    run_until_orphaned(lambda: asyncio.run(serve(sys.argv[1], int(sys.argv[2]))))
