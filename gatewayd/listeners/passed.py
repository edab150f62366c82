"""The listening sockets of a worker whose supervisor opens them: those of its slot, and of slots it stands in for."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable
from typing import Any

from gatewayd.listeners.doors import Bound, NotBound
from gatewayd.listeners.sockets import Address, printable


class Passed:
    """A :class:`gatewayd.listeners.doors.Listening`. What it closes are this process's copies."""

    def __init__(self, slot: int, bound: Bound) -> None:
        self._slot = slot
        self._slots: dict[int, Bound] = {slot: dict(bound)}

    def take(self, slot: int, address: Address, sock: socket.socket | None) -> None:
        """``slot`` has this one as well from now on; None: connections to ``address`` come in by another's."""
        bound = self._slots.setdefault(slot, {})
        bound[address] = (*bound.get(address, ()), *((sock,) if sock is not None else ()))

    def drop(self, slot: int) -> list[socket.socket]:
        """Another process serves ``slot`` again: its sockets, to be closed when nobody here accepts on them."""
        bound = self._slots.pop(slot, {}) if slot != self._slot else {}
        return [sock for sockets in bound.values() for sock in sockets]

    def open(self, specs: Iterable[Any]) -> Bound:
        """What was passed for ``specs``; raises ``NotBound`` if that is not all."""
        own = self._slots[self._slot]
        wanted = [address for spec in specs for address in spec.bind]
        missing = [printable(*address) for address in wanted if address not in own]
        if missing:
            raise NotBound(f"no socket was passed for {', '.join(missing)}")
        return {
            address: tuple(sock for bound in self._slots.values() for sock in bound.get(address, ()))
            for address in wanted
        }

    def settle(self, kept: Collection[Address]) -> None:
        """Close all but those of the addresses ``kept``."""
        for bound in self._slots.values():
            for address in bound.keys() - set(kept):
                for sock in bound.pop(address):
                    sock.close()
