"""The long form: ``python -m tests.soak [--seed N] [--share F]``; exits with 1 if anything was lost."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.driver import run

PLAN = {
    "reload": 1000,
    "mistake": 50,
    "half-written": 50,
    "certificate": 50,
    "upstream killed": 30,
    "worker killed": 20,
    "worker replaced": 50,
    "all replaced": 10,
    "drain and undrain": 20,
    "upgrade": 10,
}


def main() -> int:
    """Run it, print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="decides the order")
    parser.add_argument("--share", type=float, default=1.0, help="do only that part of everything")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", type=Path, help="where to keep what the service said")
    asked = parser.parse_args()
    plan = {name: max(1, round(count * asked.share)) for name, count in PLAN.items()}
    print(f"seed {asked.seed}: {plan}", flush=True)
    with tempfile.TemporaryDirectory(prefix="gatewayd-soak-") as folder:
        result = asyncio.run(run(Path(folder), plan, seed=asked.seed, workers=asked.workers))
    print(result.report)
    if asked.log:
        asked.log.write_text(result.said)
    if result.world.lost_count and not asked.log:
        print(result.said)
    return 1 if result.world.lost_count or "Traceback" in result.said else 0


if __name__ == "__main__":
    sys.exit(main())
