"""What a worker writes down of its requests, as flags and the mesh configuration say: the access log, and spans."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator

from gatewayd.compiler.tracing import access_log_form, service_name
from gatewayd.exit_codes import EXIT_RUNTIME
from gatewayd.observe.access_log import AccessLog, NoAccessLog
from gatewayd.observe.access_template import AccessLogForm
from gatewayd.observe.batches import Batches
from gatewayd.observe.collector import Collector
from gatewayd.observe.exposition import COUNTER, Family, labels
from gatewayd.observe.logs import dropped_lines
from gatewayd.observe.span_export import SpanExport
from gatewayd.observe.span_sinks import make_sink
from gatewayd.observe.spans import SpanMaker
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.observe.trace import SampledTrace, trace_of
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.runtime.configuration import Configuration, Refused, compile_options
from gatewayd.runtime.node import node_id
from gatewayd.runtime.options import RunOptions

_log = logging.getLogger("gatewayd.tracing")

OFF = "off"


class Observing:
    """The access log and the spans of one worker."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, options: RunOptions, configuration: Configuration
    ) -> None:
        """Opens the access log; raises ``Refused``."""
        self._loop = loop
        self._options = options
        self._mesh = configuration.compiled.mesh
        self.access_log = self._open_log(self._mesh)
        self._collector: Collector | None = None
        self._export: SpanExport | None = None
        self._make: SpanMaker | None = None
        # Of exporters that have been replaced.
        self._sent = self._failed = self._dropped = 0
        self._silence(configuration)
        self._use_collector(configuration)

    def use(self, configuration: Configuration) -> None:
        """Another configuration is in force."""
        mesh = configuration.compiled.mesh
        if mesh != self._mesh:
            self._reform_log(mesh)
            self._mesh = mesh
        self._silence(configuration)
        self._use_collector(configuration)

    # The access log

    def _open_log(self, mesh: MeshConfig) -> AccessLog | NoAccessLog | Batches:
        options = self._options
        if options.access_log == OFF:
            return Batches(self._loop) if options.counts else NoAccessLog()
        path = log_path(options, mesh)
        try:
            return AccessLog(self._loop, path, log_form(options, mesh))
        except OSError as error:
            given = "--access-log" if options.access_log is not None else "accessLogFile"
            reason = (error.strerror or str(error)).lower()
            raise Refused(f"{given} {path}: {reason}", EXIT_RUNTIME) from None

    def _reform_log(self, mesh: MeshConfig) -> None:
        log = self.access_log
        if isinstance(log, AccessLog):
            try:
                log.use(log_path(self._options, mesh), log_form(self._options, mesh))
            except OSError as error:
                _log.error("the access log stays where it is: %s", error)

    def _silence(self, configuration: Configuration) -> None:
        """A Telemetry may switch the log off, unless the command line asks for it."""
        if isinstance(self.access_log, AccessLog):
            self.access_log.silent = (
                self._options.access_log is None and not configuration.snapshot.access_log
            )

    # Spans

    def _use_collector(self, configuration: Configuration) -> None:
        snapshot = configuration.snapshot
        collector = snapshot.collector
        self._make = SpanMaker(node_id(self._options), dict(snapshot.span_tags))
        if collector == self._collector:
            return
        self._end_export(0.0)
        self._collector = collector
        if collector is None:
            return
        if not collector.available:
            _log.warning(
                "no span is sent to %s: that needs the extra gatewayd[otel]; traces are told of all the same",
                collector,
            )
            return
        options = compile_options(self._options, self._mesh)
        name = os.environ.get("OTEL_SERVICE_NAME") or service_name(options)
        self._export = SpanExport(make_sink(collector, name))

    def take_spans(self, info: StreamInfo) -> None:
        """Make and send the spans of a sampled exchange that has ended."""
        trace = trace_of(info)
        if self._export is not None and self._make is not None and isinstance(trace, SampledTrace):
            self._export.take(self._make(info, trace))

    def _end_export(self, limit_s: float) -> None:
        export, self._export = self._export, None
        if export is not None:
            export.close(limit_s)
            self._sent += export.sent
            self._failed += export.failed
            self._dropped += export.dropped

    # Both

    def families(self) -> Iterator[Family]:
        """What was lost, and what was sent, for the metrics."""
        log = self.access_log
        lost = log.sink.dropped_lines if isinstance(log, AccessLog) else 0
        yield Family(
            "gatewayd_log_dropped_lines_total",
            COUNTER,
            "Lines of logs that were lost because disk or reader did not keep up.",
            [(labels(log="access"), lost), (labels(log="program"), dropped_lines())],
        )
        export = self._export
        counts = (
            ("sent", self._sent + (export.sent if export is not None else 0)),
            ("failed", self._failed + (export.failed if export is not None else 0)),
            ("dropped", self._dropped + (export.dropped if export is not None else 0)),
        )
        yield Family(
            "gatewayd_spans_total",
            COUNTER,
            "Spans of sampled requests, by what became of them.",
            [(labels(result=result), count) for result, count in counts],
        )

    def close(self) -> None:
        """Write and send what waits; blocks a second or two at most."""
        self._end_export(1.0)
        self.access_log.close()


def log_path(options: RunOptions, mesh: MeshConfig) -> str:
    """Where the access log goes: the flag, else ``accessLogFile``, else stdout."""
    return options.access_log or mesh.access_log_file or "-"


def log_form(options: RunOptions, mesh: MeshConfig) -> AccessLogForm:
    """How its lines look: the flag, else what the mesh says."""
    if options.access_log_format is not None:
        return AccessLogForm(options.access_log_format)
    return access_log_form(mesh)
