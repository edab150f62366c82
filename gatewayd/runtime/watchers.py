"""What nobody tells and is worth telling: endpoints that are left out or come back, certificates that are renewed.

Looked at once a second; only clusters that watch their endpoints, and only when certificates may have changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gatewayd.observe.events import Events
from gatewayd.tls.store import Refreshed, TlsStore
from gatewayd.upstream.registry import Registry


class Watchers:
    """Publishes what it sees to ``events``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        registry: Registry,
        store: TlsStore,
        events: Events,
        swapped: Callable[[], Any] = lambda: None,
    ) -> None:
        """``swapped`` is called when another configuration has come into force."""
        self._loop = loop
        self._registry = registry
        self._events = events
        self._swapped = swapped
        self._clusters: Any = None
        self._watching: list[Any] = []
        #: endpoints that are out: (cluster, address) -> how often they have been
        self._out: dict[tuple[str, str], int] = {}
        store.told = self._refreshed

    def look(self) -> None:
        """Once a second."""
        clusters = self._registry.clusters
        if clusters is not self._clusters:  # a reload
            self._clusters = clusters
            self._swapped()
            self._watching = [
                each for each in clusters.values() if getattr(each, "detector", None) is not None
            ]
        if not self._out and not any(cluster.detector.ejected for cluster in self._watching):
            return
        out = {
            (cluster.name, endpoint.host_port): endpoint.health.ejections
            for cluster in self._watching
            for endpoint in cluster.endpoints
            if endpoint.health.ejected
        }
        for place in out.keys() - self._out.keys():
            self._tell("ejection", *place, "is left out for its failures")
        for place in self._out.keys() - out.keys():
            self._tell("return", *place, "is in use again, or gone")
        self._out = out

    def _tell(self, kind: str, cluster: str, endpoint: str, what: str) -> None:
        self._events.publish(kind, f"{endpoint} of {cluster} {what}", cluster=cluster, endpoint=endpoint)

    def _refreshed(self, refreshed: Refreshed) -> None:
        """Certificates were read again; in a thread."""
        self._loop.call_soon_threadsafe(self._publish, refreshed)

    def _publish(self, refreshed: Refreshed) -> None:
        for owner in refreshed.renewed:
            self._events.publish("certificate", f"{owner}: new certificates are in use", owner=owner, ok=True)
        for owner in refreshed.broken:
            self._events.publish(
                "certificate", f"{owner}: new certificates are not used", owner=owner, ok=False
            )
