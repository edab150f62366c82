"""``gatewayd cert inspect|check|self-signed``: look at certificates, and make some for trying things out."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from gatewayd.exit_codes import EXIT_FINDINGS, EXIT_INPUT, EXIT_OK, EXIT_RUNTIME

_FORM = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of the report.",
)


@click.group(short_help="Look at certificates, check their dates, make some for tests.")
def cert() -> None:
    """Look at certificates, check their dates and keys, or make some for trying things out."""


@cert.command(short_help="Show what stands in certificates.")
@click.argument("targets", nargs=-1, required=True, metavar="FILE|HOST:PORT...")
@click.option("--sni", default="", metavar="NAME", help="Name to ask a HOST:PORT for. [default: HOST]")
@_FORM
def inspect(targets: tuple[str, ...], sni: str, form: str) -> int:
    """Show the certificates in PEM files, in Secrets of YAML files, or those a server shows.

    Exit codes: 65 a file cannot be read or has no certificate, 1 a server cannot be reached.
    """
    from gatewayd.cli import cert_report
    from gatewayd.cli.cert_sources import CannotInspect, certificates_of

    shown = []
    worst = EXIT_OK
    for target in targets:
        try:
            shown.append(certificates_of(target, sni))
        except CannotInspect as error:
            click.echo(f"gatewayd: {target}: {error}", err=True)
            worst = max(worst, EXIT_INPUT if error.is_file else EXIT_RUNTIME)
    if form == "json":
        click.echo(json.dumps(cert_report.inspected_json(shown), indent=2))
    else:
        click.echo("\n".join(cert_report.inspected_text(one, time.time()) for one in shown), nl=bool(shown))
    return worst


@cert.command(short_help="Say which certificates end soon or cannot be used.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--days",
    type=click.FloatRange(0),
    default=30,
    show_default=True,
    metavar="N",
    help="Exit 79 when a certificate ends within so many days.",
)
@_FORM
def check(paths: tuple[str, ...], days: float, form: str) -> int:
    """Check the dates of all certificates in PATH, and that keys fit.

    PATH: PEM files, YAML or JSON files with Secrets, folders of either (recursive), folders of secrets. Keys are
    compared with the certificate beside them: tls.key with tls.crt, key with cert, NAME.key with NAME.crt or NAME.pem.

    Exit codes: 79 something ends within --days, has ended or cannot be used; 65 there is nothing to check.
    """
    from gatewayd.cli import cert_report
    from gatewayd.cli.cert_check import check_paths

    report = check_paths(paths, days, time.time())
    if form == "json":
        click.echo(json.dumps(cert_report.checked_json(report), indent=2))
    else:
        click.echo(cert_report.checked_text(report))
    if not report:
        return EXIT_INPUT
    return EXIT_OK if all(one.status == "ok" for one in report) else EXIT_FINDINGS


@cert.command("self-signed", short_help="Make a certificate for trying things out.")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@click.option(
    "--out", type=click.Path(), default=".", show_default=True, metavar="DIR", help="Where to write."
)
@click.option(
    "--days",
    type=click.FloatRange(0, 36500),
    default=365,
    show_default=True,
    metavar="N",
    help="How long it holds.",
)
@click.option(
    "--ca",
    "with_authority",
    is_flag=True,
    help="Sign it with an authority of its own: ca.crt and ca.key of DIR, made when they are not there.",
)
@click.option("--force", is_flag=True, help="Write over files that are there.")
@_FORM
def self_signed(
    hosts: tuple[str, ...], out: str, days: float, with_authority: bool, force: bool, form: str
) -> int:
    """Make an ECDSA P-256 certificate for HOST... (names, *.wildcards, IP addresses, spiffe:// URIs).

    Writes tls.crt and tls.key (mode 0600) into DIR, which is then a credential for --secrets:

    \b
    gatewayd cert self-signed shop.test --ca --out secrets/shop
    gatewayd run conf --secrets secrets        # tls: {mode: SIMPLE, credentialName: shop}
    """
    from gatewayd.cli import cert_report
    from gatewayd.cli.cert_files import CannotWrite, make_files

    try:
        made = make_files(hosts, out, days, with_authority=with_authority, force=force)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except CannotWrite as error:
        raise click.ClickException(str(error)) from None
    if form == "json":
        document: dict[str, Any] = cert_report.made_json(made)
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(cert_report.made_text(made))
    return EXIT_OK
