"""Where each rule of a virtual host is filed: under the condition it shares with the fewest others.

Cold: runs once per virtual host. ``index.py`` puts the rules there and looks them up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gatewayd.regexes import Regex
from gatewayd.routing.conditions import (
    Condition,
    ControlIs,
    HeaderIs,
    HeaderPresent,
    PathExact,
    PathExactAnyCase,
    PathPrefix,
    PathPrefixAnyCase,
    PathRegex,
    PathSegmentPrefix,
)

#: A path condition shared by no more rules than this is selective enough; headers are not consulted.
_SELECTIVE: Final = 8

Conditions = Sequence[Condition]


@dataclass(slots=True)
class Place:
    """A place a rule could be filed at: a table, the key there, and the condition that implies."""

    table: str  # exact, prefix, exact_any_case, prefix_any_case, value, name, control or rest
    key: tuple[bytes, ...] = ()
    #: condition that need not be confirmed again when the place was reached
    implied: Condition | None = None
    regex: Regex | None = None


def _by_path(conditions: Conditions) -> Place:
    for c in conditions:
        if isinstance(c, PathExact):
            return Place("exact", (c.value,), c)
        if isinstance(c, PathPrefix):
            return Place("prefix", (c.value,), c)
        if isinstance(c, PathSegmentPrefix):
            return Place("prefix", (c.value,))
        if isinstance(c, PathRegex):
            return Place("prefix", (c.regex.required_prefix,), c, c.regex)
        if isinstance(c, PathExactAnyCase):
            return Place("exact_any_case", (c.value,), c)
        if isinstance(c, PathPrefixAnyCase):
            return Place("prefix_any_case", (c.value,), c)
    return Place("rest")


def _by_other(conditions: Conditions) -> list[Place]:
    keys = []
    for c in conditions:
        if isinstance(c, HeaderIs):
            if c.text.kind == "exact":
                keys.append(Place("value", (c.name, c.text.value), c))
            else:
                keys.append(Place("name", (c.name,)))
        elif isinstance(c, HeaderPresent) and c.holds:
            keys.append(Place("name", (c.name,), c))
        elif isinstance(c, ControlIs) and c.holds and c.text.kind == "exact":
            keys.append(Place("control", (c.name.encode(), c.text.value), c))
    return keys


def choose_places(rules: Sequence[Conditions]) -> list[Place]:
    """For each rule the place where it keeps the fewest others company."""
    paths = [_by_path(rule) for rule in rules]
    others = [_by_other(rule) for rule in rules]
    crowd: Counter[tuple[str, tuple[bytes, ...]]] = Counter()
    for path, more in zip(paths, others, strict=True):
        crowd[path.table, path.key] += 1
        for key in more:
            crowd[key.table, key.key] += 1

    def company(key: Place) -> int:
        if key.regex is not None:
            return 1  # a set tries all of its patterns in one pass
        if key.table == "rest" or (key.table.startswith("prefix") and len(key.key[0]) < 2):
            return len(rules)  # every path gets here
        return crowd[key.table, key.key]

    chosen = []
    for path, more in zip(paths, others, strict=True):
        place = path
        if more and company(path) > _SELECTIVE:
            place = min([path, *more], key=company)
        chosen.append(place)
    return chosen
