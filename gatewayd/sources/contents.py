"""What a file holds: its documents, each with the resources in it and what there is to say about them.

A document is remembered by its text. When a file of many documents changes, only those with another text are parsed
again; the others are the same objects as before and move with their lines.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from gatewayd.findings import Finding
from gatewayd.resources.envelope import Identity, identify, open_document
from gatewayd.resources.meta import PathItem, Resource
from gatewayd.sources.comparison import common_ends
from gatewayd.sources.files import FoundFile, decode_text
from gatewayd.sources.limits import Limits
from gatewayd.sources.plain_yaml import PlainReader
from gatewayd.sources.reader import Part, cut, may_be_cut, parts_of, read_json, read_part
from gatewayd.sources.remarks import fault_finding, not_text_finding, text_finding
from gatewayd.sources.text import Anchor, Place, SourceText
from gatewayd.sources.yaml_tree import Document, Problem

#: What follows a document and decides that it ends there: a separator and the character behind it.
_AHEAD: Final = 4


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
class DocumentContent:
    """One document, or what is in place of one that cannot be read."""

    anchor: Anchor
    resources: tuple[Resource[Any], ...]
    findings: tuple[Finding, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    #: it could not be parsed
    broken: bool = False

    def move(self, shift: int, lines: int) -> None:
        """It stands elsewhere now, by so many characters and lines."""
        anchor = self.anchor
        anchor.start += shift
        anchor.end += shift
        anchor.line += lines
        if lines and (self.findings or self.set_aside):
            self.findings = tuple(replace(each, line=each.line + lines) for each in self.findings)
            self.set_aside = tuple(each._replace(line=each.line + lines) for each in self.set_aside)


@dataclass(slots=True)
class FileContent:
    """One file, read."""

    found: FoundFile
    #: of its bytes
    digest: bytes
    documents: list[DocumentContent]
    #: about the text as a whole
    findings: tuple[Finding, ...] = ()
    #: it, or a part of it, could not be read or parsed
    unreadable: bool = False
    #: its text, where that is kept so that the next one can be compared with it
    source: SourceText | None = None
    #: the documents that are not in it any more, and those that are new; None: all
    changed: tuple[list[DocumentContent], list[DocumentContent]] | None = None

    def resources(self) -> Iterator[Resource[Any]]:
        """Those of all documents, in order."""
        return resources_of(self.documents)


def resources_of(documents: Iterable[DocumentContent]) -> Iterator[Resource[Any]]:
    """The resources of some documents."""
    return (resource for document in documents for resource in document.resources)


class ContentReader:
    """Reads the contents of files; keeps values it has seen, so use one for all files of a load."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._plain = PlainReader(limits)
        #: documents that were parsed
        self.parsed = 0

    def read(self, found: FoundFile, data: bytes, digest: bytes, before: FileContent | None) -> FileContent:
        """Everything in ``data``, the file's bytes; documents of ``before`` that stand there still are the same."""
        try:
            text = decode_text(data)
        except UnicodeDecodeError as error:
            return FileContent(found, digest, [], (not_text_finding(found.name, data, error),), True)
        if before is not None and before.source is not None:
            content = self._read_again(found, text, digest, before, before.source)
            if content is not None:
                return content
        source = SourceText(found.name, found.path, digest, text, self._limits)
        documents: list[DocumentContent] = []
        #: it has to be read as a whole again if it changes
        whole = False
        for part in parts_of(text):
            whole |= part.whole
            documents += self._read_part(source, part)
        most = self._limits.max_documents
        if len(documents) > most:
            documents = [*documents[:most], self._one_too_many(documents[most])]
            whole = True
        broken = any(document.broken for document in documents)
        if broken and found.name.endswith(".json") and (tree := read_json(text, self._limits)):
            documents, broken, whole = [self._document(tree, Anchor(source, 0, len(text), 0))], False, True
        source.kept |= len(documents) > 1 and not whole
        source.forget()
        return FileContent(
            found, digest, documents, (), broken, source if source.kept and not whole else None
        )

    def _read_again(
        self, found: FoundFile, text: str, digest: bytes, before: FileContent, source: SourceText
    ) -> FileContent | None:
        """As :meth:`read`, for a file of many documents that is known; None: all of it has to be read."""
        old = source.text or ""
        known = before.documents
        first, last = _touched(old, text, known)
        start = known[first - 1].anchor.end if first else 0
        old_end = known[last].anchor.start if last < len(known) else len(old)
        shift = len(text) - len(old)
        end = old_end + shift
        # A little more on both sides: what goes beyond one document begins after the end of a line.
        if not may_be_cut(text[max(start - 1, 0) : end + 4]):
            return None
        line = known[first - 1].anchor.line + known[first - 1].anchor.text().count("\n") if first else 0
        lines = text.count("\n", start, end) - old.count("\n", start, old_end)
        same: dict[str, list[DocumentContent]] = {}
        for document in reversed(known[first:last]):
            same.setdefault(document.anchor.text(), []).append(document)
        source.renew(digest, text)
        middle: list[DocumentContent] = []
        fresh: list[DocumentContent] = []
        for part in cut(text, start, end, line):
            if same.get(part.text):
                document = same[part.text].pop()
                document.move(part.start - document.anchor.start, part.line - document.anchor.line)
                middle.append(document)
            else:
                fresh += (made := list(self._read_part(source, part)))
                middle += made
        if shift or lines:
            for document in known[last:]:
                document.move(shift, lines)
        gone = [document for documents in same.values() for document in documents]
        documents = [*known[:first], *middle, *known[last:]]
        if len(documents) > self._limits.max_documents:
            return None
        source.forget()
        broken = any(document.broken for document in documents)
        return FileContent(found, digest, documents, (), broken, source, (gone, fresh))

    def _one_too_many(self, document: DocumentContent) -> DocumentContent:
        anchor = document.anchor
        message = f"more than {self._limits.max_documents:,} documents in one file"
        line, column = anchor.line + 1, 1
        if document.resources:
            line, column = document.resources[0].line, document.resources[0].column
        finding = text_finding(anchor.source, Problem("GWD0006", message, line, column), Identity())
        return DocumentContent(anchor, (), (finding,), broken=True)

    def _read_part(self, source: SourceText, part: Part) -> Iterator[DocumentContent]:
        for found in read_part(part, self._limits, self._plain):
            if isinstance(found, Problem):
                anchor = Anchor(source, part.start, part.start + len(part.text), part.line)
                problem = found._replace(line=found.line + part.line)
                finding = text_finding(source, problem, Identity())
                if found.line > len(part.text.splitlines()):
                    finding = replace(finding, quote="")  # the line behind it is not its own
                yield DocumentContent(anchor, (), (finding,), broken=True)
            elif found.value is not None or found.problems:
                if part.whole:
                    anchor = Anchor(source, found.start, found.end, found.start_line)
                    _count_from_itself(found)
                else:
                    anchor = Anchor(source, part.start, part.start + len(part.text), part.line)
                yield self._document(found, anchor)

    def _document(self, document: Document, anchor: Anchor) -> DocumentContent:
        self.parsed += 1
        source = anchor.source
        if document.problems:
            identity = identify(document.value)
            findings = tuple(
                text_finding(source, problem._replace(line=problem.line + anchor.line), identity)
                for problem in document.problems
            )
            aside = SetAside(*identity, source.name, document.line + anchor.line)
            return DocumentContent(anchor, (), findings, (aside,))
        resources: list[Resource[Any]] = []
        found: list[Finding] = []
        set_aside: list[SetAside] = []
        for prefix, tree in _unpack(document.value, ()):
            place = Place(anchor, prefix)
            opened = open_document(tree)
            found += [fault_finding(source, place, fault, opened.identity) for fault in opened.faults]
            line, column = document.line, document.column
            if prefix and (located := place.locate((), key=False)):
                line, column = located[0] - anchor.line, located[1]
            if opened.spec is not None and opened.metadata is not None:
                resources.append(
                    Resource(
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
                )
            elif any(fault.level == "error" for fault in opened.faults):
                set_aside.append(SetAside(*opened.identity, source.name, line + anchor.line))
        return DocumentContent(anchor, tuple(resources), tuple(found), tuple(set_aside))


def _touched(old: str, new: str, documents: Sequence[DocumentContent]) -> tuple[int, int]:
    """The first of the documents of a text that may not be in another one, and the first behind those."""
    prefix, suffix = common_ends(old, new)
    first = bisect_right(documents, prefix - _AHEAD, key=lambda each: each.anchor.end)
    # Where a document begins, the end of the line before it has to be the same.
    last = bisect_left(documents, len(old) - suffix + 1, lo=first, key=lambda each: each.anchor.start)
    return first, last


def _count_from_itself(document: Document) -> None:
    """Make places count from the document's first line."""
    document.line -= document.start_line
    document.rules_line -= document.start_line
    document.problems = [
        problem._replace(line=problem.line - document.start_line) for problem in document.problems
    ]


def _unpack(tree: Any, prefix: tuple[PathItem, ...]) -> Iterator[tuple[tuple[PathItem, ...], Any]]:
    """Yield the resources of a document: itself, or the items of a `List` (or `ServiceList` and the like)."""
    if isinstance(tree, dict) and isinstance(tree.get("items"), list):
        kind = tree.get("kind")
        if isinstance(kind, str) and kind.endswith("List") and len(prefix) < 4:
            for index, item in enumerate(tree["items"]):
                if isinstance(item, dict) and kind != "List":
                    # Items of a typed list may leave out what the list says. A copy: trees may be shared.
                    said = {"kind": kind.removesuffix("List"), "apiVersion": tree.get("apiVersion")}
                    item = {**said, **item}
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
