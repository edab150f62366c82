"""``gatewayd status`` and ``ready``: how a running gatewayd is."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from gatewayd.cli import tables
from gatewayd.cli.remote import Remote, admin_option
from gatewayd.exit_codes import EXIT_OK, EXIT_RUNTIME

_MAX_SHOWN: Final = 20


@click.command(short_help="Say what is in force since when, and what is not as it should be.")
@admin_option()
@click.option(
    "-o", "--output", "form", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True,
    help="Form.",
)  # fmt: skip
def status(admin: Any, form: str) -> int:
    """Say what is in force since when, what is kept in its last good version and why, and how traffic goes."""
    remote = Remote(admin)
    found = remote.get("/api/v1/overview")
    if form == "text":
        click.echo("\n".join(status_lines(found)))
    else:
        click.echo(tables.written(form, found))
    return EXIT_OK


def status_lines(found: dict[str, Any]) -> list[str]:
    """The overview in words. Its configuration is empty as long as there is none: at a start, after an upgrade."""
    own, traffic, now = found["configuration"], found["traffic"], found["now"]
    workers = found["workers"]
    state = (
        "ready" if found["ready"] else f"NOT READY: {'; '.join(found['reasons']) or found['state'].lower()}"
    )
    lines = [
        f"gatewayd {found['version']}, up {age(now - found['started_at'])}, {_count(len(workers), 'worker')}: {state}",
        "",
        *(_configuration(own, now) if own else [_line("serves", "the configuration is still being loaded")]),
        _line("traffic", _traffic(traffic, found)),
        _line("draining", "yes" if found["draining"] else "no"),
    ]
    if len(workers) > 1:
        lines += [_line(f"worker {each['worker']}", _worker(each)) for each in workers]
    else:
        lines += [_line("process", _worker(each)) for each in workers]
    if own.get("refused"):
        lines += ["", f"!! the last reload was REFUSED, what was before stays in force: {own['refused']}"]
    lines += _listed("kept in the last good version", [each["text"] for each in own.get("kept", ())])
    lines += _listed("NOT SERVED because of errors", own.get("set_aside", []))
    lines += _listed("certificates", [_certificate(row) for row in found["certificates"]])
    return lines


def _configuration(own: dict[str, Any], now: float) -> list[str]:
    return [
        _line(
            "serves",
            f"{_count(own['listeners'], 'listener')}, {_count(own['virtual_hosts'], 'virtual host')}, "
            f"{_count(own['clusters'], 'cluster')} of {_count(own['files'], 'file')}",
        ),
        _line("in force", f"since {moment(own['in_force_since'])} ({age(now - own['in_force_since'])} ago)"),
        _line("reloads", _reloads(own)),
        _line("findings", _findings(own["findings"])),
    ]


def _line(name: str, text: str) -> str:
    return f"  {name:<10} {text}"


def _listed(title: str, texts: list[str]) -> list[str]:
    if not texts:
        return []
    lines = ["", f"!! {title}: {len(texts)}", *(f"!!   {text}" for text in texts[:_MAX_SHOWN])]
    if len(texts) > _MAX_SHOWN:
        lines.append(f"!!   and {len(texts) - _MAX_SHOWN} more")
    return lines


def _reloads(own: dict[str, Any]) -> str:
    counts = own["reloads"]
    text = (
        f"{counts['IN_FORCE']} in force, {counts['UNCHANGED']} without a change, {counts['REFUSED']} refused"
    )
    last = own["last_reload"]
    return f"{text}; the last: {last['text']}" if last is not None else text


def _findings(levels: dict[str, int]) -> str:
    text = ", ".join(
        _count(levels[level], noun) for level, noun in (("error", "error"), ("warning", "warning"))
    )
    return f"{text} (gatewayd get findings)" if levels["error"] or levels["warning"] else text


def _traffic(traffic: dict[str, Any], found: dict[str, Any]) -> str:
    connections, requests = found["connections"], found["requests_active"]
    text = f"{_count(connections, 'connection')}, {_count(requests, 'request')} under way"
    if traffic and traffic["p50_ms"] is not None:
        text += (
            f"; {traffic['requests_per_second']:g} requests/s, {traffic['errors_per_second']:g} errors/s, "
            f"p50 {traffic['p50_ms']:g} ms, p99 {traffic['p99_ms']:g} ms"
        )
    return text


def _worker(row: dict[str, Any]) -> str:
    text = f"pid {row['pid']}, {row['resident_bytes'] / 2**20:.0f} MiB, {row['cpu_seconds']:g} s CPU"
    return text if row["ready"] else f"{text}, not ready: {'; '.join(row['reasons'])}"


def _certificate(row: dict[str, Any]) -> str:
    return f"{row['owner']}: {row['problem'] or row['remark']}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def age(seconds: float) -> str:
    """``3 d 4 h``, ``5 min 6 s``."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])


def moment(seconds: float) -> str:
    """A time of day, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


@click.command(short_help="Exit 0 if a running gatewayd wants traffic.")
@admin_option()
def ready(admin: Any) -> int:
    """Say whether traffic is welcome, and why not; exit 0 or 1."""
    found = Remote(admin).get("/api/v1/overview")
    if not found["ready"]:
        click.echo(f"not ready: {'; '.join(found['reasons']) or found['state'].lower()}")
        return EXIT_RUNTIME
    click.echo("ready")
    own = found["configuration"]
    for kept in own.get("kept", ()):
        click.echo(kept["text"])
    if own.get("refused"):
        click.echo(f"the last reload was refused: {own['refused']}")
    return EXIT_OK
