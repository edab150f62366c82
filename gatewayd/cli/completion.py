"""``gatewayd completion SHELL``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(short_help="Print the shell's completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print a script that completes commands and flags.

    \b
    bash:  eval "$(gatewayd completion bash)"
    zsh:   eval "$(gatewayd completion zsh)"
    fish:  gatewayd completion fish | source
    """
    from gatewayd.cli.app import gatewayd

    script = get_completion_class(shell)
    assert script is not None, "click knows all shells of the list"
    click.echo(script(gatewayd, {}, "gatewayd", "_GATEWAYD_COMPLETE").source())
    return 0
