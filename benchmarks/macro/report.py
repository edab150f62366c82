"""Results as Markdown for people and as JSON for programs."""

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.macro.goals import OURS, Verdict, verdicts
from benchmarks.macro.results import Cell, Results, Row
from benchmarks.macro.tools import find_tool


def number(value: float) -> str:
    """A figure with about three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cell_text(cell: Cell | None) -> str:
    """The median, or why there is none."""
    if cell is None:
        return "–"
    if cell.median is None:
        return "invalid"
    if cell.reasons:
        rounds = len(cell.values) + len(cell.reasons)
        return f"{number(cell.median)} ({len(cell.reasons)} of {rounds} rounds invalid)"
    return number(cell.median)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, first column left, the others right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figures(rows: Sequence[Row], proxies: Sequence[str]) -> str:
    """Medians of every row, and ours divided by each peer's."""
    peers = [name for name in proxies if name != OURS] if OURS in proxies else []
    lines = []
    for row in rows:
        ratios = [row.ratio(OURS, peer) for peer in peers]
        lines.append(
            [
                row.name,
                row.unit,
                *(cell_text(row.cells.get(name)) for name in proxies),
                *("–" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            ]
        )
    return table(["scenario", "unit", *proxies, *(f"{OURS} / {peer}" for peer in peers)], lines)


def goal_line(verdict: Verdict) -> list[str]:
    """One goal as a row of its table."""
    goal = verdict.goal
    aim = "–" if goal.aim is None else f"{goal.aim:g}"
    answer = ("yes" if verdict.held else "no") if verdict.valid else "invalid rounds"
    return [goal.row, goal.what, number(verdict.value), f"{goal.reach:g}", aim, answer]


def version_of(name: str, *flags: str) -> str:
    """The version line of a program, or a dash."""
    path = find_tool(name)
    if path is None:
        return "–"
    done = subprocess.run([path, *flags], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].replace(path, name) if lines else "–"


def processor() -> str:
    """The model name of the first core."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine() -> dict[str, str]:
    """What the figures depend on besides the proxies."""
    return {
        "cpu": f"{processor()}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nginx": version_of("nginx", "-v"),
        "envoy": version_of("envoy", "--version"),
    }


def markdown(results: Results, proxies: Sequence[str], notes: Sequence[str]) -> str:
    """The whole report."""
    parts = ["\n".join(f"- {note}" for note in notes), figures(results.rows(), proxies)]
    found = list(verdicts(results))
    if found:
        header = ["goal", "unit", "measured", "reach", "aim", "reached"]
        parts.append(table(header, [goal_line(verdict) for verdict in found]))
    return "\n\n".join(parts)


def as_json(results: Results, notes: Sequence[str]) -> dict[str, Any]:
    """Every round with its details, the medians and the verdicts."""
    return {
        "machine": machine(),
        "notes": list(notes),
        "rows": [
            {
                "row": row.name,
                "unit": row.unit,
                "proxies": {
                    name: {"median": cell.median, "rounds": cell.values, "invalid": cell.reasons}
                    for name, cell in row.cells.items()
                },
            }
            for row in results.rows()
        ],
        "goals": [
            {"row": v.goal.row, "what": v.goal.what, "value": v.value, "reach": v.goal.reach, "held": v.held}
            for v in verdicts(results)
        ],
        "measurements": [
            {
                "row": m.row,
                "unit": m.unit,
                "proxy": m.proxy,
                "value": m.value,
                "invalid": m.invalid,
                **m.detail,
            }
            for m in results.measurements
        ],
    }
