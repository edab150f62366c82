"""What the kernel knows of a connection: what has come and was not read, and what the other side has received.

A pooled connection may be closed by the upstream in the very moment it is reused. The kernel knows whether
any of the request's bytes left, and whether any was acknowledged before the upstream's end of stream came:
if none was, no process can have seen them, and the request may be sent again on another connection whatever
its method (hardening promise 9.5; Linux ``TCP_INFO``).
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Any, Final

#: Offsets in ``struct tcp_info`` (include/uapi/linux/tcp.h): bytes_acked, bytes_sent, bytes_retrans.
_BYTES_ACKED: Final = 120
_BYTES_SENT: Final = 200
_SIZE: Final = 216
_U64: Final = struct.Struct("=Q")
_TWO_U64: Final = struct.Struct("=QQ")


def never_received(sock: Any, written_before: int, *, ended: bool) -> bool:
    """True when the peer provably got nothing of what was written after the first ``written_before`` bytes.

    ``sock`` is a TCP socket that we connected (or asyncio's wrapper), and is dead. Either none of the later
    bytes left, or the peer ``ended`` its stream and acknowledged none of them with that. A bare reset proves
    nothing, since Linux drops the acknowledgement that comes with it. False when in doubt: another system,
    another kind of socket, a closed one.
    """
    option = getattr(socket, "TCP_INFO", None)
    if sock is None or option is None:
        return False
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, 256)
    except OSError:
        return False
    if len(info) < _SIZE:
        return False
    (acked,) = _U64.unpack_from(info, _BYTES_ACKED)
    sent, retransmitted = _TWO_U64.unpack_from(info, _BYTES_SENT)
    # bytes_acked counts our SYN as one byte
    return bool(sent - retransmitted <= written_before or (ended and acked - 1 <= written_before))


def unread(transport: Any) -> bool:
    """Whether bytes have come that nobody has read, by a transport over a socket; False when in doubt."""
    sock = transport.get_extra_info("socket")
    try:
        waiting = fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0\0\0\0")
    except (AttributeError, OSError, ValueError):
        return False
    return waiting != b"\0\0\0\0"
