"""``gatewayd run``."""

from __future__ import annotations

from typing import Any

import click

from gatewayd.cli.flags import CONFIGURATION_FLAGS, SERVING_FLAGS, run_options, with_flags


@click.command(short_help="Serve Istio and Kubernetes YAML in the foreground.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@with_flags(CONFIGURATION_FLAGS, SERVING_FLAGS)
def run(paths: tuple[str, ...], **flags: Any) -> int:
    """Serve the configuration in PATH: files, folders (*.yaml *.yml *.json, recursive), or - for stdin.

    \b
    Signals: HUP reloads; TERM drains and ends, a second TERM or INT ends at once; USR1 reopens logs;
    USR2 replaces the program without closing a port; QUIT writes the state to the log.
    """
    options = run_options(paths, flags)
    from gatewayd.runtime.run import run as serve

    return serve(options)
