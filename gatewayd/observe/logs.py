"""The program's own log: standard logging, one line a record, to stderr and never waiting for its reader.

Lines are text or JSON. Levels are set for all of gatewayd, or for one component (``gatewayd.listeners``:
``listeners``), at the start and while it runs.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from gatewayd.observe.escaping import escape_text
from gatewayd.observe.log_sink import LogSink

ROOT: Final = "gatewayd"
LEVELS: Final = ("debug", "info", "warning", "error")
#: Who writes to it: the names below ``gatewayd``. A test compares them with the source.
COMPONENTS: Final = (
    "access", "admin", "cells", "dns", "listeners", "log", "notify", "observe", "reload", "runtime", "supervisor",
    "tls", "tracing", "upstream", "watch",
)  # fmt: skip
#: Words other programs have for levels: Envoy's, and syslog's.
_OTHER_WORDS: Final = {
    "trace": "debug",
    "warn": "warning",
    "err": "error",
    "critical": "error",
    "off": "error",
}
#: What makes a record more than a sentence: a mapping of facts, for the JSON form.
FACTS: Final = "facts"


def _stamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _component(record: logging.LogRecord) -> str:
    return record.name.removeprefix(ROOT + ".")


class LineFormatter(logging.Formatter):
    """``2026-01-02T03:04:05.678Z warning listeners: text``; control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line; a traceback follows on lines of its own, indented."""
        text = escape_text(record.getMessage())
        line = f"{_stamp(record)} {record.levelname.lower()} {_component(record)}: {text}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join("\n    " + escape_text(part) for part in trace.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """``{"time":..., "level":..., "component":..., "message":...}``, with ``exception`` and a record's facts."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as one JSON object on one line."""
        shown: dict[str, Any] = {
            "time": _stamp(record),
            "level": record.levelname.lower(),
            "component": _component(record),
            "message": record.getMessage(),
        }
        if record.exc_info:
            shown["exception"] = self.formatException(record.exc_info)
        shown |= getattr(record, FACTS, {})
        return msgspec.json.encode(_encodable(shown)).decode()


def _encodable(shown: dict[str, Any]) -> dict[str, Any]:
    """Text with lone surrogates (a file name that is not UTF-8) has no JSON form: it is escaped."""
    return {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for key, value in shown.items()
    }


#: ``--log-format`` -> what makes the lines.
FORMATS: Final[dict[str, Callable[[], logging.Formatter]]] = {"text": LineFormatter, "json": JsonFormatter}


class SinkHandler(logging.Handler):
    """Writes records to a :class:`LogSink`."""

    def __init__(self, sink: LogSink) -> None:
        super().__init__()
        self.sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; an error in it is printed by the logging module and goes no further."""
        try:
            self.sink.write_from_anywhere((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)


def set_up(
    level: str = "info", loop: asyncio.AbstractEventLoop | None = None, form: str = "text"
) -> LogSink | None:
    """Send gatewayd's and the libraries' records to stderr; returns the sink to close at the end.

    ``level``: as :func:`parse_levels` reads it; ``form``: a key of ``FORMATS``. None when there is no stderr to write
    to (a process started with it closed).
    """
    handler: logging.Handler
    sink: LogSink | None
    try:
        sys.stderr.flush()
        sink = LogSink("-", loop, stream_fd=2, own=True)
        handler = SinkHandler(sink)
    except (OSError, AttributeError):  # stderr was closed when we were started
        sink, handler = None, logging.NullHandler()
    handler.setFormatter(FORMATS[form]())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    set_levels(parse_levels(level))
    logging.captureWarnings(True)
    return sink


def structured() -> bool:
    """Whether everything that is said should be a JSON record: what is meant for a terminal is not printed."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def dropped_lines() -> int:
    """Lines of the program's own log that were lost."""
    return sum(
        handler.sink.dropped_lines
        for handler in logging.getLogger().handlers
        if isinstance(handler, SinkHandler)
    )


# Levels


def parse_levels(text: str) -> dict[str, str]:
    """``info,listeners=debug`` as ``{"": "info", "listeners": "debug"}``; ``:`` does for ``=``.

    Raises ValueError, in words for the user.
    """
    found: dict[str, str] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        mark = "=" if "=" in word else ":"
        component, _, level = word.rpartition(mark)
        component, level = component.strip(), level.strip().lower()
        level = _OTHER_WORDS.get(level, level)
        if level not in LEVELS:
            raise ValueError(f"{level!r} is no level{_nearest(level, LEVELS)}: expected {', '.join(LEVELS)}")
        if component and component not in COMPONENTS:
            raise ValueError(
                f"{component!r} is no component{_nearest(component, COMPONENTS)}: "
                f"expected one of {', '.join(COMPONENTS)}"
            )
        found[component] = level
    if not found:
        raise ValueError(f"expected a level ({', '.join(LEVELS)}), or several such as info,listeners=debug")
    return found


def _nearest(word: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def set_levels(levels: Mapping[str, str]) -> None:
    """Put levels in force, by component; ``""`` is for all of them, whatever they had of their own."""
    general = levels.get("")
    if general is not None:
        for component in COMPONENTS:
            logging.getLogger(f"{ROOT}.{component}").setLevel(logging.NOTSET)
        set_level(general)
    for component, level in levels.items():
        if component:
            set_level(level, component)


def set_level(level: str, component: str = "") -> None:
    """Set the level (one of ``LEVELS``) of one component, or of all that have none of their own."""
    name = f"{ROOT}.{component}" if component else ROOT
    logging.getLogger(name).setLevel(level.upper())


def levels() -> dict[str, str]:
    """The level in force of each component."""
    return {
        component: logging.getLevelName(logging.getLogger(f"{ROOT}.{component}").getEffectiveLevel()).lower()
        for component in COMPONENTS
    }
