"""What a file holds: its documents, each with the resources in it and what there is to say about them.

A document is remembered by its text. When a file changes, only the documents with another text are parsed again; the
others are the same objects as before and move with their lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from gatewayd.findings import Finding
from gatewayd.resources.envelope import Identity, identify, open_document
from gatewayd.resources.meta import PathItem, Resource
from gatewayd.sources.files import FoundFile, decode_text
from gatewayd.sources.limits import Limits
from gatewayd.sources.plain_yaml import PlainReader
from gatewayd.sources.reader import Part, parts_of, read_json, read_part
from gatewayd.sources.remarks import fault_finding, not_text_finding, text_finding
from gatewayd.sources.text import Anchor, Place, SourceText, digest_of
from gatewayd.sources.yaml_tree import Document, Problem

_BOM = b"\xef\xbb\xbf"


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

    #: of its text; empty: it cannot be told from the rest of the file
    digest: bytes
    anchor: Anchor
    resources: tuple[Resource[Any], ...]
    findings: tuple[Finding, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    #: it could not be parsed
    broken: bool = False

    def move(self, source: SourceText, part: Part) -> None:
        """It stands elsewhere now."""
        moved = part.line - self.anchor.line
        self.anchor.move(source, part.start, part.start + len(part.text), part.line)
        if moved:
            self.findings = tuple(replace(each, line=each.line + moved) for each in self.findings)
            self.set_aside = tuple(each._replace(line=each.line + moved) for each in self.set_aside)


@dataclass(slots=True)
class FileContent:
    """One file, read."""

    found: FoundFile
    digest: bytes
    documents: list[DocumentContent]
    #: about the text as a whole
    findings: tuple[Finding, ...] = ()
    #: it, or a part of it, could not be read or parsed
    unreadable: bool = False

    def resources(self) -> Iterator[Resource[Any]]:
        """Those of all documents, in order."""
        for document in self.documents:
            yield from document.resources


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
        source = SourceText(found.name, found.path, digest, text, self._limits)
        known = _by_digest(before)
        documents: list[DocumentContent] = []
        for part in parts_of(text):
            if part.whole:
                mark = b""
            else:
                # Most files have one document, and the same digest then.
                alone = len(part.text) == len(text) and not data.startswith(_BOM)
                mark = digest if alone else digest_of(part.text.encode())
            same = known.get(mark)
            if same:
                document = same.pop()
                document.move(source, part)
                documents.append(document)
            else:
                documents += self._read_part(source, part, mark)
            if len(documents) > self._limits.max_documents:
                del documents[self._limits.max_documents + 1 :]
                documents[-1] = self._one_too_many(documents[-1])
                break
        broken = any(document.broken for document in documents)
        if broken and found.name.endswith(".json") and (tree := read_json(text, self._limits)):
            anchor = Anchor(source, 0, len(text), 0)
            documents, broken = [self._document(tree, anchor, b"")], False
        source.forget()
        return FileContent(found, digest, documents, (), broken)

    def _one_too_many(self, document: DocumentContent) -> DocumentContent:
        anchor = document.anchor
        message = f"more than {self._limits.max_documents:,} documents in one file"
        line, column = anchor.line + 1, 1
        if document.resources:
            line, column = document.resources[0].line, document.resources[0].column
        finding = text_finding(anchor.source, Problem("GWD0006", message, line, column), Identity())
        return DocumentContent(b"", anchor, (), (finding,), broken=True)

    def _read_part(self, source: SourceText, part: Part, digest: bytes) -> Iterator[DocumentContent]:
        for found in read_part(part, self._limits, self._plain):
            if isinstance(found, Problem):
                anchor = Anchor(source, part.start, part.start + len(part.text), part.line)
                problem = found._replace(line=found.line + part.line)
                finding = text_finding(source, problem, Identity())
                yield DocumentContent(digest, anchor, (), (finding,), broken=True)
            elif found.value is not None or found.problems:
                if part.whole:
                    anchor = Anchor(source, found.start, found.end, found.start_line)
                    _count_from_itself(found)
                else:
                    anchor = Anchor(source, part.start, part.start + len(part.text), part.line)
                yield self._document(found, anchor, digest)

    def _document(self, document: Document, anchor: Anchor, digest: bytes) -> DocumentContent:
        self.parsed += 1
        source = anchor.source
        if document.problems:
            identity = identify(document.value)
            findings = tuple(
                text_finding(source, problem._replace(line=problem.line + anchor.line), identity)
                for problem in document.problems
            )
            aside = SetAside(*identity, source.name, document.line + anchor.line)
            return DocumentContent(digest, anchor, (), findings, (aside,))
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
        return DocumentContent(digest, anchor, tuple(resources), tuple(found), tuple(set_aside))


def _by_digest(before: FileContent | None) -> dict[bytes, list[DocumentContent]]:
    """The documents by their text; of several with one text the first is the last of its list."""
    known: dict[bytes, list[DocumentContent]] = {}
    if before is not None:
        for document in reversed(before.documents):
            if document.digest:
                known.setdefault(document.digest, []).append(document)
    return known


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
