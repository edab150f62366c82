"""What a set of paths declares, kept up to date: a change costs what changed, not what there is.

Files are known by their stamps and bytes, documents by their texts (``contents.py``); of two resources with one name
the first in the order of files counts. Whoever knows which files changed says so, and no other file is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gatewayd.findings import Finding
from gatewayd.release import release
from gatewayd.resources.envelope import Identity
from gatewayd.resources.faults import Fault
from gatewayd.resources.meta import Resource
from gatewayd.sources.contents import ContentReader, DocumentContent, FileContent, SetAside, resources_of
from gatewayd.sources.files import FoundFile, Unreadable
from gatewayd.sources.limits import Limits
from gatewayd.sources.origin import FileSource, Stamp
from gatewayd.sources.remarks import fault_finding
from gatewayd.sources.text import Place, digest_of

SpecT = TypeVar("SpecT")

#: kind, namespace, name: what makes two resources the same one
Key = tuple[str, str, str]


def key_of(resource: Resource[Any]) -> Key:
    """The key of a resource."""
    return resource.kind, resource.metadata.namespace, resource.metadata.name


@dataclass(slots=True)
class LoadResult:
    """What came of loading. `unreadable` counts files that could not be read or parsed (exit code 65)."""

    #: what is declared and free of errors; nobody changes it
    declared: dict[Key, Resource[Any]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    files: int = 0
    #: names of files that could not be read or parsed, and of folders that could not be looked into
    unreadable_names: list[str] = field(default_factory=list)
    #: files that are there and have not a byte
    empty_names: list[str] = field(default_factory=list)
    #: what this load cost: files that were looked at, files that were read, documents that were parsed
    looked_at: int = 0
    read: int = 0
    parsed: int = 0

    @property
    def resources(self) -> list[Resource[Any]]:
        """The resources; after the first load of all files in the order in which they stand there."""
        return list(self.declared.values())

    @property
    def unreadable(self) -> int:
        """How many files could not be read or parsed."""
        return len(self.unreadable_names)

    def of_kind(self, model: type[SpecT]) -> list[Resource[SpecT]]:
        """The resources whose `spec` is a `model`."""
        return [resource for resource in self.declared.values() if type(resource.spec) is model]


_NO_BYTES = digest_of(b"")


@dataclass(slots=True)
class _File:
    content: FileContent
    stamp: Stamp | None


class Inventory:
    """Loads one set of paths, again and again. May be used in a thread, one call at a time."""

    def __init__(self, paths: Sequence[str], files: FileSource, limits: Limits | None = None) -> None:
        self._paths = tuple(paths)
        self._source = files
        self._limits = limits or Limits()
        self._files: dict[str, _File] = {}
        self._listed: Sequence[FoundFile] | None = None
        #: place of each file in the order of all
        self._order: dict[str, int] = {}
        #: files with findings, documents set aside, or that could not be read
        self._talking: set[str] = set()
        self._empty: set[str] = set()
        self._declared: dict[Key, Resource[Any]] = {}
        #: where several documents declare one resource: all of them
        self._rivals: dict[Key, list[Resource[Any]]] = {}
        #: what was said of them, by the identities and lines of both, which are kept so that they stay their own
        self._twice: dict[tuple[int, int, int, int], tuple[Resource[Any], Resource[Any], Finding]] = {}
        self._result = LoadResult()

    def read_from(self, files: FileSource) -> None:
        """Texts come from ``files`` from now on; what was read stays known."""
        self._source = files

    def __len__(self) -> int:
        return len(self._files)

    def load(self, changed: Iterable[str] | None = None) -> LoadResult:
        """What is declared now. ``changed``: names of the files that may be others since the last load; None: any.

        Never raises for anything in a file. A resource with an error is set aside alone; the others stand.
        """
        self._result = LoadResult()
        reader = ContentReader(self._limits)
        names = None if changed is None else frozenset(changed)
        listed = self._source.find(self._paths, names)
        if listed is not self._listed:
            self._listed = listed
            self._order = {found.name: at for at, found in enumerate(listed)}
            for name in self._files.keys() - self._order.keys():
                self._replace(name, None)
            suspects = [found for found in listed if names is None or self._is_other(found, names)]
        elif names is None:
            suspects = list(listed)
        else:
            suspects = [self._files[name].content.found for name in names if name in self._files]
        for found in suspects:
            self._look_at(found, reader)
        self._result.parsed = reader.parsed
        return self._finish()

    def _is_other(self, found: FoundFile, changed: frozenset[str]) -> bool:
        known = self._files.get(found.name)
        return known is None or found.name in changed or known.content.found != found

    def _look_at(self, found: FoundFile, reader: ContentReader) -> None:
        """Take in what a file holds, if it is other than before."""
        self._result.looked_at += 1
        before = self._files.get(found.name)
        stamp = None
        if not found.problem:
            # Taken before the bytes: a change in between makes the next load read the file again.
            stamp = self._source.stamp(found)
            if before is not None and _untouched(before.stamp, stamp):
                return
        try:
            data = self._source.read(found, self._limits)
        except Unreadable as reason:
            finding = Finding(code=reason.code, level="error", message=str(reason), file=found.name)
            self._replace(found.name, _File(FileContent(found, b"", [], (finding,), True), None))
            return
        self._result.read += 1
        digest = digest_of(data)
        if before is not None and before.content.digest == digest:
            before.stamp = stamp
            return
        earlier = before.content if before is not None else None
        content = reader.read(found, data, digest, earlier)
        if earlier is not None:
            gone, come = content.changed or (earlier.documents, content.documents)
            _recognise(gone, come)
        self._replace(found.name, _File(content, stamp))

    # What is declared

    def _replace(self, name: str, file: _File | None) -> None:
        """``name`` has other contents, or none any more."""
        before = self._files.pop(name, None)
        gone = before.content.documents if before is not None else []  # nobody else's any more
        come = file.content.documents if file is not None else []
        if file is not None and file.content.changed is not None:
            gone, come = file.content.changed
            file.content.changed = None
        coming = {id(resource) for resource in resources_of(come)}
        going = {id(resource) for resource in resources_of(gone)}
        for resource in resources_of(gone):
            if id(resource) not in coming:
                self._retract(resource)
        self._talking.discard(name)
        self._empty.discard(name)
        if file is not None:
            if file.content.digest == _NO_BYTES:
                self._empty.add(name)
            self._files[name] = file
            content = file.content
            if content.findings or content.unreadable or any(each.findings for each in content.documents):
                self._talking.add(name)
        for resource in resources_of(come):
            if id(resource) not in going:
                self._declare(resource)
        release(gone)

    def _declare(self, resource: Resource[Any]) -> None:
        key = key_of(resource)
        first = self._declared.setdefault(key, resource)
        if first is not resource:
            self._rivals.setdefault(key, [first]).append(resource)

    def _retract(self, resource: Resource[Any]) -> None:
        key = key_of(resource)
        rivals = self._rivals.get(key)
        if rivals is None:
            self._declared.pop(key, None)
            return
        rivals.remove(resource)
        self._declared[key] = rivals[0]
        if len(rivals) == 1:
            del self._rivals[key]

    # The result

    def _finish(self) -> LoadResult:
        result = self._result
        result.files = len(self._order)
        twice: dict[str, list[tuple[Finding, SetAside]]] = {}
        if self._rivals:
            self._settle(twice)
        for name in sorted(self._talking | twice.keys(), key=self._order.__getitem__):
            content = self._files[name].content
            if content.unreadable:
                result.unreadable_names.append(name)
            result.findings += content.findings
            for document in content.documents:
                result.findings += document.findings
                result.set_aside += document.set_aside
            for finding, aside in twice.get(name, ()):
                result.findings.append(finding)
                result.set_aside.append(aside)
        if not result.files:
            message = f"no *.yaml, *.yml or *.json file in {', '.join(self._paths) or 'no path at all'}"
            result.findings.append(Finding(code="GWD0007", level="warning", message=message))
        result.empty_names = sorted(self._empty)
        result.declared = self._declared.copy()
        return result

    def _settle(self, twice: dict[str, list[tuple[Finding, SetAside]]]) -> None:
        """Of several with one name the first counts; say so at the others, by file."""
        told = self._twice
        self._twice = {}
        ranks: dict[str, dict[int, int]] = {}
        for key, rivals in self._rivals.items():
            rivals.sort(key=lambda each: self._rank(each, ranks))
            first = self._declared[key] = rivals[0]
            for other in rivals[1:]:
                mark = (id(first), first.line, id(other), other.line)
                known = told.get(mark) or (first, other, _declared_twice(first, other))
                self._twice[mark] = known
                aside = SetAside(*key, other.file, other.line)
                twice.setdefault(other.file, []).append((known[2], aside))
        for entries in twice.values():
            entries.sort(key=lambda entry: (entry[1].line, entry[0].column))

    def _rank(self, resource: Resource[Any], ranks: dict[str, dict[int, int]]) -> tuple[int, int]:
        """Where a resource stands among all; ``ranks`` keeps the places in each file."""
        name = resource.file
        if name not in ranks:
            contents = self._files[name].content.resources()
            ranks[name] = {id(each): at for at, each in enumerate(contents)}
        return self._order[name], ranks[name][id(resource)]


def _recognise(gone: Iterable[DocumentContent], come: Iterable[DocumentContent]) -> None:
    """Put the former object in the place of one that says the same: much hangs on it."""
    former = {key_of(resource): resource for resource in resources_of(gone)}
    for document in come if former else ():
        for resource in document.resources:
            known = former.pop(key_of(resource), None)
            if known is not None and known is not resource and known.says_the_same(resource):
                known.locator = resource.locator
                document.resources = tuple(known if each is resource else each for each in document.resources)


def _untouched(before: Stamp | None, now: Stamp | None) -> bool:
    return before is not None and now is not None and before.sure and before.signature == now.signature


def _declared_twice(first: Resource[Any], other: Resource[Any]) -> Finding:
    message = f"declared twice: {first.file}:{first.line} has it first, and counts"
    place = other.locator
    assert isinstance(place, Place)
    fault = Fault(("metadata", "name"), message, code="GWD0013")
    return fault_finding(place.anchor.source, place, fault, Identity(*key_of(other)))
