"""Whether the other side received anything of what was last sent (Linux ``TCP_INFO``).

A pooled connection may be closed by the upstream in the very moment it is reused. The kernel knows whether
the request's bytes were ever acknowledged: if none was, no process can have seen them, and the request
may be sent again on another connection whatever its method (hardening promise 9.5).
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


def never_received(sock: Any, message_bytes: int) -> bool:
    """True when provably none of the last ``message_bytes`` written to ``sock`` was acknowledged.

    ``sock`` is a connected TCP socket (or asyncio's wrapper) on which everything before the message was
    acknowledged. False when in doubt: another system, a closed socket, nothing sent.
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
    unacknowledged: int = sent - retransmitted - acked
    # bytes_acked counts the SYN as one byte
    return unacknowledged >= message_bytes - 1 > 0
