"""Collectors of spans: OTLP over gRPC, by the generated service of OpenTelemetry, and what the HTTP ones were sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services

from tests.support.recorder import Seen


@dataclass(frozen=True)
class Got:
    """One span as it arrived. Ids are hexadecimal."""

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    attributes: dict[str, str]
    service: str = ""
    error: bool = False
    state: str = ""


_KINDS = {2: "SERVER", 3: "CLIENT"}


def spans_of(message: Any) -> list[Got]:
    """The spans of an OTLP request, an ``ExportTraceServiceRequest``."""
    found = []
    for resource in message.resource_spans:
        of_resource = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                found.append(
                    Got(
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.name,
                        _KINDS.get(span.kind, "?"),
                        {each.key: each.value.string_value for each in span.attributes},
                        of_resource.get("service.name", ""),
                        span.status.code == span.status.STATUS_CODE_ERROR,
                        span.trace_state,
                    )
                )
    return found


def otlp_spans(requests: Sequence[Seen]) -> list[Got]:
    """The spans that came over HTTP as protobuf."""
    found: list[Got] = []
    for each in requests:
        if each.settled:
            message = messages.ExportTraceServiceRequest()
            message.ParseFromString(_inflated(each))
            found += spans_of(message)
    return found


def _inflated(seen: Seen) -> bytes:
    if seen.values("content-encoding") == ["gzip"]:
        import gzip

        return gzip.decompress(seen.body)
    return seen.body


def zipkin_spans(requests: Sequence[Seen]) -> list[Got]:
    """The spans that came as Zipkin's JSON."""
    return [
        Got(
            span["traceId"],
            span["id"],
            span.get("parentId", ""),
            span["name"],
            span["kind"],
            span["tags"],
            span["localEndpoint"]["serviceName"],
            span["tags"].get("error") == "true",
        )
        for each in requests
        if each.settled
        for span in json.loads(each.body)
    ]


@dataclass
class GrpcCollector:
    """Use ``with GrpcCollector() as collector``; ``spans`` and ``metadata`` are what came."""

    spans: list[Got] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    port: int = 0
    _server: Any = None

    def __enter__(self) -> GrpcCollector:
        collector = self

        class Service(services.TraceServiceServicer):
            def Export(self, request: Any, context: Any) -> Any:
                collector.metadata = dict(context.invocation_metadata())
                collector.spans += spans_of(request)
                return messages.ExportTraceServiceResponse()

        self._server = grpc.server(ThreadPoolExecutor(2))
        services.add_TraceServiceServicer_to_server(Service(), self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
