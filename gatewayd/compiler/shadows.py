"""Which alternatives can never match, because an earlier one takes all of their requests.

Only what is certain is found: an earlier alternative takes a later one's requests when its uri covers
the later one's and all its other conditions are among the later one's, word for word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Final

from gatewayd.compiler.matches import NO_OTHERS, Others, Shape

#: More conditions than this are compared as a whole only: their subsets would be too many.
_MAX_SUBSETS_OF: Final = 4
_JUST_NONE: Final = (NO_OTHERS,)


def shadowed(shapes: Sequence[Shape]) -> list[tuple[int, int]]:
    """(index, index of the earlier one that takes all its requests), in order."""
    #: (other conditions, kind of uri comparison, text) -> who took that first
    first: dict[tuple[Others, str, str], int] = {}
    lengths: list[int] = []  # of the prefixes taken
    found: list[tuple[int, int]] = []
    for index, shape in enumerate(shapes):
        kind, value = shape.uri
        takers = []
        for others in _JUST_NONE if shape.others is NO_OTHERS else _subsets(shape.others):
            taker = first.get((others, "any", ""))
            if taker is not None:
                takers.append(taker)
            if kind in ("exact", "prefix"):
                for length in lengths:
                    if length <= len(value):
                        taker = first.get((others, "prefix", value[:length]))
                        if taker is not None:
                            takers.append(taker)
            if kind != "prefix":
                taker = first.get((others, kind, value))
                if taker is not None:
                    takers.append(taker)
        if takers:
            found.append((index, min(takers)))
            continue
        first[shape.others, kind, value] = index
        if kind == "prefix" and len(value) not in lengths:
            lengths.append(len(value))
    return found


def _subsets(others: Others) -> Iterable[Others]:
    if len(others) > _MAX_SUBSETS_OF:
        return (NO_OTHERS, others)
    return (frozenset(some) for size in range(len(others) + 1) for some in combinations(sorted(others), size))


def takes(shape: Shape) -> str:
    """What an alternative takes, in words: ``prefix "/"``, ``every request``."""
    kind, _ = shape.uri
    matched = shape.path_matched
    if matched.kind != "none":
        words = f'{matched.kind.replace("_", " ")} "{matched.value.decode()}"'
        words += " ignoring case" if kind.endswith("ignoring case") else ""
    else:
        words = "every path" if shape.others else "every request"
    return f"{words} with no other conditions than these" if shape.others else words
