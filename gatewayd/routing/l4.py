"""HOT: a route for bytes: TCP, and TLS that is passed through (semantics 7).

A connection picks its destination once (7.8); what HTTP routes know of headers, retries and paths means nothing here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gatewayd.routing.route import Destination, RouteSource


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What an HTTP proxy is asked to connect to (semantics 10.10)."""

    #: ``host:port``
    authority: bytes
    #: by POST, the bytes in its body; else by CONNECT
    post: bool = False


@dataclass(frozen=True, slots=True)
class TcpRoute:
    """Where the connections of a filter chain go."""

    destinations: tuple[Destination, ...]
    #: picks by weight, once per connection
    pick: Callable[[], Destination]
    #: no byte in either direction for this long ends the connection; 0 = never (7.9)
    idle_timeout_s: float = 3600.0
    #: ends the connection whatever happens on it; 0 = never (7.9)
    max_duration_s: float = 0.0
    source: RouteSource | None = None
    #: the destination is an HTTP proxy that leads there; None: it is where the bytes go
    tunnel: Tunnel | None = None
    #: the client's address is hashed for clusters that place by hash (9.5)
    hash_source_ip: bool = False
