"""A worker's sockets and chains: what a snapshot comes to, and how one takes the place of another.

A socket belongs to its address and not to a listener, so an address that is still listened on keeps its socket and
the connections that wait in its queue, whatever becomes of the Gateways behind it. New addresses are bound before
anything changes: if one cannot be, all stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from gatewayd.listeners.entrance import Entrance
from gatewayd.listeners.intake import Intake
from gatewayd.listeners.listener import Listener
from gatewayd.listeners.sockets import NO_IPV6, BindError, by_address, close_sockets, open_sockets
from gatewayd.proxy.worker import Proxy
from gatewayd.snapshot import ListenerSpec, Snapshot
from gatewayd.upstream.registry import Draft, Registry

_log = logging.getLogger("gatewayd.runtime")

Address = tuple[str, int]
Bound = dict[Address, socket.socket]

#: How long the first answers of DNS for new clusters may keep a snapshot from coming into force.
WARM_UP_S: Final = 2.0


class NotBound(Exception):
    """Addresses of a snapshot cannot be listened on; one line for each."""


class Deployment:
    """The listeners of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        proxy: Proxy,
        registry: Registry,
        intake: Intake,
        linger_s: float,
    ) -> None:
        """``linger_s``: how long idle connections to what is gone may stay."""
        self._loop = loop
        self._proxy = proxy
        self._registry = registry
        self._intake = intake
        self._linger_s = linger_s
        self.listeners: list[Listener] = []
        #: not served any more, but some connections are still there
        self.leaving: list[Listener] = []
        self._entrances: dict[int, Entrance] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self.closed = False

    @property
    def overload(self) -> tuple[bool, int]:
        """Whether new requests are answered with 503 for want of time or memory, and how many were, ever."""
        return self._proxy.refusing, self._proxy.refused

    @property
    def counts_routes(self) -> bool:
        """Whether any route has statistics of its own, or had."""
        return self._proxy.counts_routes

    def refused(self, listener: Listener) -> dict[str, int]:
        """How many connections to ``listener`` were turned away, by reason."""
        entrance = self._entrances.get(id(listener))
        return entrance.refused if entrance is not None else {}

    # At the start

    async def add(self, spec: ListenerSpec, bound: Bound) -> Listener:
        """Serve ``spec`` on sockets that are open."""
        listener = Listener(spec, self._intake)
        entrance = Entrance(self._proxy, listener)
        self.listeners.append(listener)
        self._entrances[id(listener)] = entrance
        await listener.open(self._loop, entrance, list(bound.values()))
        if self.closed:
            listener.drain()
        return listener

    # Later

    async def swap(self, snapshot: Snapshot, draft: Draft) -> bool:
        """Put ``snapshot`` in force, compiled with ``draft``; raises :class:`NotBound`, and nothing has changed.

        False: the worker stopped meanwhile.
        """
        had: Bound = {address: sock for each in self.listeners for address, sock in each.bound.items()}
        opened = self._open(snapshot.listeners, had)
        unresolved = await self._registry.warm(WARM_UP_S, draft.fresh)
        if unresolved:
            _log.warning("no answer from DNS yet for %s", ", ".join(unresolved[:8]))
        if self.closed:
            close_sockets(list(opened.values()))
            draft.discard()
            return False
        sockets = had | opened
        # From here to the first await nothing else runs: clusters and chains change as one.
        self._registry.commit(draft)
        pairs = _pair(self.listeners, snapshot.listeners)
        staying = {id(listener) for listener, _ in pairs if listener is not None}
        gone = [listener for listener in self.listeners if id(listener) not in staying]
        self.listeners = []
        opening: list[Any] = []
        for listener, spec in pairs:
            bound = {address: sockets[address] for address in spec.bind if address in sockets}
            if listener is None:
                opening.append(self.add(spec, bound))
            else:
                self.listeners.append(listener)
                if listener.spec is not spec:
                    self._later(self._entrances[id(listener)].use(spec))
                opening.append(listener.use(spec, bound))
        kept = {address for spec in snapshot.listeners for address in spec.bind}
        for listener in gone:
            self._retire(listener, kept)
        for each in opening:
            await each
        close_sockets([sock for address, sock in had.items() if address not in kept])
        return True

    def _open(self, specs: Iterable[ListenerSpec], had: Bound) -> Bound:
        """Bind what is not bound yet; all of it or nothing."""
        opened: Bound = {}
        errors: list[str] = []
        for spec in specs:
            missing = [address for address in spec.bind if address not in had]
            if not missing:
                continue
            try:
                opened |= by_address(missing, open_sockets(missing, spec.port))
            except BindError as error:
                no_ipv6 = missing == [("::", missing[0][1])] and error.errno in NO_IPV6
                if not (no_ipv6 and len(spec.bind) > 1):
                    errors.append(str(error))
        if errors:
            close_sockets(list(opened.values()))
            raise NotBound("\n".join(errors))
        return opened

    def _retire(self, listener: Listener, kept: set[Address]) -> None:
        """Accept no more; requests under way end, and so do connections once they have."""
        ports = self._entrances.pop(id(listener)).end()
        listener.bound = {address: sock for address, sock in listener.bound.items() if address not in kept}
        listener.stop_accepting()
        self.leaving.append(listener)
        self._later(ports)

    def _later(self, ports: Sequence[Any]) -> None:
        """Close what is then idle of the connections of ``ports``, whose chains are gone."""
        if not ports:
            return

        def close() -> None:
            self._timers.discard(timer)
            for port in ports:
                port.drain()

        timer = self._loop.call_later(self._linger_s, close)
        self._timers.add(timer)

    # All the time

    def tick(self) -> None:
        """Forget listeners whose last connection has gone; about once a second."""
        for listener in [each for each in self.leaving if not each.connections]:
            self.leaving.remove(listener)
            self._proxy.unwatch(listener.connections)

    @property
    def connections(self) -> int:
        """Downstream connections open now."""
        return sum(len(listener.connections) for listener in self._all())

    def drain(self) -> None:
        """Stop accepting and let every connection end after what it is doing."""
        self._each(Listener.drain)

    def end_tunnels(self) -> None:
        """End upgraded connections, which never end by themselves."""
        self._each(Listener.end_tunnels)

    def close(self) -> None:
        """Stop accepting and cut every connection."""
        self._each(Listener.close)
        for timer in self._timers:
            timer.cancel()

    def _each(self, do: Callable[[Listener], None]) -> None:
        self.closed = True
        for listener in self._all():
            do(listener)

    @property
    def all_listeners(self) -> list[Listener]:
        """Those in force, and those whose last connections are still there."""
        return self._all()

    def _all(self) -> list[Listener]:
        return self.listeners + self.leaving


def _pair(
    listeners: Iterable[Listener], specs: Iterable[ListenerSpec]
) -> list[tuple[Listener | None, ListenerSpec]]:
    """Each spec with the listener that goes on as it: one that has an address of it."""
    of_address = {address: listener for listener in listeners for address in listener.spec.bind}
    taken: set[int] = set()
    pairs: list[tuple[Listener | None, ListenerSpec]] = []
    for spec in specs:
        known = [of_address[address] for address in spec.bind if address in of_address]
        found = next((listener for listener in known if id(listener) not in taken), None)
        if found is not None:
            taken.add(id(found))
        pairs.append((found, spec))
    return pairs
