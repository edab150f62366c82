"""HOT: the ordered rules of a virtual host, filed so that many rules are not many comparisons.

First match in order stays exact: every rule is filed under one condition it needs (the most selective
one), a look-up visits only the places the request fits, each place holds its rules in order, and the
lowest order whose remaining conditions hold wins. The plain walk from top to bottom, which this must
always agree with, is in ``tests/reference/routing.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gatewayd.http.message import RequestHead
from gatewayd.regexes import Regex
from gatewayd.routing.conditions import (
    CONTROL_DATA,
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
    QueryIs,
)
from gatewayd.routing.paths import Entry, Filed, PrefixIndex
from gatewayd.routing.route import Route

Finder = Callable[[RequestHead], Route | None]
_Test = Callable[[RequestHead], bool]

#: Up to here a walk from the top is faster than the index (benchmarks/micro, ``find``).
SMALL: Final = 5
#: A path condition shared by no more rules than this is selective enough; headers are not consulted.
_SELECTIVE: Final = 8


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


def compile_confirm(conditions: Sequence[Condition]) -> _Test | None:
    """One function for all of ``conditions``, or None when there are none."""
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

    __slots__ = ("_entries", "_last")

    def __init__(self, rules: Sequence[Rule]) -> None:
        entries = [(compile_confirm(rule.conditions), rule.route) for rule in rules]
        #: the route of the unconditional rule, which can only be the last
        self._last: Route | None = None
        if entries and entries[-1][0] is None:
            self._last = entries.pop()[1]
        self._entries = tuple((test, route) for test, route in entries if test is not None)

    def find(self, request: RequestHead) -> Route | None:
        for test, route in self._entries:
            if test(request):
                return route
        return self._last


@dataclass(slots=True)
class _Key:
    """A place a rule could be filed at: a table, the key there, and the condition that implies."""

    table: str  # exact, prefix, exact_any_case, prefix_any_case, value, name, control or rest
    key: tuple[bytes, ...] = ()
    #: condition that need not be confirmed again when the place was reached
    implied: Condition | None = None
    regex: Regex | None = None


def _path_key(rule: Rule) -> _Key:
    for c in rule.conditions:
        if isinstance(c, PathExact):
            return _Key("exact", (c.value,), c)
        if isinstance(c, PathPrefix):
            return _Key("prefix", (c.value,), c)
        if isinstance(c, PathSegmentPrefix):
            return _Key("prefix", (c.value,))
        if isinstance(c, PathRegex):
            return _Key("prefix", (c.regex.required_prefix,), c, c.regex)
        if isinstance(c, PathExactAnyCase):
            return _Key("exact_any_case", (c.value,), c)
        if isinstance(c, PathPrefixAnyCase):
            return _Key("prefix_any_case", (c.value,), c)
    return _Key("rest")


def _other_keys(rule: Rule) -> list[_Key]:
    keys = []
    for c in rule.conditions:
        if isinstance(c, HeaderIs):
            if c.text.kind == "exact":
                keys.append(_Key("value", (c.name, c.text.value), c))
            else:
                keys.append(_Key("name", (c.name,)))
        elif isinstance(c, HeaderPresent) and c.holds:
            keys.append(_Key("name", (c.name,), c))
        elif isinstance(c, ControlIs) and c.holds and c.text.kind == "exact":
            keys.append(_Key("control", (c.name.encode(), c.text.value), c))
    return keys


class _HeaderPlace:
    """Rules that need one header: by its value, or by its mere presence."""

    __slots__ = ("first", "present", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, list[Entry]] = {}
        self.present: list[Entry] = []
        self.first = 0


class RuleIndex:
    """Many rules; see the module's docstring."""

    __slots__ = (
        "_controls",
        "_exact",
        "_exact_any_case",
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
        self._exact: dict[bytes, list[Entry]] = {}
        self._exact_any_case: dict[bytes, list[Entry]] = {}
        self._headers: dict[bytes, _HeaderPlace] = {}
        self._controls: dict[str, dict[bytes, list[Entry]]] = {}
        self._rest: list[Entry] = []
        prefixes: list[Filed] = []
        prefixes_any_case: list[Filed] = []
        for order, (rule, place) in enumerate(zip(rules, _choose(rules), strict=True)):
            left = [c for c in rule.conditions if c is not place.implied]
            self._file(order, compile_confirm(left), place, prefixes, prefixes_any_case)
        self._prefixes = PrefixIndex(prefixes) if prefixes else None
        self._prefixes_any_case = PrefixIndex(prefixes_any_case) if prefixes_any_case else None

    def _file(
        self, order: int, confirm: _Test | None, place: _Key, prefixes: list[Filed], any_case: list[Filed]
    ) -> None:
        entry = (order, confirm)
        key = place.key
        match place.table:
            case "exact":
                self._exact.setdefault(key[0], []).append(entry)
            case "exact_any_case":
                self._exact_any_case.setdefault(key[0], []).append(entry)
            case "prefix":
                prefixes.append(Filed(key[0], order, confirm, place.regex))
            case "prefix_any_case":
                any_case.append(Filed(key[0], order, confirm))
            case "control":
                self._controls.setdefault(key[0].decode(), {}).setdefault(key[1], []).append(entry)
            case "rest":
                self._rest.append(entry)
            case _:
                at = self._headers.get(key[0])
                if at is None:
                    at = self._headers[key[0]] = _HeaderPlace()
                    at.first = order
                if place.table == "value":
                    at.values.setdefault(key[1], []).append(entry)
                else:
                    at.present.append(entry)

    def find(self, request: RequestHead) -> Route | None:
        """The route of the first rule that matches, or None."""
        best = self._none
        path = request.path
        entries = self._exact.get(path)
        if entries is not None:
            best = _first(entries, request, best)
        if self._prefixes is not None:
            best = self._prefixes.find(path, request, best)
        if self._headers:
            best = self._find_by_header(request, best)
        if self._controls:
            best = self._find_by_control(request, best)
        if self._exact_any_case or self._prefixes_any_case is not None:
            lower = path.lower()
            entries = self._exact_any_case.get(lower)
            if entries is not None:
                best = _first(entries, request, best)
            if self._prefixes_any_case is not None:
                best = self._prefixes_any_case.find(lower, request, best)
        if self._rest:
            best = _first(self._rest, request, best)
        return self._routes[best]

    def _find_by_header(self, request: RequestHead, best: int) -> int:
        get = self._headers.get
        visited: list[_HeaderPlace] = []
        for name, value in request.fields.pairs:
            place = get(name)
            if place is None or place.first >= best:
                continue
            entries = place.values.get(value)
            if entries is not None:
                best = _first(entries, request, best)
            # Once per name: a client that repeats a header must not make us repeat the walk.
            if place.present and place not in visited:
                visited.append(place)
                best = _first(place.present, request, best)
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


def _choose(rules: Sequence[Rule]) -> list[_Key]:
    """For each rule the place where it keeps the fewest others company."""
    paths = [_path_key(rule) for rule in rules]
    others = [_other_keys(rule) for rule in rules]
    crowd: Counter[tuple[str, tuple[bytes, ...]]] = Counter()
    for path, more in zip(paths, others, strict=True):
        crowd[path.table, path.key] += 1
        for key in more:
            crowd[key.table, key.key] += 1

    def company(key: _Key) -> int:
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
