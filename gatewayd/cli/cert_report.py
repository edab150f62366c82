"""What ``gatewayd cert`` prints: text for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatewayd.cli.cert_check import Checked
from gatewayd.cli.cert_files import Made
from gatewayd.cli.cert_sources import Inspected
from gatewayd.tls.dates import when
from gatewayd.tls.inspect import CertificateFacts


def inspected_text(inspected: Inspected, now_s: float) -> str:
    """All certificates behind one target."""
    lines = [inspected.target]
    lines += [f"  {name:10}{value}" for name, value in inspected.connection.items()]
    for number, (place, facts) in enumerate(inspected.certificates, 1):
        lines.append(f"  certificate {number}" + (f" ({place})" if place else ""))
        lines += [f"    {name:10}{value}" for name, value in _rows(facts, now_s)]
    return "\n".join(lines)


def inspected_json(shown: Sequence[Inspected]) -> dict[str, Any]:
    """The facts of all targets."""
    return {
        "targets": [
            {
                "target": one.target,
                **one.connection,
                "certificates": [{"place": place, **facts.as_json()} for place, facts in one.certificates],
            }
            for one in shown
        ]
    }


def _rows(facts: CertificateFacts, now_s: float) -> list[tuple[str, str]]:
    return [
        ("subject", facts.subject),
        ("issuer", facts.issuer + (" (self-signed)" if facts.self_signed else "")),
        ("names", ", ".join(facts.names) or "none"),
        ("valid", f"{when(facts.not_before)} to {when(facts.not_after)} ({_left(facts.days_left(now_s))})"),
        ("key", facts.key),
        ("serial", facts.serial),
        ("sha256", facts.sha256),
        ("spki", facts.spki),
        ("authority", "yes" if facts.is_ca else "no"),
    ]


def _left(days: float) -> str:
    if days <= 0:
        return f"expired {-days:.0f} days ago"
    return f"{days:.0f} days left" if days >= 1.5 else f"{days * 24:.0f} hours left"


def checked_text(report: Sequence[Checked]) -> str:
    """A line for each certificate, the summary last."""
    lines = []
    for one in report:
        if one.facts is None:
            lines.append(f"{one.status:8}{one.place}: {one.problem}")
        else:
            until = f"until {when(one.facts.not_after)} ({_left(one.days_left)})"
            lines.append(f"{one.status:8}{one.place}  {one.facts.title}  {until}")
    counts = _counts(report)
    lines.append(
        ", ".join(f"{number} {status}" for status, number in counts.items()) or "no certificate found"
    )
    return "\n".join(lines)


def checked_json(report: Sequence[Checked]) -> dict[str, Any]:
    """Every certificate with its status, and how many have which."""
    return {"certificates": [_checked(one) for one in report], "summary": _counts(report)}


def _checked(one: Checked) -> dict[str, Any]:
    row: dict[str, Any] = {"place": one.place, "status": one.status}
    if one.facts is None:
        return {**row, "problem": one.problem}
    return {**row, "daysLeft": round(one.days_left, 2), **one.facts.as_json()}


def _counts(report: Sequence[Checked]) -> dict[str, int]:
    statuses = [one.status for one in report]
    return {
        status: statuses.count(status)
        for status in ("ok", "expires", "expired", "broken")
        if status in statuses
    }


def made_text(made: Made) -> str:
    """The files, and how to use them."""
    lines = [f"wrote {path}" for path in made.files]
    lines.append(f"{', '.join(made.leaf.names)}: {made.leaf.key}, until {when(made.leaf.not_after)}")
    if made.authority is not None:
        lines.append(f"signed by {made.authority.subject}, until {when(made.authority.not_after)}")
    return "\n".join(lines)


def made_json(made: Made) -> dict[str, Any]:
    """The files and what stands in them; no key."""
    return {
        "files": made.files,
        "certificate": made.leaf.as_json(),
        "authority": made.authority.as_json() if made.authority is not None else None,
    }
