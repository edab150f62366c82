"""``/stats``: the metrics under Envoy's dotted names, as text or JSON; ``?format=prometheus`` is the other path."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import accumulate
from typing import Any, Final

from gatewayd.admin.messages import JSON, Answer, Rejected, Request, choice, encode
from gatewayd.admin.metrics import exposition
from gatewayd.admin.paths import pattern
from gatewayd.admin.state import State
from gatewayd.observe.exposition import BOUNDS, CONTENT_TYPE, HISTOGRAM, number
from gatewayd.regexes import Regex

PARAMETERS: Final = {
    "usedonly": "Only include stats that are not 0",
    "filter": "Regular expression (Google re2) for filtering stats",
    "format": "Format to use; One of (text, json, prometheus)",
    "type": "Stat types to include.; One of (All, Counters, Histograms, Gauges, TextReadouts)",
}
#: There are no text readouts.
_TYPES: Final = {
    "All": None,
    "Counters": "counter",
    "Gauges": "gauge",
    "Histograms": HISTOGRAM,
    "TextReadouts": "text",
}
_LABEL: Final = re.compile(r'([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")
#: Envoy's tree -> the label that names the branch.
_TREES: Final = (
    ("envoy_cluster_manager_", "cluster_manager.", ""),
    ("envoy_listener_manager_", "listener_manager.", ""),
    ("envoy_server_", "server.", ""),
    ("envoy_cluster_", "cluster.", "cluster_name"),
    ("envoy_listener_", "listener.", "listener_address"),
    ("envoy_http_", "http.", "http_conn_manager_prefix"),
)
_BREAKERS: Final = "circuit_breakers_default_"
_OUTLIERS: Final = "outlier_detection_"
_QUANTILES: Final = (0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100)


def answer(state: State, request: Request) -> Answer:
    """The answer to ``/stats``."""
    form = choice(request, "format", ("text", "json", "prometheus"), "text")
    kind = _TYPES[choice(request, "type", _TYPES, "All")]
    wanted = pattern(request, "filter")
    if form == "prometheus":
        if kind is not None:
            raise Rejected(400, "type has no meaning with format=prometheus")
        return Answer(200, content_type=CONTENT_TYPE, pieces=exposition(state, wanted))
    found = _stats(state, kind, wanted, used_only=request.flag("usedonly"))
    if form == "json":
        return Answer(200, content_type=JSON, pieces=_json(found))
    return Answer(200, pieces=_text(found))


Stat = tuple[str, float] | tuple[str, list[float], float]


async def _stats(
    state: State, kind: str | None, wanted: Regex | None, *, used_only: bool
) -> AsyncIterator[list[Stat]]:
    """The stats of each row, those that are asked for."""
    async for row in state.rows("metrics", {}):
        if kind is not None and row["kind"] != kind:
            continue
        chosen: list[Stat] = []
        for sample in row["samples"]:
            name = dotted(row["name"], sample[0])
            if wanted is not None and not wanted.matches(name.encode()):
                continue
            if used_only and not (sample[1] if len(sample) == 2 else sum(sample[1])):
                continue
            chosen.append((name, *sample[1:]))
        yield chosen


def dotted(name: str, label_text: str) -> str:
    """``envoy_cluster_upstream_rq_xx`` with its labels as ``cluster.NAME.upstream_rq_2xx``."""
    labels = {key: _ESCAPE.sub(_unescape, value) for key, value in _LABEL.findall(label_text)}
    for begin, tree, branch in _TREES:
        if not name.startswith(begin):
            continue
        leaf = name.removeprefix(begin)
        if leaf.startswith(_BREAKERS):
            leaf = f"circuit_breakers.default.{leaf.removeprefix(_BREAKERS)}"
        elif leaf.startswith(_OUTLIERS):
            leaf = f"outlier_detection.{leaf.removeprefix(_OUTLIERS)}"
        if "response_code_class" in labels:
            leaf = leaf.removesuffix("_xx") + "_" + labels["response_code_class"]
        elif "response_code" in labels:
            leaf = f"{leaf}_{labels['response_code']}"
        return f"{tree}{labels[branch]}.{leaf}" if branch else tree + leaf
    return ".".join([name, *(f"{key}.{value}" for key, value in labels.items())])


def _unescape(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]


async def _text(found: AsyncIterator[list[Stat]]) -> AsyncIterator[bytes]:
    async for stats in found:
        yield "".join(_lines(stats)).encode()


def _lines(stats: Iterable[Stat]) -> Iterator[str]:
    for stat in stats:
        if len(stat) == 2:
            yield f"{stat[0]}: {number(stat[1])}\n"
        else:
            shown = " ".join(
                f"P{each:g}({_shown(value)},{_shown(value)})" for each, value in _quantiles(stat)
            )
            yield f"{stat[0]}: {shown}\n"


def _shown(value: float | None) -> str:
    return "nan" if value is None else f"{value:g}"


async def _json(found: AsyncIterator[list[Stat]]) -> AsyncIterator[bytes]:
    mark = b'{"stats":[\n'
    histograms: list[dict[str, Any]] = []
    async for stats in found:
        for stat in stats:
            if len(stat) == 2:
                yield mark + encode({"name": stat[0], "value": _whole(stat[1])})
                mark = b",\n"
            else:
                values = [{"interval": value, "cumulative": value} for _, value in _quantiles(stat)]
                histograms.append({"name": stat[0], "values": values})
    if histograms:
        computed = {"supported_quantiles": list(_QUANTILES), "computed_quantiles": histograms}
        yield mark + encode({"histograms": computed})
        mark = b",\n"
    yield b"\n]}\n" if mark == b",\n" else b'{"stats":[]}\n'


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


def _quantiles(stat: Stat) -> Iterator[tuple[float, float | None]]:
    """Within a bucket values are taken to be spread evenly."""
    counts: list[float] = stat[1]  # type: ignore[assignment]  # of a histogram these are its buckets
    totals = list(accumulate(counts))
    for percent in _QUANTILES:
        yield percent, _quantile(counts, totals, totals[-1] * percent / 100) if totals[-1] else None


def _quantile(counts: list[float], totals: list[float], rank: float) -> float:
    for at, (count, total) in enumerate(zip(counts, totals, strict=True)):
        if count and total >= rank:
            low = BOUNDS[at - 1] if at else 0.0
            high = BOUNDS[at] if at < len(BOUNDS) else low
            return round(low + (high - low) * max(0.0, rank - (total - count)) / count, 4)
    return BOUNDS[-1]
