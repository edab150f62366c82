"""A small TLS server of ours on a real loop, and clients to meet it with."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import uvloop

from gatewayd.tls.layer import TlsLayer

#: Every test of the layer runs on both.
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.SelectorEventLoop,
}
#: Longer than anything here takes, on any machine.
PATIENCE_S = 30.0


def on(loop: str, test: Callable[[], Awaitable[None]]) -> None:
    """Run ``test`` on a loop of that name; callbacks that raise fail it."""
    problems: list[dict[str, Any]] = []

    async def guarded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with asyncio.timeout(PATIENCE_S):
            await test()
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(guarded())
    assert problems == []


class Inner(asyncio.Protocol):
    """Writes down what it is told; ``answer`` is called with each piece of data."""

    def __init__(self, answer: Callable[[Inner, bytes], None] | None = None) -> None:
        self.answer = answer
        self.transport: Any = None
        self.heard = bytearray()
        self.calls: list[str] = []
        self.keeps_open = False
        self.paused = False
        self.error: Exception | None = None
        self.gone = asyncio.Event()
        self.changed = asyncio.Event()

    def _note(self, call: str) -> None:
        assert "lost" not in self.calls, f"{call} after connection_lost"
        self.calls.append(call)
        self.changed.set()

    async def until(self, test: Callable[[], bool]) -> None:
        """Wait for something that a call of the layer makes true."""
        while not test():
            self.changed.clear()
            await self.changed.wait()

    def connection_made(self, transport: Any) -> None:
        self._note("made")
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert data
        if self.calls[-1] != "data":
            self._note("data")
        self.heard += data
        self.changed.set()
        if self.answer is not None:
            self.answer(self, data)

    def eof_received(self) -> bool:
        self._note("eof")
        return self.keeps_open

    def pause_writing(self) -> None:
        self._note("pause")
        self.paused = True

    def resume_writing(self) -> None:
        self._note("resume")
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("lost")
        self.error = exc
        self.gone.set()


def echo(inner: Inner, data: bytes) -> None:
    """Say the same."""
    inner.transport.write(data)


class Server:
    """Listens on a port of its own; every connection is a :class:`TlsLayer` before an :class:`Inner`."""

    def __init__(
        self,
        context: Any,
        answer: Callable[[Inner, bytes], None] | None = None,
        kind: type[Inner] = Inner,
    ) -> None:
        self._context = context
        self._kind = kind
        self._answer = answer
        self._listening: Any = None
        self.inners: list[Inner] = []
        self.layers: list[TlsLayer] = []
        #: how handshakes ended
        self.reasons: asyncio.Queue[str] = asyncio.Queue()
        self.port = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._make, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()
        for layer in self.layers:
            layer.abort()
        for _ in range(3):
            await asyncio.sleep(0)

    def _make(self) -> TlsLayer:
        inner = self._kind(self._answer)
        self.inners.append(inner)
        layer = TlsLayer(
            self._context, inner, lambda _, reason: self.reasons.put_nowait(reason), server_name="a.test"
        )
        self.layers.append(layer)
        return layer

    async def until(self, test: Callable[[], bool]) -> None:
        """Let the loop turn until ``test`` holds: for what nobody is told of."""
        while not test():  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def connected(self) -> Inner:
        """The newest connection, once its handshake is over."""
        assert await self.reasons.get() == ""
        return self.inners[-1]


def visitor(
    port: int, context: ssl.SSLContext, work: Callable[[ssl.SSLSocket], Any]
) -> Coroutine[Any, Any, Any]:
    """Do ``work`` with a blocking TLS socket, in a thread."""

    def run() -> Any:
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname="a.test", suppress_ragged_eofs=False) as secure,
        ):
            return work(secure)

    return asyncio.to_thread(run)


def plain_visitor(port: int, work: Callable[[socket.socket], Any]) -> Coroutine[Any, Any, Any]:
    """The same without TLS."""

    def run() -> Any:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain:
            return work(plain)

    return asyncio.to_thread(run)


async def tool(*command: str, said: bytes = b"") -> tuple[int, bytes]:
    """Run a program to its end; its exit code and everything it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate(said)
    return process.returncode or 0, printed
