"""What a listener does with a connection before it is anybody's: straight in, or past the porter.

A listener with one plain chain makes the chain's own protocol at once and costs nothing here. Anything else
(TLS, PROXY protocol) is met by an :class:`~gatewayd.listeners.arrival.Arrival`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from gatewayd.listeners.arrival import Arrival, Desk
from gatewayd.listeners.listener import Listener
from gatewayd.proxy.tcp_proxy import TcpPort
from gatewayd.proxy.worker import Port, Proxy

_WILDCARDS: Final = frozenset({"", "0.0.0.0", "::"})

TLS: Final = "TLS"


class Entrance:
    """Makes the connections of a listener; its chains are changed in place by :meth:`use`."""

    __slots__ = ("_desk", "_listener", "_make", "_of_chain", "_one_address", "_ports", "_proxy", "_spec")

    def __init__(self, proxy: Proxy, listener: Listener) -> None:
        self._proxy = proxy
        self._listener = listener
        self._one_address = False
        self._ports: dict[tuple[Any, ...], Port | TcpPort] = {}
        self._of_chain: dict[Any, Port | TcpPort] = {}
        self._spec: Any = None
        self._desk: Any = None
        self._make: Callable[[], asyncio.Protocol]
        proxy.watch(listener.connections)
        self.use(listener.spec)

    def __call__(self) -> asyncio.Protocol:
        """The protocol of a connection that was just accepted."""
        return self._make()

    def use(self, spec: Any) -> list[Port]:
        """Put the chains of ``spec`` in force, a ListenerSpec; the HTTP ports of chains that are gone.

        A chain that stays keeps its port, and with it its connections: they take the new one with their next
        request. One whose TLS is another does not stay: who was let in by the old rules is not asked for a
        certificate again. A connection of which nothing is known yet meets the new chains.
        """
        known, self._spec = self._spec, spec
        replaced = _replaced(known, spec) if known is not None else None
        if replaced is not None:
            for old, new in replaced:
                self._replace(old, new)
            return []
        self._one_address = len(spec.bind) == 1 and spec.bind[0][0] not in _WILDCARDS
        before, self._ports = self._ports, {}
        ports = self._of_chain = {}
        for chain in spec.chains:
            key = (*_key(chain), self._one_address)
            port = before.pop(key, None)
            if port is None:
                port = self._port(chain)
            else:
                port.use(chain)
            self._ports[key] = ports[chain] = port
        self._let_in(spec, ports)
        return _retire(before)

    def _replace(self, old: Any, new: Any) -> None:
        """``new`` takes the same connections as ``old``, and routes them otherwise."""
        port = self._of_chain.pop(old)
        self._of_chain[new] = port
        port.use(new)
        if self._desk is not None:
            self._desk.replace(old, new)

    @property
    def refused(self) -> dict[str, int]:
        """How many connections were turned away, by reason."""
        return dict(self._desk.refused) if self._desk is not None else {}

    def end(self) -> list[Port]:
        """All chains are gone; their HTTP ports."""
        return _retire(self._ports)

    def _port(self, chain: Any) -> Port | TcpPort:
        connections = self._listener.connections
        if chain.tcp is not None:
            return self._proxy.tcp(connections, chain)
        return self._proxy.http(connections, chain, one_address=self._one_address)

    def _let_in(self, spec: Any, ports: dict[Any, Port | TcpPort]) -> None:
        reads_hello = spec.protocol == TLS
        desk = self._desk
        if desk is not None:
            desk.use(spec.chains, ports)  # also for those who arrived before
        if not reads_hello and not spec.proxy_protocol:
            (chain,) = spec.chains
            self._make = ports[chain]
            return
        if desk is None or (desk.reads_hello, desk.proxy_protocol) != (reads_hello, spec.proxy_protocol):
            desk = self._desk = Desk(
                connections=self._listener.connections,
                chains=spec.chains,
                factories=ports,
                reads_hello=reads_hello,
                proxy_protocol=spec.proxy_protocol,
                log=self._proxy.log,
            )
        self._make = lambda: Arrival(desk)


def _replaced(before: Any, after: Any) -> list[tuple[Any, Any]] | None:
    """The chains of a listener that have others in their place; None: more than that has changed.

    A listener may have ten thousand chains, and mostly one of them changes.
    """
    if (before.bind, before.protocol, before.proxy_protocol, len(before.chains)) != (
        after.bind,
        after.protocol,
        after.proxy_protocol,
        len(after.chains),
    ):
        return None
    pairs = [(old, new) for old, new in zip(before.chains, after.chains, strict=True) if old is not new]
    same = all(_key(old) == _key(new) and old.server_names == new.server_names for old, new in pairs)
    return pairs if same else None


def _retire(ports: dict[Any, Port | TcpPort]) -> list[Port]:
    gone = [port for port in ports.values() if isinstance(port, Port)]
    for port in gone:
        port.retire()
    return gone


def _key(chain: Any) -> tuple[Any, ...]:
    """What makes two chains the same over a change of configuration."""
    return chain.name, chain.alpn, chain.tcp is None, chain.tls
