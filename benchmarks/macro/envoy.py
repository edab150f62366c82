"""A site as an Envoy bootstrap: Istio's log line and the router filter, nothing else."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.macro.site import TENANT_HEADER, Pair, Rule, Site, VirtualHost

LOG_LINE = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% '
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
CLUSTER = "outbound|80||upstream.test"
_TYPES = "type.googleapis.com/envoy.extensions"


def address(port: int) -> dict[str, Any]:
    """A loopback socket address."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def route(rule: Rule) -> dict[str, Any]:
    """One route entry; timeouts off, as Istio sets them."""
    if rule.kind == "exact":
        match: dict[str, Any] = {"path": rule.path}
    elif rule.kind == "regex":
        match = {"safe_regex": {"regex": rule.path}}
    else:
        match = {"prefix": rule.path}
    if rule.kind == "header":
        match["headers"] = [{"name": TENANT_HEADER, "string_match": {"exact": rule.tenant}}]
    return {"match": match, "route": {"cluster": CLUSTER, "timeout": "0s"}}


def virtual_hosts(site: Site) -> list[dict[str, Any]]:
    """The virtual hosts of the route configuration."""
    return [
        {
            "name": f"{host.host}:80",
            "domains": ["*"] if host.host == "*" else [host.host, f"{host.host}:*"],
            "routes": [route(rule) for rule in host.rules],
        }
        for host in site.hosts
    ]


def tls_socket(pair: Pair, alpn: Sequence[str]) -> dict[str, Any]:
    """Termination as Istio configures it for SIMPLE: TLS 1.2 and 1.3."""
    file = {
        "certificate_chain": {"filename": str(pair.certificate)},
        "private_key": {"filename": str(pair.private_key)},
    }
    versions = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_certificates": [file],
                "tls_params": versions,
                "alpn_protocols": list(alpn),
            },
        },
    }


def filter_chain(site: Site, log: Path) -> dict[str, Any]:
    """Route by host, log, forward."""
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "use_remote_address": True,
        "normalize_path": True,
        "server_name": "istio-envoy",
        "access_log": [
            {
                "name": "file",
                "typed_config": {
                    "@type": f"{_TYPES}.access_loggers.file.v3.FileAccessLog",
                    "path": str(log),
                    "log_format": {"text_format_source": {"inline_string": LOG_LINE}},
                },
            }
        ],
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"}}
        ],
        "route_config": {"name": "bench", "virtual_hosts": virtual_hosts(site)},
    }
    return {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}


def tls_chain(site: Site, host: VirtualHost, pair: Pair, log: Path) -> dict[str, Any]:
    """One HTTPS server."""
    chain = filter_chain(Site((host,), site.upstream_port), log)
    if site.by_name:
        chain["filter_chain_match"] = {"server_names": [host.host]}
    alpn = ("h2", "http/1.1") if site.http2 else ("http/1.1",)
    return chain | {"transport_socket": tls_socket(pair, alpn)}


def bootstrap(site: Site, port: int, log: Path) -> dict[str, Any]:
    """The whole bootstrap, without an admin listener."""
    chains = [tls_chain(site, host, host.certificate, log) for host in site.hosts if host.certificate]
    listener = {
        "name": "bench",
        "address": address(port),
        "filter_chains": chains or [filter_chain(site, log)],
    }
    if site.tls:
        inspector = {"@type": f"{_TYPES}.filters.listener.tls_inspector.v3.TlsInspector"}
        listener["listener_filters"] = [{"name": "tls", "typed_config": inspector}]
    endpoint = {"endpoint": {"address": address(site.upstream_port)}}
    cluster = {
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if site.upstream_http2:
        options = {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def config(site: Site, port: int, log: Path) -> str:
    """The bootstrap as JSON."""
    return json.dumps(bootstrap(site, port, log))
