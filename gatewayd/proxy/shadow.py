"""A mirrored copy of a request: sent once, whole, and forgotten (semantics 6.9).

To its upstream connection a :class:`Shadow` is an exchange like any other. It has no client, no retry and no place
in the access log; whatever becomes of it, the request it was copied from never hears (6.9.2).
"""

from __future__ import annotations

from typing import Any

from gatewayd.errors import Failure
from gatewayd.http.h1.edge import Edge
from gatewayd.http.h1.response import ResponseHead


class Shadow:
    """One copy on its way to one mirror."""

    __slots__ = (
        "_cluster", "_done", "_edge", "_endpoint", "_hints", "_message", "_method", "_timer", "_upstream", "attempts",
    )  # fmt: skip

    def __init__(
        self, cluster: Any, edge: Edge, method: bytes, message: bytes, hints: tuple[bytes, str, str]
    ) -> None:
        """``message``: head and body, framed; ``hints``: see :meth:`hints`."""
        self._cluster = cluster
        self._hints = hints
        self.attempts = 1
        self._edge = edge
        self._method = method
        self._message = message
        self._endpoint: Any = None
        self._upstream: Any = None
        self._timer: Any = None
        self._done = False

    def send(self, wheel: Any, timeout_s: float) -> None:
        """Send it, if the mirror has anybody to send it to; ``timeout_s`` is that of the route, 0 = none."""
        cluster = self._cluster
        endpoint = self._endpoint = cluster.pick()
        if endpoint is None:
            return
        cluster.active += 1
        cluster.total += 1
        endpoint.active += 1
        endpoint.total += 1
        if timeout_s:
            self._timer = wheel.arm(timeout_s, self._on_timeout)
        idle = endpoint.idle
        if idle:
            self.on_connected(idle.pop())
        else:
            endpoint.wait(self)

    def hints(self) -> tuple[bytes, str, str]:
        """What its connection may depend on, as for any exchange (``upstream/pool.py``)."""
        return self._hints

    def on_connected(self, connection: Any) -> None:
        """The copy goes out."""
        self._upstream = connection
        edge = self._edge
        message, self._message = self._message, b""
        connection.start(self, message, self._method, edge.responses, edge.limits)

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
