"""Spans on their way out: a bounded queue, and a thread that sends them, so that no request waits for a collector."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from gatewayd.observe.spans import Span

_log = logging.getLogger("gatewayd.tracing")

#: Spans that may wait for a collector that does not keep up; beyond it they are dropped and counted.
MAX_WAITING_SPANS: Final = 4096
#: So many are sent at once, or what has come within the interval.
BATCH_SPANS: Final = 512
INTERVAL_S: Final = 0.25


class SendError(Exception):
    """A batch was not taken; the text says why."""


class Sink(Protocol):
    """Who takes batches of spans."""

    #: for the log
    name: str

    def send(self, spans: Sequence[Span]) -> None:
        """Send a batch, in a thread; raises :class:`SendError`."""

    def close(self) -> None:
        """Nothing is sent any more; ends a ``send`` under way."""


class SpanExport:
    """The way from finished exchanges to a sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._queue: SimpleQueue[list[Span] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # The first three have one writer, the loop, the others the thread.
        self._put = 0
        self.dropped = 0
        self._closed = False
        self._taken = 0
        self.sent = 0
        self.failed = 0
        self._failing = False

    @property
    def waiting(self) -> int:
        """Spans that have not been sent."""
        return self._put - self._taken

    def take(self, spans: list[Span]) -> None:
        """Send ``spans`` soon; hot, never waits."""
        if self._closed or self.waiting + len(spans) > MAX_WAITING_SPANS:
            self.dropped += len(spans)
            return
        self._put += len(spans)
        if self._thread is None or not self._thread.is_alive():  # no thread outlives a fork
            self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
            self._thread.start()
        self._queue.put(spans)

    def close(self, limit_s: float = 1.0) -> None:
        """Send what waits, for at most ``limit_s`` seconds."""
        self._closed = True
        thread = self._thread
        if thread is not None and thread.is_alive():
            self._queue.put(None)
            thread.join(limit_s)
        self._sink.close()
        self.dropped += self.waiting

    # The thread

    def _run(self) -> None:
        more = True
        while more:
            batch, more = self._next_batch()
            if batch:
                self._send(batch)
                self._taken += len(batch)

    def _next_batch(self) -> tuple[list[Span], bool]:
        """What comes within the interval, and whether more may come."""
        first = self._queue.get()
        if first is None:
            return [], False
        batch = list(first)
        until = time.monotonic() + INTERVAL_S
        while len(batch) < BATCH_SPANS:
            try:
                spans = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                break
            if spans is None:
                return batch, False
            batch += spans
        return batch, True

    def _send(self, batch: list[Span]) -> None:
        try:
            self._sink.send(batch)
        except SendError as error:
            self.failed += len(batch)
            if not self._failing:
                _log.warning("spans do not reach %s: %s", self._sink.name, error)
            self._failing = True
        except Exception:  # a library's own trouble must not end the thread
            self.failed += len(batch)
            _log.exception("spans could not be sent to %s", self._sink.name)
        else:
            self.sent += len(batch)
            if self._failing:
                _log.info("spans reach %s again; %d were lost", self._sink.name, self.failed)
            self._failing = False
