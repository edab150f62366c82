"""HOT: the access log. A finished exchange costs one list append; lines are made and written in batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from gatewayd.observe.access_format import BatchFormatter
from gatewayd.observe.access_template import AccessLogForm
from gatewayd.observe.batches import BATCH, FLUSH_INTERVAL_S, Batches
from gatewayd.observe.log_sink import LogSink
from gatewayd.observe.stream_info import StreamInfo

__all__ = ["BATCH", "FLUSH_INTERVAL_S", "AccessLog", "NoAccessLog"]

_log = logging.getLogger("gatewayd.access")


class AccessLog(Batches):
    """The access log of one worker. ``path`` is a file, ``-`` for stdout; raises ``OSError``.

    ``form`` is a key of ``FORMATS``, ``text`` (semantics 17.2) or ``json`` (17.4), or a form with a template of the
    user's. Others may take the same batches: see :attr:`takers`.
    """

    __slots__ = ("_form", "_format", "silent", "sink")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, path: str = "-", form: str | AccessLogForm = "text"
    ) -> None:
        super().__init__(loop, self._write)
        self._form = AccessLogForm(form) if isinstance(form, str) else form
        self._format: BatchFormatter = self._form.formatter()
        self.sink = LogSink(path, loop)
        #: nothing is written; others still take what there is
        self.silent = False

    def use(self, path: str, form: AccessLogForm) -> None:
        """Go on at ``path`` and in ``form``, where they are others; raises ``OSError`` and goes on as before."""
        self.flush()
        if path != self.sink.path:
            former, self.sink = self.sink, LogSink(path, self._loop)
            self.sink.dropped_lines += former.dropped_lines
            former.leave()
        if form != self._form:
            self._form, self._format = form, form.formatter()

    def _write(self, batch: Sequence[StreamInfo]) -> None:
        sink = self.sink
        if self.silent:
            return
        if sink.full:
            sink.drop(len(batch))
            return
        try:
            lines = self._format(batch)
        except Exception:
            # A fact of the wrong type must not cost the others their lines, nor the worker its life.
            lines = self._format_singly(batch)
        sink.gather(lines)

    def _on_timer(self) -> None:
        # It is armed whenever something was gathered: the first exchange of each batch does that.
        super()._on_timer()
        self.sink.settle()

    def flush(self) -> None:
        """Write everything that waits."""
        super().flush()
        self.sink.settle()

    def _format_singly(self, batch: Sequence[StreamInfo]) -> bytes:
        lines = []
        for info in batch:
            try:
                lines.append(self._format((info,)))
            except Exception:
                _log.exception("an exchange could not be logged")
                self.sink.drop(1, "an exchange could not be logged")
        return b"".join(lines)

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
