"""Case files of both formats, as cases and calls; long strings are expanded on the way in."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

Format = Literal["golden", "routing"]


class CaseFileError(Exception):
    """A file that is not a list of cases; the text names file and place."""


@dataclass(frozen=True)
class Call:
    """One call of a case; ``data`` is its mapping in the file."""

    id: str
    data: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Case:
    """One case; ``data`` is its mapping in the file, ``config`` its YAML documents as text."""

    file: Path
    id: str
    format: Format
    config: str
    data: Mapping[str, Any]
    calls: list[Call] = field(default_factory=list)

    def documents(self) -> list[dict[str, Any]]:
        """The parsed documents of ``config``, without empty ones."""
        return copy.deepcopy(_parsed(self.config))


@functools.lru_cache(maxsize=256)
def _parsed(config: str) -> list[dict[str, Any]]:
    return [document for document in yaml.load_all(config, Loader=_Loader) if document]


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_cases(path: Path) -> list[Case]:
    """All cases of a file. Raises CaseFileError."""
    try:
        items = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, yaml.YAMLError) as error:
        raise CaseFileError(f"{path}: {error}") from error
    if not isinstance(items, list):
        raise CaseFileError(f"{path}: expected a list of cases")
    return [_case(path, number, expand(item)) for number, item in enumerate(items, start=1)]


def _case(path: Path, number: int, item: Any) -> Case:
    if not isinstance(item, dict) or not {"id", "config", "calls"} <= item.keys():
        raise CaseFileError(f"{path}: case {number} lacks id, config or calls")
    form: Format = "routing" if "mode" in item else "golden"
    key = "name" if form == "routing" else "id"
    calls: list[Call] = []
    for index, call in enumerate(item["calls"], start=1):
        name = str(call.get(key, index))
        taken = sum(other.data.get(key) == call.get(key) for other in calls)
        calls.append(Call(f"{name}#{taken + 1}" if taken else name, call))
    return Case(path, str(item["id"]), form, item["config"] or "", item, calls)


def expand(value: Any) -> Any:
    """``{text, then, times, end}`` becomes the string text + then x times + end, wherever it stands."""
    if isinstance(value, dict):
        if value.keys() == {"text", "then", "times", "end"}:
            return f"{value['text']}{str(value['then']) * int(value['times'])}{value['end']}"
        return {key: expand(part) for key, part in value.items()}
    if isinstance(value, list):
        return [expand(part) for part in value]
    return value
