"""What a resolver is told of names, by a test: at once, later, or never."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from gatewayd.upstream.dns_lookup import Answer


class Names:
    """A lookup: ``known`` names (``_`` for each dot) have an address, others do not exist.

    Names in ``silent`` get no answer before :meth:`answer` is called.
    """

    def __init__(self, **known: str) -> None:
        self.known = {name.replace("_", "."): address for name, address in known.items()}
        self.silent: set[str] = set()
        self.asked: Counter[str] = Counter()
        self._open: dict[str, Callable[[Answer], None]] = {}

    def start(self, name: str, done: Callable[[Answer], None]) -> None:
        """See Lookup."""
        self.asked[name] += 1
        self._open[name] = done
        if name not in self.silent:
            asyncio.get_running_loop().call_soon(self.answer, name)

    def answer(self, name: str) -> None:
        """Answer what was asked of ``name``."""
        address = self.known.get(name)
        done = self._open.pop(name)
        done(Answer((address,), 60.0) if address else Answer((), 0.0, "Domain name not found"))

    async def close(self) -> None:
        """See Lookup."""
