"""One changed document among ten thousand: how soon it is in force, and what other requests notice of it."""

import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.macro.bench import Bench
from benchmarks.macro.editor import PAUSE_S
from benchmarks.macro.open_loop import timed_loop
from benchmarks.macro.origin import SMALL_BYTES
from benchmarks.macro.processes import spawn
from benchmarks.macro.proxies import Running
from benchmarks.macro.scenarios.scale import add_start
from benchmarks.macro.site import HOST_RULES, Layout, Rule, Site, VirtualHost, host_name
from benchmarks.macro.traffic import SEED, head, nine_headers

RATE_PER_S = 400
CONNECTIONS = 20
CHANGES = 6
REST_S = 0.3
"""How long after a change is in force requests still count as those that may notice it."""


@dataclass(frozen=True)
class Case:
    """A layout of the files, and how many rules a host has in it: all in one file may be 4 MiB."""

    name: str
    layout: Layout
    rules: tuple[Rule, ...]

    def row(self, count: int) -> str:
        """Row of its load; others add to it."""
        return f"{count:,} VirtualServices {self.name}"


CASES = (
    Case("x 5 rules, a file each", "each", HOST_RULES),
    Case("x 1 rule, all in one file", "one", (Rule("prefix", "/"),)),
)


def in_force_row(row: str) -> str:
    """Row of the time from the change of a file to the first answer that knows of it."""
    return f"{row}: one changed, in force"


def slowest_row(row: str, *, changing: bool) -> str:
    """Row of the slowest request around a change, or in as much time without one."""
    return f"{row}: slowest request {'meanwhile' if changing else 'while nothing changes'}"


def one_changed(bench: Bench) -> None:
    """Files change while requests come at a fixed rate, for hosts drawn evenly."""
    count = max(bench.options.host_counts)
    for case in CASES:
        hosts = [VirtualHost(host_name(index), case.rules) for index in range(count)]
        edited = count // 2
        hosts[edited] = VirtualHost(host_name(edited), (Rule("exact", "/version-0"),))
        bench.say(f"  starting with {case.row(count)}")
        with bench.proxies(
            Site(tuple(hosts), bench.origin_port(), layout=case.layout), ["gatewayd"]
        ) as running:
            for proxy in running:
                add_start(bench, case.row(count), proxy)
                for number in range(bench.options.rounds):
                    bench.say(f"  round {number + 1}")
                    measure(bench, case.row(count), proxy, host_name(edited), count, number)


def measure(bench: Bench, row: str, proxy: Running, host: str, count: int, number: int) -> None:
    """A round of changes under load."""
    folder = proxy.output.parent
    file = next(path for path in sorted((folder / "config").iterdir()) if f'"{host}"' in path.read_text())
    output = folder / f"editor-{number}.log"
    words = [str(proxy.port), str(file), host, str(CHANGES)]
    editor = spawn(
        [sys.executable, "-m", "benchmarks.macro.editor", *words],
        core=bench.options.pinning.rest,
        output=output,
    )
    rng = random.Random(SEED + number)
    chosen = [index for index in rng.sample(range(count), 500) if host_name(index) != host]
    answers, invalid = timed_loop(
        proxy.port,
        [head("/login", nine_headers(host_name(index))).encode() for index in chosen],
        SMALL_BYTES,
        rate_per_s=RATE_PER_S,
        seconds=CHANGES * (PAUSE_S + 0.3) + 1,
        connections=CONNECTIONS,
        seed=number,
    )
    changes = read_changes(editor, output)
    if len(changes) < CHANGES:
        invalid = invalid or f"{len(changes)} of {CHANGES} changes: {output.read_text()[-500:]}"
    for began, ended in changes:
        length = ended + REST_S - began
        noticed = slowest_us(answers, began, length)
        quiet = slowest_us(answers, began - length, length)
        bench.add(in_force_row(row), "ms", proxy.name, (ended - began) * 1e3, invalid)
        bench.add(slowest_row(row, changing=True), "ms", proxy.name, noticed / 1e3, invalid)
        bench.add(slowest_row(row, changing=False), "ms", proxy.name, quiet / 1e3, invalid)
    proxy.clear_log()


def read_changes(editor: subprocess.Popen[bytes], output: Path) -> list[tuple[float, float]]:
    """When each change was made, and when it was in force, once the editor is done."""
    try:
        editor.wait(30)
    finally:
        editor.kill()
        editor.wait()
    lines = [line.split() for line in output.read_text().splitlines()]
    return [(float(line[0]), float(line[1])) for line in lines if len(line) == 2]


def slowest_us(answers: list[tuple[float, float]], began: float, length: float) -> float:
    """The longest latency of the requests that were due in a span of time, in us."""
    return max((latency for due, latency in answers if began <= due < began + length), default=0.0)
