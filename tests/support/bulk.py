"""Large HTTP/1 messages between bare sockets: sent from one block of random bytes, received as digests."""

from __future__ import annotations

import asyncio
import contextlib
import random
from hashlib import blake2b

from tests.support.bare_sockets import Peer

DATA = random.Random("bodies").randbytes((64 << 20) + 1)
TIMEOUT_S = 60.0  # only ever reached by a test that fails


class Reader:
    """What a client received, message by message."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._rest = b""

    async def _more(self) -> bytes:
        async with asyncio.timeout(TIMEOUT_S):
            return await self._receive()

    async def _receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.peer.socket, 1 << 18)

    async def head(self) -> dict[bytes, bytes]:
        """The next head: its fields, and the status under ``b""``."""
        while b"\r\n\r\n" not in self._rest:
            piece = await self._more()
            assert piece, f"ended after {self._rest!r}"
            self._rest += piece
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines)
        return {b"": first[9:12]} | fields

    async def body(self, size: int) -> bytes:
        """The digest of the next ``size`` bytes."""
        digest = blake2b()
        while size:
            piece = self._rest or await self._more()
            assert piece, f"{size} bytes are missing"
            piece, self._rest = piece[:size], piece[size:]
            digest.update(piece)
            size -= len(piece)
        return digest.digest()

    async def whole(self) -> tuple[bytes, bytes]:
        """Status and digest of the body of the next message."""
        fields = await self.head()
        return fields[b""], await self.body(int(fields[b"content-length"]))

    async def to_the_end(self) -> int:
        """How many bytes come until the connection ends, by a reset or not."""
        count = len(self._rest)
        self._rest = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := await self._more():
                count += len(piece)
        return count


def digest(size: int, start: int = 0) -> bytes:
    return blake2b(memoryview(DATA)[start : start + size]).digest()


def head(size: int, *fields: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"content-length: {size}", *fields]).encode() + b"\r\n\r\n"


async def give(peer: Peer, data: bytes | memoryview) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.get_running_loop().sock_sendall(peer.socket, data)


async def serve(upstream: Peer, size: int) -> None:
    """Answer the request that comes with ``size`` bytes."""
    await upstream.receive(b"\r\n\r\n")
    await give(upstream, head(size))
    await give(upstream, memoryview(DATA)[:size])
