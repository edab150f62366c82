"""The envelope of every document: name, namespace, labels, age, and where it was written."""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from gatewayd.resources.model import EMPTY, KubeModel

DEFAULT_NAMESPACE = "default"

SpecT_co = TypeVar("SpecT_co", covariant=True)
PathItem = str | int


class ObjectMeta(KubeModel, frozen=True, kw_only=True):
    """`metadata`. `creation_timestamp` is UTC text (`2024-05-01T10:00:00Z`), which sorts; empty if absent."""

    name: str
    namespace: str = DEFAULT_NAMESPACE
    labels: dict[str, str] = EMPTY
    annotations: dict[str, str] = EMPTY
    creation_timestamp: str = ""


class Position(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Locator(Protocol):
    """What a source gives with a resource, to find places in it later without keeping its text.

    A document that did not change may move in its file, because another one did: then `first_line` is another.
    """

    @property
    def first_line(self) -> int:
        """Lines of the file before the document."""
        ...

    def locate(self, path: Sequence[PathItem], *, key: bool) -> tuple[int, int, int, str] | None:
        """Return line, column, width and the text of the line of the node at `path`, or of its key.

        None if the file has changed since, or the path is not in it. A path whose end is missing in the
        document gives its nearest written ancestor.
        """
        ...


class Resource(Generic[SpecT_co]):
    """One document, decoded and free of errors.

    `spec` is the typed model of the kind (see `kinds.py`). Lines are kept relative to the document, which may move:
    `line` and `rule_lines` are given as the locator counts them, from 1, and said by the properties and methods as
    the file does. `rule_lines` has the place of each item of the lists directly below `spec` (`http`, `tls`, `tcp`,
    `servers`, ...), so that those are known without reading anything again.
    """

    __slots__ = (
        "_line",
        "_rule_lines",
        "api_version",
        "column",
        "file",
        "kind",
        "locator",
        "metadata",
        "spec",
    )

    def __init__(
        self,
        *,
        kind: str,
        api_version: str,
        metadata: ObjectMeta,
        spec: Any,
        file: str = "",
        line: int = 0,
        column: int = 0,
        rule_lines: dict[str, tuple[tuple[int, int], ...]] | None = None,
        locator: Locator | None = None,
    ) -> None:
        self.kind = kind
        self.api_version = api_version
        self.metadata = metadata
        self.spec: SpecT_co = spec
        self.file = file
        self._line = line
        self.column = column
        self._rule_lines: dict[str, tuple[tuple[int, int], ...]] = rule_lines or EMPTY
        self.locator = locator

    @property
    def line(self) -> int:
        """The line of the file on which the resource begins."""
        return self._line + (self.locator.first_line if self.locator is not None else 0)

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """`metadata.namespace`, `default` when left out."""
        return self.metadata.namespace

    @property
    def full_name(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    def __repr__(self) -> str:
        return f"<{self.kind} {self.full_name} {self.file}:{self.line}>"

    def rule_position(self, block: str, index: int) -> Position | None:
        """Return where item `index` of the list `spec.<block>` begins, if that is known without reading."""
        known = self._rule_lines.get(block, ())
        if index >= len(known):
            return None
        line, column = known[index]
        return Position(
            self.file, line + (self.locator.first_line if self.locator is not None else 0), column
        )

    def nearest(self, path: str = "") -> Position:
        """Return the nearest place on the way to the node at `path` that is known without reading."""
        return self._listed(parse_path(path)) or Position(self.file, self.line, self.column)

    def _listed(self, parts: Sequence[PathItem]) -> Position | None:
        if len(parts) >= 3 and parts[0] == "spec" and isinstance(parts[2], int):
            return self.rule_position(str(parts[1]), parts[2])
        return None

    def says_the_same(self, other: "Resource[Any]") -> bool:
        """Whether `other` has the same content, on the same lines of its document."""
        return (
            (self.file, self._line, self.column, self.api_version)
            == (other.file, other._line, other.column, other.api_version)
            and self.spec == other.spec
            and self.metadata == other.metadata
            and self._rule_lines == other._rule_lines
        )

    def position(self, path: str = "") -> Position:
        """Return where the node at `path` (such as `spec.http[3]`) is written.

        Items of the spec's own lists are known; anything else reads the file once more. When it cannot be
        found (the file has changed, or the field is not written) the nearest known place is returned.
        """
        parts = parse_path(path)
        listed = self._listed(parts)
        if listed is not None and len(parts) == 3:
            return listed
        found = self._located(parts) if parts else None
        return found or listed or Position(self.file, self.line, self.column)

    def _located(self, parts: Sequence[PathItem]) -> Position | None:
        found = self.locator.locate(parts, key=False) if self.locator is not None else None
        return Position(self.file, found[0], found[1]) if found is not None else None


def parse_path(path: str) -> tuple[PathItem, ...]:
    """`spec.http[3].match[0].headers["x-id"]` -> ('spec', 'http', 3, 'match', 0, 'headers', 'x-id')."""
    parts: list[PathItem] = []
    rest = path
    while rest:
        if rest[0] == "[":
            end = rest.index('"]') + 1 if rest.startswith('["') else rest.index("]")
            inner = rest[1:end]
            parts.append(inner[1:-1] if inner.startswith('"') else int(inner))
            rest = rest[end + 1 :]
        else:
            rest = rest.removeprefix(".")
            end = min((at for at in (rest.find("."), rest.find("[")) if at >= 0), default=len(rest))
            parts.append(rest[:end])
            rest = rest[end:]
    return tuple(parts)


def format_path(parts: Sequence[PathItem]) -> str:
    """The inverse of `parse_path`; a key that is no plain word is quoted in brackets."""
    out = ""
    for part in parts:
        if isinstance(part, int):
            out += f"[{part}]"
        elif part.replace("_", "a").isalnum():
            out += f".{part}" if out else part
        else:
            out += f'["{part}"]'
    return out
