"""Load: paths in, typed resources and findings out. Nothing found here stops the rest from being loaded."""

import gc
import re
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple, TypeVar

from gatewayd.findings import Finding
from gatewayd.resources.envelope import Identity, identify, open_document
from gatewayd.resources.faults import Fault
from gatewayd.resources.meta import PathItem, Resource, format_path
from gatewayd.sources.files import FoundFile, Unreadable, decode_text
from gatewayd.sources.limits import Limits
from gatewayd.sources.memory import FileContent, FileMemory
from gatewayd.sources.origin import Disk, FileSource
from gatewayd.sources.plain_yaml import PlainReader
from gatewayd.sources.reader import read_documents, read_json
from gatewayd.sources.text import Place, SourceText
from gatewayd.sources.yaml_tree import Document, Problem

SpecT = TypeVar("SpecT")

#: What a message quotes of the text.
_QUOTED = re.compile('".*"', re.DOTALL)


class SetAside(NamedTuple):
    """A document that is not served, because of an error among the findings."""

    kind: str
    namespace: str
    name: str
    file: str
    line: int

    def __str__(self) -> str:
        full_name = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.kind or 'document'} {full_name} ({self.file}:{self.line})".replace("  ", " ")


@dataclass(slots=True)
class LoadResult:
    """What came of loading. `unreadable` counts files that could not be read or parsed (exit code 65)."""

    resources: list[Resource[Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    files: int = 0
    unreadable: int = 0
    #: their names, and those of folders that could not be looked into
    unreadable_names: list[str] = field(default_factory=list)

    def of_kind(self, model: type[SpecT]) -> list[Resource[SpecT]]:
        """Return the resources whose `spec` is a `model`, in the order they were read."""
        return [resource for resource in self.resources if type(resource.spec) is model]


def load(
    paths: Sequence[str],
    stdin: BinaryIO | None = None,
    limits: Limits | None = None,
    memory: FileMemory | None = None,
    files: FileSource | None = None,
    changed: Container[str] | None = None,
) -> LoadResult:
    """Read `paths` (files, folders, `-` for `stdin`); return the resources in them and what there is to say.

    Never raises for anything in a file. A resource with an error is set aside alone; the others stand. With a
    `memory` files that did not change since the last load give the same `Resource` objects again; `changed`: the
    names of those that may have, where that is known. `files`: where texts come from, if not from the disk.
    """
    loader = _Loader(limits or Limits(), memory, files or Disk(stdin), changed)
    with _collector_off():
        if memory is not None:
            memory.begin()
        for found in loader.files.find(paths):
            loader.take(found)
        if memory is not None:
            memory.end()
    if not loader.result.files:
        message = f"no *.yaml, *.yml or *.json file in {', '.join(paths) or 'no path at all'}"
        loader.result.findings.append(Finding(code="GWD0007", level="warning", message=message))
    return loader.result


@contextmanager
def _collector_off() -> Iterator[None]:
    """Trees without cycles: looking for garbage in them takes longer than building them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Loader:
    """Puts the contents of files together; of two resources with one name the first counts."""

    def __init__(
        self, limits: Limits, memory: FileMemory | None, files: FileSource, changed: Container[str] | None
    ) -> None:
        self.limits = limits
        self.files = files
        self.result = LoadResult()
        self._memory = memory
        self._changed = changed
        self._plain = PlainReader(limits)
        self._first: dict[tuple[str, str, str], Resource[Any]] = {}

    def take(self, found: FoundFile) -> None:
        """Read one file, or remember it."""
        result = self.result
        result.files += 1
        content = self._content(found)
        if content.unreadable:
            result.unreadable += 1
            result.unreadable_names.append(found.name)
        for item in content.items:
            if item.__class__ is Resource:
                self._declare(item)
            elif item.__class__ is SetAside:
                result.set_aside.append(item)
            else:
                result.findings.append(item)

    def _content(self, found: FoundFile) -> FileContent:
        memory = self._memory
        stamp = None
        if memory is not None and not found.problem:
            unchanged = self._changed is not None and found.name not in self._changed
            known = memory.known(found.name) if unchanged else None
            if known is not None:
                return known
            # Taken before the bytes: a change in between makes the next load read the file again.
            stamp = self.files.stamp(found)
            known = memory.untouched(found.name, stamp)
            if known is not None:
                return known
        try:
            data = self.files.read(found, self.limits)
        except Unreadable as reason:
            finding = Finding(code=reason.code, level="error", message=str(reason), file=found.name)
            return FileContent((finding,), True)
        if memory is None:
            return _FileReader(found, self.limits, self._plain).read(data)
        content = memory.same(found.name, data, stamp)
        if content is None:
            content = _FileReader(found, self.limits, self._plain).read(data)
            memory.keep(found.name, data, stamp, content)
        return content

    def _declare(self, resource: Resource[Any]) -> None:
        first = self._first.setdefault((resource.kind, resource.namespace, resource.name), resource)
        if first is resource:
            self.result.resources.append(resource)
            return
        message = f"declared twice: {first.file}:{first.line} has it first, and counts"
        identity = Identity(resource.kind, resource.namespace, resource.name)
        place = resource.locator
        assert isinstance(place, Place)
        fault = Fault(("metadata", "name"), message, code="GWD0013")
        self.result.findings.append(fault_finding(place.source, place, fault, identity))
        self.result.set_aside.append(SetAside(*identity, resource.file, resource.line))


class _FileReader:
    """Reads the documents of one file."""

    def __init__(self, found: FoundFile, limits: Limits, plain: PlainReader) -> None:
        self._found = found
        self._limits = limits
        self._plain = plain
        self._items: list[Any] = []

    def read(self, data: bytes) -> FileContent:
        """Everything in ``data``, the file's bytes."""
        found = self._found
        try:
            text = decode_text(data)
        except UnicodeDecodeError as error:
            return FileContent((not_text_finding(found.name, data, error),), True)
        source = SourceText(found.name, found.path, data, text, self._limits)
        broken: list[Problem] = []
        for item in read_documents(text, self._limits, self._plain):
            if isinstance(item, Problem):
                broken.append(item)
            elif item.value is not None or item.problems:
                self._document(source, item)
        if broken and found.name.endswith(".json") and (document := read_json(text, self._limits)):
            broken = []
            self._document(source, document)
        self._items += [text_finding(source, problem, Identity()) for problem in broken]
        source.forget()
        return FileContent(tuple(self._items), bool(broken))

    def _document(self, source: SourceText, document: Document) -> None:
        if document.problems:
            identity = identify(document.value)
            for problem in document.problems:
                self._items.append(text_finding(source, problem, identity))
            self._items.append(SetAside(*identity, source.name, document.line))
            return
        for prefix, tree in _unpack(document.value, ()):
            place = Place(source, document.start, document.end, document.start_line, prefix)
            self._resource(source, document, place, tree)

    def _resource(self, source: SourceText, document: Document, place: Place, tree: Any) -> None:
        opened = open_document(tree)
        self._items += [fault_finding(source, place, fault, opened.identity) for fault in opened.faults]
        line, column = document.line, document.column
        if place.prefix and (found := place.locate((), key=False)):
            line, column = found[:2]
        if opened.spec is None or opened.metadata is None:
            if any(fault.level == "error" for fault in opened.faults):
                self._items.append(SetAside(*opened.identity, source.name, line))
            return
        resource: Resource[Any] = Resource(
            kind=opened.identity.kind,
            api_version=opened.api_version,
            metadata=opened.metadata,
            spec=opened.spec,
            file=source.name,
            line=line,
            column=column,
            rule_lines=_rule_lines(tree, document),
            locator=place,
        )
        self._items.append(resource)


def _unpack(tree: Any, prefix: tuple[PathItem, ...]) -> Iterator[tuple[tuple[PathItem, ...], Any]]:
    """Yield the resources of a document: itself, or the items of a `List` (or `ServiceList` and the like)."""
    if isinstance(tree, dict) and isinstance(tree.get("items"), list):
        kind = tree.get("kind")
        if isinstance(kind, str) and kind.endswith("List") and len(prefix) < 4:
            for index, item in enumerate(tree["items"]):
                if isinstance(item, dict) and kind != "List":
                    # Items of a typed list may leave out what the list says.
                    item.setdefault("kind", kind.removesuffix("List"))
                    item.setdefault("apiVersion", tree.get("apiVersion"))
                yield from _unpack(item, (*prefix, "items", index))
            return
    yield prefix, tree


def _rule_lines(tree: dict[str, Any], document: Document) -> dict[str, tuple[tuple[int, int], ...]] | None:
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        return None
    rules, base = document.rules, document.rules_line
    return {
        key: tuple([(line + base, column) for line, column in rules[id(value)]])
        for key, value in spec.items()
        if value.__class__ is list and value and value[0].__class__ is dict and id(value) in rules
    }


def fault_finding(source: SourceText, place: Place, fault: Fault, identity: Identity) -> Finding:
    """Give a fault its place."""
    path = fault.path if fault.key is None else (*fault.path, fault.key)
    found = place.locate(path, key=fault.key is not None)
    line, column, width, quote = found or (place.start_line + 1, 1, 1, source.line(place.start_line + 1))
    return Finding(
        code=fault.code,
        level=fault.level,
        message=fault.message,
        file=source.name,
        line=line,
        column=column,
        kind=identity.kind,
        namespace=identity.namespace,
        name=identity.name,
        path=format_path(fault.path),
        help=fault.help,
        quote=quote,
        width=width,
    )


def text_finding(source: SourceText, problem: Problem, identity: Identity) -> Finding:
    """Return the finding for something wrong with the text itself."""
    sealed = source.is_sealed(problem.line)
    return Finding(
        code=problem.code,
        level="error",
        message=_QUOTED.sub('"..."', problem.message) if sealed else problem.message,
        file=source.name,
        line=problem.line,
        column=problem.column,
        kind=identity.kind,
        namespace=identity.namespace if identity.kind else "",
        name=identity.name,
        help=problem.help,
        quote=source.line(problem.line),
        width=problem.width,
    )


def not_text_finding(name: str, data: bytes, error: UnicodeDecodeError) -> Finding:
    """Return the finding for bytes that are no text."""
    line = data.count(b"\n", 0, error.start) + 1
    begin = data.rfind(b"\n", 0, error.start) + 1
    column = len(data[begin : error.start].decode("utf-8", "replace")) + 1
    message = f"byte 0x{data[error.start]:02x} is not UTF-8 text"
    return Finding(code="GWD0002", level="error", message=message, file=name, line=line, column=column)
