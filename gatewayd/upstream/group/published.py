"""HOT: counts that stay where they are and are also told to the group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def published(base: type, name: str, tell: Callable[[Any, int], None]) -> Any:
    """For a subclass of ``base``: its slot ``name``, of which each new value is also handed to ``tell``."""
    slot = base.__dict__[name]
    keep = slot.__set__

    def change(self: Any, value: int) -> None:
        keep(self, value)
        tell(self, value)

    return property(slot.__get__, change)
