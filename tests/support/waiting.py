"""Waiting for what must come about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LIMIT_S = 60.0  # only ever reached by a test that fails
POLL_S = 0.005


async def until(condition: Callable[[], object]) -> None:
    """Come back once ``condition`` is true; AssertionError when it takes longer than any busy machine would."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(POLL_S)
