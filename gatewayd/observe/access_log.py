"""HOT: the access log. A finished exchange costs one list append; lines are made and written in batches.

``append`` runs once per request. A batch is formatted when ``BATCH`` exchanges wait, and by one coarse
timer at the latest ``FLUSH_INTERVAL_S`` after the first of them; no timer runs while nothing waits.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from gatewayd.observe.access_format import FORMATS, BatchFormatter
from gatewayd.observe.log_sink import LogSink
from gatewayd.observe.stream_info import StreamInfo

_log = logging.getLogger("gatewayd.access")

#: Lines per batch: some 40 KiB, which an empty pipe (64 KiB) takes at once.
BATCH: Final = 128
FLUSH_INTERVAL_S: Final = 1.0


class AccessLog:
    """The access log of one worker. ``path`` is a file, ``-`` for stdout; raises ``OSError``.

    ``kind`` is a key of ``FORMATS``: ``text`` (semantics 17.2) or ``json`` (17.4).
    """

    __slots__ = ("_format", "_loop", "_pending", "_timer", "sink")

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str = "-", kind: str = "text") -> None:
        self._loop = loop
        self._format: BatchFormatter = FORMATS[kind]()
        self.sink = LogSink(path, loop)
        self._pending: list[StreamInfo] = []
        self._timer: asyncio.TimerHandle | None = None

    def append(self, info: StreamInfo) -> None:
        """Log a finished exchange; it must not change any more."""
        pending = self._pending
        pending.append(info)
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_INTERVAL_S, self._on_timer)
        elif len(pending) >= BATCH:
            self._write()

    def _on_timer(self) -> None:
        # Re-armed by the next exchange, not by us: an idle worker has no timer.
        self._timer = None
        self._write()

    def _write(self) -> None:
        pending = self._pending
        if not pending:
            return
        self._pending = []
        sink = self.sink
        if sink.full:
            sink.drop(len(pending), "the reader does not keep up")
            return
        try:
            lines = self._format(pending)
        except Exception:
            # A fact of the wrong type must not cost the others their lines, nor the worker its life.
            lines = self._format_singly(pending)
        sink.write(lines)

    def _format_singly(self, pending: list[StreamInfo]) -> bytes:
        lines = []
        for info in pending:
            try:
                lines.append(self._format((info,)))
            except Exception:
                _log.exception("an exchange could not be logged")
                self.sink.drop(1, "an exchange could not be logged")
        return b"".join(lines)

    def flush(self) -> None:
        """Format and hand over everything that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._write()

    def reopen(self) -> None:
        """Continue in a new file of the same path (after a rotation); raises ``OSError`` and goes on."""
        self.flush()
        self.sink.reopen()

    def close(self) -> None:
        """Write what waits and close; blocks at most a second for a slow reader."""
        self.flush()
        self.sink.close()


class NoAccessLog:
    """``--access-log off``: the same calls, and nothing is kept."""

    __slots__ = ()

    def append(self, info: StreamInfo) -> None:
        """Forget the exchange."""

    def flush(self) -> None:
        """Nothing waits."""

    def reopen(self) -> None:
        """There is no file."""

    def close(self) -> None:
        """There is no file."""
