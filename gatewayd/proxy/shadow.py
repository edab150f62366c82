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
    from gatewayd.proxy.mirroring import Encoded


def send_copies(
    origin: Exchange, clusters: Iterable[Any], message: bytes, encoded: Encoded | None = None
) -> None:
    """Send a copy of the exchange's request to each of ``clusters`` that has anybody.

    ``message``: all of it for HTTP/1; ``encoded``: for those of ``clusters`` that may be spoken to in HTTP/2.
    """
    timeout_s = origin.plan.timeout_s
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
            idle.pop().start(sink, message, origin.method, edge)
            continue
        shadow = Shadow(cluster, endpoint, origin, message, encoded)
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

    __slots__ = ("_encoded", "_message", "_origin", "_timer", "_upstream", "protocol")

    #: it is not tried again
    attempts = 1

    def __init__(
        self, cluster: Any, endpoint: Any, origin: Exchange, message: bytes, encoded: Encoded | None
    ) -> None:
        """``origin``: the exchange of the request; the others as in :func:`send_copies`."""
        super().__init__(cluster, endpoint)
        self._origin = origin
        self._message = message
        self._encoded = encoded
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
        edge = origin.stream.edge
        if connection.takes_lines:
            connection.start(self, self._message, origin.method, edge)
            return
        encoded = self._encoded
        assert encoded is not None
        body, trailers = encoded.body, encoded.trailers
        connection.start(self, encoded.head, origin.method, edge, complete=not body and trailers is None)
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
