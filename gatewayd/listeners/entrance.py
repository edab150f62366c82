"""What a listener does with a connection before it is anybody's: straight in, or past the porter.

A listener with one plain chain makes the chain's own protocol at once and costs nothing here. Anything else
(TLS, PROXY protocol) is met by an :class:`~gatewayd.listeners.arrival.Arrival`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from gatewayd.listeners.listener import Listener
from gatewayd.proxy.worker import Proxy

_WILDCARDS: Final = frozenset({"", "0.0.0.0", "::"})

TLS: Final = "TLS"


def entrance(proxy: Proxy, listener: Listener) -> Callable[[], asyncio.Protocol]:
    """The factory of ``listener``'s connections."""
    spec: Any = listener.spec
    proxy.watch(listener.connections)
    one_address = len(spec.bind) == 1 and spec.bind[0][0] not in _WILDCARDS

    def factory(chain: Any) -> Callable[..., asyncio.Protocol]:
        if chain.tcp is not None:
            return proxy.tcp(listener.connections, chain)
        return proxy.http(listener.connections, chain, one_address=one_address)

    if spec.protocol != TLS and not spec.proxy_protocol:
        (chain,) = spec.chains
        return factory(chain)
    from gatewayd.listeners.arrival import Arrival, Desk

    desk = Desk(
        connections=listener.connections,
        chains=spec.chains,
        factories={chain: factory(chain) for chain in spec.chains},
        reads_hello=spec.protocol == TLS,
        proxy_protocol=spec.proxy_protocol,
        log=proxy.log,
    )
    return lambda: Arrival(desk)
