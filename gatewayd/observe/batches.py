"""HOT: finished exchanges, one list append each; whoever reads them (log, metrics) gets them a batch at a time.

A batch is handed over when ``BATCH`` exchanges wait, and by one coarse timer at the latest ``FLUSH_INTERVAL_S``
after the first of them; no timer runs while nothing waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from gatewayd.observe.stream_info import StreamInfo

_log = logging.getLogger("gatewayd.observe")

#: Exchanges per batch: some 40 KiB of log lines, which an empty pipe (64 KiB) takes at once.
BATCH: Final = 128
FLUSH_INTERVAL_S: Final = 1.0

Taker = Callable[[Sequence[StreamInfo]], None]


class Batches:
    """What is done with finished exchanges: each of ``takers`` gets every batch."""

    __slots__ = ("_loop", "_pending", "_timer", "takers")

    def __init__(self, loop: asyncio.AbstractEventLoop, *takers: Taker) -> None:
        self._loop = loop
        #: called with each batch, in order; must not block
        self.takers: list[Taker] = list(takers)
        self._pending: list[StreamInfo] = []
        self._timer: asyncio.TimerHandle | None = None

    def append(self, info: StreamInfo) -> None:
        """Take a finished exchange; it must not change any more."""
        pending = self._pending
        if pending:
            pending.append(info)
            if len(pending) >= BATCH:
                self._hand_over()
        else:
            pending.append(info)
            if self._timer is None:
                self._timer = self._loop.call_later(FLUSH_INTERVAL_S, self._on_timer)

    def _on_timer(self) -> None:
        # Re-armed by the next exchange, not by us: an idle worker has no timer.
        self._timer = None
        self._hand_over()

    def _hand_over(self) -> None:
        pending = self._pending
        if not pending:
            return
        self._pending = []
        for take in self.takers:
            try:
                take(pending)
            except Exception:  # one reader's trouble is not the others', nor the worker's
                _log.exception("finished exchanges could not be taken")

    def flush(self) -> None:
        """Hand over everything that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._hand_over()

    def reopen(self) -> None:
        """There is no file."""

    def close(self) -> None:
        """Hand over what waits."""
        self.flush()
