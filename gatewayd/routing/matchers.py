"""MATCHERS: how each field of an HTTP match is turned into a condition.

Builders take ``(key, kind, value)``: the header or parameter name ("" where there is none), ``exact``,
``prefix``, ``regex`` or ``present`` (a uri also ``segment_prefix``), and the text to compare with. They
raise ValueError, in words for the user, when the value cannot be honoured. All conditions of a rule must
hold (semantics 5.1).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from gatewayd.regexes import compile_regex
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

#: Header keys that mean control data; Envoy keeps Host as ``:authority``.
_PSEUDO_HEADERS: Final = {
    ":method": "method",
    ":scheme": "scheme",
    ":authority": "authority",
    ":path": "path",
    "host": "authority",
}


def _uri(key: str, kind: str, value: str) -> Condition:
    text = value.encode()
    if kind == "exact":
        return PathExact(text)
    if kind == "prefix":
        return PathPrefix(text)
    if kind == "segment_prefix":
        return PathSegmentPrefix(text)
    return PathRegex(compile_regex(value)) if kind == "regex" else _unknown(kind)


def _uri_any_case(key: str, kind: str, value: str) -> Condition:
    if kind == "exact":
        return PathExactAnyCase(value.encode())
    if kind == "prefix":
        return PathPrefixAnyCase(value.encode())
    return _uri(key, kind, value)


def _unknown(kind: str) -> Condition:
    raise ValueError(f"unknown kind of comparison {kind!r}: expected exact, prefix or regex")


def _means_present(kind: str, value: str) -> bool:
    return kind == "present" or (kind == "regex" and value == "*")  # semantics 5.9


def _control(name: str, kind: str, value: str) -> Condition:
    if _means_present(kind, value):
        return Always(True, f"{name} present")
    return ControlIs(name, TextTest(kind, value))


def _scheme(key: str, kind: str, value: str) -> Condition:
    return _control("scheme", kind, value)


def _method(key: str, kind: str, value: str) -> Condition:
    return _control("method", kind, value)


def _authority(key: str, kind: str, value: str) -> Condition:
    return _control("authority", kind, value)


def _header(key: str, kind: str, value: str) -> Condition:
    name = key.lower()
    control = _PSEUDO_HEADERS.get(name)
    if control is not None:
        return _control(control, kind, value)
    if _means_present(kind, value):
        return HeaderPresent(name.encode())
    return HeaderIs(name.encode(), TextTest(kind, value))


def _without_header(key: str, kind: str, value: str) -> Condition:
    name = key.lower()
    control = _PSEUDO_HEADERS.get(name)
    if _means_present(kind, value):
        return Always(False, f"no {control}") if control else HeaderPresent(name.encode(), False)
    text = TextTest(kind, value)
    return ControlIs(control, text, False) if control else HeaderIsNot(name.encode(), text)


def _query(key: str, kind: str, value: str) -> Condition:
    text = None if _means_present(kind, value) else TextTest(kind, value)
    return QueryIs(key.encode(), text)


Builder = Callable[[str, str, str], Condition]


def _shared(build: Builder) -> Builder:
    """Equal conditions written lately are one object: thousands of virtual hosts often say the same."""
    return lru_cache(maxsize=1024)(build)


#: The field of ``match`` -> how its condition is made. ``uri`` with ``ignoreUriCase`` has its own row.
MATCHERS: Final[dict[str, Builder]] = {
    "uri": _shared(_uri),
    "uri ignoring case": _shared(_uri_any_case),
    "scheme": _shared(_scheme),
    "method": _shared(_method),
    "authority": _shared(_authority),
    "headers": _shared(_header),
    "withoutHeaders": _shared(_without_header),
    "queryParams": _shared(_query),
}
