"""HOT for routes with mirrors and nothing else: a plain exchange whose copies go out after it (semantics 6.9)."""

from __future__ import annotations

from typing import Any

from gatewayd.http.message import Trailers
from gatewayd.http.request import NO_BODY, ParsedRequest
from gatewayd.proxy.exchange import Exchange
from gatewayd.proxy.exchange_base import DONE
from gatewayd.proxy.mirroring import Mirroring, copied, copied_head, draw
from gatewayd.proxy.shadow import send_copies


class MirroredExchange(Exchange):
    """An exchange on a route that would be plain but for its mirrors."""

    __slots__ = ("_mirroring",)

    def __init__(self, proxy: Any, stream: Any, request: ParsedRequest) -> None:
        Exchange.__init__(self, proxy, stream, request)
        self._mirroring: Mirroring | None = None

    def begin(self) -> None:
        """Start towards the upstream, then the copies."""
        plan = self.plan
        clusters = plan.mirrors or draw(self.route.policies.mirrors)
        if not clusters or plan.upgrade:
            Exchange.begin(self)
        elif self.parsed.body == NO_BODY:
            Exchange.begin(self)
            if self.attempts and self.phase != DONE:
                if plan.mirrors_take_lines:
                    send_copies(self, clusters, copied_head(self))
                else:
                    send_copies(self, clusters, *copied(self, clusters))
        else:
            self._mirroring = Mirroring(self, clusters)
            Exchange.begin(self)
            if self.attempts and self.phase != DONE:
                self._mirroring.begin()

    def on_request_data(self, data: bytes, end: bool) -> None:
        """Request body bytes; see RequestHandler."""
        if self._mirroring is not None:
            self._mirroring.data(data, end)
        Exchange.on_request_data(self, data, end)

    def on_request_trailers(self, trailers: Trailers) -> None:
        """Trailers and the end; see RequestHandler."""
        if self._mirroring is not None:
            self._mirroring.data(b"", True, trailers)
        Exchange.on_request_trailers(self, trailers)
