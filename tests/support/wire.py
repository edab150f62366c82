"""One connection seen from a test: bytes pile up in a buffer, and the way it ended is kept.

asyncio's own StreamReader forgets buffered bytes once a reset arrives; a recorder may not.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from typing import Literal, cast

from tests.support.kernel_queues import unread_bytes

READING_S = 10.0
READING_POLL_S = 0.002
Ending = Literal["closed", "reset", "tls_error"]
_LINGER_RST = struct.pack("ii", 1, 0)


class Wire(asyncio.Protocol):
    """Buffer and ending of one connection; ``wait_more`` is the only place that waits."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.received = 0  # bytes, in total
        self.ending: Ending | None = None
        self.failure: Exception | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection stands (for TLS: after the handshake)."""
        self.transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        self.buffer += data
        self.received += len(data)
        self._news.set()

    def eof_received(self) -> bool:
        """asyncio: the peer will send no more; a plain connection stays open for our own bytes."""
        self.ending = self.ending or "closed"
        self._news.set()
        return self.transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        if isinstance(exc, ssl.SSLError):
            self.ending = "tls_error"
        elif isinstance(exc, ConnectionResetError):
            self.ending = "reset"
        else:
            self.ending = self.ending or "closed"
        self.failure = exc
        self._writable.set()
        self._news.set()

    def pause_writing(self) -> None:
        """asyncio: the outgoing buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """asyncio: the outgoing buffer has room again."""
        self._writable.set()

    async def wait_more(self, timeout_s: float | None = None) -> bool:
        """True when bytes came since the last look; False when the connection ended or the time is up.

        Tell the two apart by ``ending``, which stays None while the peer may still send.
        """
        before = self.received
        while self.received == before:
            if self.ending is not None:
                return False
            self._news.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return False
        return True

    async def until_read(self) -> None:
        """Wait until the peer has read everything that was sent, or has had ample time to."""
        sock = self.transport.get_extra_info("socket")
        for _ in range(int(READING_S / READING_POLL_S)):
            if self.transport.is_closing():
                return
            if not self.transport.get_write_buffer_size() and not unread_bytes(sock):
                return
            await asyncio.sleep(READING_POLL_S)

    def take(self, size: int) -> bytes:
        """The first ``size`` bytes of the buffer, which leave it."""
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def send(self, data: bytes) -> bool:
        """Write and wait for room; False when the connection is gone (what was not sent is lost)."""
        if self.transport.is_closing():
            return False
        self.transport.write(data)
        await self._writable.wait()
        return not self.transport.is_closing()

    def close(self) -> None:
        """Close after what was written has left (FIN)."""
        self.transport.close()

    def reset(self) -> None:
        """Close at once with a TCP RST."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RST)
        self.transport.abort()
