"""The program's own log: standard logging, one line a record, to stderr and never waiting for its reader.

Levels are set for all of gatewayd, or for one component (``gatewayd.listeners``: ``listeners``).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from typing import Final

from gatewayd.observe.escaping import escape_text
from gatewayd.observe.log_sink import LogSink

ROOT: Final = "gatewayd"
LEVELS: Final = ("debug", "info", "warning", "error")
COMPONENTS: Final = (
    "access", "admin", "dns", "listeners", "notify", "observe", "reload", "runtime", "tls", "watch",
)  # fmt: skip


class LineFormatter(logging.Formatter):
    """``2026-01-02T03:04:05.678Z warning listeners: text``; control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line; a traceback follows on lines of its own, indented."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        component = record.name.removeprefix(ROOT + ".")
        text = escape_text(record.getMessage())
        line = f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower()} {component}: {text}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join("\n    " + escape_text(part) for part in trace.splitlines())
        return line


class SinkHandler(logging.Handler):
    """Writes records to a :class:`LogSink`."""

    def __init__(self, sink: LogSink) -> None:
        super().__init__()
        self.sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; an error in it is printed by the logging module and goes no further."""
        try:
            self.sink.write((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)


def set_up(level: str = "info", loop: asyncio.AbstractEventLoop | None = None) -> LogSink | None:
    """Send gatewayd's and the libraries' records to stderr; returns the sink to close at the end.

    None when there is no stderr to write to (a process started with it closed).
    """
    handler: logging.Handler
    sink: LogSink | None
    try:
        sys.stderr.flush()
        sink = LogSink("-", loop, stream_fd=2)
        handler = SinkHandler(sink)
    except (OSError, AttributeError):  # stderr was closed when we were started
        sink, handler = None, logging.NullHandler()
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    set_level(level)
    logging.captureWarnings(True)
    return sink


def set_level(level: str, component: str = "") -> None:
    """Set the level (one of ``LEVELS``) of one component, or of all that have none of their own."""
    name = f"{ROOT}.{component}" if component else ROOT
    logging.getLogger(name).setLevel(level.upper())


def parse_levels(text: str) -> dict[str, str]:
    """``info,listeners=debug`` as ``{"": "info", "listeners": "debug"}``. Raises ValueError, in words."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, mark, level = part.strip().rpartition("=")
        if level not in LEVELS:
            raise ValueError(f"unknown level {level!r}: expected one of {', '.join(LEVELS)}")
        if mark and name not in COMPONENTS:
            raise ValueError(f"unknown component {name!r}: expected one of {', '.join(COMPONENTS)}")
        found[name] = level
    return found


def set_levels(wanted: Mapping[str, str]) -> None:
    """Put the levels of :func:`parse_levels` in force; one of all takes away what components had of their own."""
    if "" in wanted:
        for name in COMPONENTS:
            logging.getLogger(f"{ROOT}.{name}").setLevel(logging.NOTSET)
    for name, level in wanted.items():
        set_level(level, name)


def levels() -> dict[str, str]:
    """What is in force, by component."""
    return {
        name: logging.getLevelName(logging.getLogger(f"{ROOT}.{name}").getEffectiveLevel()).lower()
        for name in COMPONENTS
    }
