"""A quick reader for the plain style in which nearly all configuration is written.

It reads documents of nothing but indented `key: value` and `- item` lines whose values are plain, quoted, or a
simple flow collection (`flow_yaml.py`), each on one line: one regular expression per line, some three times as
fast as libyaml's events. It decides nothing: whatever it is not sure of (block scalars, anchors, tags, escapes,
odd indentation, duplicate keys, a character outside of ASCII, and every error) it declines, and `yaml_tree.py`
reads the document instead. What it does read, both read alike; random tests compare them.
"""

import re
from typing import Any

from gatewayd.sources.flow_yaml import Declined, Flow, read_flow
from gatewayd.sources.limits import Limits
from gatewayd.sources.scalars import resolve_plain
from gatewayd.sources.yaml_tree import LIST_RULE_DEPTH, RULE_DEPTH, Document

_KEY = r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}+"
_QUOTED = r'"[^"\\\n]*"|' r"'[^'\n]*'"
#: A plain scalar: no indicator at its beginning, no `: ` or ` #` within.
_PLAIN = r"(?:[A-Za-z0-9_/.+~(\\^$;]|-(?=[^\s-]))[^:#\n]*(?::[^\s:#][^:#\n]*)*"
#: Indentation, dashes, key, value; then perhaps a comment, which begins a line or follows a space.
_LINE = re.compile(
    rf"^( *+)((?:- ++)*+)(?:({_KEY}):(?: ++|$))?"
    rf"({_PLAIN}|{_QUOTED}|[\[{{][^#\n]*[\]}}])?"
    r" *+(?:(?<![^ \n])#.*)?$",
    re.MULTILINE,
)
#: Values seen before, so that equal ones are one object: configuration repeats itself.
_MEMO_MAX = 100_000


class PlainReader:
    """Reads documents; keeps the values it has seen, so use one for all files of a load."""

    __slots__ = ("_flows", "_limits", "_memo")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._memo: dict[str, Any] = {}
        self._flows: dict[str, Flow] = {}

    def read(self, text: str) -> Document | None:
        """Return the document in `text` (without its `---` line); None if it is not for this reader."""
        if not text.isascii() or not text.replace("\n", "").isprintable():
            return None  # control characters, tabs, and what may not even be allowed in YAML
        lines = _LINE.findall(text)
        if len(lines) != text.count("\n") + 1:
            return None  # some line did not match
        if len(self._memo) > _MEMO_MAX:
            self._memo.clear()
        if len(self._flows) > _MEMO_MAX:
            self._flows.clear()
        try:
            return self._build(lines, text)
        except Declined:
            return None

    def _build(self, lines: list[tuple[str, str, str, str]], text: str) -> Document:
        memo = self._memo
        max_depth = self._limits.max_depth - 1  # a value such as {} or [a] is a level of its own
        document = Document()
        rules = document.rules
        root: list[Any] = []
        # The open containers, outermost first, with the column of their keys or dashes.
        containers: list[Any] = [root]
        columns: list[int] = [-1]
        container: Any = root
        column = -1
        pending: str | None = None  # the last key of `container`, when its value may follow on the next line
        number = 0
        for indent, dashes, key, raw in lines:
            number += 1
            at = len(indent)
            if dashes:
                if not raw and not key:
                    raise Declined
                place = at
                end = at + len(dashes)
                while place < end:
                    # One dash at column `place`: an item of the list there, which may have to be begun.
                    while column > place:
                        containers.pop()
                        columns.pop()
                        container, column = containers[-1], columns[-1]
                        pending = None
                    if column != place or container.__class__ is not list:
                        items: list[Any] = []
                        if place > at:  # a list in a list: `- - a`
                            if len(containers) - 1 in (RULE_DEPTH, LIST_RULE_DEPTH):
                                raise Declined  # the item's place would have to be kept
                            container.append(items)
                        elif pending is not None:
                            container[pending] = items
                            pending = None
                        elif container is root and not root:
                            root.append(items)
                            document.line, document.column = number, place + 1
                        else:
                            raise Declined
                        if len(containers) > max_depth:
                            raise Declined
                        containers.append(items)
                        columns.append(place)
                        container, column = items, place
                    # The next dash, or the content, stands after this dash and the spaces behind it.
                    place = end - len(dashes[place - at + 1 :].lstrip(" ")) if end - place > 2 else end
                depth = len(containers) - 1
                if depth == RULE_DEPTH or (depth == LIST_RULE_DEPTH and "items" in containers[1]):
                    position = (number, place + 1)
                    known = rules.get(id(container))
                    if known is None:
                        rules[id(container)] = [position]
                    else:
                        known.append(position)
                at = place
                if key:
                    mapping: dict[str, Any] = {}
                    container.append(mapping)
                    if len(containers) > max_depth:
                        raise Declined
                    containers.append(mapping)
                    columns.append(at)
                    container, column = mapping, at
            elif key:
                if column != at or container.__class__ is list:
                    while column > at or (column == at and container.__class__ is list):
                        containers.pop()
                        columns.pop()
                        container, column = containers[-1], columns[-1]
                        pending = None
                    if column != at:
                        mapping = {}
                        if pending is not None:
                            container[pending] = mapping
                        elif container is root and not root:
                            root.append(mapping)
                            document.line, document.column = number, at + 1
                        else:
                            raise Declined
                        if len(containers) > max_depth:
                            raise Declined
                        containers.append(mapping)
                        columns.append(at)
                        container, column = mapping, at
            elif raw:
                raise Declined  # a scalar that goes on, or stands alone
            else:
                continue
            if key:
                if key in container:
                    raise Declined
                if raw:
                    pending = None
                    value = memo.get(raw, memo)
                    if value is memo:
                        value = self._value(raw)
                        if value.__class__ is Flow:
                            value = self._flow(value, raw, document, text, number, len(containers))
                    container[key] = value
                else:
                    pending = key
                    container[key] = None
            else:
                value = memo.get(raw, memo)
                if value is memo:
                    value = self._value(raw)
                    if value.__class__ is Flow:
                        value = self._flow(value, raw, document, text, number, len(containers))
                container.append(value)
        document.value = root[0] if root else None
        return document

    def _value(self, raw: str) -> Any:
        """Return what a value means, and remember it if it cannot change; a Flow for a collection."""
        first = raw[0]
        if first == "[" or first == "{":
            flow = self._flows.get(raw)
            if flow is None:
                flow = self._flows[raw] = read_flow(raw)
            return flow
        value: Any = raw[1:-1] if first == '"' or first == "'" else resolve_plain(raw.rstrip(" "))
        self._memo[raw] = value
        return value

    def _flow(self, flow: Flow, raw: str, document: Document, text: str, number: int, depth: int) -> Any:
        """Return the value of a collection that stands `depth` containers deep in line `number`."""
        if depth + flow.height > self._limits.max_depth:
            raise Declined
        if not flow.lists:
            return flow.value
        wanted = (RULE_DEPTH - depth, LIST_RULE_DEPTH - depth)
        if not any(spots.level in wanted for spots in flow.lists):
            return flow.value
        # The places of items are kept by the identity of their list, which must be this document's own.
        own = read_flow(raw)
        begin = text.split("\n", number)[number - 1].index(raw)
        for spots in own.lists:
            if spots.level in wanted:
                document.rules[id(spots.items)] = [(number, begin + offset + 1) for offset in spots.offsets]
        return own.value
