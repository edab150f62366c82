"""Findings: what is wrong with, or worth knowing about, a configuration, and how it is said.

Cold: made while loading and compiling. A finding names the file, the line and the column, quotes the line,
says what was expected and the nearest right word. `CODES` is the one table of what can be found: Istio's own
IST code where Istio's analyzers have the same finding, GWD where they have none.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["error", "warning", "info"]

#: From the least to the most serious; the order `--fail-on` uses.
LEVELS: dict[str, int] = {"info": 0, "warning": 1, "error": 2}

CODES: dict[str, str] = {
    # Istio's
    "IST0101": "A resource that another one refers to does not exist.",
    "IST0104": "A Gateway server listens on a port that the gateway's Service or pods do not have.",
    "IST0106": "A resource does not have the form its schema asks for.",
    "IST0112": "A destination does not say which of the service's several ports it means.",
    "IST0122": "A regular expression is not valid RE2 syntax.",
    "IST0130": "A rule of a VirtualService can never match, because an earlier one takes its requests.",
    "IST0131": "A condition of a rule can never match, because an earlier rule takes its requests.",
    "IST0132": "A host of a VirtualService is not among the hosts of the Gateways it is bound to.",
    "IST0133": "A resource is valid, but probably not what was meant.",
    "IST0145": "Several Gateways select the same workload, port and hosts.",
    # Reading
    "GWD0001": "A file or folder cannot be read.",
    "GWD0002": "A file is not text in UTF-8.",
    "GWD0003": "A document is not well-formed YAML or JSON.",
    "GWD0004": "A mapping has the same key twice.",
    "GWD0005": "A document uses a YAML tag that has no meaning here.",
    "GWD0006": "A file goes over a limit of size, depth, documents or alias expansion.",
    "GWD0007": "There is no configuration file to read.",
    # Resources
    "GWD0010": "A document is not a resource: its kind, apiVersion or name is missing or wrong.",
    "GWD0011": "A kind of resource is not known or not supported, so the document has no effect.",
    "GWD0012": "A kind of Kubernetes resource is not needed to serve, so the document is left alone.",
    "GWD0013": "Two documents declare the same resource; the first one counts.",
    "GWD0014": "A field is accepted but has no effect, or none yet.",
    "GWD0015": "A value is not written as the schema asks, but its meaning is plain and it is accepted.",
    "GWD0016": "A field of the mesh configuration is not supported, so it has no effect.",
    # Compiling
    "GWD0101": "No labels were given for this proxy, so every Gateway is served whatever its selector.",
    "GWD0102": "A destination is declared by no Service or ServiceEntry.",
    "GWD0103": "A resource or part of it has no effect because of another one.",
    "GWD0104": "A part of a resource cannot be served and was left out.",
    "GWD0105": "A resource is bound to nothing this proxy serves.",
    "GWD0108": "Traces cannot be made or sent as the mesh configuration asks.",
    "GWD0109": "A destination is a port of the proxy itself, to which nothing is sent.",
    # Certificates
    "GWD0106": "A certificate, key, authority or revocation list cannot be used.",
    "GWD0107": "A certificate has expired, will expire soon, or is not valid yet.",
}

#: Longest quoted line, in characters: enough to see the place, too short to flood a terminal.
_QUOTE_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding. `line` and `column` count from 1; 0 means that there is no such place.

    `path` names the field (`spec.http[0].route[0]`), `help` what was expected or what to do, `quote` is the
    text of the line and `width` how many characters of it, from `column` on, are meant.
    """

    code: str
    level: Level
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    kind: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    help: str = ""
    quote: str = ""
    width: int = 1

    def __str__(self) -> str:
        return render(self)

    @property
    def place(self) -> str:
        """`file:line:column`, as far as known."""
        return ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])

    @property
    def object(self) -> str:
        """`Kind namespace/name`, as far as known."""
        full_name = "/".join(part for part in (self.namespace, self.name) if part)
        return " ".join(part for part in (self.kind, full_name) if part)

    def as_json(self) -> dict[str, Any]:
        """Return the finding as `validate -o json` shows it."""
        return {
            "code": self.code,
            "level": self.level,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "path": self.path,
            "message": self.message,
            "help": self.help,
        }


def render(finding: Finding) -> str:
    """Return the finding as text: headline, place, quoted line with a caret, help. No final newline."""
    lines = [f"{finding.level}[{finding.code}] {_printable(finding.message)}"]
    where = "   ".join(part for part in (finding.place, finding.object) if part)
    where = "  ".join(part for part in (where, finding.path) if part)
    if where:
        lines.append(f"  --> {_printable(where)}")
    help_text = _printable(finding.help)
    if finding.quote and finding.line and finding.column:
        number = str(finding.line)
        gutter = " " * len(number) + " |"
        text, start, width = _window(finding.quote, finding.column - 1, max(1, finding.width))
        caret = " " * _cells(text[:start]) + "^" * max(1, _cells(text[start : start + width]))
        lines += [gutter, f"{number} | {text}".rstrip(), f"{gutter} {caret} {help_text}".rstrip()]
    elif help_text:
        lines.append(f"      {help_text}")
    return "\n".join(lines)


def summary(findings: Iterable[Finding], files: int, resources: int, elapsed_s: float | None = None) -> str:
    """Return the last line of a report: `2 files, 7 resources, 1 error, 1 warning, 41 ms`."""
    errors, warnings = count(findings)
    parts = [_plural(files, "file"), _plural(resources, "resource"), _plural(errors, "error")]
    parts.append(_plural(warnings, "warning"))
    if elapsed_s is not None:
        parts.append(f"{elapsed_s * 1000:.0f} ms")
    return ", ".join(parts)


def report_json(findings: Iterable[Finding], files: int, resources: int) -> dict[str, Any]:
    """Return the whole report as `validate -o json` shows it."""
    found = list(findings)
    errors, warnings = count(found)
    return {
        "findings": [finding.as_json() for finding in found],
        "summary": {"files": files, "resources": resources, "errors": errors, "warnings": warnings},
    }


def count(findings: Iterable[Finding]) -> tuple[int, int]:
    """Return how many errors and how many warnings there are."""
    levels = [finding.level for finding in findings]
    return levels.count("error"), levels.count("warning")


def at_least(findings: Iterable[Finding], level: Level) -> list[Finding]:
    """Return the findings at `level` or more serious."""
    return [finding for finding in findings if LEVELS[finding.level] >= LEVELS[level]]


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _window(line: str, start: int, width: int) -> tuple[str, int, int]:
    """Cut a long line around the place meant, and make it safe to print."""
    text = _printable(line.rstrip())
    if len(text) <= _QUOTE_MAX:
        return text, start, width
    begin = max(0, min(start - _QUOTE_MAX // 4, len(text) - _QUOTE_MAX))
    cut = text[begin : begin + _QUOTE_MAX]
    start -= begin
    return cut, start, min(width, len(cut) - start)


def _printable(text: str) -> str:
    """Replace what a terminal would act on; one character stays one character, so that columns hold."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char == "\t" else "?" for char in text)


def _cells(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
