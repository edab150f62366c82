"""Mirrored copies of a request: each is sent once, whole, and forgotten (semantics 6.9).

To its upstream connection a copy is an exchange like any other. It has no client, no retry and no place in the access
log; whatever becomes of it, the request it was copied from never hears (6.9.2). Mostly nothing has to be known of a
single copy: one :class:`Sink` stands for all that are on their way to an endpoint. A copy that has to wait for its
connection, or that has a time limit, is a :class:`Shadow`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gatewayd.errors import Failure
from gatewayd.http.message import Trailers
from gatewayd.http.response import ResponseHead
from gatewayd.upstream.balancers import LoadOptions
from gatewayd.upstream.load import hear

if TYPE_CHECKING:
    from gatewayd.proxy.exchange import Exchange
    from gatewayd.proxy.mirroring import Copy


def send_copies(origin: Exchange, clusters: Iterable[Any], copy: Copy) -> None:
    """Send ``copy``, of the exchange's request, to each of ``clusters`` that has anybody."""
    route = origin.route
    timeout_s = route.timeout_s if route is not None else 0.0
    edge = origin.stream.edge
    for cluster in clusters:
        endpoint = cluster.pick()
        if endpoint is None:
            continue
        cluster.active += 1
        cluster.total += 1
        endpoint.active += 1
        endpoint.total += 1
        idle = endpoint.idle
        if idle and not timeout_s:
            sink = endpoint.sink
            if sink is None:
                sink = endpoint.sink = Sink(cluster, endpoint)
            idle.pop().start(sink, copy.lines, origin.method, edge)
            continue
        shadow = Shadow(cluster, endpoint, origin, copy)
        if timeout_s:  # it takes no longer than the route allows
            shadow.arm(timeout_s)
        if idle:
            shadow.on_connected(idle.pop())
        else:
            endpoint.wait(shadow)


class Sink:
    """All copies that are on their way to one endpoint and of which nothing else has to be known."""

    __slots__ = ("_cluster", "_endpoint", "_load")

    def __init__(self, cluster: Any, endpoint: Any) -> None:
        self._cluster = cluster
        self._endpoint = endpoint
        #: how its load is judged, None: nobody wants to know
        self._load: LoadOptions | None = cluster.spec.balancer.load

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """Nobody waits for it."""
        if self._load is not None:
            hear(self._endpoint, self._load, head.pairs)
        if end:
            self._endpoint.active -= 1
            self._cluster.active -= 1

    def on_response_data(self, data: bytes, end: bool) -> None:
        """Read, so that the connection can be used again."""
        if end:
            self._endpoint.active -= 1
            self._cluster.active -= 1

    def on_response_trailers(self, trailers: Trailers) -> None:
        """The end of it."""
        self._endpoint.active -= 1
        self._cluster.active -= 1

    def on_interim(self, head: ResponseHead) -> None:
        """Nobody waits for it."""

    def on_upgraded(self, head: ResponseHead, data: bytes) -> None:
        """Never comes: a copy does not ask for that."""

    def on_tunnel_data_up(self, data: bytes) -> None:
        """Never comes."""

    def on_upstream_failure(self, failure: Failure, transport: str, unread: bool) -> None:
        """Lost."""
        self._endpoint.active -= 1
        self._cluster.active -= 1

    def on_upstream_paused(self, paused: bool) -> None:
        """The copy is in the connection's buffer as a whole already."""


class Shadow(Sink):
    """One copy on its way to one mirror."""

    __slots__ = ("_copy", "_origin", "_timer", "_upstream", "protocol")

    #: it is not tried again
    attempts = 1

    def __init__(self, cluster: Any, endpoint: Any, origin: Exchange, copy: Copy) -> None:
        """``origin``: the exchange of the request; ``copy``: what is sent."""
        super().__init__(cluster, endpoint)
        self._origin = origin
        self._copy: Copy | None = copy
        #: what the client speaks, for a mirror that is spoken to likewise
        self.protocol = origin.protocol
        self._upstream: Any = None
        self._timer: Any = None

    def arm(self, timeout_s: float) -> None:
        """Give it up after so long."""
        self._timer = self._origin.proxy.wheel.arm(timeout_s, self._on_timeout)

    def hints(self) -> tuple[bytes, str, str]:
        """What its connection may depend on, as for any exchange (``upstream/pool.py``)."""
        return self._origin.hints()

    def on_connected(self, connection: Any) -> None:
        """The copy goes out."""
        self._upstream = connection
        origin = self._origin
        copy, self._copy = self._copy, None
        assert copy is not None
        edge = origin.stream.edge
        if connection.takes_lines:
            connection.start(self, copy.lines, origin.method, edge)
            return
        body, trailers = copy.body, copy.trailers
        connection.start(self, copy.encoded, origin.method, edge, complete=not body and trailers is None)
        if body:
            connection.send_data(body, trailers is None)
        if trailers is not None:
            connection.send_trailers(trailers)

    def on_connect_failure(self, failure: Failure, transport: str) -> None:
        """The mirror cannot be reached: no copy."""
        self._finish()

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """Nobody waits for it."""
        if self._load is not None:
            hear(self._endpoint, self._load, head.pairs)
        if end:
            self._finish()

    def on_response_data(self, data: bytes, end: bool) -> None:
        """Read, so that the connection can be used again."""
        if end:
            self._finish()

    def on_response_trailers(self, trailers: Trailers) -> None:
        """The end of it."""
        self._finish()

    def on_upstream_failure(self, failure: Failure, transport: str, unread: bool) -> None:
        """Lost."""
        self._finish()

    def _on_timeout(self) -> None:
        self._timer = None
        upstream = self._upstream
        if upstream is not None:
            upstream.close()
            self._endpoint.gone(upstream)
        else:
            self._endpoint.forget(self)
        self._finish()

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._upstream = None
        self._endpoint.active -= 1
        self._cluster.active -= 1
