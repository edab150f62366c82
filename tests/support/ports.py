"""Free TCP ports, kept by bound sockets until the moment a process needs them.

They come from below the range the kernel takes for outgoing connections, so that between release and use
no client connection of another test can land on them.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Sequence

LOWEST, HIGHEST = 20000, 32000  # Linux hands out 32768 and up by itself
_ATTEMPTS = 200


class PortReservation:
    """One port number, bound but not listening on each of the hosts: a connection to it is refused."""

    def __init__(self, hosts: Sequence[str] = ("127.0.0.1",)) -> None:
        for _ in range(_ATTEMPTS):
            number = random.randint(LOWEST, HIGHEST)
            try:
                self.sockets = _bind_all(hosts, number)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            self.port = number
            return
        raise OSError(errno.EADDRINUSE, "no free port found")

    def take(self) -> list[socket.socket]:
        """The bound sockets, one per host; the caller closes them."""
        sockets, self.sockets = self.sockets, []
        return sockets

    def release(self) -> None:
        """Free the port for another process."""
        for sock in self.take():
            sock.close()


def _bind_all(hosts: Sequence[str], number: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            bound.append(sock)
            sock.bind((host, number))
    except OSError:
        for sock in bound:
            sock.close()
        raise
    return bound
