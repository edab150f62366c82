"""The command group: finds a command's module by name, and turns what went wrong into an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Final

import click

from gatewayd import __version__
from gatewayd.exit_codes import EXIT_OK, EXIT_RUNTIME, EXIT_USAGE

#: command -> (module below gatewayd.cli, name of the click command in it, one line of help)
COMMANDS: Final = {
    "run": ("run", "run", "Serve Istio and Kubernetes YAML in the foreground."),
    "demo": ("demo", "demo", "Serve the bundled bookinfo example with backends of its own."),
    "validate": ("validate", "validate", "Report what is wrong in files, with file:line:column."),
    "explain": ("explain", "explain", "Say where a request would go, and why."),
    "get": ("get", "get", "Show what a running gatewayd has."),
    "status": ("status", "status", "Say what is in force since when, and what is not as it should be."),
    "ready": ("status", "ready", "Exit 0 if a running gatewayd wants traffic."),
    "healthcheck": ("healthcheck", "healthcheck", "Exit 0 if a running gatewayd is ready."),
    "reload": ("control", "reload", "Have the configuration read again."),
    "drain": ("control", "drain", "Send traffic elsewhere: readiness fails, connections end."),
    "undrain": ("control", "undrain", "Take traffic again."),
    "upgrade": ("control", "upgrade", "Replace the program without closing a port."),
    "log-level": ("control", "log_level", "Show or change the levels of the program's log."),
    "cert": ("cert", "cert", "Look at certificates, check their dates, make some for tests."),
    "version": ("version", "version", "Print the version."),
    "completion": ("completion", "completion", "Print the shell's completion script."),
}
#: 128 + SIGINT, as shells count
_INTERRUPTED: Final = 130


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of ``cmd_name``."""
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        command = getattr(import_module(f"gatewayd.cli.{row[0]}"), row[1])
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but a word that is no command is told with the nearest that is."""
        word = args[0]
        if word not in COMMANDS and not word.startswith("-"):
            near = get_close_matches(word, COMMANDS, n=1)
            ctx.fail(f"No such command {word!r}." + (f" (Did you mean {near[0]!r}?)" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[2]) for name, row in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 ok, 1 runtime failure, 64 usage, 65 input cannot be read or parsed, "
    "69 nobody answers, 75 drain timed out, 77 cannot bind, 78 configuration refused at start, "
    "79 findings at or above --fail-on, or certificates that end or cannot be used; "
    "explain: 80 nothing takes the request, 81 it is refused, 82 nobody is there to take it.",
)
@click.version_option(__version__, "-V", "--version", message="gatewayd %(version)s")
def gatewayd() -> None:
    """A reverse proxy that serves Istio and Kubernetes YAML without a cluster."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    try:
        result = gatewayd.main(
            args=None if arguments is None else list(arguments), prog_name="gatewayd", standalone_mode=False
        )
    except click.UsageError as error:
        if isinstance(error, click.exceptions.NoArgsIsHelpError):
            click.echo(error.format_message())
            return EXIT_USAGE
        error.show(sys.stderr)
        return EXIT_USAGE
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output went away (`gatewayd validate ... | head`).
        sys.stderr.close()
        return EXIT_RUNTIME
    return result if isinstance(result, int) else EXIT_OK
