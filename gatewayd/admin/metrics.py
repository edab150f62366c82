"""The metrics port (15090): ``GET /stats/prometheus`` in Prometheus' text format (semantics 18.6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from gatewayd.admin.messages import Answer, Request
from gatewayd.admin.server import HttpServer
from gatewayd.admin.state import State
from gatewayd.observe.exposition import CONTENT_TYPE, Exposition, family_of
from gatewayd.regexes import Regex

PATH: Final = "/stats/prometheus"
#: Scrapes at a time.
MAX_SCRAPES: Final = 8


async def exposition(state: State, wanted: Regex | None = None) -> AsyncIterator[bytes]:
    """The text of all metrics, or of those whose names are ``wanted``, piece by piece."""
    text = Exposition()
    async for row in state.rows("metrics", {}):
        if wanted is not None and not wanted.matches(row["name"].encode()):
            continue
        for piece in text.pieces(family_of(row)):
            yield piece


class MetricsServer(HttpServer):
    """Serves the metrics of ``state``."""

    def __init__(self, state: State) -> None:
        super().__init__(self._answer, max_connections=MAX_SCRAPES)
        self._state = state

    def _answer(self, request: Request) -> Answer:
        if request.path != PATH:
            return Answer(404, "try /stats/prometheus\n")
        if request.method not in ("GET", "HEAD"):
            return Answer(405, "GET or HEAD\n", headers=(("allow", "GET, HEAD"),))
        return Answer(200, content_type=CONTENT_TYPE, pieces=exposition(self._state))
