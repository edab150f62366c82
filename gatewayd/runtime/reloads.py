"""The reloads of a service: who asked for them, what came of them, and who is told.

Both a process that is alone and a supervisor have one of these; what they differ in is what puts a snapshot in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gatewayd.observe.events import Events
from gatewayd.runtime import summary
from gatewayd.runtime.configuration import ConfigurationReader
from gatewayd.runtime.history import History, tell_outcome
from gatewayd.runtime.notify import Notifier
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.reload import Deploying, Outcome, Reloader
from gatewayd.upstream.registry import Registry


class Reloads:
    """Tells ``notifier`` (the service manager) and ``events``, and keeps a history."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: RunOptions,
        reader: ConfigurationReader,
        notifier: Notifier,
        events: Events,
    ) -> None:
        self._loop = loop
        self._options = options
        self._reader = reader
        self._notifier = notifier
        self._events = events
        self.history = History()
        self._reloader: Reloader | None = None
        self._on_outcome: Callable[[], Any] = lambda: None
        self._closed = False
        #: the manager was told that a reload is under way
        self._told = False

    def start(
        self,
        deploying: Deploying,
        registry: Registry,
        on_outcome: Callable[[], Any] = lambda: None,
        on_renewed: Callable[[], Any] = lambda: None,
    ) -> None:
        """Reload from now on when files change, unless told not to, and when asked. The service is ready.

        ``on_outcome()`` is called after each reload, ``on_renewed()`` when credentials were found to be new.
        """
        self._on_outcome = on_outcome
        self._reloader = Reloader(
            self._loop, self._options, self._reader, deploying, registry, self._over, on_renewed
        )
        self._reloader.start(watch=self._options.watch)
        self._say_ready()

    @property
    def possible(self) -> bool:
        """Whether there can be any now."""
        return self._reloader is not None and not self._closed

    @property
    def busy(self) -> bool:
        """Whether one is under way."""
        return self._reloader is not None and self._reloader.busy

    def ask(self) -> asyncio.Future[Outcome | None]:
        """Read everything again; what it came to, None if it failed for a reason of our own."""
        if self._reloader is None or self._closed:
            nothing: asyncio.Future[Outcome | None] = self._loop.create_future()
            nothing.set_result(None)
            return nothing
        self._told = True
        self._notifier.reloading()
        return self._reloader.reload()

    async def look_again(self) -> None:
        """Read everything again if something is served in its last good version: that may be mended by now."""
        in_force = self._reader.in_force
        if in_force is not None and in_force.kept:
            await self.ask()

    def tick(self) -> None:
        """About once a second: one that nobody was told of is over as well, once none is under way."""
        if self._told and not self.busy:
            self._say_ready()

    def close(self) -> None:
        """None begins after this."""
        self._closed = True
        if self._reloader is not None:
            self._reloader.close()

    async def wait_closed(self) -> None:
        """Wait until nothing of it runs."""
        if self._reloader is not None:
            await self._reloader.wait_closed()

    def _over(self, outcome: Outcome) -> None:
        self.history.add(outcome)
        tell_outcome(self._events, outcome)
        self._on_outcome()
        if not self._closed:
            self._say_ready(outcome.line)

    def _say_ready(self, more: str = "") -> None:
        self._told = False
        in_force = self._reader.in_force
        if in_force is not None:
            text = summary.standing(in_force, len(in_force.snapshot.listeners))
            self._notifier.ready(f"{text}; {more}" if more else text)
