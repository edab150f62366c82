"""Why a condition of a rule does not hold for a request, in words."""

from __future__ import annotations

from typing import Final

from gatewayd.http.message import RequestHead
from gatewayd.routing.conditions import (
    CONTROL_DATA,
    Condition,
    ControlIs,
    HeaderIs,
    HeaderIsNot,
    HeaderPresent,
    PathExact,
    PathExactAnyCase,
    PathPrefix,
    PathPrefixAnyCase,
    PathRegex,
    PathSegmentPrefix,
    QueryIs,
    query_value,
)

_MAX_SHOWN: Final = 60
_WORDS: Final = {"exact": "is not", "prefix": "is not a prefix of", "regex": "does not match"}


def shown(value: bytes) -> str:
    """A value of a request, short enough for a line."""
    text = value.decode("utf-8", "replace")
    text = "".join(each if each.isprintable() else "?" for each in text)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def why_not(condition: Condition, request: RequestHead) -> str:
    """One sentence, without its end."""
    path = shown(request.path)
    if isinstance(condition, PathExact | PathExactAnyCase):
        return f"uri exact {shown(condition.value)} is not {path}"
    if isinstance(condition, PathPrefix | PathPrefixAnyCase):
        return f"uri prefix {shown(condition.value)} is not a prefix of {path}"
    if isinstance(condition, PathSegmentPrefix):
        return f"{path} is not below {shown(condition.value) or '/'}"
    if isinstance(condition, PathRegex):
        return f"uri regex {condition.regex.pattern} does not match {path}"
    if isinstance(condition, ControlIs):
        return f"{condition.describe()}, and it is {shown(CONTROL_DATA[condition.name](request)) or 'empty'}"
    if isinstance(condition, HeaderIs):
        values = request.fields.values(condition.name)
        found = f"it is {', '.join(shown(value) for value in values)}" if values else "it is not there"
        return f"{condition.describe()}, and {found}"
    if isinstance(condition, HeaderIsNot):
        values = request.fields.values(condition.name)
        return f"{condition.describe()}, and it is {', '.join(shown(value) for value in values) or 'absent'}"
    if isinstance(condition, HeaderPresent):
        return f"{condition.describe()}, and it is {'not ' if condition.holds else ''}there"
    if isinstance(condition, QueryIs):
        value = query_value(request.query, condition.name)
        return f"{condition.describe()}, and it is {shown(value) if value is not None else 'not there'}"
    return f"{condition.describe()} does not hold"
