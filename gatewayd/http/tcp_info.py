"""How much of what was written to a socket left it and was acknowledged (Linux ``TCP_INFO``).

A pooled connection may be closed by the upstream in the very moment it is reused. The kernel knows whether
any of the request's bytes left, and whether any was acknowledged before the upstream's end of stream came:
if none was, no process can have seen them, and the request may be sent again on another connection whatever
its method (hardening promise 9.5).
"""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

#: Offsets in ``struct tcp_info`` (include/uapi/linux/tcp.h): bytes_acked, bytes_sent, bytes_retrans.
_BYTES_ACKED: Final = 120
_BYTES_SENT: Final = 200
_SIZE: Final = 216
_U64: Final = struct.Struct("=Q")
_TWO_U64: Final = struct.Struct("=QQ")


def payload_counts(sock: Any) -> tuple[int, int] | None:
    """(bytes sent, bytes acknowledged) on ``sock`` since it was connected, without retransmissions.

    ``sock`` is a TCP socket that we connected (or asyncio's wrapper). None when the kernel does not say:
    another system, another kind of socket, a closed one.
    """
    option = getattr(socket, "TCP_INFO", None)
    if sock is None or option is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, 256)
    except OSError:
        return None
    if len(info) < _SIZE:
        return None
    (acked,) = _U64.unpack_from(info, _BYTES_ACKED)
    sent, retransmitted = _TWO_U64.unpack_from(info, _BYTES_SENT)
    # bytes_acked counts our SYN as one byte
    return sent - retransmitted, max(0, acked - 1)
