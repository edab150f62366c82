"""Istio's defaults that the compiler fills in, in one place (semantics 6.6, 6.7, 14)."""

from __future__ import annotations

from typing import Final

from gatewayd.compiler.options import CompileOptions
from gatewayd.compiler.tracing import trace_options
from gatewayd.http.options import HttpOptions
from gatewayd.resources.mesh_config import MeshConfig, MeshProxyConfig
from gatewayd.resources.virtual_service import HTTPRetry
from gatewayd.routing.route import DEFAULT_RETRY, RetryPolicy

#: ``pathNormalization.normalization``: DEFAULT is BASE (14.4.2).
_NORMALIZATION: Final = {"DEFAULT": "BASE"}

_WITH_STATUS_CODES: Final = "retriable-status-codes"


def retry_policy(
    written: HTTPRetry | None, default: RetryPolicy | None = DEFAULT_RETRY
) -> RetryPolicy | None:
    """``retries`` of a rule; None when retries are off (6.7.1 to 6.7.4).

    Attempts come on top of the first try. ``retryOn`` is a comma list in which bare numbers are status
    codes that switch ``retriable-status-codes`` on; empty means the default list.
    """
    if written is None:
        return default
    if written.attempts <= 0:
        return None
    words = [word.strip() for word in written.retry_on.split(",") if word.strip()]
    codes = frozenset(int(word) for word in words if word.isdigit())
    conditions = frozenset(word for word in words if not word.isdigit())
    if codes:
        conditions |= {_WITH_STATUS_CODES}
    return RetryPolicy(
        attempts=written.attempts,
        retry_on=conditions or DEFAULT_RETRY.retry_on,
        status_codes=codes,
        per_try_timeout_s=float(written.per_try_timeout or 0.0),
        base_interval_s=float(written.backoff or DEFAULT_RETRY.base_interval_s),
        ignore_previous_hosts=written.retry_ignore_previous_hosts is not False,
        remote_localities=bool(written.retry_remote_localities),
    )


def mesh_retry_policy(mesh: MeshConfig) -> RetryPolicy | None:
    """The policy of routes without ``retries``: MeshConfig's, else Istio's own (6.7.2)."""
    return retry_policy(mesh.default_http_retry_policy)


def http_options(options: CompileOptions) -> HttpOptions:
    """MeshConfig and its ``defaultConfig`` as settings of the connection manager (14)."""
    mesh = options.mesh
    headers = mesh.default_config.proxy_headers
    server = headers.server
    debug = not (headers.envoy_debug_headers and headers.envoy_debug_headers.disabled)
    written = mesh.path_normalization.normalization
    name: bytes | None = b"istio-envoy"
    if server is not None and server.disabled:
        name = None
    elif server is not None and server.value:
        name = server.value.encode()
    return HttpOptions(
        path_normalization=_NORMALIZATION.get(written, written),
        trusted_proxies=mesh.default_config.gateway_topology.num_trusted_proxies,
        server_header=name,
        debug_headers=debug,
        attempt_count=not (headers.attempt_count and headers.attempt_count.disabled),
        request_id=not (headers.request_id and headers.request_id.disabled),
        client_certificate=_client_certificate(mesh.default_config),
        x_forwarded_host=bool(headers.x_forwarded_host and headers.x_forwarded_host.enabled),
        x_forwarded_port=bool(headers.x_forwarded_port and headers.x_forwarded_port.enabled),
        extended_connect=options.extended_connect,
        misdirected_request=options.misdirected_request,
        tracing=trace_options(options),
        keep_response="%RESP(" in mesh.access_log_format.upper(),
        limits=options.limits,
    )


def _client_certificate(config: MeshProxyConfig) -> str:
    """What becomes of x-forwarded-client-cert: ``proxyHeaders`` goes before ``gatewayTopology`` (3.18)."""
    for written in (
        config.proxy_headers.forwarded_client_cert,
        config.gateway_topology.forward_client_cert_details,
    ):
        if written != "UNDEFINED":
            return written
    return "SANITIZE_SET"
