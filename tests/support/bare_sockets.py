"""Both peers of the proxy as bare sockets, so that a test decides what the kernel knows before the loop runs.

``send`` and ``close`` act at once; only ``accept``, ``connect`` and ``receive`` let the loop turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

TIMEOUT_S = 30.0  # only ever reached by a test that fails
_RST = struct.pack("ii", 1, 0)


class Peer:
    """A connected, non-blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock

    def send(self, data: bytes) -> None:
        """Give ``data`` to the kernel now, all of it."""
        assert self.socket.send(data) == len(data)

    def close(self) -> None:
        """FIN, now."""
        self.socket.close()

    def reset(self) -> None:
        """RST, now."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self.socket.close()

    def half_close(self) -> None:
        """FIN, now; reading goes on."""
        self.socket.shutdown(socket.SHUT_WR)

    async def receive(self, until: bytes) -> bytes:
        """Everything that comes up to and with ``until``; AssertionError when the peer ends before."""
        data = b""
        async with asyncio.timeout(TIMEOUT_S):
            while until not in data:
                piece = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
                assert piece, f"ended after {data!r}"
                data += piece
        return data

    async def rest(self) -> bytes:
        """Everything up to the end; ConnectionResetError for a reset."""
        data = b""
        async with asyncio.timeout(TIMEOUT_S):
            while piece := await asyncio.get_running_loop().sock_recv(self.socket, 1 << 20):
                data += piece
        return data


class Net:
    """A listening socket for the proxy's upstream, and clients; use ``with Net() as net``, which closes all.

    receive_buffer: bytes of the kernel buffer of each accepted connection, 0 = usual.
    """

    def __init__(self, backlog: int = 128, *, receive_buffer: int = 0) -> None:
        self._listening = socket.socket()
        if receive_buffer:
            self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(backlog)
        self._listening.setblocking(False)
        self._peers: list[Peer] = []
        self.port = int(self._listening.getsockname()[1])

    def __enter__(self) -> Net:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        for peer in self._peers:
            peer.close()

    def _peer(self, sock: socket.socket) -> Peer:
        peer = Peer(sock)
        self._peers.append(peer)
        return peer

    async def accept(self) -> Peer:
        """The next connection from the proxy."""
        async with asyncio.timeout(TIMEOUT_S):
            sock, _ = await asyncio.get_running_loop().sock_accept(self._listening)
        return self._peer(sock)

    def nothing_waits(self) -> bool:
        """Whether no further connection from the proxy waits."""
        with contextlib.suppress(BlockingIOError):
            sock, _ = self._listening.accept()
            sock.close()
            return False
        return True

    async def connect(self, port: int, *, receive_buffer: int = 0) -> Peer:
        """A client's connection to the loopback; ``receive_buffer``: bytes of its kernel buffer, 0 = usual."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer = self._peer(sock)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return peer


def answer(body: bytes = b"ok", *headers: str, status: int = 200) -> bytes:
    """A response with content-length."""
    lines = [f"HTTP/1.1 {status} OK", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
