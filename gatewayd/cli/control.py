"""``gatewayd reload``, ``drain``, ``undrain``, ``upgrade`` and ``log-level``: telling a running gatewayd what to do."""

from __future__ import annotations

import time
from typing import Any, Final
from urllib.parse import quote

import click

from gatewayd.cli import values
from gatewayd.cli.remote import Remote, admin_option
from gatewayd.exit_codes import (
    EXIT_DRAIN_TIMED_OUT,
    EXIT_FINDINGS,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_RUNTIME,
    EXIT_USAGE,
)

_POLL_S: Final = 0.1
_UNPROCESSABLE: Final = 422


def _told(remote: Remote, action: str) -> tuple[int, dict[str, Any]]:
    """Post to ``/api/v1/ACTION`` and print what came of it: the status, and the whole answer."""
    status, answer = remote.post(f"/api/v1/{action}")
    if not isinstance(answer, dict) or "message" not in answer:
        raise click.ClickException(f"{remote.place} says: {answer}")
    click.echo(answer["message"], err=status != 200)
    return status, answer


@click.command(short_help="Have the configuration read again.")
@admin_option()
def reload(admin: Any) -> int:
    """Have the configuration read again, and say what came of it.

    Exit 0: it is in force, or nothing has changed; 79: in force, but something stays in its last good version; 78:
    refused, all stays as it was.
    """
    status, answer = _told(Remote(admin), "reload")
    if status == _UNPROCESSABLE:
        return EXIT_REFUSED
    if status != 200:
        return EXIT_RUNTIME
    return EXIT_FINDINGS if answer.get("kept") else EXIT_OK


@click.command(short_help="Send traffic elsewhere: readiness fails, connections end.")
@admin_option()
@click.option("--wait", is_flag=True, help="Until the last connection has gone.")
@click.option(
    "--timeout",
    type=values.DURATION,
    default="45s",
    show_default=True,
    help="How long to wait; then exit 75.",
)
def drain(admin: Any, wait: bool, timeout: float) -> int:
    """Want no more traffic: readiness fails, every answer ends its connection. `undrain` takes it back."""
    remote = Remote(admin)
    status, _ = _told(remote, "drain")
    if status != 200:
        return EXIT_RUNTIME
    deadline = time.monotonic() + timeout
    while wait:
        left = remote.get("/api/v1/overview")["connections"]
        if not left:
            break
        if time.monotonic() >= deadline:
            still = f"{left:,} connection{' is' if left == 1 else 's are'} still there"
            click.echo(f"{still} after {timeout:g} s", err=True)
            return EXIT_DRAIN_TIMED_OUT
        time.sleep(_POLL_S)
    return EXIT_OK


@click.command(short_help="Take traffic again.")
@admin_option()
def undrain(admin: Any) -> int:
    """Take back a drain."""
    status, _ = _told(Remote(admin), "undrain")
    return EXIT_OK if status == 200 else EXIT_RUNTIME


@click.command(short_help="Replace the program without closing a port.")
@admin_option()
def upgrade(admin: Any) -> int:
    """Have a running gatewayd replaced by the program that is installed now."""
    status, _ = _told(Remote(admin), "upgrade")
    return EXIT_OK if status == 200 else EXIT_RUNTIME


@click.command("log-level", short_help="Show or change the levels of the program's log.")
@click.argument("levels", nargs=-1, metavar="[[COMPONENT=]LEVEL]...")
@admin_option()
def log_level(levels: tuple[str, ...], admin: Any) -> int:
    """Show the levels, or set that of all components (`debug`) or of some (`listeners=debug dns=info`)."""
    remote = Remote(admin)
    for text in levels or ("",):
        component, mark, level = text.partition("=")
        query = f"?{quote(component)}={quote(level)}" if mark else f"?level={quote(text)}" if text else ""
        status, answer = remote.post(f"/logging{query}")
        if status != 200:
            click.echo(str(answer).partition("\n")[0], err=True)
            return EXIT_USAGE
    click.echo("\n".join(line.strip() for line in str(answer).splitlines()[1:]))
    return EXIT_OK
