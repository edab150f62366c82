"""An event loop that is still to come: for clusters that are made before the process that will serve with them.

A supervisor compiles, and its workers are copies of it. What it compiled holds clusters, and clusters hold a loop,
which cannot be shared. So they are given this one, and each copy binds it to its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast


class LateLoop:
    """Passes on whatever it is asked to the loop it was bound to."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def make(cls) -> tuple[LateLoop, asyncio.AbstractEventLoop]:
        """One of them, and the same as what it stands for."""
        late = cls()
        return late, cast(asyncio.AbstractEventLoop, late)

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on there is one."""
        self._loop = loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        # Looked up when it is called: whoever keeps the method may have it since before there was a loop.
        def call(*arguments: Any, **settings: Any) -> Any:
            if self._loop is None:
                raise RuntimeError(f"there is no event loop yet to {name} on")
            return getattr(self._loop, name)(*arguments, **settings)

        return call
