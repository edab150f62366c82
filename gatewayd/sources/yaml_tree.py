"""YAML text to plain trees of dict, list and scalars, by libyaml's events and our own builder.

The builder is a loop with its own stack: depth is checked on each event, before anything is built, so that no
input can exhaust the C stack. Duplicate keys, unknown tags and alias expansion beyond the limit are problems
of their document only; a syntax error ends the file, the documents before it stand.

`documents()` keeps only the place of each document and of the items of its main lists; with `marked=True`
the place of every node, which is used when there is something to say about a document.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from yaml import YAMLError
from yaml._yaml import CParser
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from yaml.reader import ReaderError

from gatewayd.sources.limits import Limits
from gatewayd.sources.scalars import ScalarError, resolve_plain, resolve_tagged, unknown_tag

#: Depth of the lists whose items' places are kept: `spec.http` of a document, and of an item of a List.
RULE_DEPTH = 3
LIST_RULE_DEPTH = 5
_STR_TAG = "tag:yaml.org,2002:str"
_MAP_TAGS = frozenset({"tag:yaml.org,2002:map", "!"})
_SEQ_TAGS = frozenset({"tag:yaml.org,2002:seq", "!"})


class Problem(NamedTuple):
    """Something wrong with the text itself; line and column count from 1."""

    code: str
    message: str
    line: int
    column: int
    width: int = 1
    help: str = ""


class SyntaxProblem(Exception):
    """The rest of the file cannot be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Mark(NamedTuple):
    """Where a node begins, and how many characters of its first line it takes."""

    line: int
    column: int
    width: int


class Document:
    """One document of a file.

    `rules` maps the identity of a list to the (line, column) of its items, for the lists where that is kept.
    `marks` (only when asked for) maps the identity of a dict to {key: (mark of key, mark of value)}, and that
    of a list to the marks of its items. Identities are good as long as the tree is held.
    """

    __slots__ = (
        "column",
        "end",
        "line",
        "marks",
        "problems",
        "rules",
        "rules_line",
        "start",
        "start_line",
        "value",
    )

    def __init__(self) -> None:
        self.value: Any = None
        self.line = 1
        self.column = 1
        self.start = 0  # characters from the start of the text to the document's first line
        self.end = 0  # the same to its end
        self.start_line = 0  # lines before the document's first one
        self.problems: list[Problem] = []
        self.rules: dict[int, list[tuple[int, int]]] = {}
        self.rules_line = 0  # to be added to the lines in `rules`
        self.marks: dict[int, Any] | None = None


class _Merge:
    """The key `<<` while its mapping is being built: equal to no key anybody can write."""


_MERGE: Any = _Merge()
_NO_KEY: Any = _Merge()


def documents(text: str, limits: Limits, *, marked: bool = False) -> Iterator[Document]:
    """Yield the documents of `text`, empty ones too (value None); SyntaxProblem ends it early."""
    try:
        parser = CParser(text)
        next_event = parser.get_event
        next_event()  # the start of the stream
        count = 0
        while (event := next_event()) is not None:
            if event.__class__ is not DocumentStartEvent:
                continue
            count += 1
            if count > limits.max_documents:
                mark = event.start_mark
                message = f"more than {limits.max_documents:,} documents in one file"
                raise SyntaxProblem(Problem("GWD0006", message, mark.line + 1, mark.column + 1))
            document = Document()
            if marked:
                document.marks = {}
            mark = event.start_mark
            document.start = mark.index - mark.column
            document.start_line = mark.line
            _Builder(document, limits).build(next_event)
            yield document
    except YAMLError as error:
        raise SyntaxProblem(_syntax_problem(error, text, limits)) from None


class _Builder:
    """Builds one document."""

    __slots__ = ("_anchors", "_document", "_expanded", "_limits", "_measured")

    def __init__(self, document: Document, limits: Limits) -> None:
        self._document = document
        self._limits = limits
        self._anchors: dict[str, tuple[Any, int, int]] = {}  # name -> value, nodes, height
        self._measured: dict[int, tuple[int, int]] = {}
        self._expanded = 0

    def build(self, next_event: Any) -> None:
        document = self._document
        marks = document.marks
        max_depth = self._limits.max_depth
        root: list[Any] = []  # a list of one: what the outermost node is put into
        if marks is not None:
            marks[id(root)] = []
        container: Any = root
        is_map = False
        key: Any = _NO_KEY
        key_mark: Any = None
        stack: list[tuple[Any, bool]] = []
        open_anchors: dict[int, str] = {}
        merging = False
        first = True
        while True:
            event = next_event()
            kind = event.__class__
            if kind is ScalarEvent:
                if event.tag is None:
                    text = event.value
                    value = resolve_plain(text) if event.implicit[0] else text
                else:
                    value = self._tagged(event)
                if event.anchor is not None:
                    self._anchors[event.anchor] = (value, 1, 0)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                is_new_map = kind is MappingStartEvent
                if event.tag is not None and event.tag not in (_MAP_TAGS if is_new_map else _SEQ_TAGS):
                    self._problem("GWD0005", str(unknown_tag(event.tag)), event)
                if len(stack) >= max_depth:
                    raise SyntaxProblem(
                        _at("GWD0006", f"nested deeper than {max_depth} levels", event, document)
                    )
                value = {} if is_new_map else []
                if event.anchor is not None:
                    open_anchors[len(stack)] = event.anchor
                    self._anchors.pop(event.anchor, None)
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                ended = container
                container, is_map = stack.pop()
                if merging and kind is MappingEndEvent and _MERGE in ended:
                    self._merge(ended, event)
                if open_anchors and len(stack) in open_anchors:
                    self._anchors[open_anchors.pop(len(stack))] = (ended, *self._measure(ended))
                continue
            elif kind is AliasEvent:
                value = self._alias(event, len(stack), open_anchors)
            elif kind is DocumentEndEvent:
                document.value = root[0]
                document.end = event.end_mark.index
                return
            else:
                raise AssertionError(f"unexpected event {event}")

            if first:
                first = False
                mark = event.start_mark
                document.line = mark.line + 1
                document.column = mark.column + 1
            if is_map:
                if key is _NO_KEY:
                    if value.__class__ is dict or value.__class__ is list:
                        raise SyntaxProblem(_at("GWD0003", "a key must be plain text", event, document))
                    key, key_mark = self._key(event, value, container)
                    if key is _MERGE:
                        merging = True
                    continue
                container[key] = value
                if marks is not None:
                    marks[id(container)][key] = (key_mark, _mark(event))
                key = _NO_KEY
            else:
                container.append(value)
                if marks is not None:
                    marks[id(container)].append(_mark(event))
                elif len(stack) == RULE_DEPTH or len(stack) == LIST_RULE_DEPTH:
                    mark = event.start_mark
                    places = document.rules.get(id(container))
                    if places is None:
                        document.rules[id(container)] = [(mark.line + 1, mark.column + 1)]
                    else:
                        places.append((mark.line + 1, mark.column + 1))
            if kind is MappingStartEvent or kind is SequenceStartEvent:
                stack.append((container, is_map))
                container = value
                is_map = kind is MappingStartEvent
                if marks is not None:
                    marks[id(value)] = {} if is_map else []

    def _key(self, event: Any, value: Any, container: dict[Any, Any]) -> tuple[Any, Any]:
        """Return the key an event stands for, as text: Kubernetes knows no other keys."""
        if event.__class__ is ScalarEvent:
            text = event.value
            if text == "<<" and event.implicit[0] and event.tag is None:
                text = _MERGE
        else:
            text = value if isinstance(value, str) else str(value)
        if text in container:
            shown = "<<" if text is _MERGE else text[:80]
            self._problem("GWD0004", f'duplicate key "{shown}"', event)
        return text, _mark(event) if self._document.marks is not None else None

    def _tagged(self, event: Any) -> Any:
        try:
            return resolve_tagged(event.tag, event.value)
        except ScalarError as error:
            self._problem("GWD0005", str(error), event)
            return event.value

    def _alias(self, event: Any, depth: int, open_anchors: dict[int, str]) -> Any:
        name = event.anchor
        known = self._anchors.get(name)
        if known is None:
            inside = name in open_anchors.values()
            message = f'alias "*{name}" is inside the node it names' if inside else f'unknown alias "*{name}"'
            self._problem("GWD0003", message, event)
            return None
        value, nodes, height = known
        self._expand(nodes, event)
        if depth + height > self._limits.max_depth:
            message = f"nested deeper than {self._limits.max_depth} levels through aliases"
            raise SyntaxProblem(_at("GWD0006", message, event, self._document))
        return value

    def _expand(self, nodes: int, event: Any) -> None:
        self._expanded += nodes
        if self._expanded > self._limits.max_expanded_nodes:
            message = f"aliases expand to more than {self._limits.max_expanded_nodes:,} nodes"
            raise SyntaxProblem(_at("GWD0006", message, event, self._document))

    def _merge(self, mapping: dict[Any, Any], event: Any) -> None:
        """Fill in what `<<` refers to: what is written in the mapping itself stands, earlier sources win."""
        source = mapping.pop(_MERGE)
        marks = self._document.marks
        mine = marks[id(mapping)] if marks is not None else None
        if mine is not None:
            mine.pop(_MERGE, None)
        for part in source if isinstance(source, list) else [source]:
            if not isinstance(part, dict):
                self._problem("GWD0003", "a merge key << needs a mapping or a list of mappings", event)
                continue
            self._expand(len(part), event)
            theirs = marks.get(id(part), {}) if marks is not None else {}
            for key, value in part.items():
                if key not in mapping:
                    mapping[key] = value
                    if mine is not None and key in theirs:
                        mine[key] = theirs[key]

    def _measure(self, value: Any) -> tuple[int, int]:
        """Return how many nodes a value has, each counted as often as it appears, and its height.

        What was measured before (an anchor inside this one) is not walked again. The recursion is bounded by
        the depth limit.
        """
        if not isinstance(value, (dict, list)):
            return 1, 0
        known = self._measured.get(id(value))
        if known is None:
            nodes, height = 1, 0
            for child in value.values() if isinstance(value, dict) else value:
                child_nodes, child_height = self._measure(child)
                nodes += child_nodes
                height = max(height, child_height)
            known = self._measured[id(value)] = nodes, height + 1
        return known

    def _problem(self, code: str, message: str, event: Any) -> None:
        if len(self._document.problems) < 100:
            self._document.problems.append(_at(code, message, event, self._document))


def _mark(event: Any) -> Mark:
    start, end = event.start_mark, event.end_mark
    width = end.column - start.column if end.line == start.line else 1
    return Mark(start.line + 1, start.column + 1, max(1, width))


def _at(code: str, message: str, event: Any, document: Document) -> Problem:
    mark = _mark(event)
    return Problem(code, message, mark.line, mark.column, mark.width)


def _syntax_problem(error: YAMLError, text: str, limits: Limits) -> Problem:
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        return Problem("GWD0003", f"character U+{error.character:04X} is not allowed in YAML", line, column)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or "the text is not well-formed"
    context = getattr(error, "context", None)
    message = f"{problem} ({context})" if context else str(problem)
    if "nesting depth" in message and mark is not None:
        # A limit of libyaml's own, which it may meet while it looks ahead of the event that is over ours.
        message = f"nested deeper than {limits.max_depth} levels"
        return Problem("GWD0006", message, mark.line + 1, mark.column + 1)
    if mark is None:
        return Problem("GWD0003", message, 1, 1)
    return Problem("GWD0003", message, mark.line + 1, mark.column + 1)
