"""What workers had counted that are gone: counters of a service go on when its workers are replaced, or die.

A worker that is told to go says its last numbers; of one that dies what it said last is known, and what it counted
since is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gatewayd.admin.merging import merge
from gatewayd.observe.exposition import GAUGE

Row = dict[str, Any]

_TOPIC: Final = "metrics"
#: Samples kept for good; beyond them only those that a worker has as well.
MAX_SAMPLES: Final = 20_000


class Departed:
    """Rows of the topic ``metrics``, by worker process while it lives, and added up of those that are gone."""

    def __init__(self, gone: Sequence[Row] = ()) -> None:
        self._last: dict[int, list[Row]] = {}
        self._gone: list[Row] = list(gone)

    def note(self, pid: int, rows: Sequence[Row]) -> None:
        """What the worker ``pid`` says now."""
        self._last[pid] = [row for row in map(_counted, rows) if row["samples"]]

    def last(self, pid: int) -> list[Row]:
        """What the worker ``pid`` said last, but for its gauges."""
        return self._last.get(pid, [])

    def left(self, pid: int) -> None:
        """The worker ``pid`` is gone."""
        last = self._last.pop(pid, None)
        if last is None:
            return
        self._gone = merge(_TOPIC, [self._gone, last])
        if sum(len(row["samples"]) for row in self._gone) > MAX_SAMPLES:
            self._shrink()

    def rows(self) -> list[Row]:
        """What those that are gone had counted."""
        return self._gone

    def reset(self) -> None:
        """Counters begin at 0; histograms go on."""
        self._gone = [row for row in self._gone if row["kind"] != "counter"]
        self._last.clear()

    def _shrink(self) -> None:
        """Leave out what none of the living has: clusters and routes that are not there any more."""
        known = {
            (row["name"], sample[0])
            for rows in self._last.values()
            for row in rows
            for sample in row["samples"]
        }
        self._gone = [
            {**row, "samples": [each for each in row["samples"] if (row["name"], each[0]) in known]}
            for row in self._gone
        ]


def _counted(row: Row) -> Row:
    """Its samples that are not 0, and none of a gauge: thousands of clusters may never have been asked for."""
    if row["kind"] == GAUGE:
        return {**row, "samples": []}
    samples = row["samples"]
    return {**row, "samples": [each for each in samples if (any(each[1]) if len(each) > 2 else each[1])]}
