"""``gatewayd run``: one process, or a supervisor with workers."""

from __future__ import annotations

import os

from gatewayd.runtime import process
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.single import run_single
from gatewayd.runtime.supervisor import run_supervisor
from gatewayd.runtime.upgrade import is_trial, stand_trial


def run(options: RunOptions) -> int:
    """Serve until told to stop; the exit code. Messages go to stderr."""
    sink = process.prepare(options.log_level, options.log_format)
    try:
        if is_trial(os.environ):
            return stand_trial(options)
        return run_supervisor(options, sink) if options.workers > 1 else run_single(options, sink)
    finally:
        process.end_logs(sink)
