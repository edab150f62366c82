"""HOT: the ordered rules of a virtual host, filed so that many rules are not many comparisons.

First match in order stays exact: every rule is filed under one condition it needs (the most selective
one), a look-up visits only the places the request fits, each place holds its rules in order, and the
lowest order whose remaining conditions hold wins. The plain walk from top to bottom, which this must
always agree with, is in ``tests/reference/routing.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gatewayd.http.message import RequestHead
from gatewayd.routing.conditions import (
    CONTROL_DATA,
    Condition,
    HeaderIs,
    HeaderPresent,
    PathRegex,
    QueryIs,
)
from gatewayd.routing.filing import choose_places
from gatewayd.routing.paths import Entry, Filed, PrefixIndex
from gatewayd.routing.route import Route

Finder = Callable[[RequestHead], Route | None]
_Test = Callable[[RequestHead], bool]

#: Up to here a walk from the top is as fast as the index (``python -m benchmarks.micro --only find``) and
#: takes less memory, of which ten thousand virtual hosts need ten thousand times as much.
SMALL: Final = 8
#: With no more header names than this, each is looked up; with more, the request's fields are walked.
_FEW_NAMES: Final = 4


@dataclass(frozen=True, slots=True)
class Rule:
    """One alternative of a rule: all ``conditions`` must hold, none means always."""

    conditions: tuple[Condition, ...]
    route: Route

    def unmet(self, request: RequestHead) -> Condition | None:
        """The first condition that does not hold, for ``explain``; None when the rule matches."""
        for condition in self.conditions:
            if not condition.matches(request):
                return condition
        return None


def compile_finder(rules: Sequence[Rule]) -> Finder:
    """The function that gives a request's route by the first of ``rules`` that matches, or None."""
    reachable: list[Rule] = []
    for rule in rules:
        reachable.append(rule)
        if not rule.conditions:
            break
    if len(reachable) <= SMALL:
        return _ListFinder(reachable).find
    return RuleIndex(reachable).find


def _price(condition: Condition) -> int:
    """Cheap conditions are confirmed first; all are pure, so their order changes no answer."""
    if isinstance(condition, (PathRegex, QueryIs)):
        return 2
    if isinstance(condition, (HeaderIs, HeaderPresent)):
        return 1
    return 0


@lru_cache(maxsize=1024)
def compile_confirm(conditions: tuple[Condition, ...]) -> _Test | None:
    """One function for all of ``conditions``, or None when there are none; equal ones share it."""
    tests = tuple(c.matches for c in sorted(conditions, key=_price))
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda request: first(request) and second(request)

    def every(request: RequestHead) -> bool:
        for test in tests:  # noqa: SIM110  a generator costs a frame here
            if not test(request):
                return False
        return True

    return every


class _ListFinder:
    """A few rules, walked from the top."""

    __slots__ = ("_last", "_routes", "_tests")

    def __init__(self, rules: Sequence[Rule]) -> None:
        tests = [compile_confirm(rule.conditions) for rule in rules]
        routes = [rule.route for rule in rules]
        #: the route of the unconditional rule, which can only be the last
        self._last: Route | None = None
        if tests and tests[-1] is None:
            tests.pop()
            self._last = routes.pop()
        # Two tuples, not one of pairs: tests are shared between hosts, so of thousands of hosts fewer
        # objects are touched that the processor's caches do not hold.
        self._tests = tuple(test for test in tests if test is not None)
        self._routes = tuple(routes)

    def find(self, request: RequestHead) -> Route | None:
        """The route of the first rule that matches, or None."""
        position = 0
        for test in self._tests:
            if test(request):
                return self._routes[position]
            position += 1  # noqa: SIM113  enumerate makes a tuple each turn
        return self._last


class _HeaderPlace:
    """Rules that need one header: by its value, or by its mere presence."""

    __slots__ = ("first", "present", "values")

    def __init__(self, first: int) -> None:
        self.values: dict[bytes, list[Entry]] = {}
        self.present: list[Entry] = []
        #: lowest order here
        self.first = first

    def find(self, value: bytes, request: RequestHead, best: int) -> int:
        """The lowest order below ``best`` of a matching rule that needs ``value``, else ``best``."""
        entries = self.values.get(value)
        return best if entries is None else _first(entries, request, best)


class RuleIndex:
    """Many rules; see the module's docstring."""

    __slots__ = (
        "_any_case",
        "_controls",
        "_exact",
        "_exact_any_case",
        "_few_names",
        "_headers",
        "_none",
        "_prefixes",
        "_prefixes_any_case",
        "_rest",
        "_routes",
    )

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._none = len(rules)
        #: routes by order; the last is "no route"
        self._routes: list[Route | None] = [*(rule.route for rule in rules), None]
        exact: dict[bytes, list[Entry]] = {}
        self._exact_any_case: dict[bytes, list[Entry]] = {}
        self._headers: dict[bytes, _HeaderPlace] = {}
        self._controls: dict[str, dict[bytes, list[Entry]]] = {}
        self._rest: list[Entry] = []
        prefixes: list[Filed] = []
        prefixes_any_case: list[Filed] = []
        places = choose_places([rule.conditions for rule in rules])
        for order, (rule, place) in enumerate(zip(rules, places, strict=True)):
            confirm = compile_confirm(tuple(c for c in rule.conditions if c is not place.implied))
            entry = (order, confirm)
            key = place.key
            match place.table:
                case "exact":
                    exact.setdefault(key[0], []).append(entry)
                case "exact_any_case":
                    self._exact_any_case.setdefault(key[0], []).append(entry)
                case "prefix":
                    prefixes.append(Filed(key[0], order, confirm, place.regex))
                case "prefix_any_case":
                    prefixes_any_case.append(Filed(key[0], order, confirm))
                case "control":
                    values = self._controls.setdefault(key[0].decode(), {})
                    values.setdefault(key[1], []).append(entry)
                case "value":
                    self._header(key[0], order).values.setdefault(key[1], []).append(entry)
                case "name":
                    self._header(key[0], order).present.append(entry)
                case _:
                    self._rest.append(entry)
        self._prefixes = PrefixIndex(prefixes)
        self._prefixes_any_case = PrefixIndex(prefixes_any_case)
        self._any_case = bool(self._exact_any_case or prefixes_any_case)
        #: path -> (lowest order of any prefix it has, its rules): often no prefix can come first
        self._exact = {path: (self._prefixes.lowest(path), entries) for path, entries in exact.items()}
        self._few_names = tuple(self._headers.items()) if len(self._headers) <= _FEW_NAMES else ()

    def _header(self, name: bytes, order: int) -> _HeaderPlace:
        place = self._headers.get(name)
        if place is None:
            place = self._headers[name] = _HeaderPlace(order)
        return place

    def find(self, request: RequestHead) -> Route | None:
        """The route of the first rule that matches, or None."""
        best = self._none
        path = request.path
        exact = self._exact.get(path)
        if exact is None:
            best = self._prefixes.find(path, request, best)
        else:
            lowest, entries = exact
            best = _first(entries, request, best)
            if lowest < best:
                best = self._prefixes.find(path, request, best)
        if self._headers:
            best = self._find_by_header(request, best)
        if self._controls:
            best = self._find_by_control(request, best)
        if self._any_case:
            path = path.lower()
            any_case = self._exact_any_case.get(path)
            if any_case is not None:
                best = _first(any_case, request, best)
            best = self._prefixes_any_case.find(path, request, best)
        if self._rest:
            best = _first(self._rest, request, best)
        return self._routes[best]

    def _find_by_header(self, request: RequestHead, best: int) -> int:
        # A client that repeats a header must not make us walk its rules again: presence counts once.
        for name, place in self._few_names:
            if place.first < best:
                values = request.fields.values(name)
                if values:
                    for value in values:
                        best = place.find(value, request, best)
                    best = _first(place.present, request, best)
        if self._few_names:
            return best
        visited: list[_HeaderPlace] = []
        for name, value in request.fields.pairs:
            found = self._headers.get(name)
            if found is not None and found.first < best:
                best = found.find(value, request, best)
                if found.present and found not in visited:
                    visited.append(found)
                    best = _first(found.present, request, best)
        return best

    def _find_by_control(self, request: RequestHead, best: int) -> int:
        for name, values in self._controls.items():
            entries = values.get(CONTROL_DATA[name](request))
            if entries is not None:
                best = _first(entries, request, best)
        return best


def _first(entries: Sequence[Entry], request: RequestHead, best: int) -> int:
    for order, confirm in entries:
        if order >= best:
            return best
        if confirm is None or confirm(request):
            return order
    return best
