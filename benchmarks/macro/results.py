"""Measurements of all rounds and what is said about them: medians, spread, ratios."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measurement:
    """One figure of one proxy in one round; `invalid` is the reason why it must not be used."""

    row: str
    unit: str
    proxy: str
    value: float
    invalid: str | None = None
    detail: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """What the rounds of one proxy in one row amount to."""

    values: tuple[float, ...]
    reasons: tuple[str, ...]

    @property
    def median(self) -> float | None:
        """Median of the valid rounds; None when there is none."""
        return statistics.median(self.values) if self.values else None

    @property
    def valid(self) -> bool:
        """Whether every round may be used."""
        return bool(self.values) and not self.reasons


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    unit: str
    cells: dict[str, Cell]

    def ratio(self, proxy: str, peer: str) -> float | None:
        """Median of one proxy divided by that of another, both from this run; None without both."""
        ours = self.cells[proxy].median if proxy in self.cells else None
        theirs = self.cells[peer].median if peer in self.cells else None
        return ours / theirs if ours is not None and theirs else None


class Results:
    """All measurements of a run, in the order they were made."""

    def __init__(self) -> None:
        self.measurements: list[Measurement] = []

    def add(self, measurement: Measurement) -> None:
        """Keep one figure."""
        self.measurements.append(measurement)

    def rows(self) -> list[Row]:
        """The table, rows in the order of their first measurement."""
        names = dict.fromkeys((each.row, each.unit) for each in self.measurements)
        return [
            Row(name, unit, _cells(m for m in self.measurements if (m.row, m.unit) == (name, unit)))
            for name, unit in names
        ]

    def cell(self, row: str, proxy: str) -> Cell | None:
        """The cell of a row by its name."""
        found = next((each for each in self.rows() if each.name == row), None)
        return found.cells.get(proxy) if found else None


def _cells(measurements: Iterable[Measurement]) -> dict[str, Cell]:
    values: dict[str, list[float]] = {}
    reasons: dict[str, list[str]] = {}
    for each in measurements:
        values.setdefault(each.proxy, [])
        reasons.setdefault(each.proxy, [])
        if each.invalid is None:
            values[each.proxy].append(each.value)
        else:
            reasons[each.proxy].append(each.invalid)
    return {proxy: Cell(tuple(values[proxy]), tuple(reasons[proxy])) for proxy in values}
