"""Where spans go: what there is to know before anything is sent."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

#: What ``Collector.protocol`` may be.
GRPC: Final = "grpc"
HTTP: Final = "http/protobuf"
ZIPKIN: Final = "zipkin"

DEFAULT_TIMEOUT_S: Final = 10.0
#: Where collectors listen for OTLP over gRPC.
_GRPC_PORT: Final = 4317
_EXPECTED: Final = "expected http://host:4318, grpc://host:4317 or host:4317"


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans go. ``endpoint``: ``host:port`` for gRPC, a URL for the others."""

    protocol: str
    endpoint: str
    #: none, and 0.0: what the variables OTEL_EXPORTER_OTLP_HEADERS and ..._TIMEOUT say
    headers: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 0.0
    #: gRPC over TLS
    secure: bool = False
    #: Host and :authority, where they are not those of the endpoint
    authority: str = ""

    def __str__(self) -> str:
        return self.endpoint

    @property
    def available(self) -> bool:
        """Whether what the protocol needs is installed."""
        if self.protocol == ZIPKIN:
            return True
        kind = "grpc" if self.protocol == GRPC else "http"
        try:
            return importlib.util.find_spec(f"opentelemetry.exporter.otlp.proto.{kind}") is not None
        except ModuleNotFoundError:
            return False


def collector_at(endpoint: str, protocol: str = "") -> Collector:
    """The OpenTelemetry collector at an address; ``protocol``: ``grpc`` or ``http/protobuf``, for ``http`` URLs.

    Without a word about it port 4317 is gRPC and any other HTTP. Raises ValueError, in words for the user.
    """
    url = urlsplit(endpoint if "://" in endpoint else f"grpc://{endpoint}")
    try:
        port = url.port
    except ValueError:
        port = None
    if url.scheme not in ("http", "https", "grpc", "grpcs") or not url.hostname or url.query or url.fragment:
        raise ValueError(f"{endpoint!r} is no address of a collector: {_EXPECTED}")
    secure = url.scheme in ("https", "grpcs")
    if url.scheme.startswith("grpc") or protocol == GRPC or (not protocol and port == _GRPC_PORT):
        if port is None or url.path.strip("/"):
            raise ValueError(f"{endpoint!r} is no address for gRPC: {_EXPECTED}")
        return Collector(GRPC, url.netloc, secure=secure)
    path = url.path if url.path.strip("/") else "/v1/traces"
    return Collector(HTTP, f"{url.scheme}://{url.netloc}{path}")


def collector_from(environment: Mapping[str, str]) -> Collector | None:
    """The collector that OpenTelemetry's own variables name; raises ValueError as :func:`collector_at`."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return None
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", ""
    )
    own = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if own:
        return collector_at(own, protocol)
    endpoint = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not endpoint:
        return None
    found = collector_at(endpoint, protocol)
    if found.protocol == HTTP and urlsplit(endpoint).path.strip("/"):  # it is the base of all signals
        found = replace(found, endpoint=f"{found.endpoint.rstrip('/')}/v1/traces")
    return found
