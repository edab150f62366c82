"""``gatewayd get``: what a running gatewayd has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from gatewayd.cli import tables
from gatewayd.cli.remote import Remote, admin_option
from gatewayd.exit_codes import EXIT_OK

Row = dict[str, Any]
Column = tuple[str, Callable[[Row], Any]]
#: Topic -> (columns of the table, further columns of the wide one).
_Shape = tuple[Sequence[Column], Sequence[Column]]


def _field(name: str) -> Callable[[Row], Any]:
    return lambda row: row[name]


def _healthy(row: Row) -> str:
    endpoints = row["endpoints"]
    return f"{sum(each['healthy'] for each in endpoints)}/{len(endpoints)}"


def _health(row: Row) -> str:
    if row["ejected"]:
        return "ejected"
    return "healthy" if row["healthy"] else "not ready"


def _place(row: Row) -> str:
    return f"{row['file']}:{row['line']}" if row["file"] else ""


def _destinations(row: Row) -> str:
    if row["action"] == "redirect" or row["action"] == "direct_response":
        return f"{row['action'].replace('_', ' ')} {row.get('status', '')}".strip()
    several = len(row["destinations"]) > 1
    return ", ".join(
        each["cluster"] + (f" ({each['weight']})" if several else "") for each in row["destinations"]
    )


def _rule(row: Row) -> str:
    return f'{row["rule"]} "{row["name"]}"' if row["name"] else row["rule"]


def _owner(row: Row) -> str:
    return f"{row['kind']} {row['namespace']}/{row['resource']}" if row["kind"] else ""


_SHAPES: Final[dict[str, _Shape]] = {
    "listeners": (
        (
            ("ADDRESS", _field("addresses")),
            ("PORT", _field("port")),
            ("PROTOCOL", _field("protocol")),
            ("STATE", _field("state")),
            ("CONNECTIONS", _field("connections")),
            ("GATEWAYS", _field("gateways")),
        ),
        (
            ("ACCEPTED", _field("accepted")),
            ("REFUSED", lambda row: sum(row["refused"].values())),
            ("CHAINS", lambda row: [chain["name"] for chain in row["chains"]]),
        ),
    ),
    "routes": (
        (
            ("DOMAINS", _field("domains")),
            ("RULE", _rule),
            ("MATCH", lambda row: ", ".join(row["match"]) or "everything"),
            ("TO", _destinations),
            ("HITS", _field("hits")),
            ("PLACE", _place),
        ),
        (
            ("ERRORS", _field("errors")),
            ("OWNER", _owner),
            ("CHAIN", _field("chain")),
            ("TIMEOUT", lambda row: f"{row['timeout_s']:g}s" if row["timeout_s"] else "none"),
            ("RETRIES", _field("retries")),
            ("SHADOWED BY", _field("shadowed_by")),
        ),
    ),
    "clusters": (
        (
            ("CLUSTER", _field("name")),
            ("DISCOVERY", _field("discovery")),
            ("BALANCER", _field("policy")),
            ("HEALTHY", _healthy),
            ("ACTIVE", _field("active")),
            ("TOTAL", _field("total")),
        ),
        (
            ("TLS", _field("tls")),
            ("SERVICE", _field("service")),
            ("DESTINATION RULE", _field("destination_rule")),
        ),
    ),
    "endpoints": (
        (
            ("ENDPOINT", _field("address")),
            ("HEALTH", _health),
            ("ACTIVE", _field("active")),
            ("TOTAL", _field("total")),
            ("ERRORS", _field("errors")),
            ("CLUSTER", _field("cluster")),
        ),
        (
            ("WEIGHT", _field("weight")),
            ("LOCALITY", _field("locality")),
            ("PRIORITY", _field("priority")),
            ("CONNECTIONS", _field("connections")),
            ("EJECTIONS", _field("ejections")),
        ),
    ),
    "certs": (
        (
            ("NAMES", lambda row: row["names"] or row["subject"]),
            ("ROLE", _field("role")),
            ("DAYS LEFT", lambda row: row["days_left"] if row["serial"] else ""),
            ("STATE", lambda row: row["problem"] or row["remark"] or "ok"),
            ("OWNER", _field("owner")),
        ),
        (("SOURCE", _field("source")), ("KEY", _field("key")), ("SERIAL", _field("serial"))),
    ),
    "findings": (
        (
            ("LEVEL", _field("level")),
            ("CODE", _field("code")),
            ("PLACE", lambda row: ":".join(str(row[n]) for n in ("file", "line", "column") if row[n])),
            ("MESSAGE", _field("message")),
        ),
        (("OBJECT", lambda row: f"{row['kind']} {row['namespace']}/{row['name']}" if row["kind"] else ""),),
    ),
}
CONFIG: Final = "config"


@click.command(short_help="Show what a running gatewayd has.")
@click.argument("topic", type=click.Choice([*_SHAPES, CONFIG]))
@admin_option()
@click.option("--host", default="", help="Of routes only those of this host.")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(tables.FORMS),
    default="table",
    show_default=True,
    help="Form.",
)
def get(topic: str, admin: Any, host: str, form: str) -> int:
    """Show listeners, routes, clusters, endpoints, certificates, findings, or the configuration as Envoy has it."""
    if host and topic != "routes":
        raise click.UsageError(f"--host is for routes, not for {topic}")
    remote = Remote(admin)
    if topic == CONFIG:
        _show_config(remote.get("/config_dump"), form)
        return EXIT_OK
    query = {"host": host} if host else {}
    found = remote.get(f"/api/v1/{topic}", **query)
    if form in ("json", "yaml"):
        click.echo(tables.written(form, found))
        return EXIT_OK
    shown, more = _SHAPES[topic]
    chosen = [*shown, *more] if form == "wide" else shown
    rows = found[topic]
    if rows:
        click.echo(
            tables.columns(
                [title for title, _ in chosen], [[read(row) for _, read in chosen] for row in rows]
            )
        )
    else:
        click.echo(f"no {topic}", err=True)
    return EXIT_OK


def _show_config(dump: dict[str, Any], form: str) -> None:
    if form in ("json", "yaml"):
        click.echo(tables.written(form, dump))
        return
    rows = []
    for config in dump["configs"]:
        for section, elements in config.items():
            if isinstance(elements, list):
                rows += [(section, _name(each), _version(each)) for each in elements]
    click.echo(tables.columns(("SECTION", "NAME", "VERSION"), rows))


def _version(element: dict[str, Any]) -> str:
    return str(element.get("version_info") or element.get("active_state", {}).get("version_info", ""))


def _name(element: dict[str, Any]) -> str:
    if "name" in element:
        return str(element["name"])
    inner = next((each for each in element.values() if isinstance(each, dict)), {})
    return str(inner.get("name", ""))
