"""``gatewayd healthcheck``: whether the process on this machine wants traffic, for containers and scripts."""

from __future__ import annotations

import socket
from typing import Final

import click

from gatewayd.cli import values
from gatewayd.exit_codes import EXIT_OK, EXIT_RUNTIME, EXIT_UNREACHABLE

_REQUEST: Final = "GET /healthz/{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_MAX_BYTES: Final = 65536


@click.command(short_help="Exit 0 if a running gatewayd is ready.")
@click.option(
    "--status",
    type=values.STATUS,
    default="127.0.0.1:15021",
    show_default=True,
    envvar="GATEWAYD_STATUS",
    show_envvar=True,
    help="Address of its status port.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=values.DURATION,
    default="2s",
    show_default=True,
    help="How long to wait for an answer.",
)
@click.option("--live", is_flag=True, help="Ask whether it lives, not whether it wants traffic.")
def healthcheck(status: values.Address | tuple[()], timeout_s: float, live: bool) -> int:
    """Ask a running gatewayd whether it is ready: exit 0 if so, 1 if not, 69 if nobody answers."""
    if not status:
        raise click.UsageError("--status off: there is no status port to ask")
    host, port = status
    try:
        line, body = _ask(_ANY.get(host, host), port, "live" if live else "ready", timeout_s)
    except OSError as error:
        where = host if host.startswith("unix:") else f"{host}:{port}"
        click.echo(f"no answer from {where}: {(error.strerror or str(error)).lower()}")
        return EXIT_UNREACHABLE
    click.echo(body or line)
    return EXIT_OK if line.split(" ")[1:2] == ["200"] else EXIT_RUNTIME


def _ask(host: str, port: int, what: str, timeout_s: float) -> tuple[str, str]:
    """The status line and the body of the answer; raises OSError."""
    if host.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout_s)
        connection.connect(host.removeprefix("unix:"))
    else:
        connection = socket.create_connection((host, port), timeout_s)
    answer = b""
    with connection:
        connection.sendall(_REQUEST.format(what).encode())
        while len(answer) < _MAX_BYTES and (piece := connection.recv(4096)):
            answer += piece
    head, _, body = answer.decode("latin-1").partition("\r\n\r\n")
    return head.partition("\r\n")[0], body.strip()
