"""A gRPC upstream that gives back what it got: ``python -m tests.soak.grpc_echo NAME PORT``."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

_PR_SET_PDEATHSIG = 1


async def _unary(request: bytes, context: Any) -> bytes:
    return request


async def _bidi(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


class _Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def service(self, details: Any) -> Any:
        """The handler of a method."""
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(_unary),
            "BidiStream": grpc.stream_stream_rpc_method_handler(_bidi),
        }.get(details.method.rpartition("/")[2])


async def serve(port: int) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Service(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != 1:
        asyncio.run(serve(int(sys.argv[2])))
