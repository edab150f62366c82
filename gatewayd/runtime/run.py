"""``gatewayd run``: one process, or a supervisor with workers."""

from __future__ import annotations

from gatewayd.runtime import process
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.single import run_single


def run(options: RunOptions) -> int:
    """Serve until told to stop; the exit code. Messages go to stderr."""
    sink = process.prepare(options.log_level)
    try:
        return run_single(options, sink)
    finally:
        process.end_logs(sink)
