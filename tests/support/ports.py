"""Free TCP ports, kept by bound sockets until the moment a process needs them.

They come from below the range the kernel takes for outgoing connections, so that between release and use
no client connection of another test can land on them. Each test process has a block of numbers to itself,
so that no other one takes a number in that time either: two gateways that were told the same status port
would look ready to both tests.
"""

from __future__ import annotations

import errno
import functools
import itertools
import random
import socket
from collections.abc import Iterator, Sequence

LOWEST, HIGHEST = 12000, 32000  # Linux hands out 32768 and up by itself
BLOCK = 500
_BLOCKS = (HIGHEST - LOWEST) // BLOCK


class PortReservation:
    """One port number, bound but not listening on each of the hosts: a connection to it is refused."""

    def __init__(self, hosts: Sequence[str] = ("127.0.0.1",)) -> None:
        for number in itertools.islice(_numbers(), BLOCK):
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
        """Free the port for another process; it is not reserved again for the next few hundred."""
        for sock in self.take():
            sock.close()


@functools.cache
def _numbers() -> Iterator[int]:
    """The numbers of this process's block, round and round: one given back comes again as late as may be."""
    first = LOWEST + BLOCK * _own_block()
    return itertools.cycle(range(first, first + BLOCK))


def _own_block() -> int:
    """A block that is ours until this process ends.

    The lock is an abstract UNIX address: it belongs to the same network as the ports do, and the kernel
    takes it back however the process ends.
    """
    for block in random.sample(range(_BLOCKS), _BLOCKS):
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(f"\0gatewayd-test-ports-{LOWEST + BLOCK * block}")
        except OSError:
            lock.close()
            continue
        lock.detach()  # held for good, so nobody is to warn that it was not closed
        return block
    raise OSError(errno.EADDRINUSE, "other test processes hold every block of ports")


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
