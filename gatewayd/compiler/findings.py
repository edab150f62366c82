"""What the compiler has to say: collects findings and gives each the place of what it is about."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final

from gatewayd.findings import Finding, Level
from gatewayd.resources.meta import Resource, format_path, parse_path

#: Names compared in full when one is looked for that is like a wrong one.
_MAX_COMPARED: Final = 200

#: Places found to the column, with the line quoted. Each reads a file again, so a folder full of mistakes
#: gets the lines of its rules instead.
_MAX_LOOKED_UP: Final = 200
#: ``spec.http[0]``: so much of a path is known without reading.
_KNOWN_DEPTH: Final = 3


class Reporter:
    """Findings of one compilation, each said once, and the resources that were set aside."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str, int, str], Finding] = {}
        self._set_aside: dict[str, None] = {}
        self._looked_up = 0

    def say(
        self,
        level: Level,
        code: str,
        message: str,
        about: Resource[Any] | None = None,
        path: str = "",
        help: str = "",
    ) -> None:
        """Add a finding; ``path`` is a field of ``about``, such as ``spec.http[0]``."""
        if about is None:
            self._add(Finding(code=code, level=level, message=message, help=help))
            return
        quote, width = "", 1
        parts = parse_path(path)
        if self._looked_up >= _MAX_LOOKED_UP:
            position = about.position(format_path(parts[:_KNOWN_DEPTH]))
        else:
            position = about.position(path)
            located = about.locator.locate(parts, key=False) if path and about.locator else None
            self._looked_up += located is not None
            if located is not None and located[0] == position.line:
                width, quote = located[2], located[3]
        self._add(
            Finding(
                code=code,
                level=level,
                message=message,
                file=position.file,
                line=position.line,
                column=position.column,
                kind=about.kind,
                namespace=about.namespace,
                name=about.name,
                path=path,
                help=help,
                quote=quote,
                width=width,
            )
        )

    def set_aside(
        self, code: str, message: str, about: Resource[Any], path: str = "", help: str = ""
    ) -> None:
        """Say why ``about`` is not served at all."""
        self.say("error", code, message, about, path, help)
        self._set_aside[f"{about.kind} {about.full_name}"] = None

    def _add(self, finding: Finding) -> None:
        key = (finding.code, finding.message, finding.file, finding.line, finding.path)
        self._found.setdefault(key, finding)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, by place; the same for the same configuration."""
        return tuple(
            sorted(self._found.values(), key=lambda f: (f.file, f.line, f.column, f.code, f.message))
        )

    @property
    def resources_set_aside(self) -> tuple[str, ...]:
        """``Kind namespace/name`` of each resource that is not served."""
        return tuple(sorted(self._set_aside))


def place(resource: Resource[Any], path: str = "") -> str:
    """``file:line`` of a resource or of a field of it, for use inside a message."""
    position = resource.position(path)
    return str(position) if position.file else resource.full_name


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean "reviews"?)`` when some known word is close, else nothing."""
    # Far names are sorted out cheaply: comparing thousands of them in full would take seconds.
    near = [name for name in known if abs(len(name) - len(word)) <= 2 and name[:1] == word[:1]]
    close = get_close_matches(word, near[:_MAX_COMPARED], n=1, cutoff=0.8)
    return f' (did you mean "{close[0]}"?)' if close else ""
