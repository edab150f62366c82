"""The metrics port (15090): ``GET /stats/prometheus`` in Prometheus' text format (semantics 18.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from gatewayd.admin.server import Answer, TinyServer, target_of
from gatewayd.observe.exposition import CONTENT_TYPE

PATH: Final = b"/stats/prometheus"
#: Scrapes at a time: each holds its text in memory until it is sent.
MAX_SCRAPES: Final = 8


class MetricsServer(TinyServer):
    """Serves what ``scrape()`` gives, piece by piece."""

    def __init__(self, scrape: Callable[[], Iterator[bytes]]) -> None:
        super().__init__(self._decide, MAX_SCRAPES)
        self._scrape = scrape

    def _decide(self, head: bytes) -> Answer:
        asked = target_of(head)
        if isinstance(asked, Answer):
            return asked
        method, path = asked
        if path != PATH:
            return Answer("404 Not Found", "try /stats/prometheus\n")
        if method not in (b"GET", b"HEAD"):
            return Answer("405 Method Not Allowed", "GET or HEAD\n", "allow: GET, HEAD\r\n")
        return Answer("200 OK", "", pieces=self._scrape(), content_type=CONTENT_TYPE)
