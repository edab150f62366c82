"""Talking to a running gatewayd: its admin port, over TCP or a UNIX socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import click

from gatewayd.cli import values
from gatewayd.exit_codes import EXIT_UNREACHABLE

DEFAULT: Final = "127.0.0.1:15000"
#: As gatewayd.admin.guard has it; a command starts faster without the server's modules.
_HEADER: Final = "x-gatewayd-admin"
_TIMEOUT_S: Final = 90.0

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def admin_option(*, default: str | None = DEFAULT) -> Decorator:
    """``--admin``, also ``GATEWAYD_ADMIN``: the same that was given to ``run``."""
    return click.option(
        "--admin",
        type=values.STATUS,
        default=default,
        envvar="GATEWAYD_ADMIN",
        show_envvar=True,
        show_default=default is not None,
        help="Address of the admin port, also unix:/path.",
    )


class Unreachable(click.ClickException):
    """Nobody answers there."""

    exit_code = EXIT_UNREACHABLE


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)


class Remote:
    """The admin port of one gatewayd. Raises ``click.ClickException`` with what went wrong."""

    def __init__(self, address: tuple[str, int] | tuple[()]) -> None:
        if not address:
            raise click.UsageError("--admin off: there is no admin port to talk to")
        self._host, self._port = address

    @property
    def place(self) -> str:
        """Where it is, printable."""
        return self._host if self._host.startswith("unix:") else f"{self._host}:{self._port}"

    def get(self, path: str, **query: str) -> Any:
        """What ``path`` gives, as JSON."""
        return self._json(*self.ask("GET", f"{path}?{urlencode(query)}" if query else path))

    def post(self, path: str, body: bytes = b"") -> tuple[int, Any]:
        """Status and JSON of what is posted; the text of an answer that is none."""
        status, data = self.ask("POST", path, body)
        try:
            return status, json.loads(data)
        except ValueError:
            return status, data.decode("utf-8", "replace").strip()

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of any answer."""
        connection = (
            _UnixConnection(self._host.removeprefix("unix:"))
            if self._host.startswith("unix:")
            else http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        )
        headers: Mapping[str, str] = {"host": "localhost", _HEADER: "1"}
        try:
            connection.request(method, path, body or None, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(
                f"no admin port answers at {self.place}: {reason.lower()}; "
                "is gatewayd running, and was it started with another --admin?"
            ) from None
        finally:
            connection.close()

    def _json(self, status: int, data: bytes) -> Any:
        if status != 200:
            raise click.ClickException(f"{self.place} says: {data.decode('utf-8', 'replace').strip()}")
        try:
            return json.loads(data)
        except ValueError:
            raise click.ClickException(f"what answers at {self.place} is no admin port of gatewayd") from None
