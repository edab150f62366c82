"""``gatewayd version``."""

from __future__ import annotations

import click

from gatewayd import __version__


@click.command(short_help="Print the version.")
def version() -> int:
    """Print the version."""
    click.echo(f"gatewayd {__version__}")
    return 0
