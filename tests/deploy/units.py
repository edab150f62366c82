"""Unit files as systemd reads them, as far as these tests need it."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICE = ROOT / "deploy" / "gatewayd.service"
INSTALLED = "/usr/local/bin/gatewayd"


def settings(unit: Path, section: str = "Service") -> list[tuple[str, str]]:
    """The assignments of a section, in order; a key may stand there more than once."""
    found: list[tuple[str, str]] = []
    current = ""
    for line in unit.read_text().splitlines():
        text = line.strip()
        if text.startswith("["):
            current = text.strip("[]")
        elif text and not text.startswith(("#", ";")) and current == section:
            key, _, value = text.partition("=")
            found.append((key, value))
    return found


def values(unit: Path, key: str, section: str = "Service") -> list[str]:
    """All values of one key."""
    return [value for name, value in settings(unit, section) if name == key]


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """``systemd-analyze WORDS``, whatever it says."""
    program = shutil.which("systemd-analyze")
    assert program is not None, "systemd-analyze is missing (Debian: systemd)"
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)


@cache
def call_groups() -> dict[str, tuple[str, ...]]:
    """Group of system calls -> the calls and groups in it, as this systemd has them."""
    groups: dict[str, list[str]] = {}
    current: list[str] = []
    for line in analyze("--no-pager", "syscall-filter").stdout.splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("@") and not line.startswith(" "):
            current = groups.setdefault(text, [])
        elif text:
            current.append(text)
    return {name: tuple(calls) for name, calls in groups.items()}


def expanded(name: str) -> set[str]:
    """The calls of a group, or the one call that ``name`` is."""
    if not name.startswith("@"):
        return {name}
    return {call for each in call_groups()[name] for call in expanded(each)}


def allowed_calls(unit: Path) -> set[str]:
    """What is left of ``SystemCallFilter=``: the first line allows, those with ``~`` take away."""
    allowed = expanded("@default")
    for line in values(unit, "SystemCallFilter"):
        calls = {call for word in line.removeprefix("~").split() for call in expanded(word)}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed
