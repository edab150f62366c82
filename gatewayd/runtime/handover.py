"""What a program leaves to the one that takes its place: listening sockets, and its workers if it has some.

Descriptors stay open over the change of program; which is which stands in an anonymous file, whose own descriptor is
named in the environment. A new program in the same process takes over everything, one in a child process what it is
told.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gatewayd.listeners.inherited import Given, Inherited, from_systemd
from gatewayd.listeners.sockets import Address

_VARIABLE: Final = "GATEWAYD_HANDOVER"
#: What a successor says when it serves.
READY: Final = b"ready"


@dataclass(frozen=True, slots=True)
class Former:
    """A worker of the program before."""

    pid: int
    slot: int
    #: it does; else it is about to go
    serves: bool
    #: our end of its channel
    channel: socket.socket


@dataclass(slots=True)
class Handover:
    """What there is to take over."""

    inherited: Inherited = field(default_factory=Inherited)
    children: list[Former] = field(default_factory=list)
    #: what workers had counted that are gone (:class:`gatewayd.runtime.departed.Departed`)
    counted: list[Any] = field(default_factory=list)
    #: where to say that we serve; -1: nobody waits to hear it
    ready_fd: int = -1

    def done(self) -> None:
        """We serve: whoever was here before may go."""
        if self.ready_fd >= 0:
            os.write(self.ready_fd, READY)
            os.close(self.ready_fd)
            self.ready_fd = -1


@dataclass(slots=True)
class Leaving:
    """What is left to somebody else."""

    sockets: Iterable[tuple[Address, socket.socket]]
    #: ports of our own, by name
    services: Iterable[tuple[str, socket.socket]]
    given: Iterable[Given]
    #: as in :class:`Former`, with a descriptor
    children: Iterable[tuple[int, int, bool, int]] = ()
    counted: Sequence[Any] = ()
    ready_fd: int = -1

    def write(self) -> tuple[dict[str, str], list[int]]:
        """The environment that tells of it, and the descriptors that have to stay open."""
        words: dict[str, Any] = {
            "from": os.getpid(),
            "sockets": [(*address, sock.fileno()) for address, sock in self.sockets],
            "services": [(name, sock.fileno()) for name, sock in self.services],
            "given": [(each.name, each.sock.fileno()) for each in self.given],
            "children": list(self.children),
            "counted": self.counted,
            "ready": self.ready_fd,
        }
        fd = os.memfd_create("gatewayd-handover")
        with open(fd, "wb", closefd=False) as file:
            file.write(msgspec.json.encode(words))
        lists = ("sockets", "services", "given", "children")
        fds = [fd, *(each[-1] for name in lists for each in words[name])]
        return {_VARIABLE: str(fd)}, fds if self.ready_fd < 0 else [*fds, self.ready_fd]


def received(environment: MutableMapping[str, str]) -> Handover:
    """What this process begins with: what was left to it, else the sockets that systemd has opened."""
    return take(environment) or Handover(Inherited(given=from_systemd(environment)))


def take(environment: MutableMapping[str, str]) -> Handover | None:
    """What was left to this process, if anything was. The variable is taken out of ``environment``."""
    text = environment.pop(_VARIABLE, "")
    if not text.isdecimal():
        return None
    try:
        with open(int(text), "rb") as file:
            file.seek(0)
            words = msgspec.json.decode(file.read())
    except (OSError, ValueError):
        return None
    if words["from"] not in (os.getpid(), os.getppid()):
        return None  # the variable came down from an ancestor, and its descriptors did not
    former: dict[Address, tuple[socket.socket, ...]] = {}
    for host, port, fd in words["sockets"]:
        former[host, port] = (*former.get((host, port), ()), _socket(fd))
    services: dict[str, list[socket.socket]] = {}
    for name, fd in words["services"]:
        services.setdefault(name, []).append(_socket(fd))
    given = [Given(_socket(fd), name) for name, fd in words["given"]]
    children = [Former(pid, slot, serves, _socket(fd)) for pid, slot, serves, fd in words["children"]]
    if words["ready"] >= 0:
        os.set_inheritable(words["ready"], False)
    return Handover(Inherited(former, services, given), children, words["counted"], words["ready"])


def _socket(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock
