"""What the admin server asks of a process, and what it may have it do: two protocols, whoever implements them.

The admin server knows nothing else of the process. One worker answers for itself; where there are several, their
supervisor asks each of them and merges the answers (:mod:`gatewayd.admin.merging`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

#: Told a row of a stream; must not block.
Put = Callable[[dict[str, Any]], None]


class State(Protocol):
    """What a process says of itself: rows of plain data, which are JSON-able."""

    def rows(self, topic: str, arguments: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The rows of a topic (a key of :data:`gatewayd.admin.merging.MERGES`).

        What a user asks in vain is a row ``{"error": text, "status": 400}``, never an exception.
        """

    def listen(self, stream: str, arguments: Mapping[str, Any], put: Put) -> Callable[[], None]:
        """Give rows of ``events`` or ``tap`` to ``put`` until the function returned is called."""


class Controls(Protocol):
    """What a process can be told to do."""

    async def act(self, action: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Do it: ``{"ok": bool, "message": text}`` and more; where ``ok`` is False a ``status`` for HTTP."""
