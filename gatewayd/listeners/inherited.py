"""Listening sockets that somebody else opened for us: the program we follow, or systemd.

Those of a predecessor are known by the address they were asked for. Those of systemd (``LISTEN_FDS``, see
sd_listen_fds(3)) go to the listener their name means, else to whoever asks for the address they are bound to.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Collection, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gatewayd.listeners.sockets import Address, close_sockets, own_files, printable, socket_address

_log = logging.getLogger("gatewayd.listeners")

_FIRST_FD: Final = 3
#: What a name ends in that systemd made by itself: that of the socket unit.
_UNIT: Final = ".socket"

#: The sockets of each address; none at all for an address whose connections come in by another one's.
Found = dict[Address, tuple[socket.socket, ...]]


@dataclass(slots=True)
class Given:
    """A socket of systemd's."""

    sock: socket.socket
    #: ``FileDescriptorName=`` in lower case
    name: str
    #: a listener is served on it
    taken: bool = False

    def stands_for(self, address: Address) -> bool:
        """Whether it is bound to ``address``, or to all addresses, that one included."""
        bound = socket_address(self.sock)
        if bound == address:
            return True
        return (
            bound == ("::", address[1])
            and address[0] == "0.0.0.0"
            and not self.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        )


@dataclass(slots=True)
class Inherited:
    """What there is. systemd's sockets stay with us: a listener that goes and comes again has them again."""

    #: a predecessor's: by the address asked for, one for each of its workers, or one that all share
    former: Found = field(default_factory=dict)
    #: a predecessor's ports of its own, by name
    services: dict[str, list[socket.socket]] = field(default_factory=dict)
    given: list[Given] = field(default_factory=list)

    def find(self, addresses: Sequence[Address], names: Collection[str]) -> Found:
        """What systemd gave for a listener of ``addresses``; empty when there is nothing.

        Sockets that have one of ``names`` (lower case) are all it gets. Else each address gets those bound to it; a
        socket of ``::`` that takes IPv4 as well stands for ``0.0.0.0`` too.
        """
        free = [each for each in self.given if not each.taken]
        named = [each for each in free if each.name in names]
        if named:
            return dict.fromkeys(addresses, ()) | {addresses[0]: _take(named)}
        found: Found = {}
        fitting: list[Given] = []
        for address in addresses:
            fresh = [each for each in free if not each.taken and each.stands_for(address)]
            if fresh or any(each.stands_for(address) for each in fitting):
                found[address] = _take(fresh)
            fitting += fresh
        return found

    def is_given(self, sock: socket.socket) -> bool:
        """Whether ``sock`` is systemd's."""
        return any(each.sock is sock for each in self.given)

    def give_back(self, sock: socket.socket) -> bool:
        """Whether ``sock`` is systemd's: nobody is served on it any more, and it stays open."""
        for each in self.given:
            if each.sock is sock:
                each.taken = False
                return True
        return False

    def close_former(self) -> None:
        """Close what a predecessor left and nobody asked for: it is not in the configuration any more."""
        for sockets in (*self.former.values(), *self.services.values()):
            own_files(sockets)
            close_sockets(sockets)
        self.former, self.services = {}, {}

    def report(self) -> None:
        """Say which sockets nobody asked for."""
        for each in self.given:
            if not each.taken:
                bound = printable(*socket_address(each.sock))
                _log.warning(
                    'nothing is served on the socket "%s" (%s) that systemd passed', each.name, bound
                )


def _take(given: Iterable[Given]) -> tuple[socket.socket, ...]:
    sockets = []
    for each in given:
        each.taken = True
        sockets.append(each.sock)
    return tuple(sockets)


def from_systemd(environment: MutableMapping[str, str]) -> list[Given]:
    """The sockets of ``LISTEN_FDS``, if they are for this process. The variables are taken out of ``environment``."""
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    environment.pop("LISTEN_PIDFDID", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    names += [""] * int(count)
    given = (_given(_FIRST_FD + index, names[index]) for index in range(int(count)))
    return [each for each in given if each is not None]


def _given(fd: int, name: str) -> Given | None:
    """The listening stream socket at ``fd``; whatever else is there is told and left alone."""
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
    except OSError as error:
        _log.warning('systemd passed "%s" (descriptor %d), which is no socket: %s', name, fd, error)
        return None
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if sock.family not in families or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        _log.warning(
            'systemd passed "%s", which is no listening stream socket (ListenStream=, Accept=no)', name
        )
        sock.detach()
        return None
    sock.setblocking(False)
    return Given(sock, name.removesuffix(_UNIT).lower())
