"""Run the whole-process benchmarks: `python -m benchmarks.macro --help`."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.macro import report
from benchmarks.macro.bench import Bench, Options
from benchmarks.macro.goals import MOST_HOSTS, MOST_RULES, verdicts
from benchmarks.macro.processes import Pinning, default_pinning
from benchmarks.macro.proxies import PROXIES, ProxyOptions
from benchmarks.macro.results import Results
from benchmarks.macro.scenarios import SCENARIOS
from benchmarks.macro.tools import install_line, missing_tools

LOADERS = ("nginx", "wrk", "curl", "h2load", "nghttpd")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m benchmarks.macro", description=__doc__)
    result.add_argument(
        "--only", action="append", choices=list(SCENARIOS), help="run this scenario (repeatable)"
    )
    result.add_argument("--rounds", type=int, help="rounds per scenario (default 3, --quick 2)")
    result.add_argument("--seconds", type=float, help="load per proxy and round (default 3, --quick 1)")
    result.add_argument("--proxies", default=",".join(PROXIES), help="names in the order of the rounds")
    result.add_argument(
        "--quick", action="store_true", help="shorter runs, smaller bodies, fewer table sizes"
    )
    result.add_argument("--pin", default="auto", help="PROXY_CORE,REST_CORE; auto; or off")
    result.add_argument(
        "--nginx-log",
        choices=["buffered", "direct"],
        default="buffered",
        help="buffered like the others' (default), or one write per line",
    )
    result.add_argument("--json", type=Path, help="write every round to this file")
    result.add_argument(
        "--check", action="store_true", help="exit 1 when a goal that was measured is not reached"
    )
    return result


def pinning(text: str) -> Pinning:
    """The value of --pin."""
    if text == "off":
        return Pinning(None, None)
    if text == "auto":
        return default_pinning()
    proxy, rest = (int(part) for part in text.split(","))
    return Pinning(proxy, rest)


def options(args: argparse.Namespace, folder: Path) -> Options:
    """The command line as options of a run."""
    quick = args.quick
    return Options(
        rounds=args.rounds or (2 if quick else 3),
        seconds=args.seconds or (1 if quick else 3),
        proxies=tuple(args.proxies.split(",")),
        pinning=pinning(args.pin),
        folder=folder,
        big_bytes=(256 << 20) if quick else (1 << 30),
        host_counts=(1, MOST_HOSTS) if quick else (1, 100, 1000, MOST_HOSTS),
        rule_count=MOST_RULES,
        idle_connections=1000 if quick else 2000,
        slow_upload_s=8 if quick else 20,
        proxy_options=ProxyOptions(nginx_buffered_log=args.nginx_log == "buffered"),
    )


def notes(chosen: Options, args: argparse.Namespace) -> list[str]:
    """What a reader of the table must know."""
    facts = report.machine()
    return [
        f"{facts['cpu']}, Linux {facts['kernel']}",
        f"Python {facts['python']}; {facts['nginx']}; {facts['envoy']}",
        f"{chosen.pinning.describe()}; one worker each; access log on, nginx's {args.nginx_log}",
        f"medians of {chosen.rounds} interleaved rounds of {chosen.seconds:g} s; ratios of medians",
    ]


def main(argv: list[str] | None = None) -> int:
    """Run the chosen scenarios and print the report; returns the exit status."""
    args = parser().parse_args(argv)
    names = args.proxies.split(",")
    unknown = [name for name in names if name not in PROXIES]
    if unknown:
        print(f"unknown proxy {unknown[0]!r}: expected some of {', '.join(PROXIES)}", file=sys.stderr)
        return 64
    missing = missing_tools([*LOADERS, *(["envoy"] if "envoy" in names else [])])
    if missing:
        print(f"not installed: {', '.join(missing)}\ninstall with: {install_line(missing)}", file=sys.stderr)
        return 69
    results = Results()
    failed: list[str] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        chosen = options(args, Path(folder))
        if chosen.pinning.rest is not None:
            os.sched_setaffinity(0, {chosen.pinning.rest})
        with Bench(chosen, results, say=lambda line: print(line, file=sys.stderr, flush=True)) as bench:
            for name in args.only or SCENARIOS:
                bench.say(f"{name} ({time.monotonic() - began:.0f} s)")
                try:
                    SCENARIOS[name](bench)
                except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                    # One scenario that cannot run must not cost the figures of all others.
                    bench.say(f"  {name} FAILED: {error}")
                    failed.append(name)
        lines = notes(chosen, args) + [f"{name} FAILED and is not in the table" for name in failed]
    print(report.markdown(results, names, lines))
    if args.json:
        args.json.write_text(json.dumps(report.as_json(results, lines), indent=1) + "\n")
    missed = args.check and not all(verdict.held for verdict in verdicts(results))
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
