"""Metrics as families of samples, and their text in Prometheus' format, made piece by piece.

A family's samples may be worked out as they are asked for: whoever goes through them does so in slices, with the
loop's other work between them. A sample of None is no sample but a good moment to stop for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"

# How the samples of several workers with the same labels become one.
SUM: Final = "sum"
MAX: Final = "max"
MIN: Final = "min"

#: Upper bounds of Envoy's default histograms; one more bucket is above all (semantics 18.5).
BOUNDS: Final[tuple[float, ...]] = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
)  # fmt: skip
BUCKETS: Final = len(BOUNDS) + 1
_LE: Final = (*(f'le="{bound:g}"' if bound < 1e6 else f'le="{int(bound)}"' for bound in BOUNDS), 'le="+Inf"')

#: Samples in one piece of text, or in one row.
PIECE: Final = 100

#: (label text, value), or of a histogram (label text, counts by bucket, sum).
Sample = tuple[str, float] | tuple[str, Sequence[float], float]


class Family(NamedTuple):
    """One metric."""

    name: str  # ends in ``_total`` where Prometheus wants that
    kind: str
    help: str
    samples: Iterable[Sample | None]
    merge: str = SUM


def escaped(value: str) -> str:
    """A label's value between its quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def labels(**pairs: str) -> str:
    """Label text without braces: ``a="b",c="d"``."""
    return ",".join(f'{name}="{escaped(value)}"' for name, value in pairs.items())


def number(value: float) -> str:
    """As Prometheus reads it; whole numbers without a point."""
    return str(int(value)) if value == int(value) else repr(float(value))


class Exposition:
    """Makes the text; families of one name that follow each other are one metric."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = ""

    def pieces(self, family: Family) -> Iterator[bytes]:
        """The text of a family in pieces of at most ``PIECE`` samples; nothing when there are none."""
        name = family.name
        lines: list[str] = []
        for sample in family.samples:
            if sample is None:
                yield b""
                continue
            if self._begun != name:
                self._begun = name
                lines.append(f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n")
            lines.append(_line(name, sample))
            if len(lines) >= PIECE:
                yield "".join(lines).encode()
                lines = []
        if lines:
            yield "".join(lines).encode()


def render(families: Iterable[Family]) -> Iterator[bytes]:
    """The text of all ``families``."""
    text = Exposition()
    for family in families:
        yield from text.pieces(family)


def _line(name: str, sample: Sample) -> str:
    text = sample[0]
    if len(sample) == 2:
        return f"{name}{{{text}}} {number(sample[1])}\n" if text else f"{name} {number(sample[1])}\n"
    before = f"{name}_bucket{{{text}," if text else f"{name}_bucket{{"
    behind = f"{{{text}}}" if text else ""
    totals = list(accumulate(sample[1]))
    lines = [f"{before}{le}}} {count}\n" for le, count in zip(_LE, totals, strict=True)]
    lines.append(f"{name}_sum{behind} {number(sample[2])}\n{name}_count{behind} {totals[-1]}\n")
    return "".join(lines)


def rows(families: Iterable[Family]) -> Iterator[dict[str, Any] | None]:
    """Families as JSON-able rows with at most ``PIECE`` samples each, for whoever merges or renders them elsewhere."""
    for family in families:
        waiting: list[Sample] = []
        for sample in family.samples:
            if sample is None:
                yield None
                continue
            waiting.append(sample)
            if len(waiting) >= PIECE:
                yield _row(family, waiting)
                waiting = []
        if waiting:
            yield _row(family, waiting)


def _row(family: Family, samples: list[Sample]) -> dict[str, Any]:
    return {
        "name": family.name,
        "kind": family.kind,
        "help": family.help,
        "merge": family.merge,
        "samples": [list(sample) for sample in samples],
    }


def family_of(row: dict[str, Any]) -> Family:
    """What :func:`rows` made a row of."""
    samples = [tuple(sample) for sample in row["samples"]]
    return Family(row["name"], row["kind"], row["help"], samples, row["merge"])
