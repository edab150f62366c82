"""HOT: which of many prefixes a path has, found by one bisection instead of one comparison each.

The distinct prefixes are sorted; the largest one not above the path either is a prefix of it or has all
of the path's prefixes among its own, so a walk up the parents finds the longest that fits, and from there
on every parent fits too. Rules whose regular expression begins with literal text live at that text, all
of one place in one RE2 set. The cost is a bisection plus the depth of nesting, whatever the number of rules.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gatewayd.http.message import RequestHead
from gatewayd.regexes import Regex, RegexSet

#: A rule's place in the order, and what is left to confirm (None: nothing).
Entry = tuple[int, Callable[[RequestHead], bool] | None]

#: Patterns in one set: RE2 builds one automaton for all, so huge sets are cut.
_SET_SIZE = 512


class Filed(NamedTuple):
    """A rule filed under ``prefix``; with a regex, ``confirm`` leaves that out."""

    prefix: bytes
    order: int
    confirm: Callable[[RequestHead], bool] | None
    regex: Regex | None = None


class _Node:
    __slots__ = ("entries", "first", "key", "parent", "sets")

    def __init__(self, key: bytes, parent: _Node | None) -> None:
        self.key = key
        self.parent = parent
        self.entries: Sequence[Entry] = ()
        #: (lowest order, set, entry of each of its patterns)
        self.sets: Sequence[tuple[int, Callable[[bytes], list[int] | None], Sequence[Entry]]] = ()
        #: lowest order here and above
        self.first = 0


class PrefixIndex:
    """The rules filed under path prefixes."""

    __slots__ = ("_keys", "_nodes")

    def __init__(self, filed: Sequence[Filed]) -> None:
        by_prefix: dict[bytes, list[Filed]] = {}
        for item in filed:
            by_prefix.setdefault(item.prefix, []).append(item)
        self._keys = sorted(by_prefix)
        self._nodes: list[_Node] = []
        above: list[_Node] = []
        for key in self._keys:
            while above and not key.startswith(above[-1].key):
                above.pop()
            node = _Node(key, above[-1] if above else None)
            _fill(node, by_prefix[key])
            self._nodes.append(node)
            above.append(node)

    def find(self, path: bytes, request: RequestHead, best: int) -> int:
        """The lowest order below ``best`` whose rule matches, else ``best``."""
        position = bisect_right(self._keys, path)
        if not position:
            return best
        node: _Node | None = self._nodes[position - 1]
        starts = path.startswith
        while node is not None and not starts(node.key):
            node = node.parent
        while node is not None and node.first < best:
            for order, confirm in node.entries:
                if order >= best:
                    break
                if confirm is None or confirm(request):
                    best = order
                    break
            for first, match, entries in node.sets:
                if first >= best:
                    continue
                positions = match(path)
                if positions is not None:
                    for at in sorted(positions):
                        order, confirm = entries[at]
                        if order >= best:
                            break
                        if confirm is None or confirm(request):
                            best = order
                            break
            node = node.parent
        return best


def _fill(node: _Node, filed: list[Filed]) -> None:
    """Put the rules of one prefix in place, in order; two or more regexes share a set."""
    plain: list[Entry] = [(f.order, f.confirm) for f in filed if f.regex is None]
    patterns = [f for f in filed if f.regex is not None]
    sets: list[tuple[int, Callable[[bytes], list[int] | None], Sequence[Entry]]] = []
    for start in range(0, len(patterns), _SET_SIZE):
        chunk = patterns[start : start + _SET_SIZE]
        regexes = [f.regex for f in chunk if f.regex is not None]
        match = RegexSet(regexes).match
        sets.append((chunk[0].order, match, tuple((f.order, f.confirm) for f in chunk)))
    node.entries = tuple(plain)
    node.sets = tuple(sets)
    node.first = filed[0].order
    if node.parent is not None and node.parent.first < node.first:
        node.first = node.parent.first
