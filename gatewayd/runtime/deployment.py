"""A worker's sockets and chains: what a snapshot comes to, and how one takes the place of another.

A socket belongs to its address and not to a listener, so an address that is still listened on keeps its socket and
the connections that wait in its queue, whatever becomes of the Gateways behind it. New addresses are bound before
anything changes: if one cannot be, all stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from gatewayd.listeners.doors import Bound, Listening, NotBound
from gatewayd.listeners.entrance import Entrance
from gatewayd.listeners.intake import Intake
from gatewayd.listeners.listener import Listener
from gatewayd.proxy.worker import Proxy
from gatewayd.snapshot import ListenerSpec, Snapshot
from gatewayd.upstream.registry import Draft, Registry

__all__ = ["WARM_UP_S", "Deployment", "NotBound"]

_log = logging.getLogger("gatewayd.runtime")

#: How long the first answers of DNS for new clusters may keep a snapshot from coming into force.
WARM_UP_S: Final = 2.0


class Deployment:
    """The listeners of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        proxy: Proxy,
        registry: Registry,
        intake: Intake,
        listening: Listening,
        linger_s: float,
    ) -> None:
        """``linger_s``: how long idle connections to what is gone may stay."""
        self._loop = loop
        self._listening = listening
        self._proxy = proxy
        self._registry = registry
        self._intake = intake
        self._linger_s = linger_s
        self.listeners: list[Listener] = []
        #: not served any more, but some connections are still there
        self.leaving: list[Listener] = []
        self._entrances: dict[int, Entrance] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        #: new connections are taken; see :meth:`stop_accepting`
        self.accepting = True
        #: nothing is served any more when what is under way has ended
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

    async def begin(self, specs: Iterable[ListenerSpec]) -> None:
        """Serve ``specs``; raises :class:`NotBound`, and nothing is served."""
        specs = list(specs)
        sockets = self._listening.open(specs) if self.accepting else {}
        for spec in specs:
            await self._add(spec, _of(spec, sockets))

    async def _add(self, spec: ListenerSpec, bound: Bound) -> None:
        listener = Listener(spec, self._intake)
        entrance = Entrance(self._proxy, listener)
        self.listeners.append(listener)
        self._entrances[id(listener)] = entrance
        await listener.open(self._loop, entrance, bound)
        if self.closed:
            listener.drain()
        elif not self.accepting:
            listener.stop_accepting()

    # Later

    async def swap(self, snapshot: Snapshot, draft: Draft) -> bool:
        """Put ``snapshot`` in force, compiled with ``draft``; raises :class:`NotBound`, and nothing has changed.

        False: the worker stopped meanwhile.
        """
        before = [address for each in self.listeners for address in each.spec.bind]
        sockets = self._listening.open(snapshot.listeners) if self.accepting else {}
        unresolved = await self._registry.warm(WARM_UP_S, draft.fresh)
        if unresolved:
            _log.warning("no answer from DNS yet for %s", ", ".join(unresolved[:8]))
        if self.closed:
            self._listening.settle(before)
            draft.discard()
            return False
        # From here to the first await nothing else runs: clusters and chains change as one.
        self._registry.commit(draft)
        pairs = _pair(self.listeners, snapshot.listeners)
        staying = {id(listener) for listener, _ in pairs if listener is not None}
        gone = [listener for listener in self.listeners if id(listener) not in staying]
        self.listeners = []
        opening: list[Any] = []
        for listener, spec in pairs:
            bound = _of(spec, sockets)
            if listener is None:
                opening.append(self._add(spec, bound))
            else:
                self.listeners.append(listener)
                if listener.spec is not spec:
                    self._later(self._entrances[id(listener)].use(spec))
                opening.append(listener.use(spec, bound))
        for listener in gone:
            self._retire(listener)
        for each in opening:
            await each
        self._listening.settle([address for spec in snapshot.listeners for address in spec.bind])
        return True

    def _retire(self, listener: Listener) -> None:
        """Accept no more; requests under way end, and so do connections once they have."""
        ports = self._entrances.pop(id(listener)).end()
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

    def discourage(self, yes: bool) -> None:
        """Whether connections are to end with their next answer. New ones are taken all the same."""
        self._proxy.discouraging = yes
        if yes:
            for listener in self._all():
                listener.discourage()

    def stop_accepting(self) -> None:
        """Close the listening sockets; connections live on. :meth:`accept_again` takes it back."""
        self.accepting = False
        for listener in self.listeners:
            listener.stop_accepting()
        self._listening.settle(())

    async def accept_again(self) -> None:
        """Open the listening sockets; raises :class:`NotBound`, and all stays as it is."""
        sockets = self._listening.open([listener.spec for listener in self.listeners])
        self.accepting = True
        for listener in self.listeners:
            await listener.accept_again(_of(listener.spec, sockets))

    async def use_sockets(self) -> None:
        """Accept on what there is to listen on now: it may have become more or less."""
        if self.accepting and not self.closed:
            sockets = self._listening.open([listener.spec for listener in self.listeners])
            for listener in list(self.listeners):
                await listener.use(listener.spec, _of(listener.spec, sockets))

    def retire(self) -> None:
        """Stop accepting, for good: others do. Every connection may ask once more, and ends with the answer."""
        self.closed = True
        self.discourage(True)
        self.stop_accepting()

    def drain(self) -> None:
        """Stop accepting, for good, and let every connection end after what it is doing.

        One that was accepted a moment ago and is not known here yet ends with its first answer.
        """
        self._proxy.discouraging = True
        self._each(Listener.drain)
        self._listening.settle(())

    def end_tunnels(self) -> None:
        """End upgraded connections, which never end by themselves."""
        self._each(Listener.end_tunnels)

    def close(self) -> None:
        """Stop accepting and cut every connection."""
        self._each(Listener.close)
        self._listening.settle(())
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


def _of(spec: ListenerSpec, sockets: Bound) -> Bound:
    return {address: sockets[address] for address in spec.bind if address in sockets}


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
