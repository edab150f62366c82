"""An explanation as text for a terminal: one line a step, its place at the right."""

from __future__ import annotations

from typing import Any, Final

_MARKS: Final = {True: "+", False: "-", None: " "}
_STAGE: Final = 10
_RULE: Final = 17
#: Where places begin.
_PLACES: Final = 94


def render(explanation: dict[str, Any]) -> str:
    """The text of :meth:`gatewayd.explain.steps.Explanation.as_json`; no final newline."""
    lines = [
        _line(_MARKS[step["ok"]], step["stage"], step["text"], _place(step)) for step in explanation["steps"]
    ]
    lines.append(f"= {explanation['result']}")
    return "\n".join(map(_printable, lines))


def _line(mark: str, stage: str, text: str, place: str) -> str:
    width = _RULE if "[" in stage else _STAGE
    line = f"{mark} {stage:<{width}} {text}"
    return f"{line:<{_PLACES}} {place}".rstrip() if place else line


def _place(step: dict[str, Any]) -> str:
    if not step["file"]:
        return ""
    return f"{step['file']}:{step['line']}" if step["line"] else str(step["file"])


def _printable(line: str) -> str:
    """Without what a terminal would act on."""
    return line if line.isprintable() else "".join(each if each.isprintable() else "?" for each in line)
