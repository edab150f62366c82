"""HOT: which of many prefixes a path has, found by one bisection instead of one comparison each.

The distinct prefixes are sorted; the largest one not above the path either is a prefix of it or has all
of the path's prefixes among its own, so a walk up the parents finds the longest that fits, and from there
on every parent fits too. Rules whose regular expression begins with literal text live at that text, all
of one place in one RE2 set. The cost is a bisection plus the depth of nesting, whatever the number of rules.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gatewayd.http.message import RequestHead
from gatewayd.regexes import Regex, SetMatch, compile_set

#: A rule's place in the order, and what is left to confirm (None: nothing).
Entry = tuple[int, Callable[[RequestHead], bool] | None]

#: An order behind all others.
NOWHERE: Final = 1 << 62
#: Patterns in one set, when they fit its memory. One pass costs the same for 1 and for 4,096.
_SET_SIZE: Final = 4096


class Filed(NamedTuple):
    """A rule filed under ``prefix``; with a regex, ``confirm`` leaves that out."""

    prefix: bytes
    order: int
    confirm: Callable[[RequestHead], bool] | None
    regex: Regex | None = None


#: lowest order, set, entry of each of its patterns
_Set = tuple[int, SetMatch, Sequence[Entry]]


class _Node:
    __slots__ = ("entries", "first", "key", "parent", "sets")

    def __init__(self, key: bytes, parent: _Node | None) -> None:
        self.key = key
        self.parent = parent
        self.entries: Sequence[Entry] = ()
        self.sets: Sequence[_Set] = ()
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

    def lowest(self, path: bytes) -> int:
        """The lowest order filed under any prefix of ``path``; NOWHERE when there is none."""
        position = bisect_right(self._keys, path)
        node = self._nodes[position - 1] if position else None
        while node is not None and not path.startswith(node.key):
            node = node.parent
        return NOWHERE if node is None else node.first

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
    """Put the rules of one prefix in place, in order."""
    entries: list[Entry] = [(f.order, f.confirm) for f in filed if f.regex is None]
    patterns = [f for f in filed if f.regex is not None]
    sets: list[_Set] = []
    for start in range(0, len(patterns), _SET_SIZE):
        _fill_sets(patterns[start : start + _SET_SIZE], sets, entries)
    entries.sort(key=_order)
    node.entries = tuple(entries)
    node.sets = tuple(sets)
    node.first = filed[0].order
    if node.parent is not None and node.parent.first < node.first:
        node.first = node.parent.first


def _fill_sets(filed: list[Filed], sets: list[_Set], entries: list[Entry]) -> None:
    """Make one set of ``filed``, or of its halves when it is too big; what fits no set is tried alone."""
    if len(filed) == 1:
        entries.append((filed[0].order, _alone(filed[0])))
        return
    match = compile_set([f.regex.pattern for f in filed if f.regex is not None])
    if match is not None:
        sets.append((filed[0].order, match, tuple((f.order, f.confirm) for f in filed)))
    else:
        half = len(filed) // 2
        _fill_sets(filed[:half], sets, entries)
        _fill_sets(filed[half:], sets, entries)


def _alone(filed: Filed) -> Callable[[RequestHead], bool]:
    regex, confirm = filed.regex, filed.confirm
    assert regex is not None
    matches = regex.matches
    if confirm is None:
        return lambda request: matches(request.path)
    return lambda request: matches(request.path) and confirm(request)


def _order(entry: Entry) -> int:
    return entry[0]
