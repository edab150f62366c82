"""Ways to end a connection that a plain ``close`` does not give: so that the peer sees a reset, or sees none."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import Any, Final

#: With this set a close is a reset, also when everything was read.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


def reset(transport: Any) -> None:
    """Close with a TCP reset: what was on its way is lost, and the peer knows it."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # gone already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


def end_and_close(transport: Any) -> None:
    """Close so that the peer reads an end of stream, even if it has sent what nobody will read.

    The kernel resets a connection that is closed with bytes unread. An end of stream that goes before the reset
    is what the peer reads first.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and transport.get_extra_info("tls") is None:  # TLS says goodbye in its own way
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as same:
            same.shutdown(socket.SHUT_WR)
    transport.close()


def pending_error(transport: Any) -> bool:
    """Whether the kernel knows of an error that nobody has read yet, as when a paused connection was reset.

    Asking takes the error away. False for transports without a socket.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or transport.is_closing():
        return False
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    except OSError:
        return True
