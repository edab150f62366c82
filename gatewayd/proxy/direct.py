"""HOT: short messages of a plain connection handed to the other transport without a Python call between.

The event loop calls the other transport's ``write`` itself, as the protocol's ``data_received``: a message then
costs two system calls and little else. Nobody counts the bytes meanwhile; the kernel has (Linux ``TCP_INFO``), and
is asked when the number is wanted.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import Any, Final

#: Offset in ``struct tcp_info`` (include/uapi/linux/tcp.h) of bytes_received, and what is needed of it.
_BYTES_RECEIVED: Final = 128
_SIZE: Final = 136
_U64: Final = struct.Struct("=Q")
#: tcpi_state once the peer's end of stream has come, which counts as one byte: TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING
_ENDED: Final = frozenset({6, 8, 9, 11})
_CLOSE: Final = 7

AVAILABLE: Final = hasattr(socket, "TCP_INFO")


def received_bytes(sock: Any, *, ended: bool = False) -> int:
    """Bytes that were read from ``sock`` since it was connected; -1 where the system does not say.

    ``ended``: the peer's end of stream was read, which a connection that broke later does not say any more.
    """
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
        unread = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))[0]
    except (OSError, ValueError):
        return -1
    if len(info) < _SIZE:
        return -1
    (received,) = _U64.unpack_from(info, _BYTES_RECEIVED)
    state = info[0]
    return int(received - unread - (state in _ENDED or (state == _CLOSE and ended)))


class Direct(asyncio.Protocol):
    """What stands for a leg while its messages go by themselves; everything else is still the leg's."""

    __slots__ = ("connection_lost", "data_received", "eof_received", "pause_writing", "resume_writing")

    def __init__(self, leg: Any, write: Any) -> None:
        self.data_received = write  # type: ignore[method-assign]  # a slot instead
        self.eof_received = leg.eof_received  # type: ignore[method-assign]  # a slot instead
        self.connection_lost = leg.connection_lost  # type: ignore[method-assign]  # a slot instead
        self.pause_writing = leg.pause_writing  # type: ignore[method-assign]  # a slot instead
        self.resume_writing = leg.resume_writing  # type: ignore[method-assign]  # a slot instead
