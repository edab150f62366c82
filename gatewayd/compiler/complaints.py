"""Problems of destinations, at the fields that name them.

Everyone who names a destination with an error is told; of what is less, the oldest document that names it.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from gatewayd.compiler.destinations import Question
from gatewayd.compiler.findings import Reporter
from gatewayd.compiler.ordering import age_key
from gatewayd.compiler.problems import Problem, of_connections
from gatewayd.resources.meta import Resource, parse_path


@dataclass(frozen=True, slots=True)
class Place:
    """Who asks for a destination, for findings: ``path`` is the field that names it."""

    resource: Resource[Any]
    path: str
    #: connections go there, not requests
    raw: bool = False


@dataclass(slots=True, eq=False)
class _Case:
    """A question whose answer is a problem."""

    problem: Problem
    #: by asker: all places for an error, else its first
    places: dict[Hashable, list[Place]]


class Complaints:
    """Who asks for what has a problem."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._cases: dict[Question, _Case] = {}
        self._askers: set[tuple[Question, Hashable]] = set()
        self._loose: set[Question] = set()

    def file(self, asked: Question, problem: Problem, asker: Hashable, place: Place) -> None:
        """``asker`` was answered with a problem."""
        case = self._cases.get(asked)
        if case is None:
            case = self._cases[asked] = _Case(problem, {})
        places = case.places.setdefault(asker, [])
        if places and problem.level != "error":
            return
        places.append(Place(place.resource, sys.intern(place.path), place.raw))
        self._note(asked, case, asker)

    def withdraw(self, asked: Question, asker: Hashable) -> None:
        """``asker`` does not ask any more."""
        case = self._cases.get(asked)
        if case is not None and case.places.pop(asker, None) is not None:
            self._note(asked, case, asker)

    def void(self, asked: Question) -> None:
        """The answer is another one now; whoever asked will ask again."""
        case = self._cases.pop(asked, None)
        if case is None:
            return
        self._report.forget(("problem", asked))
        for asker in case.places:
            self._report.forget(("problem", asked, asker))

    def _note(self, asked: Question, case: _Case, asker: Hashable) -> None:
        if case.problem.level == "error":
            self._askers.add((asked, asker))
        else:
            self._loose.add(asked)

    def review(self) -> None:
        """Say what has not been said yet."""
        for asked, asker in self._askers:
            case = self._cases.get(asked)
            with self._report.by(("problem", asked, asker)):
                if case is not None and case.problem.level == "error":
                    for place in case.places.get(asker, ()):
                        self._say(case.problem, place)
        for asked in self._loose:
            case = self._cases.get(asked)
            with self._report.by(("problem", asked)):
                if case is not None and case.problem.level != "error" and case.places:
                    self._say(case.problem, _first(places[0] for places in case.places.values()))
        self._askers.clear()
        self._loose.clear()
        for asked in [asked for asked, case in self._cases.items() if not case.places]:
            del self._cases[asked]

    def _say(self, problem: Problem, place: Place) -> None:
        message = of_connections(problem.message) if place.raw else problem.message
        self._report.say(problem.level, problem.code, message, place.resource, place.path, problem.help)


def _first(places: Any) -> Place:
    """The place in the oldest document, the first one there."""
    found: list[Place] = []
    oldest: Any = None
    for place in places:
        age = (age_key(place.resource.metadata), place.resource.kind)
        if oldest is None or age < oldest:
            oldest, found = age, []
        if age == oldest:
            found.append(place)
    return min(found, key=lambda place: parse_path(place.path))
