"""The ports for operators: status and metrics. Whoever owns the service serves them: a process that is alone, else
the supervisor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from socket import socket
from typing import Final

from gatewayd.admin.metrics import MetricsServer
from gatewayd.admin.server import TinyServer
from gatewayd.admin.status import Readiness, StatusServer
from gatewayd.listeners.doors import Doors
from gatewayd.listeners.sockets import Address, BindError, close_sockets, printable
from gatewayd.runtime.options import RunOptions

#: name -> what to do if its address cannot be bound
_ADVICE: Final = {
    "status": "--status ADDRESS chooses another address, --status off none",
    "metrics": "--metrics ADDRESS chooses another address, --metrics off none",
}


@dataclass(slots=True)
class Servers:
    """Opened first, all or none, and served later."""

    options: RunOptions
    #: by name; a port that is off is not there
    sockets: dict[str, list[socket]] = field(default_factory=dict)
    _serving: dict[str, TinyServer] = field(default_factory=dict)

    def open(self, doors: Doors) -> list[str]:
        """Bind what is wanted; a line for each address that cannot be."""
        wanted: dict[str, Address | None] = {"status": self.options.status, "metrics": self.options.metrics}
        errors: list[str] = []
        for name, address in wanted.items():
            if address is None:
                continue
            try:
                self.sockets[name] = doors.open_service(name, address, _ADVICE[name])
            except BindError as error:
                errors.append(f"{name} port: {error}")
        return errors

    def own_sockets(self, doors: Doors) -> list[tuple[str, socket]]:
        """All that are open and not systemd's, by name."""
        return [
            (name, sock)
            for name, sockets in self.sockets.items()
            for sock in sockets
            if not doors.inherited.is_given(sock)
        ]

    async def serve_status(self, loop: asyncio.AbstractEventLoop, readiness: Readiness) -> None:
        """Say from now on whether traffic is welcome."""
        await self._serve(loop, "status", StatusServer(readiness))

    async def serve_metrics(
        self, loop: asyncio.AbstractEventLoop, scrape: Callable[[], Iterator[bytes]]
    ) -> None:
        """Give the numbers to whoever asks."""
        await self._serve(loop, "metrics", MetricsServer(scrape))

    async def _serve(self, loop: asyncio.AbstractEventLoop, name: str, server: TinyServer) -> None:
        sockets = self.sockets.get(name)
        if sockets:
            self._serving[name] = server
            await server.serve(loop, sockets)

    def addresses(self, name: str) -> list[str]:
        """What is served, printable."""
        server = self._serving.get(name)
        return [printable(*address) for address in server.addresses] if server is not None else []

    def close(self) -> None:
        """Serve no more, and close what was only opened."""
        for server in self._serving.values():
            server.close()
        close_sockets(
            sock for name, sockets in self.sockets.items() if name not in self._serving for sock in sockets
        )
        self.sockets = {}
        self._serving = {}
