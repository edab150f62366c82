"""Who takes spans: an OpenTelemetry collector (the extra ``otel``), or one that speaks Zipkin's JSON."""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from gatewayd import __version__
from gatewayd.observe.collector import DEFAULT_TIMEOUT_S, GRPC, ZIPKIN, Collector
from gatewayd.observe.span_export import SendError, Sink
from gatewayd.observe.spans import SERVER, Span


def make_sink(collector: Collector, service_name: str) -> Sink:
    """The sink of a collector; imports what it needs, which takes a tenth of a second."""
    if collector.protocol == ZIPKIN:
        return ZipkinSink(collector, service_name)
    return OtlpSink(collector, service_name)


class _Complaints(logging.Handler):
    """Keeps what the exporters log first, the one way to learn why they failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.first = self.first or record.getMessage()


class OtlpSink:
    """OTLP over gRPC or HTTP, by the exporters of the OpenTelemetry SDK."""

    def __init__(self, collector: Collector, service_name: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self.name = str(collector)
        self._resource = Resource.create({"service.name": service_name})
        self._scope = InstrumentationScope("gatewayd", __version__)
        self._exporter = _exporter(collector)
        self._complaints = _Complaints()
        library = logging.getLogger("opentelemetry")
        library.handlers[:] = [self._complaints]
        library.propagate = False  # said once, by the export, not for each batch

    def send(self, spans: Sequence[Span]) -> None:
        """See :class:`Sink`."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        self._complaints.first = ""
        if self._exporter.export([self._readable(span) for span in spans]) is not SpanExportResult.SUCCESS:
            raise SendError(self._complaints.first or "not taken")

    def close(self) -> None:
        """See :class:`Sink`."""
        self._exporter.shutdown()

    def _readable(self, span: Span) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanKind, Status, StatusCode

        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id, span.state, remote=False),
            parent=_context(span.trace_id, span.parent_id, "", remote=span.kind == SERVER)
            if span.parent_id
            else None,
            resource=self._resource,
            attributes=span.attributes,
            kind=SpanKind.SERVER if span.kind == SERVER else SpanKind.CLIENT,
            status=Status(StatusCode.ERROR) if span.error else Status(),
            start_time=int(span.began * 1e9),
            end_time=int(span.ended * 1e9),
            instrumentation_scope=self._scope,
        )


def _context(trace_id: bytes, span_id: bytes, state: str, *, remote: bool) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    return SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        is_remote=remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([state]) if state else None,
    )


def _exporter(collector: Collector) -> Any:
    headers = dict(collector.headers)
    if collector.protocol == GRPC:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        options = (("grpc.default_authority", collector.authority),) if collector.authority else None
        return OTLPSpanExporter(
            endpoint=collector.endpoint,
            insecure=not collector.secure,
            headers=headers or None,
            timeout=collector.timeout_s or None,
            channel_options=options,
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    if collector.authority:
        headers = {"host": collector.authority, **headers}
    return HttpExporter(
        endpoint=collector.endpoint, headers=headers or None, timeout=collector.timeout_s or None
    )


class ZipkinSink:
    """Zipkin's JSON, version 2, over HTTP."""

    def __init__(self, collector: Collector, service_name: str) -> None:
        self.name = str(collector)
        self._service_name = service_name
        self._collector = collector
        url = urlsplit(collector.endpoint)
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._path = url.path or "/api/v2/spans"
        self._secure = url.scheme == "https"

    def send(self, spans: Sequence[Span]) -> None:
        """See :class:`Sink`."""
        make = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = make(self._host, self._port, timeout=self._collector.timeout_s or DEFAULT_TIMEOUT_S)
        body = json.dumps([self._shown(span) for span in spans]).encode()
        headers = {"content-type": "application/json", **dict(self._collector.headers)}
        if self._collector.authority:
            headers["host"] = self._collector.authority
        try:
            connection.request("POST", self._path, body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise SendError(getattr(error, "strerror", None) or str(error) or type(error).__name__) from None
        finally:
            connection.close()
        if status >= 300:
            raise SendError(f"answered {status}")

    def close(self) -> None:
        """See :class:`Sink`."""

    def _shown(self, span: Span) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "traceId": span.trace_id.decode(),
            "id": span.span_id.decode(),
            "name": span.name,
            "kind": span.kind,
            "timestamp": int(span.began * 1e6),
            "duration": max(1, int((span.ended - span.began) * 1e6)),
            "localEndpoint": {"serviceName": self._service_name},
            "tags": dict(span.attributes),
        }
        if span.parent_id:
            shown["parentId"] = span.parent_id.decode()
        return shown
