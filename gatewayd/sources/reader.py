"""Text to documents: cut into parts at the `---` lines, each document read by whichever reader can.

`---` at the beginning of a line is a separator wherever it stands, also in quoted or block text, so the cut
is safe; and a document with a syntax error does not take the ones after it along. Texts with directives or
`...` lines are left whole to libyaml.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from gatewayd.sources.limits import Limits
from gatewayd.sources.plain_yaml import PlainReader
from gatewayd.sources.yaml_tree import Document, Problem, SyntaxProblem, documents

_AFTER_SEPARATOR = frozenset(" \t\r\n") | {""}
_BARE_SEPARATOR = re.compile(r"---[ ]*(?:#.*)?(?:\n|\Z)")
#: Line ends other than "\n" and "\r\n" that libyaml knows: a text with one is left whole.
_OTHER_LINE_ENDS = re.compile("\r(?!\n)|[\x85\u2028\u2029]")


class Part(NamedTuple):
    """A piece of a text with one document in it, or none; or all of a text that must not be cut."""

    text: str
    start: int  # characters before it
    line: int  # lines before it
    whole: bool = False


def parts_of(text: str) -> Iterator[Part]:
    """Yield the pieces of `text`. What is in one does not depend on the others."""
    if may_be_cut(text):
        yield from cut(text, 0, len(text), 0)
    else:
        yield Part(text, 0, 0, whole=True)


def may_be_cut(text: str) -> bool:
    """Whether a text, or one that begins and ends at a separator, has nothing that goes beyond one document."""
    odd_lines = ("\r" in text or not text.isascii()) and _OTHER_LINE_ENDS.search(text) is not None
    return not (odd_lines or "\n%" in text or "\n..." in text or text.startswith(("%", "...")))


def cut(text: str, start: int, end: int, line: int) -> Iterator[Part]:
    """Yield the pieces from `start` to `end`, where documents begin and end; `line`: lines before them."""
    for at in _ends(text, start, end):
        part = text[start:at]
        if part:
            yield Part(part, start, line)
        start = at
        line += part.count("\n")


def read_part(part: Part, limits: Limits, plain: PlainReader) -> Iterator[Document | Problem]:
    """Yield the documents of a part, and in place of one that cannot be read the reason; places count from it."""
    text = part.text
    separator = None if part.whole else _BARE_SEPARATOR.match(text)
    skip = separator.end() if separator is not None else 0
    if not part.whole and (skip or not text.startswith("---")):
        document = plain.read(text[skip:])
        if document is not None:
            if document.value is not None:
                document.end = len(text)
                if skip:
                    _skip_line(document)
                yield document
            return
    try:
        yield from documents(text, limits)
    except SyntaxProblem as error:
        yield error.problem


def _ends(text: str, start: int, end: int) -> Iterator[int]:
    """Yield the offsets where documents end. Searching for text is ten times as fast as for a pattern."""
    at = text.find("\n---", start, end)
    while at >= 0:
        if text[at + 4 : at + 5] in _AFTER_SEPARATOR:
            yield at + 1
        at = text.find("\n---", at + 4, end)
    yield end


def _skip_line(document: Document) -> None:
    """Make places count the separator that was not read."""
    document.line += 1
    document.rules_line = 1


def read_json(text: str, limits: Limits) -> Document | None:
    """Return a JSON text as a document without places, or None if it is not JSON.

    Nearly all JSON is YAML and is read as such; this is for the rest (surrogate pairs, very long keys).
    """
    document = Document()

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(items)
        if len(mapping) != len(items):
            names = [name for name, _ in items]
            double = next(name for index, name in enumerate(names) if name in names[:index])
            document.problems.append(Problem("GWD0004", f'duplicate key "{double[:80]}"', 1, 1))
        return mapping

    try:
        document.value = json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return None
    if _depth(document.value, limits.max_depth) > limits.max_depth:
        document.problems.append(Problem("GWD0006", f"nested deeper than {limits.max_depth} levels", 1, 1))
    document.end = len(text)
    return document


def _depth(value: Any, most: int) -> int:
    """Return how deep a value is nested, looking no deeper than `most` levels and one."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if children is None:
        return 0
    if most == 0:
        return 1
    return 1 + max((_depth(child, most - 1) for child in children), default=0)
