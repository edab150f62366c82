"""The ports for operators: status, metrics, admin. Whoever owns the service serves them: a process that is alone, else
the supervisor.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from socket import socket
from typing import Final

from gatewayd.admin.app import AdminServer
from gatewayd.admin.metrics import MetricsServer
from gatewayd.admin.server import HttpServer
from gatewayd.admin.state import Controls, State
from gatewayd.admin.status import Readiness, StatusServer
from gatewayd.exit_codes import EXIT_CANNOT_BIND
from gatewayd.listeners.doors import Doors, NotBound
from gatewayd.listeners.sockets import Address, BindError, close_sockets, printable, socket_address
from gatewayd.runtime.configuration import Refused
from gatewayd.runtime.options import RunOptions
from gatewayd.snapshot import ListenerSpec
from gatewayd.upstream.own_ports import OWN_PORTS

#: name -> what to do if its address cannot be bound
_ADVICE: Final = {
    "status": "--status ADDRESS chooses another address, --status off none",
    "metrics": "--metrics ADDRESS chooses another address, --metrics off none",
    "admin": "--admin ADDRESS chooses another address, --admin off none",
}
#: The mask that leaves a UNIX socket to its owner and group (0660).
_OWNER_AND_GROUP: Final = 0o117


@dataclass(slots=True)
class Servers:
    """Opened first, all or none, and served later."""

    options: RunOptions
    #: by name; a port that is off is not there
    sockets: dict[str, list[socket]] = field(default_factory=dict)
    _serving: dict[str, HttpServer] = field(default_factory=dict)

    def open(self, doors: Doors) -> list[str]:
        """Bind what is wanted; a line for each address that cannot be."""
        options = self.options
        wanted: dict[str, Address | None] = {
            "status": options.status,
            "metrics": options.metrics,
            "admin": options.admin,
        }
        errors: list[str] = []
        for name, address in wanted.items():
            if address is None:
                continue
            # A socket is made with its mode: changing it later would leave a moment in which it is open to all.
            before = os.umask(_OWNER_AND_GROUP) if name == "admin" else None
            try:
                self.sockets[name] = doors.open_service(name, address, _ADVICE[name])
            except BindError as error:
                errors.append(f"{name} port: {error}")
            finally:
                if before is not None:
                    os.umask(before)
        OWN_PORTS.use(socket_address(sock) for sockets in self.sockets.values() for sock in sockets)
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

    async def serve_numbers(self, loop: asyncio.AbstractEventLoop, state: State) -> None:
        """Give the metrics of ``state`` to whoever asks."""
        await self._serve(loop, "metrics", MetricsServer(state))

    async def serve_admin(self, loop: asyncio.AbstractEventLoop, state: State, controls: Controls) -> None:
        """Answer what operators ask of ``state``, and do what they tell ``controls``."""
        await self._serve(loop, "admin", AdminServer(state, controls, self.options.admin_hosts))

    async def _serve(self, loop: asyncio.AbstractEventLoop, name: str, server: HttpServer) -> None:
        sockets = self.sockets.get(name)
        if sockets:
            self._serving[name] = server
            await server.serve(loop, sockets)

    def addresses(self, name: str) -> list[str]:
        """What is served, printable."""
        server = self._serving.get(name)
        return [printable(*address) for address in server.addresses] if server is not None else []

    async def serve_again(self, loop: asyncio.AbstractEventLoop) -> None:
        """After :meth:`leave`: nobody else has them."""
        for name, server in self._serving.items():
            await server.serve(loop, self.sockets[name])

    async def leave(self, limit_s: float) -> None:
        """Answer those who are here, and nobody else: another process has the sockets."""
        await asyncio.gather(*(server.leave(limit_s) for server in self._serving.values()))

    def close(self) -> None:
        """Serve no more, and close what was only opened."""
        for server in self._serving.values():
            server.close()
        close_sockets(
            sock for name, sockets in self.sockets.items() if name not in self._serving for sock in sockets
        )
        self.sockets = {}
        self._serving = {}


def open_all(doors: Doors, servers: Servers, specs: tuple[ListenerSpec, ...]) -> None:
    """The sockets of all listeners and of our own ports; Refused, with every error, if one cannot be had."""
    errors: list[str] = []
    try:
        doors.open(specs)
    except NotBound as error:
        errors.append(str(error))
    errors += servers.open(doors)
    if errors:
        raise Refused("\n".join(errors), EXIT_CANNOT_BIND)
