"""What systemd is told of a service's state: ready, reloading, stopping, alive (sd_notify(3)).

One datagram to the socket that ``NOTIFY_SOCKET`` names. Without it, outside of systemd, every call does nothing.
Nothing here raises or waits: a service manager that does not listen is no reason to stop serving.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

_log = logging.getLogger("gatewayd.notify")

_SOCKET: Final = "NOTIFY_SOCKET"
_WATCHDOG: Final = "WATCHDOG_USEC"
_WATCHDOG_PID: Final = "WATCHDOG_PID"
_MICROSECONDS: Final = 1_000_000
#: Beats for each interval of the watchdog, so that one late beat is not a death.
_BEATS: Final = 2


class Notifier:
    """The way to the service manager; ``address`` is a path, ``@name``, or "" for nobody.

    ``watchdog_s``: without a sign of life for so long the manager ends the service; 0.0: it does not look.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = address
        self.watchdog_s = watchdog_s if address else 0.0
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        if address:
            try:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            except OSError as error:
                _log.warning("systemd is not told anything: %s", error)

    def __bool__(self) -> bool:
        """Whether anybody is told."""
        return self._socket is not None

    def environment(self) -> dict[str, str]:
        """What another program needs to speak to the same manager: for one that takes this one's place."""
        if not self:
            return {}
        told = {_SOCKET: self._address}
        if self.watchdog_s:
            told[_WATCHDOG] = str(round(self.watchdog_s * _MICROSECONDS))
        return told

    def ready(self, status: str = "") -> None:
        """The start, or a reload, is over."""
        self._send("READY=1", status)

    def reloading(self, status: str = "") -> None:
        """A reload begins; :meth:`ready` ends it, whatever came of it."""
        self._send(
            f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}", status
        )

    def stopping(self, status: str = "") -> None:
        """The end begins."""
        self._send("STOPPING=1", status)

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send("", text)

    def main_pid(self, pid: int) -> None:
        """From now on ``pid`` is the service. Said by the process that was it so far: only that one is believed."""
        self._send(f"MAINPID={pid}")

    def extend_timeout(self, seconds: float) -> None:
        """What goes on now, the start or the stop, may take ``seconds`` from now, whatever the unit says."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * _MICROSECONDS)}")

    def alive(self) -> None:
        """One sign of life."""
        self._send("WATCHDOG=1")

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give signs of life as long as ``loop`` turns, if the manager looks for them."""
        if self and self.watchdog_s:
            self._loop = loop
            self._beat()

    def _beat(self) -> None:
        assert self._loop is not None
        self.alive()
        self._timer = self._loop.call_later(self.watchdog_s / _BEATS, self._beat)

    def close(self) -> None:
        """Say nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, state: str, status: str = "") -> None:
        if self._socket is None:
            return
        lines = [state] if state else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))
        where = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(lines).encode("utf-8", "backslashreplace")
        try:
            self._socket.sendto(message, socket.MSG_DONTWAIT, where)
        except OSError as error:
            _log.debug("systemd was not told %r: %s", state, error)


def notifier_from(environment: MutableMapping[str, str]) -> Notifier:
    """The notifier that ``environment`` asks for; takes its variables out, so that no child speaks in our name."""
    address = environment.pop(_SOCKET, "")
    interval = environment.pop(_WATCHDOG, "")
    pid = environment.pop(_WATCHDOG_PID, "")
    watchdog_s = 0.0
    if not pid or pid == str(os.getpid()):
        with contextlib.suppress(ValueError):
            watchdog_s = max(0, int(interval or 0)) / _MICROSECONDS
    return Notifier(address if address.startswith(("/", "@")) else "", watchdog_s)
