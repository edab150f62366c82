"""Findings as other programs read them: SARIF 2.1.0 and GitHub's workflow commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from gatewayd import __version__
from gatewayd.findings import CODES, Finding

_SARIF_LEVELS: Final = {"error": "error", "warning": "warning", "info": "note"}
_GITHUB_LEVELS: Final = {"error": "error", "warning": "warning", "info": "notice"}


def sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as one SARIF run."""
    codes = sorted({finding.code for finding in findings})
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "gatewayd",
                        "version": __version__,
                        "rules": [
                            {"id": code, "shortDescription": {"text": CODES.get(code, code)}}
                            for code in codes
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_sarif_result(finding, codes) for finding in findings],
            }
        ],
    }


def _sarif_result(finding: Finding, codes: list[str]) -> dict[str, Any]:
    text = f"{finding.message}: {finding.help}" if finding.help else finding.message
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": _SARIF_LEVELS[finding.level],
        "message": {"text": text},
    }
    location: dict[str, Any] = {}
    if finding.file:
        location["physicalLocation"] = {"artifactLocation": {"uri": _uri(finding.file)}}
        if finding.line:
            region = {"startLine": finding.line}
            if finding.column:
                region["startColumn"] = finding.column
                region["endColumn"] = finding.column + finding.width
            location["physicalLocation"]["region"] = region
    if finding.object:
        name = f"{finding.object} {finding.path}".strip()
        location["logicalLocations"] = [{"fullyQualifiedName": name}]
    if location:
        result["locations"] = [location]
    return result


def _uri(path: str) -> str:
    from urllib.parse import quote

    return "file://" + quote(path) if path.startswith("/") else quote(path)


def sarif_text(findings: Sequence[Finding]) -> str:
    """:func:`sarif` as JSON."""
    return json.dumps(sarif(findings), indent=2)


def github(findings: Sequence[Finding]) -> str:
    """A workflow command for each finding, which GitHub shows beside the line it names."""
    return "\n".join(_github_line(finding) for finding in findings)


def _github_line(finding: Finding) -> str:
    properties: dict[str, object] = {"file": finding.file}
    if finding.line:
        properties["line"] = finding.line
    if finding.column:
        properties["col"] = finding.column
        properties["endColumn"] = finding.column + finding.width
    properties["title"] = " ".join(part for part in (finding.code, finding.object) if part)
    written = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value)
    text = f"{finding.message}: {finding.help}" if finding.help else finding.message
    return f"::{_GITHUB_LEVELS[finding.level]} {written}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
