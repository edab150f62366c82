"""``gatewayd validate``: what loading and compiling have to say, without serving anything."""

from __future__ import annotations

import json
from typing import Any, Final

import click

from gatewayd.cli.flags import CONFIGURATION_FLAGS, configuration_options, with_flags
from gatewayd.exit_codes import EXIT_FINDINGS, EXIT_INPUT, EXIT_OK

FORMS: Final = ("text", "json", "sarif", "github")


@click.command(short_help="Report what is wrong in files, with file:line:column.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(FORMS),
    default="text",
    show_default=True,
    help="Form of the report.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "info"]),
    default="error",
    show_default=True,
    help="Exit 79 when there is a finding of this level or worse.",
)
@with_flags(CONFIGURATION_FLAGS)
def validate(paths: tuple[str, ...], form: str, fail_on: str, **flags: Any) -> int:
    """Load and compile PATH as `run` would, and report every problem at once.

    PATH: files, folders (*.yaml *.yml *.json, recursive), or - for stdin.
    """
    from gatewayd.cli import output
    from gatewayd.findings import at_least, render, report_json
    from gatewayd.runtime.configuration import read_configuration

    configuration = read_configuration(configuration_options(paths, flags), adopt=lambda spec: spec)
    findings = configuration.findings
    if form == "text":
        for finding in findings:
            click.echo(render(finding))
        click.echo(configuration.report_end)
    elif form == "json":
        click.echo(json.dumps(report_json(findings, configuration.files, configuration.resources), indent=2))
    elif form == "sarif":
        click.echo(output.sarif_text(findings))
    elif findings:
        click.echo(output.github(findings))
    if configuration.unreadable:
        return EXIT_INPUT
    return EXIT_FINDINGS if at_least(findings, fail_on) else EXIT_OK  # type: ignore[arg-type]  # click gives one of the levels
