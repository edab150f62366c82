"""The text of one file: its lines for quoting, and the place of any node in it, found when asked for."""

import hashlib
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from gatewayd.resources.meta import PathItem
from gatewayd.sources.limits import Limits
from gatewayd.sources.yaml_tree import Document, Mark, SyntaxProblem, documents

#: Line ends as libyaml counts them.
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")

#: What a document with a Secret in it has. Rather too wide: a line too few is quoted, never one too many.
_SECRET = re.compile(r"""kind["']?\s*:\s*["']?Sec|stringData|-----BEGIN|LS0tLS1CRUdJTi""", re.IGNORECASE)
_SEPARATOR = re.compile(r"^---", re.MULTILINE)

Located = tuple[int, int, int, str]  # line, column, width, text of the line


def digest_of(data: bytes) -> bytes:
    """What tells one text from another."""
    return hashlib.blake2b(data, digest_size=16).digest()


class SourceText:
    """One file's text, kept while loading; read again (and compared) when a place is asked for later.

    That of standard input is kept, because nobody can read it twice, and that of a file with many documents.
    """

    __slots__ = (
        "_digest",
        "_marked",
        "_marked_start",
        "_sealed",
        "_starts",
        "kept",
        "limits",
        "name",
        "path",
        "text",
    )

    def __init__(
        self, name: str, path: str | os.PathLike[str] | None, digest: bytes, text: str, limits: Limits
    ) -> None:
        self.name = name
        self.path = path  # None for stdin
        self.limits = limits
        self.kept = path is None
        self.renew(digest, text)

    def renew(self, digest: bytes, text: str) -> None:
        """The file has another text now; `digest`: of its bytes."""
        self.text: str | None = text
        self._digest = digest
        self._starts: array[int] | None = None  # offset of each line
        self._sealed: tuple[tuple[int, int], ...] | None = None  # offsets of documents with Secrets
        self._marked: Document | None = None
        self._marked_start = -1

    def forget(self) -> None:
        """Let go of what can be read again."""
        self._starts = self._marked = None
        self._marked_start = -1
        if not self.kept:
            self.text = None

    def line(self, number: int) -> str:
        """Return the text of line `number` (from 1); empty if there is none, or if a Secret is near it."""
        return "" if self.is_sealed(number) else self._line(number)

    def is_sealed(self, number: int) -> bool:
        """Whether line `number` belongs to a document with a Secret, of which nothing may be quoted."""
        if self._sealed is None:
            self._sealed = tuple(_secrets(self.text or ""))
        if not self._sealed:
            return False
        start = self._start(number)
        return any(first <= start < end for first, end in self._sealed)

    def _start(self, number: int) -> int:
        text = self.text or ""
        if self._starts is None:
            self._starts = array("I", [0, *(match.end() for match in _LINE_END.finditer(text))])
        return self._starts[number - 1] if 0 < number <= len(self._starts) else len(text)

    def _line(self, number: int) -> str:
        text = self.text or ""
        start = self._start(number)
        assert self._starts is not None
        if not 0 < number <= len(self._starts):
            return ""
        end = self._starts[number] if number < len(self._starts) else len(text)
        return text[start:end].rstrip("\r\n\x85\u2028\u2029")

    def recall(self) -> bool:
        """Make the text available again; False if the file is gone or has changed.

        The text of the file recalled last is kept (see `release_texts`): who asks for one place in it often
        asks for more.
        """
        if self.text is not None:
            return True
        release_texts()
        assert self.path is not None
        try:
            raw = Path(self.path).read_bytes()
        except OSError:
            return False
        if digest_of(raw) != self._digest:
            return False
        self.text = raw.decode("utf-8-sig")
        _recalled.append(self)
        return True

    def marked(self, start: int, end: int) -> Document | None:
        """Return the document between two offsets with every node's place; lines count from its start."""
        if self._marked_start != start:
            self._marked = None
            self._marked_start = start
            try:
                self._marked = next(documents((self.text or "")[start:end], self.limits, marked=True), None)
            except SyntaxProblem:
                self._marked = None
        return self._marked


#: The file whose text was read again last, if any.
_recalled: list[SourceText] = []


def release_texts() -> None:
    """Let go of text that was read again to find a place: call it when a round of findings is complete."""
    while _recalled:
        _recalled.pop().forget()


def _secrets(text: str) -> Iterator[tuple[int, int]]:
    """Yield the offsets of the documents with a Secret in them, whether they can be read or not."""
    if _SECRET.search(text) is None:
        return
    cuts = [0, *(match.start() for match in _SEPARATOR.finditer(text)), len(text) + 1]
    for first, end in pairwise(cuts):
        if _SECRET.search(text, first, end):
            yield first, end


class Anchor:
    """Where one document is in its file. It moves when the file changes elsewhere, with all that hangs on it."""

    __slots__ = ("end", "line", "source", "start")

    def __init__(self, source: SourceText, start: int, end: int, line: int) -> None:
        """The document is the text of `source` from `start` to `end`, after `line` lines."""
        self.source = source
        self.start = start
        self.end = end
        self.line = line

    def text(self) -> str:
        """The document's, while that of the file is there."""
        return (self.source.text or "")[self.start : self.end]


class Place:
    """Where one resource is in a file; a `gatewayd.resources.meta.Locator`."""

    __slots__ = ("anchor", "prefix")

    def __init__(self, anchor: Anchor, prefix: tuple[PathItem, ...] = ()) -> None:
        self.anchor = anchor
        self.prefix = prefix  # path from the top of the document to the resource: items of a List have one

    @property
    def first_line(self) -> int:
        """Lines of the file before the document."""
        return self.anchor.line

    def locate(self, path: Sequence[PathItem], *, key: bool) -> Located | None:
        """Return line, column, width and line text of the node at `path`, or of its key; see `Locator`."""
        anchor = self.anchor
        if not anchor.source.recall():
            return None
        document = anchor.source.marked(anchor.start, anchor.end)
        mark = _find(document, (*self.prefix, *path), key) if document is not None else None
        if mark is None:
            return None
        line = mark.line + anchor.line
        return line, mark.column, mark.width, anchor.source.line(line)


def _find(document: Document, path: Sequence[PathItem], key: bool) -> Mark:
    """Follow `path` as far as it is written."""
    node: Any = document.value
    mark = Mark(document.line, document.column, 1)
    marks = document.marks or {}
    for depth, part in enumerate(path):
        own: Any = marks.get(id(node), ())
        if isinstance(node, dict) and part in node and part in own:
            key_mark, value_mark = own[part]
            mark = key_mark if key and depth == len(path) - 1 else value_mark
            node = node[part]
        elif isinstance(node, list) and isinstance(part, int) and part < len(own):
            mark = own[part]
            node = node[part]
        else:
            break
    return mark
