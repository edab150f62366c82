"""What the compiler has to say: remarks by who makes them, and the findings they come to.

A compilation that does only what changed says only what changed. So everything that is said has an *owner*, the piece
of work that says it; when the work is done again, what it says takes the place of what it said before. Where a
remark's document is, and with it the lines in its message, is worked out last: documents move in their files.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from gatewayd.findings import LEVELS, Finding, Level
from gatewayd.resources.meta import Resource, parse_path

#: Names compared in full when one is looked for that is like a wrong one.
_MAX_COMPARED: Final = 200

#: Findings whose place is found to the column, with the line quoted: the most serious, then the first. Each reads a
#: file again, so in a folder full of mistakes the others have the lines of their rules instead.
_MAX_LOCATED: Final = 200


class Where(NamedTuple):
    """A place inside of a message: ``file:line`` of a resource, or of a rule of it."""

    resource: Resource[Any]
    path: str = ""

    def __str__(self) -> str:
        position = self.resource.nearest(self.path)
        return str(position) if position.file else self.resource.full_name


class Phrase:
    """A message that is put together when it is read: ``template.format(*parts)``, some of which are places."""

    __slots__ = ("parts", "template")

    def __init__(self, template: str, *parts: Any) -> None:
        self.template = template
        self.parts = parts

    def __str__(self) -> str:
        return self.template.format(*self.parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Phrase) and (self.template, self.parts) == (other.template, other.parts)

    __hash__ = None  # type: ignore[assignment]  # compared only


Message = str | Phrase


class _Remark:
    """One thing that was said."""

    __slots__ = ("about", "code", "finding", "help", "level", "located", "message", "path", "places")

    def __init__(
        self, level: Level, code: str, message: Message, about: Resource[Any] | None, path: str, help: str
    ) -> None:
        self.level = level
        self.code = code
        self.message = message
        self.about = about
        self.path = path
        self.help = help
        #: lines from the document's first one, column, width and quote, once they were looked up
        self.located: tuple[int, int, int, str] | None = None
        #: what it came to, and the places that depends on
        self.finding: Finding | None = None
        self.places: tuple[int, ...] = ()

    def says(self, other: _Remark) -> bool:
        """Whether both are the same."""
        return (
            self.about is other.about
            and (self.level, self.code, self.path, self.help)
            == (other.level, other.code, other.path, other.help)
            and self.message == other.message
        )

    def stands(self) -> tuple[int, ...]:
        """The first lines of the documents it speaks of."""
        places = [_first_line(self.about)] if self.about is not None else []
        if self.message.__class__ is Phrase:
            places += [_first_line(part.resource) for part in self.message.parts if part.__class__ is Where]
        return tuple(places)

    def found(self) -> Finding:
        """The finding, as exact as it is known."""
        if self.finding is None:
            self.finding = self._find()
        return self.finding

    def _find(self) -> Finding:
        about, message = self.about, str(self.message)
        if about is None:
            return Finding(code=self.code, level=self.level, message=message, help=self.help)
        file, line, column = about.nearest(self.path)
        quote, width = "", 1
        if self.located is not None:
            lines, column, width, quote = self.located
            line = lines + _first_line(about)
        return Finding(
            code=self.code,
            level=self.level,
            message=message,
            file=file,
            line=line,
            column=column,
            kind=about.kind,
            namespace=about.namespace,
            name=about.name,
            path=self.path,
            help=self.help,
            quote=quote,
            width=width,
        )

    def locate(self) -> None:
        """Look the place up, if that has not been done."""
        about = self.about
        if self.located is not None or not self.path or about is None or about.locator is None:
            return
        found = about.locator.locate(parse_path(self.path), key=False)
        if found is not None:
            self.located = (found[0] - about.locator.first_line, *found[1:])
            self.finding = None


class _Speech:
    """For ``with``: what is said inside is said by one owner."""

    __slots__ = ("_before", "_owner", "_report")

    def __init__(self, report: Reporter, owner: Hashable) -> None:
        self._report = report
        self._owner = owner
        self._before: tuple[list[_Remark], dict[str, None]] = ([], {})

    def __enter__(self) -> None:
        report = self._report
        self._before = report.open
        report.open = ([], {})

    def __exit__(self, *_: object) -> None:
        report = self._report
        remarks, aside = report.open
        report.open = self._before
        report.replace(self._owner, remarks, aside)


class Reporter:
    """Remarks of a compilation, and the resources that were set aside. Equal findings count once."""

    def __init__(self) -> None:
        self._said: dict[Hashable, list[_Remark]] = {}
        self._aside: dict[Hashable, dict[str, None]] = {}
        #: what whoever speaks now has said
        self.open: tuple[list[_Remark], dict[str, None]] = ([], {})
        self._findings: tuple[Finding, ...] | None = None
        self._set_aside: tuple[str, ...] | None = None

    def by(self, owner: Hashable) -> _Speech:
        """``with report.by(owner)``: what is said inside takes the place of what ``owner`` said before."""
        return _Speech(self, owner)

    def forget(self, owner: Hashable) -> None:
        """``owner`` says nothing any more."""
        self.replace(owner, [], {})

    def replace(self, owner: Hashable, remarks: list[_Remark], aside: dict[str, None]) -> None:
        """``owner`` says ``remarks`` now, and sets ``aside`` aside."""
        before = self._said.get(owner, ())
        if remarks:
            # The former remark may know its place already.
            for at, remark in enumerate(remarks):
                known = next((each for each in before if each.says(remark)), None) if before else None
                if known is not None:
                    remarks[at] = known
            if remarks != before:
                self._said[owner] = remarks
                self._findings = None
        elif before:
            del self._said[owner]
            self._findings = None
        if aside != self._aside.get(owner, {}):
            self._set_aside = None
            if aside:
                self._aside[owner] = aside
            else:
                del self._aside[owner]

    def say(
        self,
        level: Level,
        code: str,
        message: Message,
        about: Resource[Any] | None = None,
        path: str = "",
        help: str = "",
    ) -> None:
        """Add a finding; ``path`` is a field of ``about``, such as ``spec.http[0]``."""
        self.open[0].append(_Remark(level, code, message, about, path, help))

    def set_aside(
        self, code: str, message: Message, about: Resource[Any], path: str = "", help: str = ""
    ) -> None:
        """Say why ``about`` is not served at all."""
        self.say("error", code, message, about, path, help)
        self.open[1][f"{about.kind} {about.full_name}"] = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, by place; the same for the same configuration."""
        for remarks in self._said.values():
            for remark in remarks:
                places = remark.stands()
                if places != remark.places:
                    remark.places = places
                    remark.finding = None
                    self._findings = None
        if self._findings is None:
            self._findings = self._collect()
        return self._findings

    def _collect(self) -> tuple[Finding, ...]:
        remarks = [remark for remarks in self._said.values() for remark in remarks]
        if any(remark.located is None and remark.path for remark in remarks):
            remarks.sort(key=_urgency)
            for remark in remarks[:_MAX_LOCATED]:
                remark.locate()
            for remark in remarks[_MAX_LOCATED:]:
                if remark.located is not None:
                    remark.located = remark.finding = None
        found: dict[tuple[str, str, str, int, str], Finding] = {}
        for remark in remarks:
            finding = remark.found()
            key = (finding.code, finding.message, finding.file, finding.line, finding.path)
            found.setdefault(key, finding)
        return tuple(sorted(found.values(), key=lambda f: (f.file, f.line, f.column, f.code, f.message)))

    @property
    def resources_set_aside(self) -> tuple[str, ...]:
        """``Kind namespace/name`` of each resource that is not served."""
        if self._set_aside is None:
            self._set_aside = tuple(sorted({title for aside in self._aside.values() for title in aside}))
        return self._set_aside


def _urgency(remark: _Remark) -> tuple[int, str, int, str, str, str]:
    about = remark.about
    line = about.nearest(remark.path).line if about is not None else 0
    file = about.file if about is not None else ""
    return (-LEVELS[remark.level], file, line, remark.path, remark.code, str(remark.message))


def _first_line(resource: Resource[Any]) -> int:
    return resource.line if resource.locator is None else resource.locator.first_line


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean "reviews"?)`` when some known word is close, else nothing."""
    # Far names are sorted out cheaply: comparing thousands of them in full would take seconds.
    near = sorted(name for name in known if abs(len(name) - len(word)) <= 2 and name[:1] == word[:1])
    close = get_close_matches(word, near[:_MAX_COMPARED], n=1, cutoff=0.8)
    return f' (did you mean "{close[0]}"?)' if close else ""
