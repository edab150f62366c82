"""Reads an example's README: what to start, which lines to run, and what each must print.

A ``sh`` block starts things: backends (``python -m gatewayd.demo.backends ... &``) and one gatewayd command. What
else stands in it (``openssl ...``) is run before; a block of nothing else belongs to all blocks after it.
The ``console`` blocks after it, up to the next ``sh`` block, hold one ``$ command`` each and lines of its
output, not necessarily all, in order (but the fields of a response head in any); ``...`` stands for the
rest of a line. Below ``uniq -c`` the lines are counts, which are samples of the shares they show.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

_BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: a port of this machine: the right side of NAME=PORT, or the value of --http-port, --https-port or --admin
_OWN_PORT = re.compile(r"(?:=|--https?-port |--admin 127\.0\.0\.1:)(\d{4,5})(?=[,\s]|$)")
_STARTED = ("python ", "gatewayd run ", "gatewayd demo")
_SIGMAS = 4.0


@dataclass(frozen=True)
class Shown:
    """One ``console`` block."""

    command: str
    lines: tuple[str, ...]


@dataclass
class Scene:
    """One ``sh`` block and the console blocks under it. ``prepare``: lines for the shell, run first."""

    prepare: list[str]
    commands: list[list[str]]
    ports: list[str]
    shown: list[Shown] = field(default_factory=list)


def scenes(readme: Path) -> list[Scene]:
    """The scenes of a page, in order."""
    found: list[Scene] = []
    prepare: list[str] = []
    for kind, text in _BLOCK.findall(readme.read_text(encoding="utf-8")):
        if kind == "sh":
            lines = list(_commands(text))
            started = [line for line in lines if line.startswith(_STARTED)]
            prepare = prepare + [line for line in lines if line not in started]
            if started:
                found.append(Scene(prepare, [shlex.split(line) for line in started], _ports(text)))
            continue
        first, *lines = text.splitlines()
        assert first.startswith("$ "), f"{readme}: a console block begins with '$ command': {first}"
        found[-1].shown.append(Shown(first[2:], tuple(lines)))
    return found


def _commands(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        yield line.removesuffix("&").strip()


def _ports(text: str) -> list[str]:
    return list(dict.fromkeys(_OWN_PORT.findall(text.replace("\\\n", " "))))


def with_ports(text: str, ports: dict[str, str]) -> str:
    """``text`` with this machine's ports in place of the page's."""
    if not ports:
        return text
    pattern = r"(?<=[:=_])(" + "|".join(ports) + r")\b(?!=)|^(" + "|".join(ports) + r")$"
    return re.sub(pattern, lambda match: ports[match[0]], text)


def difference(shown: Shown, output: str) -> str:
    """What the page shows and the output lacks; empty if they agree."""
    lines = [line.rstrip() for line in output.splitlines()]  # curl: "HTTP/2 200 "
    if shown.command.endswith("uniq -c"):
        return _counts_differ(shown.lines, lines)
    head = list(takewhile(bool, lines)) if output.startswith("HTTP/") else []
    at = 0
    for wanted in shown.lines:
        if any(_matches(wanted, line) for line in head[1:]):
            continue
        while at < len(lines) and not _matches(wanted, lines[at]):
            at += 1
        if at == len(lines):
            return f"no line {wanted!r} (in this order) in:\n{output}"
        at += 1
    return ""


def _matches(wanted: str, line: str) -> bool:
    return line.startswith(wanted[:-3]) if wanted.endswith("...") else line == wanted


def _counts_differ(wanted: Sequence[str], lines: Sequence[str]) -> str:
    expected, came = _counts(wanted), _counts(lines)
    if set(expected) != set(came):
        return f"expected counts of {sorted(expected)}, got {came}"
    total = sum(expected.values())
    if sum(came.values()) != total:
        return f"expected {total} in all, got {came}"
    for what, count in expected.items():
        share = count / total
        if abs(came[what] - count) > _SIGMAS * math.sqrt(total * share * (1 - share)):
            return f"expected about {expected}, got {came}"
    return ""


def _counts(lines: Sequence[str]) -> dict[str, int]:
    pairs = [line.strip().split(maxsplit=1) for line in lines]
    return {what: int(count) for count, what in pairs}
