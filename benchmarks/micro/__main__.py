"""Run the micro benchmarks: `python -m benchmarks.micro --help`."""

import argparse
import sys
from collections.abc import Callable, Iterator

from benchmarks.micro import find, handler, head, http2, policies
from benchmarks.micro.timing import Timing

GROUPS: dict[str, Callable[[float], Iterator[Timing]]] = {
    "head": head.benchmarks,
    "find": find.benchmarks,
    "handler": handler.benchmarks,
    "http2": http2.benchmarks,
    "policies": policies.benchmarks,
}


def main(argv: list[str] | None = None) -> int:
    """Print one line per function as a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="run this group (repeatable)")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for each function")
    args = parser.parse_args(argv)
    print("| what | CPU us, median | best |\n| --- | ---: | ---: |")
    for name in args.only or GROUPS:
        for timing in GROUPS[name](args.seconds):
            print(f"| {timing.name} | {timing.median_us:.2f} | {timing.best_us:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
