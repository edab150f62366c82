"""How the answers of several workers become one. Pure: rows in, rows out.

What is configuration is the same in all workers, so any one is asked (``ASK_ONE``). Counters are added; what a worker
finds healthy is healthy only if all do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Row = dict[str, Any]
Rows = Sequence[Row]


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows with the same ``key`` are one; of the fields that are not named the first worker's stays."""

    key: tuple[str, ...]
    #: numbers, lists of numbers or mappings of numbers, added element by element
    sums: tuple[str, ...] = ()
    every: tuple[str, ...] = ()  # true if true for all
    some: tuple[str, ...] = ()  # true if true for any
    largest: tuple[str, ...] = ()  # what workers count together already
    #: fields that hold rows themselves
    nested: Mapping[str, Rule] = field(default_factory=dict)


_ENDPOINT: Final = Rule(
    ("address",),
    sums=("total", "active", "connections", "opened", "failed", "waiting", "errors", "timeouts"),
    every=("healthy",),
    some=("ejected",),
    largest=("ejections",),
)
_SERIES: Final = Rule(
    ("kind", "name"),
    sums=("requests", "errors", "rejected", "bytes_received", "bytes_sent", "connections"),
)


_ROUTE: Final = Rule(("id",), sums=("hits", "errors"))
#: Topics with so many rows that those of the first worker pass through: of the others only sums are kept.
PASSED: Final = {"routes": _ROUTE}


class Addends:
    """What further workers add to the first one's rows of a topic in :data:`PASSED`. Rows it has not are left out."""

    def __init__(self, topic: str) -> None:
        self._rule = PASSED[topic]
        self._sums: dict[tuple[Any, ...], list[Any]] = {}

    def note(self, row: Row) -> None:
        """A row of a further worker."""
        key = tuple(row.get(name) for name in self._rule.key)
        sums = [row[name] for name in self._rule.sums]
        known = self._sums.get(key)
        self._sums[key] = sums if known is None else _sum(known, sums)

    def added(self, row: Row) -> Row:
        """A row of the first, with what the others add to it."""
        sums = self._sums.get(tuple(row.get(name) for name in self._rule.key))
        if sums is None:
            return row
        return {
            **row,
            **{name: _sum(row[name], more) for name, more in zip(self._rule.sums, sums, strict=True)},
        }


def merge(topic: str, answers: Sequence[Rows]) -> list[Row]:
    """One answer of those of all workers, in the order of the first; ``topic`` is a key of :data:`MERGES`."""
    return MERGES[topic]([rows for rows in answers if rows])


def _first(answers: Sequence[Rows]) -> list[Row]:
    return list(answers[0]) if answers else []


def _all(answers: Sequence[Rows]) -> list[Row]:
    """Every worker's rows."""
    return [row for rows in answers for row in rows]


def _by(rule: Rule) -> Callable[[Sequence[Rows]], list[Row]]:
    def merged(answers: Sequence[Rows]) -> list[Row]:
        return _together(rule, answers)

    return merged


def _together(rule: Rule, answers: Iterable[Rows]) -> list[Row]:
    found: dict[tuple[Any, ...], Row] = {}
    nested: dict[tuple[Any, ...], dict[str, list[Rows]]] = {}
    for rows in answers:
        for row in rows:
            key = tuple(row.get(name) for name in rule.key)
            known = found.get(key)
            if known is None:
                found[key] = dict(row)
            else:
                _add(rule, known, row)
            for name in rule.nested:
                nested.setdefault(key, {}).setdefault(name, []).append(row.get(name, ()))
    for key, fields in nested.items():
        for name, parts in fields.items():
            found[key][name] = _together(rule.nested[name], parts)
    return list(found.values())


def _add(rule: Rule, known: Row, row: Row) -> None:
    for name in rule.sums:
        if name in row:
            known[name] = _sum(known.get(name, 0), row[name])
    for name in rule.every:
        known[name] = bool(known.get(name)) and bool(row.get(name))
    for name in rule.some:
        known[name] = bool(known.get(name)) or bool(row.get(name))
    for name in rule.largest:
        known[name] = max(known.get(name, 0), row.get(name, 0))


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _sum(one.get(key, 0), other.get(key, 0)) for key in {**one, **other}}
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return [_sum(a, b) for a, b in zip(one, other, strict=True)]
    return one + other


_CHOOSE: Final[dict[str, Callable[[float, float], float]]] = {"max": max, "min": min}


def _metrics(answers: Sequence[Rows]) -> list[Row]:
    """Families by name, samples by labels, each by its family's own rule."""
    families: dict[str, Row] = {}
    samples: dict[str, dict[str, list[Any]]] = {}
    for rows in answers:
        for row in rows:
            name = row["name"]
            families.setdefault(name, row)
            known = samples.setdefault(name, {})
            for sample in row["samples"]:
                text = sample[0]
                known[text] = (
                    _together_samples(row["merge"], known[text], sample) if text in known else list(sample)
                )
    return [{**row, "samples": list(samples[name].values())} for name, row in families.items()]


def _together_samples(rule: str, one: list[Any], other: Sequence[Any]) -> list[Any]:
    choose = _CHOOSE.get(rule)
    if choose is not None and len(one) == 2:
        return [one[0], choose(one[1], other[1])]
    return [one[0], *(_sum(a, b) for a, b in zip(one[1:], other[1:], strict=True))]


def _timeseries(answers: Sequence[Rows]) -> list[Row]:
    """Columns on the same seconds are added; latencies, pairs of bucket and count per second, too."""
    merged = _together(_SERIES, answers)
    by_name = {(row["kind"], row["name"]): row for row in merged}
    latencies: dict[tuple[str, str], list[dict[int, int]]] = {}
    for rows in answers:
        for row in rows:
            seconds = latencies.setdefault(
                (row["kind"], row["name"]), [{} for _ in range(len(row["latencies"]))]
            )
            for counts, pairs in zip(seconds, row["latencies"], strict=True):
                for bucket, count in pairs:
                    counts[bucket] = counts.get(bucket, 0) + count
    for key, seconds in latencies.items():
        by_name[key]["latencies"] = [sorted(counts.items()) for counts in seconds]
    return merged


#: Topic -> how the answers of all workers become one.
MERGES: Final[dict[str, Callable[[Sequence[Rows]], list[Row]]]] = {
    "process": _all,
    "metrics": _metrics,
    "configuration": _first,
    "findings": _first,
    "reloads": _first,
    "listeners": _by(Rule(("name",), sums=("connections", "accepted", "refused"))),
    "routes": _by(_ROUTE),
    "clusters": _by(Rule(("name",), sums=("total", "active"), nested={"endpoints": _ENDPOINT})),
    "certs": _first,
    "timeseries": _timeseries,
    "dump": _first,
    "explain": _first,
    "validate": _first,
}

#: Topics that are the same in all workers: their rows can be passed on as they come.
ASK_ONE: Final = frozenset(topic for topic, merge_rows in MERGES.items() if merge_rows is _first)
