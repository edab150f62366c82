"""Which alternatives can never match, because an earlier one takes all of their requests.

Only what is certain is found: an earlier alternative takes a later one's requests when its uri covers
the later one's and all its other conditions are among the later one's, word for word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Final

from gatewayd.compiler.matches import kind_and_value
from gatewayd.compiler.virtual_services import Alternative
from gatewayd.resources.virtual_service import HTTPMatchRequest, StringMatch

_Others = frozenset[tuple[str, str, str, str]]
_NONE: Final[_Others] = frozenset()
#: More conditions than this are compared as a whole only: their subsets would be too many.
_MAX_SUBSETS_OF: Final = 4


class _Taken:
    """What was taken so far under one set of other conditions: by uri, the index of the first taker."""

    __slots__ = ("any", "exact", "lengths", "other", "prefixes")

    def __init__(self) -> None:
        self.any: int | None = None
        self.exact: dict[str, int] = {}
        self.prefixes: dict[str, int] = {}
        self.lengths: list[int] = []
        self.other: dict[tuple[str, str], int] = {}

    def add(self, kind: str, value: str, index: int) -> None:
        if kind == "any":
            if self.any is None:
                self.any = index
        elif kind == "exact":
            self.exact.setdefault(value, index)
        elif kind == "prefix":
            if value not in self.prefixes:
                self.prefixes[value] = index
                if len(value) not in self.lengths:
                    self.lengths.append(len(value))
        else:
            self.other.setdefault((kind, value), index)

    def taker(self, kind: str, value: str) -> int | None:
        if self.any is not None:
            return self.any
        if kind in ("exact", "prefix"):
            for length in self.lengths:
                if length <= len(value):
                    found = self.prefixes.get(value[:length])
                    if found is not None:
                        return found
        return self.exact.get(value) if kind == "exact" else self.other.get((kind, value))


def shadowed(alternatives: Sequence[Alternative]) -> list[tuple[int, int]]:
    """(index, index of the earlier one that takes all its requests), in order."""
    if len(alternatives) < 2:
        return []
    taken: dict[_Others, _Taken] = {}
    found: list[tuple[int, int]] = []
    for index, option in enumerate(alternatives):
        kind, value = _uri(option)
        others = _others(option.match)
        takers = [
            taker
            for wider in _subsets(others, taken)
            if (taker := taken[wider].taker(kind, value)) is not None
        ]
        if takers:
            found.append((index, min(takers)))
            continue
        place = taken.get(others)
        if place is None:
            place = taken[others] = _Taken()
        place.add(kind, value, index)
    return found


def _subsets(others: _Others, taken: Mapping[_Others, _Taken]) -> Iterable[_Others]:
    if not others:
        return (_NONE,) if _NONE in taken else ()
    if len(others) > _MAX_SUBSETS_OF:
        return (some for some in (_NONE, others) if some in taken)
    return (
        some
        for size in range(len(others) + 1)
        for some in map(frozenset, combinations(others, size))
        if some in taken
    )


def _uri(option: Alternative) -> tuple[str, str]:
    """``any``, or a kind of comparison that only equals its like, and the text."""
    match = option.match
    if match is None:
        # An Ingress path, or a rule without match
        if not option.conditions:
            return "any", ""
        matched = option.path_matched
        return matched.kind, matched.value.decode()
    if match.uri is None:
        return "any", ""
    kind, value = kind_and_value(match.uri)
    if (kind == "prefix" and value in ("", "/")) or (kind == "regex" and value == ".*"):
        return "any", ""
    if match.ignore_uri_case and kind != "regex":
        return f"{kind} ignoring case", value.lower()
    return kind, value


def _others(match: HTTPMatchRequest | None) -> _Others:
    if match is None:
        return _NONE
    found: list[tuple[str, str, str, str]] = []
    for name, text in (("method", match.method), ("scheme", match.scheme), ("authority", match.authority)):
        if text is not None:
            found.append((name, "", *kind_and_value(text)))
    if match.headers:
        found += _named("header", match.headers, lower=True)
    if match.without_headers:
        found += _named("without header", match.without_headers, lower=True)
    if match.query_params:
        found += _named("query parameter", match.query_params, lower=False)
    return frozenset(found) if found else _NONE


def _named(what: str, texts: Mapping[str, StringMatch], *, lower: bool) -> list[tuple[str, str, str, str]]:
    return [(what, name.lower() if lower else name, *kind_and_value(text)) for name, text in texts.items()]


def takes(option: Alternative) -> str:
    """What an alternative takes, in words: ``prefix "/"``, ``every request``."""
    kind, value = _uri(option)
    others = len(_others(option.match))
    if kind == "any":
        if option.match is not None and option.match.uri is not None:
            written, text = kind_and_value(option.match.uri)
            uri = f'{written} "{text}"'
        else:
            uri = "every path" if others else "every request"
    else:
        uri = f'{kind} "{value}"'
    return uri if not others else f"{uri} with the same conditions or fewer"
