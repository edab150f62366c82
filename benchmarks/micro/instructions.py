"""Instructions per exchange for each route of the policy scenario and for HTTP/2, counted by callgrind.

Counts do not depend on how busy the machine is: two versions of the code, or two routes, are told apart by less
than a hundredth. `python -m benchmarks.micro.instructions [--only NAME] [--workers N]`; about a minute, most of it
start-up. With several workers, one of them is counted: what sharing counters with the others costs it.
"""

import argparse
import asyncio
import gc
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.macro import policy_site
from benchmarks.macro.tools import tool
from benchmarks.micro.http2 import SCENARIOS, STREAMS, Rig
from benchmarks.micro.policies import make_rig, pairs, source
from gatewayd.observe.access_log import AccessLog

WARM_UP = 200
EXCHANGES = 400
MARK = "getppid"
"""callgrind writes down its counts and begins anew whenever this function of libc is called; nothing else does."""

_TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def play(names: list[str], workers: int) -> None:
    """The exchanges of all routes, with a mark before and after each route's."""
    loop = asyncio.new_event_loop()
    log = AccessLog(loop, "/dev/null", "text")
    policy_rig = make_rig(loop, log, workers)
    for name in names:
        exchange: Callable[[Any], None]
        if name in SCENARIOS:
            exchange, make, at_a_time = (
                Rig(loop, log, SCENARIOS[name].protocol).exchange,
                SCENARIOS[name].make(),
                STREAMS,
            )
        else:
            exchange, make, at_a_time = policy_rig.exchange, partial(pairs, source(name)), 1
        for pair in make(WARM_UP // at_a_time):
            exchange(pair)
        inputs = make(EXCHANGES // at_a_time)
        gc.collect()
        gc.disable()
        os.getppid()
        for pair in inputs:
            exchange(pair)
        os.getppid()
        gc.enable()
    log.close()
    loop.close()


def counted(names: list[str], workers: int) -> dict[str, float]:
    """Instructions per exchange of each route."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        subprocess.run(
            [
                *(tool("valgrind"), "--tool=callgrind", f"--dump-before={MARK}"),
                f"--callgrind-out-file={folder}/counts",
                *(sys.executable, "-m", "benchmarks.micro.instructions"),
                *("--workers", str(workers), "--play", *names),
            ],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        found = {}
        for index, name in enumerate(names):
            text = Path(folder, f"counts.{2 * index + 2}").read_text()
            found[name] = int(_TOTALS.findall(text)[-1]) / EXCHANGES
    return found


def main(argv: list[str] | None = None) -> int:
    """Print one line per route as a Markdown table."""
    names = [*(each.name for each in policy_site.POLICIES), *SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro.instructions", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, help="this route beside the plain one")
    parser.add_argument("--workers", type=int, default=1, help="of a group of so many (1)")
    parser.add_argument("--play", nargs="+", choices=names, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.play:
        play(args.play, args.workers)
        return 0
    chosen = list(dict.fromkeys([policy_site.PLAIN, *(args.only or names)]))
    counts = counted(chosen, args.workers)
    print("| route | thousand instructions per exchange | x plain |\n| --- | ---: | ---: |")
    for name in chosen:
        row = SCENARIOS[name].row if name in SCENARIOS else policy_site.policy(name).row
        print(f"| {row} | {counts[name] / 1000:.1f} | {counts[name] / counts[policy_site.PLAIN]:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
