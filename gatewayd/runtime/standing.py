"""What the service manager is told of reloads: that one began, and that it is over, whatever came of it."""

from __future__ import annotations

from collections.abc import Callable

from gatewayd.runtime import summary
from gatewayd.runtime.configuration import ConfigurationReader
from gatewayd.runtime.notify import Notifier
from gatewayd.runtime.reload import Outcome


class Standing:
    """Tells ``notifier`` how the service stands. ``listeners()``: how many it has."""

    def __init__(self, notifier: Notifier, reader: ConfigurationReader, listeners: Callable[[], int]) -> None:
        self._notifier = notifier
        self._reader = reader
        self._listeners = listeners
        #: the manager was told that a reload is under way
        self._reloading = False

    def reload_begins(self) -> None:
        """Somebody asked for one."""
        self._reloading = True
        self._notifier.reloading()

    def reloaded(self, outcome: Outcome) -> None:
        """One is over, whoever asked for it."""
        self.ready(outcome.line)

    def look(self, busy: bool) -> None:
        """Now and then: a reload that nobody was told of is over as well, once none is under way (``busy``)."""
        if self._reloading and not busy:
            self.ready()

    def ready(self, more: str = "") -> None:
        """No reload is under way, and this is what is served."""
        self._reloading = False
        in_force = self._reader.in_force
        if in_force is not None:
            text = summary.standing(in_force, self._listeners())
            self._notifier.ready(f"{text}; {more}" if more else text)
