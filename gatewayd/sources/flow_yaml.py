"""Flow collections on one line, `{uri: {prefix: /a}}` or `["*", a.b]`, for the quick reader.

Simple ones only: plain words, quoted text without escapes, no anchors, tags, comments or empty entries. Whatever
else there is, is declined and left to libyaml.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gatewayd.sources.scalars import resolve_plain

_FIRST = r"[A-Za-z0-9_./+~(^$;\\]"
_REST = r"[A-Za-z0-9_./+~(^$;\\)=*%@&|<>!-]"
_TOKEN = re.compile(
    r" *+(?:"
    r"([\[\]{},])"
    # quoted or plain text; a key when a colon follows
    rf"|(?:\"([^\"\\]*)\"|'([^']*)'|({_FIRST}{_REST}*+(?: ++{_REST}++)*+))(:(?= ))?"
    # not for us
    r"|(.))"
)


class Declined(Exception):
    """This document is for the other reader."""


class Spots(NamedTuple):
    """A list of mappings inside of a collection: `level` 0 is the outermost, `offsets` is where its items begin."""

    items: list[Any]
    level: int
    offsets: Sequence[int]


class Flow(NamedTuple):
    """A collection, read. It is handed out again for the same text, so nobody may change it.

    `height` counts levels, 1 for one that is flat; `lists` are its lists of mappings.
    """

    value: Any
    height: int
    lists: Sequence[Spots] = ()


def read_flow(raw: str) -> Flow:
    """Read a text that begins with a bracket or brace; Declined if it is not a simple collection."""
    stack: list[Any] = []
    container: Any = None
    is_map = False
    key: str | None = None
    after_value = after_comma = False
    height = 0
    value: Any = None
    #: by identity of the list: itself, its level, and the tokens that begin its mappings
    lists: dict[int, tuple[list[Any], int, list[int]]] = {}
    for number, (mark, double, single, plain, colon, other) in enumerate(_TOKEN.findall(raw)):
        if other or (container is None and number):
            raise Declined
        if mark == ",":
            if not after_value:
                raise Declined
            after_value, after_comma = False, True
            continue
        if mark == "]" or mark == "}":
            if after_comma or key is not None or is_map is not (mark == "}"):
                raise Declined
            value = container
            container = stack.pop()
            is_map = container.__class__ is dict
            after_value = True
            continue
        if after_value:
            raise Declined
        after_comma = False
        if colon:
            if not is_map or key is not None:
                raise Declined
            key = double or single or plain
            if not key or key in container:
                raise Declined
            continue
        if mark:
            value = {} if mark == "{" else []
        elif plain:
            value = resolve_plain(plain)
        else:
            value = double or single
        if is_map:
            if key is None:
                raise Declined
            container[key] = value
            key = None
        elif container is not None:
            if mark == "{":
                lists.setdefault(id(container), (container, len(stack) - 1, []))[2].append(number)
            container.append(value)
        if mark:
            stack.append(container)
            container, is_map = value, mark == "{"
            height = max(height, len(stack))
        else:
            after_value = True
    if stack:
        raise Declined
    return Flow(value, height, _spots(raw, list(lists.values())) if lists else ())


def _spots(raw: str, lists: list[tuple[list[Any], int, list[int]]]) -> list[Spots]:
    starts = [match.start(1) for match in _TOKEN.finditer(raw)]
    if any(len(items) != len(numbers) for items, _, numbers in lists):
        raise Declined  # the places of the other items would have to be known as well
    return [Spots(items, level, [starts[number] for number in numbers]) for items, level, numbers in lists]
