"""MeshConfig: what is written down of requests, and who is told (tracing, access log)."""

from typing import Literal

from msgspec import field

from gatewayd.resources.model import EMPTY, KubeModel, PortNumber, Seconds, UInt32


class LiteralTag(KubeModel, frozen=True, kw_only=True):
    """A text that is the same on every span."""

    value: str = ""


class NamedTag(KubeModel, frozen=True, kw_only=True):
    """A variable of the environment, or a field of the request."""

    name: str = ""
    default_value: str = ""


class CustomTag(KubeModel, frozen=True, kw_only=True):
    """A further attribute of spans: one of the three."""

    literal: LiteralTag | None = None
    environment: NamedTag | None = None
    header: NamedTag | None = None


class ZipkinAddress(KubeModel, frozen=True, kw_only=True):
    """Where a Zipkin collector listens, `host:port`."""

    address: str = ""


class MeshTracing(KubeModel, frozen=True, kw_only=True):
    """`defaultConfig.tracing`: how many requests are sampled, and what their spans say."""

    sampling: float = 0.0
    custom_tags: dict[str, CustomTag] = EMPTY
    max_path_tag_length: UInt32 = 0
    enable_istio_tags: bool | None = None
    zipkin: ZipkinAddress | None = None


class ProviderHeader(KubeModel, frozen=True, kw_only=True):
    """A field sent to a collector; its value, or the variable of the environment that holds it."""

    name: str
    value: str = ""
    env_name: str = ""


class OtlpHttp(KubeModel, frozen=True, kw_only=True):
    """OTLP over HTTP."""

    path: str = ""
    timeout: Seconds | None = None
    headers: tuple[ProviderHeader, ...] = ()


class OtlpGrpc(KubeModel, frozen=True, kw_only=True):
    """OTLP over gRPC."""

    timeout: Seconds | None = None
    initial_metadata: tuple[ProviderHeader, ...] = ()


class OpenTelemetryProvider(KubeModel, frozen=True, kw_only=True):
    """An OpenTelemetry collector."""

    service: str
    port: PortNumber
    max_tag_length: UInt32 = 0
    http: OtlpHttp | None = None
    grpc: OtlpGrpc | None = None


class ZipkinProvider(KubeModel, frozen=True, kw_only=True):
    """A collector that takes Zipkin's JSON; traces are told of in B3."""

    service: str
    port: PortNumber
    max_tag_length: UInt32 = 0
    path: str = ""
    enable_64bit_trace_id: bool = field(default=False, name="enable64bitTraceId")
    trace_context_option: Literal["USE_B3", "USE_B3_WITH_W3C_PROPAGATION"] = "USE_B3"
    timeout: Seconds | None = None
    headers: tuple[ProviderHeader, ...] = ()


class ExtensionProvider(KubeModel, frozen=True, kw_only=True):
    """Something outside of the mesh, by a name others refer to."""

    name: str
    opentelemetry: OpenTelemetryProvider | None = None
    zipkin: ZipkinProvider | None = None


class DefaultProviders(KubeModel, frozen=True, kw_only=True):
    """Which providers are used where nothing nearer says otherwise."""

    tracing: tuple[str, ...] = ()
