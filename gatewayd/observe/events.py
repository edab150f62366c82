"""What happens to a process and is worth telling: to whoever listens, and a few of the past to who comes later."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

#: Events kept for who comes later.
KEPT: Final = 256

Put = Callable[[dict[str, Any]], None]


class Events:
    """The events of one process. Not for threads: publish on the loop."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._last = 0
        self._recent: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._listeners: dict[int, Put] = {}

    def publish(self, kind: str, text: str, **facts: Any) -> None:
        """Tell that something of ``kind`` happened; ``text`` says it in a sentence."""
        self._last += 1
        event = {"id": self._last, "at": round(self._now(), 3), "kind": kind, "text": text, **facts}
        self._recent.append(event)
        for put in list(self._listeners.values()):
            put(event)

    def listen(self, put: Put, after: int | None = None) -> Callable[[], None]:
        """Give every event to ``put`` until the function returned is called; with ``after`` first those behind it."""
        if after is not None:
            for event in list(self._recent):
                if event["id"] > after:
                    put(event)
        key = id(put)
        self._listeners[key] = put
        return lambda: self._listeners.pop(key, None) and None
