"""MeshConfig: the settings of the whole mesh that gatewayd supports; other fields are warned about."""

from typing import Literal

from gatewayd.resources.mesh_observing import DefaultProviders, ExtensionProvider, MeshTracing
from gatewayd.resources.model import KubeModel, Seconds, UInt32
from gatewayd.resources.traffic_policy import ConnectionPool, LocalityLbSetting, OutlierDetection
from gatewayd.resources.virtual_service import HTTPRetry


class PathNormalization(KubeModel, frozen=True, kw_only=True):
    """How paths are made canonical before routing (semantics 14.4)."""

    normalization: Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"] = "DEFAULT"


class GatewayTopology(KubeModel, frozen=True, kw_only=True):
    """How many proxies in front may be believed (semantics 14.1)."""

    num_trusted_proxies: UInt32 = 0
    forward_client_cert_details: Literal[
        "UNDEFINED", "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"
    ] = "UNDEFINED"
    proxy_protocol: dict[str, str] | None = None


class ServerHeader(KubeModel, frozen=True, kw_only=True):
    """The `server` response header."""

    disabled: bool | None = None
    value: str = ""


class DisabledHeader(KubeModel, frozen=True, kw_only=True):
    """A header that can be switched off."""

    disabled: bool | None = None


class EnabledHeader(KubeModel, frozen=True, kw_only=True):
    """A header that can be switched on."""

    enabled: bool | None = None


class MetadataExchangeHeaders(KubeModel, frozen=True, kw_only=True):
    """`x-envoy-peer-metadata` headers."""

    mode: Literal["UNDEFINED", "IN_MESH"] = "UNDEFINED"


class SetCurrentClientCertDetails(KubeModel, frozen=True, kw_only=True):
    """What goes into `x-forwarded-client-cert`."""

    subject: bool | None = None
    cert: bool | None = None
    chain: bool | None = None
    dns: bool | None = None
    uri: bool | None = None


class ProxyHeaders(KubeModel, frozen=True, kw_only=True):
    """Headers the proxy adds of its own (semantics 14.7)."""

    forwarded_client_cert: Literal[
        "UNDEFINED", "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"
    ] = "UNDEFINED"
    set_current_client_cert_details: SetCurrentClientCertDetails | None = None
    request_id: DisabledHeader | None = None
    server: ServerHeader | None = None
    attempt_count: DisabledHeader | None = None
    envoy_debug_headers: DisabledHeader | None = None
    metadata_exchange_headers: MetadataExchangeHeaders | None = None
    preserve_http1_header_case: bool | None = None
    x_forwarded_host: EnabledHeader | None = None
    x_forwarded_port: EnabledHeader | None = None


class MeshProxyConfig(KubeModel, frozen=True, kw_only=True):
    """`defaultConfig`: settings of each proxy."""

    gateway_topology: GatewayTopology = GatewayTopology()
    proxy_headers: ProxyHeaders = ProxyHeaders()
    tracing: MeshTracing = MeshTracing()


class MeshOutboundTrafficPolicy(KubeModel, frozen=True, kw_only=True):
    """What a sidecar does with unknown destinations (semantics 11.13)."""

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"] = "ALLOW_ANY"


class DefaultTrafficPolicy(KubeModel, frozen=True, kw_only=True):
    """Blocks for destinations whose DestinationRule has none (semantics 8.2.3)."""

    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None


class TlsDefaults(KubeModel, frozen=True, kw_only=True):
    """`tlsDefaults`: TLS of everything but the mesh's own, where nothing nearer says otherwise (semantics 3.6)."""

    min_protocol_version: Literal["TLS_AUTO", "TLSV1_2", "TLSV1_3"] = "TLS_AUTO"
    ecdh_curves: tuple[str, ...] = ()
    cipher_suites: tuple[str, ...] = ()


class MeshConfig(KubeModel, frozen=True, kw_only=True):
    """The MeshConfig fields in force; what is not written has Istio's default."""

    path_normalization: PathNormalization = PathNormalization()
    ingress_class: str = "istio"
    ingress_controller_mode: Literal["UNSPECIFIED", "OFF", "DEFAULT", "STRICT"] = "STRICT"
    ingress_selector: str = "ingressgateway"
    ingress_service: str = "istio-ingressgateway"
    default_config: MeshProxyConfig = MeshProxyConfig()
    connect_timeout: Seconds = Seconds(10.0)
    h2_upgrade_policy: Literal["DO_NOT_UPGRADE", "UPGRADE"] = "DO_NOT_UPGRADE"
    default_http_retry_policy: HTTPRetry | None = None
    default_traffic_policy: DefaultTrafficPolicy | None = None
    locality_lb_setting: LocalityLbSetting = LocalityLbSetting()
    tls_defaults: TlsDefaults = TlsDefaults()
    root_namespace: str = "istio-system"
    outbound_traffic_policy: MeshOutboundTrafficPolicy = MeshOutboundTrafficPolicy()
    default_virtual_service_export_to: tuple[str, ...] = ("*",)
    default_destination_rule_export_to: tuple[str, ...] = ("*",)
    default_service_export_to: tuple[str, ...] = ("*",)
    enable_tracing: bool = True
    extension_providers: tuple[ExtensionProvider, ...] = ()
    default_providers: DefaultProviders = DefaultProviders()
    access_log_file: str = ""
    access_log_format: str = ""
    access_log_encoding: Literal["TEXT", "JSON"] = "TEXT"
