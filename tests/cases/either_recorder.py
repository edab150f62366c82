"""A recorder that takes TLS and plain text on one port: an example says where a call ends, not how."""

from __future__ import annotations

import asyncio
import socket
import ssl

from tests.support.h2_recorder import AnyVersionRecorder
from tests.support.recorder import _Accepted

_HANDSHAKE = b"\x16"  # the record type a ClientHello comes in


class EitherRecorder(AnyVersionRecorder):
    """Like its parent; the first byte of a connection says whether TLS is spoken."""

    def __init__(self, name: str, tls: ssl.SSLContext) -> None:
        super().__init__(name)
        self._context = tls
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._greeting: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._listener is not None
        return int(self._listener.getsockname()[1])

    async def start(self, host: str = "127.0.0.1", sock: socket.socket | None = None) -> None:
        """Listen on a free port of ``host``, or on a bound socket."""
        self._listener = sock if sock is not None else socket.create_server((host, 0))
        self._listener.listen(100)
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))

    async def close(self) -> None:
        """Stop listening and end every connection."""
        waiting = [*self._greeting, *([self._accepting] if self._accepting else [])]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
        await super().close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listener)
            task = asyncio.create_task(self._greet(sock))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await _readable(sock)
            secure = sock.recv(1, socket.MSG_PEEK) == _HANDSHAKE
            await loop.connect_accepted_socket(
                lambda: _Accepted(self), sock, ssl=self._context if secure else None
            )
        except OSError:  # reset, or a handshake that failed: nothing arrived
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sock, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(sock)
