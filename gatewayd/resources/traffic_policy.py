"""Traffic policy: how connections to a destination behave (semantics 8.2, 8.3, 9, 10)."""

from typing import Annotated, Literal

from msgspec import Meta, field

from gatewayd.resources.model import EMPTY, Int32, IstioModel, Seconds, UInt32, UInt64
from gatewayd.resources.virtual_service import PortSelector


class TcpKeepalive(IstioModel, frozen=True, kw_only=True):
    """Socket keep-alive; what is None is the system's default."""

    probes: UInt32 = 0
    time: Seconds | None = None
    interval: Seconds | None = None


class TCPSettings(IstioModel, frozen=True, kw_only=True):
    """Limits and times of connections to the upstream; 0 or None means Istio's default (semantics 8.3)."""

    max_connections: Int32 = 0
    connect_timeout: Seconds | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Seconds | None = None
    idle_timeout: Seconds | None = None


class Http2KeepAlive(IstioModel, frozen=True, kw_only=True):
    """HTTP/2 PINGs to the upstream."""

    interval: Seconds | None = None
    timeout: Seconds | None = None


class HTTPSettings(IstioModel, frozen=True, kw_only=True):
    """Limits and times of requests to the upstream; 0 or None means Istio's default (semantics 8.3)."""

    http1_max_pending_requests: Int32 = 0
    http2_max_requests: Int32 = 0
    max_requests_per_connection: Int32 = 0
    max_retries: Int32 = 0
    idle_timeout: Seconds | None = None
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = "DEFAULT"
    use_client_protocol: bool = False
    max_concurrent_streams: Int32 = 0
    http2_keep_alive: Http2KeepAlive | None = None


class ConnectionPool(IstioModel, frozen=True, kw_only=True):
    """Connection pool settings."""

    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


class CookieAttribute(IstioModel, frozen=True, kw_only=True):
    """One more attribute of a cookie we set."""

    name: str
    value: str = ""


class HTTPCookie(IstioModel, frozen=True, kw_only=True):
    """The cookie to hash; with `ttl` it is made when absent."""

    name: str
    path: str = ""
    ttl: Seconds | None = None
    attributes: tuple[CookieAttribute, ...] = ()


class RingHash(IstioModel, frozen=True, kw_only=True):
    """Ring hash settings."""

    minimum_ring_size: UInt64 = 0


class Maglev(IstioModel, frozen=True, kw_only=True):
    """Maglev settings."""

    table_size: UInt64 = 0


class ConsistentHash(IstioModel, frozen=True, kw_only=True):
    """What to hash, and with which table (semantics 9.3)."""

    http_header_name: str | None = None
    http_cookie: HTTPCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: UInt64 = 0


class LocalityDistribute(IstioModel, frozen=True, kw_only=True):
    """Shares of traffic by locality."""

    from_: str = field(default="", name="from")
    to: dict[str, UInt32] = EMPTY


class LocalityFailover(IstioModel, frozen=True, kw_only=True):
    """Which region stands in for which."""

    from_: str = field(default="", name="from")
    to: str = ""


class LocalityLbSetting(IstioModel, frozen=True, kw_only=True):
    """Locality load balancing."""

    distribute: tuple[LocalityDistribute, ...] = ()
    failover: tuple[LocalityFailover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    enabled: bool | None = None


class ZoneAwareLbSetting(IstioModel, frozen=True, kw_only=True):
    """Zone aware load balancing."""

    enabled: bool | None = None
    failover: tuple[LocalityFailover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    min_cluster_size: Annotated[int, Meta(ge=1, le=4_294_967_295)] | None = None


class Warmup(IstioModel, frozen=True, kw_only=True):
    """Slow start of new endpoints."""

    duration: Seconds
    minimum_percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    aggression: Annotated[float, Meta(ge=0)] | None = None


class BackendUtilization(IstioModel, frozen=True, kw_only=True):
    """Weights from load reports."""

    error_utilization_penalty_percent: UInt32 | None = None
    metric_names_for_computing_utilization: tuple[str, ...] = ()
    weight_expiration_period: Seconds | None = None
    weight_stabilization_period: Seconds | None = None
    weight_update_period: Seconds | None = None


class LoadBalancer(IstioModel, frozen=True, kw_only=True):
    """The balancer; without `simple` and `consistent_hash` it is least request (semantics 9)."""

    simple: (
        Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"] | None
    ) = None
    consistent_hash: ConsistentHash | None = None
    backend_utilization: BackendUtilization | None = None
    locality_lb_setting: LocalityLbSetting | None = None
    zone_aware_lb_setting: ZoneAwareLbSetting | None = None
    warmup_duration_secs: Seconds | None = None
    warmup: Warmup | None = None


class OutlierDetection(IstioModel, frozen=True, kw_only=True):
    """When an endpoint is taken out for a while (semantics 9)."""

    consecutive_errors: Int32 = 0
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: UInt32 | None = field(default=None, name="consecutive5xxErrors")
    interval: Seconds | None = None
    base_ejection_time: Seconds | None = None
    max_ejection_percent: Int32 = 0
    min_health_percent: Int32 = 0
    outlier_detection_http_error_codes: tuple[Annotated[int, Meta(ge=100, le=599)], ...] = ()


class ClientTLS(IstioModel, frozen=True, kw_only=True):
    """TLS towards the upstream (semantics 10)."""

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    insecure_skip_verify: bool | None = None
    ca_crl: str = ""


class Tunnel(IstioModel, frozen=True, kw_only=True):
    """CONNECT or POST tunnelling through another proxy."""

    target_host: str
    target_port: UInt32
    protocol: str = ""


class ProxyProtocol(IstioModel, frozen=True, kw_only=True):
    """PROXY protocol towards the upstream."""

    version: Literal["V1", "V2"] = "V1"


class RetryBudget(IstioModel, frozen=True, kw_only=True):
    """Retries allowed as a share of active requests."""

    percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    min_retry_concurrency: UInt32 = 0
    budget_interval: Seconds | None = None


class PortTrafficPolicy(IstioModel, frozen=True, kw_only=True):
    """The policy of one port; it replaces the general one wholesale (semantics 8.2.1)."""

    port: PortSelector | None = None
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLS | None = None


class TrafficPolicy(IstioModel, frozen=True, kw_only=True):
    """The policy of a destination or of a subset."""

    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLS | None = None
    port_level_settings: Annotated[tuple[PortTrafficPolicy, ...], Meta(max_length=4096)] = ()
    tunnel: Tunnel | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None
