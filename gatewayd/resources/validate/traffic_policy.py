"""Traffic policies of a DestinationRule (semantics 19.7); connection pools also of a Sidecar."""

from gatewayd.resources.traffic_policy import (
    ClientTLS,
    ConnectionPool,
    HTTPSettings,
    OutlierDetection,
    TCPSettings,
    TrafficPolicy,
)
from gatewayd.resources.validate.durations import check_duration
from gatewayd.resources.validate.load_balancer import check_load_balancer
from gatewayd.resources.validate.names import check_port, domain_problem, is_ip
from gatewayd.resources.validate.notes import Notes, Path


def check_traffic_policy(policy: TrafficPolicy, path: Path, out: Notes) -> None:
    """Check the policy of a destination or of a subset."""
    if policy == TrafficPolicy():
        out.error(path, "a trafficPolicy may not be empty")
    _check_blocks(policy, path, out)
    for index, level in enumerate(policy.port_level_settings):
        here = (*path, "portLevelSettings", index)
        if level.port is None or not level.port.number:
            out.error(here, "portLevelSettings need a port number")
        else:
            check_port(level.port.number, (*here, "port", "number"), out)
        if not (level.load_balancer or level.connection_pool or level.outlier_detection or level.tls):
            out.error(here, "portLevelSettings need a loadBalancer, connectionPool, outlierDetection or tls")
        _check_blocks(level, here, out)
    if policy.tunnel is not None:
        _check_tunnel(policy, path, out)
    if policy.retry_budget is not None:
        check_duration(policy.retry_budget.budget_interval, (*path, "retryBudget", "budgetInterval"), out)


def _check_blocks(policy: TrafficPolicy | object, path: Path, out: Notes) -> None:
    pool = getattr(policy, "connection_pool", None)
    if pool is not None:
        check_connection_pool(pool, (*path, "connectionPool"), out)
    balancer = getattr(policy, "load_balancer", None)
    outliers = getattr(policy, "outlier_detection", None)
    if balancer is not None:
        check_load_balancer(balancer, outliers, (*path, "loadBalancer"), out)
    if outliers is not None:
        _check_outliers(outliers, (*path, "outlierDetection"), out)
    tls = getattr(policy, "tls", None)
    if tls is not None:
        check_client_tls(tls, (*path, "tls"), out)


def check_connection_pool(pool: ConnectionPool, path: Path, out: Notes) -> None:
    """Check connection pool settings."""
    if pool.tcp is None and pool.http is None:
        out.error(path, "a connectionPool needs tcp or http")
    if pool.tcp is not None:
        _check_tcp(pool.tcp, (*path, "tcp"), out)
    if pool.http is not None:
        _check_http(pool.http, (*path, "http"), out)


def _check_tcp(tcp: TCPSettings, path: Path, out: Notes) -> None:
    if tcp.max_connections < 0:
        out.error((*path, "maxConnections"), f"maxConnections may not be negative ({tcp.max_connections})")
    check_duration(tcp.connect_timeout, (*path, "connectTimeout"), out)
    check_duration(tcp.max_connection_duration, (*path, "maxConnectionDuration"), out)
    if tcp.tcp_keepalive is not None:
        check_duration(tcp.tcp_keepalive.time, (*path, "tcpKeepalive", "time"), out)
        check_duration(tcp.tcp_keepalive.interval, (*path, "tcpKeepalive", "interval"), out)


def _check_http(http: HTTPSettings, path: Path, out: Notes) -> None:
    for name, value in (
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ):
        if value < 0:
            out.error((*path, name), f"{name} may not be negative ({value})")
    check_duration(http.idle_timeout, (*path, "idleTimeout"), out)
    if http.use_client_protocol and http.h2_upgrade_policy == "UPGRADE":
        out.error(
            (*path, "useClientProtocol"), "useClientProtocol and h2UpgradePolicy UPGRADE exclude each other"
        )
    alive = http.http2_keep_alive
    if alive is not None:
        here = (*path, "http2KeepAlive")
        if alive.interval is None or alive.timeout is None:
            out.error(here, "http2KeepAlive needs both interval and timeout")
        check_duration(alive.interval, (*here, "interval"), out)
        check_duration(alive.timeout, (*here, "timeout"), out)


def _check_outliers(outliers: OutlierDetection, path: Path, out: Notes) -> None:
    check_duration(outliers.interval, (*path, "interval"), out)
    check_duration(outliers.base_ejection_time, (*path, "baseEjectionTime"), out)
    for name, value in (
        ("maxEjectionPercent", outliers.max_ejection_percent),
        ("minHealthPercent", outliers.min_health_percent),
    ):
        if not 0 <= value <= 100:
            out.error((*path, name), f"a percentage must be from 0 to 100, not {value}")
    if outliers.consecutive_errors:
        out.warning(
            (*path, "consecutiveErrors"),
            "consecutiveErrors is deprecated",
            "use consecutive5xxErrors or consecutiveGatewayErrors",
        )
    if outliers.consecutive_local_origin_failures and not outliers.split_external_local_origin_errors:
        out.error(
            (*path, "consecutiveLocalOriginFailures"),
            "consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors: true",
        )


def check_client_tls(tls: ClientTLS, path: Path, out: Notes) -> None:
    """Check TLS towards an upstream."""
    files = {
        "clientCertificate": tls.client_certificate,
        "privateKey": tls.private_key,
        "caCertificates": tls.ca_certificates,
    }
    if tls.insecure_skip_verify:
        for name, value in (
            ("caCertificates", tls.ca_certificates),
            ("caCrl", tls.ca_crl),
            ("subjectAltNames", tls.subject_alt_names),
        ):
            if value:
                out.error((*path, name), f"{name} cannot be checked with insecureSkipVerify: true")
    if tls.mode == "ISTIO_MUTUAL":
        for name, value in (*files.items(), ("credentialName", tls.credential_name), ("sni", "")):
            if value:
                out.error((*path, name), f"ISTIO_MUTUAL brings its own certificates: it cannot have {name}")
    elif tls.credential_name:
        for name, value in (*files.items(), ("caCrl", tls.ca_crl)):
            if value:
                out.error((*path, name), f"credentialName and {name} exclude each other")
    elif tls.mode == "MUTUAL":
        for name in ("clientCertificate", "privateKey"):
            if not files[name]:
                out.error(path, f"MUTUAL TLS needs {name}", "or a credentialName")


def _check_tunnel(policy: TrafficPolicy, path: Path, out: Notes) -> None:
    tunnel = policy.tunnel
    if tunnel is None:
        return
    here = (*path, "tunnel")
    if policy.proxy_protocol is not None:
        out.error(here, "tunnel and proxyProtocol exclude each other")
    if tunnel.protocol and tunnel.protocol.upper() not in ("CONNECT", "POST"):
        out.unknown((*here, "protocol"), "tunnel protocol", tunnel.protocol, ("CONNECT", "POST"))
    if (problem := domain_problem(tunnel.target_host, wildcard=False)) and not is_ip(tunnel.target_host):
        out.error((*here, "targetHost"), problem)
    check_port(tunnel.target_port, (*here, "targetPort"), out)
