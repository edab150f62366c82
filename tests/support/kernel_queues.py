"""What the kernel still holds of a connection between two processes of this host (Linux: /proc/net/tcp)."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

_TABLES = {socket.AF_INET: Path("/proc/net/tcp"), socket.AF_INET6: Path("/proc/net/tcp6")}


def unread_bytes(sock: socket.socket) -> int:
    """Bytes that ``sock`` has sent and the process at the other end has not read yet.

    0 as well when the other end is not on this host or has closed.
    """
    table = _TABLES.get(socket.AddressFamily(sock.family))
    if table is None or not table.exists():
        return 0
    here, there = _printed(sock.family, sock.getsockname()), _printed(sock.family, sock.getpeername())
    unread = 0
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        sending, received = (int(number, 16) for number in fields[4].split(":"))
        if fields[1:3] == [here, there]:
            unread += sending
        elif fields[1:3] == [there, here]:
            unread += received
    return unread


def _printed(family: int, address: tuple[str, int]) -> str:
    """An address as the kernel prints it: words of 32 bits in the byte order of the machine, in hex."""
    packed = socket.inet_pton(family, address[0])
    words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"
