"""Conditions of a rule as Envoy's RouteMatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gatewayd.admin.dump.values import Message, string_match, text
from gatewayd.routing.conditions import (
    Always,
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
    TextTest,
)


def route_match(conditions: tuple[Condition, ...]) -> Message:
    """All ``conditions``; without one of the path, every path."""
    path: Message = {}
    headers: list[Message] = []
    parameters: list[Message] = []
    for condition in conditions:
        if isinstance(condition, QueryIs):
            parameters.append(_parameter(condition))
        elif type(condition) in _PATHS:
            if not path:
                path = _PATHS[type(condition)](condition)
        elif (header := _header(condition)) is not None:
            headers.append(header)
    match: Message = path or {"prefix": "/"}
    if headers:
        match["headers"] = headers
    if parameters:
        match["query_parameters"] = parameters
    return match


def _segments(condition: PathSegmentPrefix) -> Message:
    return {"path_separated_prefix": text(condition.value)} if condition.value else {"prefix": "/"}


_PATHS: Final[dict[type[Any], Callable[[Any], Message]]] = {
    PathExact: lambda each: {"path": text(each.value)},
    PathPrefix: lambda each: {"prefix": text(each.value)},
    PathSegmentPrefix: _segments,
    PathExactAnyCase: lambda each: {"path": text(each.value), "case_sensitive": False},
    PathPrefixAnyCase: lambda each: {"prefix": text(each.value), "case_sensitive": False},
    PathRegex: lambda each: {"safe_regex": {"regex": each.regex.pattern}},
}


def _test(test: TextTest) -> Message:
    return {"string_match": string_match(test.kind, text(test.value))}


def _header(condition: Condition) -> Message | None:
    if isinstance(condition, ControlIs):
        made = {"name": f":{condition.name}", **_test(condition.text)}
        return made if condition.holds else {**made, "invert_match": True}
    if isinstance(condition, HeaderIs):
        return {"name": text(condition.name), **_test(condition.text)}
    if isinstance(condition, HeaderIsNot):
        tested = {"name": text(condition.name), **_test(condition.text)}
        return {**tested, "invert_match": True, "treat_missing_header_as_empty": True}
    if isinstance(condition, HeaderPresent):
        present = {"name": text(condition.name), "present_match": True}
        return present if condition.holds else {**present, "invert_match": True}
    if isinstance(condition, Always) and not condition.holds:
        return {"name": ":method", "present_match": True, "invert_match": True}  # never
    return None


def _parameter(condition: QueryIs) -> Message:
    how = _test(condition.text) if condition.text is not None else {"present_match": True}
    return {"name": text(condition.name), **how}
