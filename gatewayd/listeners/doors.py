"""The listening sockets of a process, or of a group of workers, by the address that is asked for.

Of each address there is one for every slot, that is, worker: they share the address by SO_REUSEPORT, and the kernel
deals out the connections. So a worker that is replaced leaves its socket, and the connections that wait there, to
the next one in its slot. UNIX sockets, and those systemd opened, are one for all.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

from gatewayd.listeners.inherited import Found, Inherited
from gatewayd.listeners.sockets import (
    NO_IPV6,
    Address,
    BindError,
    by_address,
    close_sockets,
    open_sockets,
    own_files,
    printable,
    socket_address,
)

#: What one worker accepts on: the sockets of each address; none for one whose connections come in by another's.
Bound = Found
#: The same for all slots, in their order.
_Slots = dict[Address, list[tuple[socket.socket, ...]]]


class NotBound(Exception):
    """Addresses cannot be listened on; one line for each."""


class Listening(Protocol):
    """Where a worker gets its listening sockets from. They stay the giver's."""

    def open(self, specs: Iterable[Any]) -> Bound:
        """The sockets of all addresses of ``specs`` (ListenerSpec); raises :class:`NotBound`, and nothing is new."""

    def settle(self, kept: Collection[Address]) -> None:
        """No other addresses than ``kept`` are served any more."""


class Doors:
    """Opens and keeps them, for ``slots`` workers."""

    def __init__(self, slots: int = 1, inherited: Inherited | None = None) -> None:
        self.slots = slots
        self.inherited = inherited if inherited is not None else Inherited()
        self._open: _Slots = {}

    def open(self, specs: Iterable[Any]) -> Bound:
        """See :class:`Listening`; what is returned is the first slot's."""
        specs = list(specs)
        words = Counter(word for spec in specs for word in set(spec.port_names))
        opened: _Slots = {}
        errors: list[str] = []
        for spec in specs:
            # A word that may mean several listeners means none of them.
            names = {str(spec.port), *(word for word in spec.port_names if words[word] == 1)}
            missing = [address for address in spec.bind if address not in self._open]
            try:
                opened |= self._get(missing, names, spec.port, alone=len(missing) == len(spec.bind))
            except BindError as error:
                errors.append(str(error))
        if errors:
            self._close(opened)
            raise NotBound("\n".join(errors))
        self._open |= opened
        return self.bound(0)

    def open_service(self, name: str, address: Address, advice: str) -> list[socket.socket]:
        """The socket of a port of our own (``status``, ``metrics``), in no slot; the caller's from now on."""
        former = self.inherited.services.pop(name, [])
        own_files(former)
        given = former or self.inherited.find([address], {name}).get(address, ())
        return list(given) or open_sockets([address], advice=advice)

    def bound(self, slot: int) -> Bound:
        """What the worker in ``slot`` accepts on."""
        return {address: sockets[slot] for address, sockets in self._open.items()}

    def own_sockets(self) -> list[tuple[Address, socket.socket]]:
        """All that are open and not systemd's, each once, in the order of the slots."""
        return [
            (address, sock)
            for address, sockets in self._open.items()
            for sock in _each_once(sockets)
            if not self.inherited.is_given(sock)
        ]

    def addresses(self, asked: Iterable[Address]) -> tuple[str, ...]:
        """What is bound for the addresses ``asked``, printable."""
        return addresses({address: self._open[address][0] for address in asked if address in self._open})

    def settle(self, kept: Collection[Address]) -> None:
        """See :class:`Listening`."""
        self._close({address: self._open.pop(address) for address in self._open.keys() - set(kept)})

    def close(self) -> None:
        """Nothing is listened on any more."""
        self.settle(())

    def _get(self, addresses: list[Address], names: set[str], gateway_port: int, *, alone: bool) -> _Slots:
        """Sockets for ``addresses``: what somebody left us, else new ones; raises ``BindError``.

        ``alone``: the listener has no other address.
        """
        former = self.inherited.former
        got = {
            address: self._deal(address, former.pop(address)) for address in addresses if address in former
        }
        rest = [address for address in addresses if address not in got]
        if rest:
            found = self.inherited.find(rest, names)
            got |= {address: [sockets] * self.slots for address, sockets in found.items()}
            rest = [address for address in rest if address not in found]
        try:
            got |= self._bind(rest, gateway_port, alone=alone and not got)
        except BindError:
            self._close(got)
            raise
        return got

    def _deal(self, address: Address, sockets: Sequence[socket.socket]) -> list[tuple[socket.socket, ...]]:
        """What a predecessor left, dealt out: it may have had more workers, or fewer."""
        own_files(sockets)
        if len(sockets) <= 1:
            return [tuple(sockets)] * self.slots
        dealt = list(sockets)
        while len(dealt) < self.slots:
            dealt += open_sockets([socket_address(dealt[0])], reuse_port=True)
        return [tuple(dealt[slot :: self.slots]) for slot in range(self.slots)]

    def _bind(self, addresses: list[Address], gateway_port: int, *, alone: bool) -> _Slots:
        if not addresses:
            return {}
        shared = self.slots > 1
        if shared:
            # Sockets that share their addresses would share them with another gatewayd of ours as well.
            close_sockets(open_sockets([a for a in addresses if a[1]], gateway_port, listen=False))
        try:
            first = open_sockets(addresses, gateway_port, reuse_port=shared)
        except BindError as error:
            if alone or error.errno not in NO_IPV6 or {host for host, _ in addresses} != {"::"}:
                raise
            first = []  # this host has no IPv6, and the listener another address
        bound: _Slots = {address: [()] * self.slots for address in addresses}
        for address, sock in by_address(addresses, first).items():
            bound[address] = [(sock,)] * self.slots
            if shared and sock.family != socket.AF_UNIX:
                same = socket_address(sock)
                bound[address][1:] = [
                    tuple(open_sockets([same], gateway_port, reuse_port=True)) for _ in range(1, self.slots)
                ]
        return bound

    def _close(self, sockets: _Slots) -> None:
        for each in sockets.values():
            close_sockets(sock for sock in _each_once(each) if not self.inherited.give_back(sock))


def _each_once(sockets: Iterable[tuple[socket.socket, ...]]) -> tuple[socket.socket, ...]:
    return tuple({id(sock): sock for each in sockets for sock in each}.values())


def addresses(bound: Bound) -> tuple[str, ...]:
    """What is bound, printable, with the real numbers where the kernel chose them."""
    return tuple(printable(*socket_address(sock)) for sockets in bound.values() for sock in sockets)
