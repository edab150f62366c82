"""A mirrored copy of a request: sent once, whole, and forgotten (semantics 6.9).

To its upstream connection a :class:`Shadow` is an exchange like any other. It has no client, no retry and no place
in the access log; whatever becomes of it, the request it was copied from never hears (6.9.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayd.errors import Failure
from gatewayd.http.message import Trailers
from gatewayd.http.request import CHUNKED, NO_BODY
from gatewayd.http.response import ResponseHead

if TYPE_CHECKING:
    from gatewayd.proxy.exchange import Exchange
    from gatewayd.proxy.mirroring import Copy


class Shadow:
    """One copy on its way to one mirror."""

    __slots__ = (
        "_cluster", "_copy", "_done", "_endpoint", "_origin", "_timer", "_upstream", "attempts", "protocol",
    )  # fmt: skip

    def __init__(self, cluster: Any, origin: Exchange, copy: Copy) -> None:
        """``origin``: the exchange of the request; ``copy``: what is sent."""
        self._cluster = cluster
        self._origin = origin
        self.attempts = 1
        self._copy: Copy | None = copy
        #: what the client speaks, for a mirror that is spoken to likewise
        self.protocol = origin.protocol
        self._upstream: Any = None
        self._timer: Any = None
        self._done = False

    def send(self) -> None:
        """Send it, if the mirror has anybody to send it to; it takes no longer than the route allows."""
        cluster = self._cluster
        endpoint = self._endpoint = cluster.pick()
        if endpoint is None:
            return
        cluster.active += 1
        cluster.total += 1
        endpoint.active += 1
        endpoint.total += 1
        origin = self._origin
        timeout_s = origin.plan.timeout_s
        if timeout_s:
            self._timer = origin.proxy.wheel.arm(timeout_s, self._on_timeout)
        idle = endpoint.idle
        if idle:
            self.on_connected(idle.pop())
        else:
            endpoint.wait(self)

    def hints(self) -> tuple[bytes, str, str]:
        """What its connection may depend on, as for any exchange (``upstream/pool.py``)."""
        return self._origin.hints()

    def on_connected(self, connection: Any) -> None:
        """The copy goes out."""
        self._upstream = connection
        origin = self._origin
        copy, self._copy = self._copy, None
        assert copy is not None
        head = copy.lines if connection.takes_lines else copy.encoded
        edge = origin.stream.edge
        if copy.kind == NO_BODY:
            connection.start(self, head, origin.method, edge)
            return
        connection.start(self, head, origin.method, edge, complete=False, chunked=copy.kind == CHUNKED)
        if copy.body or copy.trailers is None:
            connection.send_data(copy.body, copy.trailers is None)
        if copy.trailers is not None:
            connection.send_trailers(copy.trailers)

    def on_connect_failure(self, failure: Failure, transport: str) -> None:
        """The mirror cannot be reached: no copy."""
        self._finish()

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        """Nobody waits for it."""
        if end:
            self._finish()

    def on_response_data(self, data: bytes, end: bool) -> None:
        """Read, so that the connection can be used again."""
        if end:
            self._finish()

    def on_response_trailers(self, trailers: Trailers) -> None:
        """The end of it."""
        self._finish()

    def on_interim(self, head: ResponseHead) -> None:
        """Nobody waits for it."""

    def on_upgraded(self, head: ResponseHead, data: bytes) -> None:
        """A copy never asks for that; the connection carries something unknown now."""
        self._drop()

    def on_tunnel_data_up(self, data: bytes) -> None:
        """Never comes: see :meth:`on_upgraded`."""

    def on_upstream_failure(self, failure: Failure, transport: str, unread: bool) -> None:
        """Lost."""
        self._finish()

    def on_upstream_paused(self, paused: bool) -> None:
        """The copy is in the connection's buffer as a whole already."""

    def _on_timeout(self) -> None:
        self._timer = None
        self._drop()

    def _drop(self) -> None:
        upstream = self._upstream
        if upstream is not None:
            upstream.close()
            self._endpoint.gone(upstream)
        else:
            self._endpoint.forget(self)
        self._finish()

    def _finish(self) -> None:
        if self._done:
            return
        self._done = True
        self._upstream = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._endpoint.active -= 1
        self._cluster.active -= 1
