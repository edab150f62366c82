"""Topic ``timeseries``: one row for each series that is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from gatewayd.observe.timeline import SECONDS, Series, Timeline


def series_rows(timeline: Timeline, arguments: Mapping[str, Any]) -> Iterator[dict[str, Any] | None]:
    """``kinds``: of all, cluster, route; ``seconds``: how many; ``last``: the last one; ``name``: only that one."""
    kinds = arguments.get("kinds", ["all"])
    last = int(arguments.get("last", time.time() - 1))
    seconds = min(SECONDS - 1, int(arguments.get("seconds", SECONDS - 1)))
    first = last - seconds + 1
    for kind, name, series in _series(timeline):
        if kind in kinds and arguments.get("name", name) == name and (kind == "all" or series.last >= first):
            yield {"kind": kind, "name": name, "start": first, "step": 1, **series.read(first, last)}
            yield None


def _series(timeline: Timeline) -> Iterator[tuple[str, str, Series]]:
    yield "all", "", timeline.total
    for cluster, series in list(timeline.clusters.series.items()):
        yield "cluster", cluster, series
    for rule, series in list(timeline.routes.series.items()):
        yield "route", rule, series
