"""``gatewayd explain``: which listener, host, route and destination a request gets, and why not another."""

from __future__ import annotations

from typing import Any, Final

import click

from gatewayd.cli import tables
from gatewayd.cli.flags import CONFIGURATION_FLAGS, configuration_options, with_flags
from gatewayd.cli.remote import Remote, admin_option
from gatewayd.exit_codes import EXIT_DENIED, EXIT_INPUT, EXIT_NO_ROUTE, EXIT_NO_UPSTREAM, EXIT_OK

_NO_ROUTE: Final = frozenset({"not_found", "no_listener", "tls_reject"})


@click.command(short_help="Say where a request would go, and why.")
@click.argument("words", nargs=-1, required=True, metavar="[METHOD] URL")
@click.option(
    "-f", "--file", "paths", multiple=True, metavar="PATH", help="Files or folders to compile. Repeatable."
)
@admin_option(default=None)
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="As curl's. Repeatable."
)
@click.option("--sni", default=None, help="The name in the ClientHello, if it is not the URL's host.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", help="Form.")
@with_flags(CONFIGURATION_FLAGS)
def explain(
    words: tuple[str, ...],
    paths: tuple[str, ...],
    admin: Any,
    headers: tuple[str, ...],
    sni: str | None,
    form: str,
    **flags: Any,
) -> int:
    """Say which listener, host, rule and destination a request gets, by the engine that serves requests.

    From files (-f, with the flags of `run`), or asked of a running gatewayd (--admin). Exit 0: it is routed or
    answered; 80: nothing takes it; 81: it is refused; 82: nobody is there to take it.
    """
    if len(words) > 2:
        raise click.UsageError("expected [METHOD] URL")
    method, url = (words[0], words[1]) if len(words) == 2 else ("GET", words[0])
    pairs = [_header(text) for text in headers]
    if paths:
        found = _from_files(paths, flags, url, method, pairs, sni)
    elif admin is not None:
        found = _from_admin(Remote(admin), url, method, pairs, sni)
    else:
        raise click.UsageError("say of what: -f PATH, or --admin ADDRESS")
    if found is None:
        return EXIT_INPUT
    if form == "json":
        click.echo(tables.as_json(found))
    else:
        from gatewayd.explain.text import render

        click.echo(render(found))
    return exit_code(found)


def exit_code(found: dict[str, Any]) -> int:
    """What an explanation comes to."""
    outcome = found["outcome"]
    if outcome in _NO_ROUTE:
        return EXIT_NO_ROUTE
    if outcome == "denied":
        return EXIT_DENIED
    if outcome == "no_cluster" or (outcome in ("route", "tcp") and not found["usable"]):
        return EXIT_NO_UPSTREAM
    return EXIT_OK


def _header(text: str) -> tuple[str, str]:
    name, mark, value = text.partition(":")
    if not mark or not name.strip():
        raise click.UsageError(f"-H {text!r}: expected 'NAME: VALUE'")
    return name.strip(), value.strip()


def _from_files(
    paths: tuple[str, ...],
    flags: dict[str, Any],
    url: str,
    method: str,
    headers: list[tuple[str, str]],
    sni: str | None,
) -> dict[str, Any] | None:
    from gatewayd.findings import render
    from gatewayd.runtime.configuration import read_configuration
    from gatewayd.runtime.questions import answer

    read = read_configuration(configuration_options(paths, flags), adopt=lambda spec: spec)
    for finding in read.findings:
        if finding.level == "error":
            click.echo(render(finding), err=True)
    if not read.files or (read.unreadable and not read.resources):
        click.echo(f"nothing could be read in {' '.join(paths)}", err=True)
        return None
    found = answer(
        read.snapshot.listeners, read.compiled.used.values(), url, method, headers, sni, live=False
    )
    if "error" in found:
        raise click.UsageError(found["error"])
    return found


def _from_admin(
    remote: Remote, url: str, method: str, headers: list[tuple[str, str]], sni: str | None
) -> dict[str, Any]:
    asked = {"url": url, "method": method, "headers": headers, "sni": sni}
    status, found = remote.post("/api/v1/explain", tables.as_json(asked).encode())
    if status != 200 or not isinstance(found, dict):
        raise click.UsageError(str(found))
    return found
