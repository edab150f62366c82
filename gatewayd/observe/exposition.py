"""Prometheus text format: what a scrape is made of, piece by piece, so that no piece holds the loop for long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"

#: Upper bounds of Envoy's default histograms; one more bucket is above all (semantics 18.5).
BOUNDS: Final[tuple[float, ...]] = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
)  # fmt: skip
BUCKETS: Final = len(BOUNDS) + 1
_LE: Final = (*(f'le="{bound:g}"' if bound < 1e6 else f'le="{int(bound)}"' for bound in BOUNDS), 'le="+Inf"')

#: Lines made at a time.
PIECE: Final = 100


class Family(NamedTuple):
    """One metric: its samples are (label text, value); ``name`` with ``_total`` where it counts."""

    name: str
    kind: str
    help: str
    samples: Iterable[tuple[str, float]]


def escaped(value: str) -> str:
    """A label's value between its quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def labels(**pairs: str) -> str:
    """Label text without braces: ``a="b",c="d"``."""
    return ",".join(f'{name}="{escaped(value)}"' for name, value in pairs.items())


def number(value: float) -> str:
    """As Prometheus reads it; whole numbers without a point."""
    return str(int(value)) if value == int(value) else repr(float(value))


def header(name: str, kind: str, help: str) -> str:
    """The two lines before the samples of a metric."""
    return f"# HELP {name} {help}\n# TYPE {name} {kind}\n"


def render(families: Iterable[Family]) -> Iterator[bytes]:
    """The text in pieces of some ``PIECE`` lines; a metric without samples is left out."""
    lines: list[str] = []
    for family in families:
        name = family.name
        begun = False
        for text, value in family.samples:
            if not begun:
                begun = True
                lines.append(header(name, family.kind, family.help))
            lines.append(f"{name}{{{text}}} {number(value)}\n" if text else f"{name} {number(value)}\n")
            if len(lines) >= PIECE:
                yield "".join(lines).encode()
                lines = []
    if lines:
        yield "".join(lines).encode()


def histogram(name: str, help: str, series: Iterable[tuple[str, Sequence[float], float]]) -> Iterator[bytes]:
    """A histogram's text, one piece per series of (label text, counts by bucket, sum)."""
    begun = False
    for text, counts, total in series:
        before = f"{name}_bucket{{{text}," if text else f"{name}_bucket{{"
        behind = f"{{{text}}}" if text else ""
        totals = list(accumulate(counts))
        lines = [f"{before}{le}}} {count}\n" for le, count in zip(_LE, totals, strict=True)]
        lines.append(f"{name}_sum{behind} {number(total)}\n{name}_count{behind} {totals[-1]}\n")
        if not begun:
            begun = True
            lines.insert(0, header(name, HISTOGRAM, help))
        yield "".join(lines).encode()
