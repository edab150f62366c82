"""Rows as aligned columns, JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

FORMS: Final = ("table", "wide", "json", "yaml")


def columns(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Aligned text with two spaces between; the last column is as long as it is."""
    lines = [tuple(titles), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(titles))]
    widths[-1] = 0
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        value = ",".join(str(each) for each in value)
    text = str(value) or "-"
    # What a terminal would act on may stand in names and messages.
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def as_json(value: Any) -> str:
    """Indented."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def as_yaml(value: Any) -> str:
    """As a person writes it."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)
    return text.rstrip("\n")


def written(form: str, value: Mapping[str, Any]) -> str:
    """``value`` in the form json or yaml."""
    return as_yaml(value) if form == "yaml" else as_json(value)
