"""An upstream with an answer for each path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.behaviour import Behaviour
from tests.support.h1_text import Head
from tests.support.recorder import Recorder, Seen
from tests.support.wire import Wire


class Pages(Recorder):
    """``pages``: path without its query -> words of a Behaviour; 404 for others."""

    def __init__(self, name: str, pages: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(name)
        self.pages = {path: Behaviour.parse(words) for path, words in pages.items()}

    async def _reply(self, wire: Wire, head: Head, seen: Seen, behaviour: Behaviour) -> bool:
        page = self.pages.get(seen.path.partition("?")[0], Behaviour(status=404, reason="Not Found"))
        return await super()._reply(wire, head, seen, page)
