"""Settings of the HTTP connection manager, per listener (semantics 14; MeshConfig and ProxyConfig)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gatewayd.http.limits import HttpLimits

#: Values of ``client_certificate`` with which a received field may go upstream.
KEEPS_RECEIVED: Final = frozenset({"FORWARD_ONLY", "APPEND_FORWARD", "ALWAYS_FORWARD_ONLY"})


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How requests of one listener are read, marked and answered."""

    #: NONE, BASE, MERGE_SLASHES or DECODE_AND_MERGE_SLASHES (semantics 14.4.2)
    path_normalization: str = "BASE"
    #: gatewayTopology.numTrustedProxies (semantics 14.1.1, 14.2.1)
    trusted_proxies: int = 0
    #: value of the ``server`` response header; None leaves the upstream's alone (semantics 14.7.1)
    server_header: bytes | None = b"istio-envoy"
    #: x-envoy-* debug headers on requests and responses (semantics 14.7.4, 6.3.5)
    debug_headers: bool = True
    attempt_count: bool = True
    request_id: bool = True
    x_forwarded_host: bool = False
    x_forwarded_port: bool = False
    #: what becomes of x-forwarded-client-cert (semantics 3.18): SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET
    #: or ALWAYS_FORWARD_ONLY
    client_certificate: str = "SANITIZE_SET"
    #: "http" or "https": the scheme of the connection (semantics 14.2)
    scheme: bytes = b"http"
    #: whether HTTP/2 clients may open WebSockets (RFC 8441); Istio does not offer it (semantics 14.6.3)
    extended_connect: bool = False
    #: 421 instead of 404 for a host that the TLS server of the connection does not serve (semantics 2.5.6)
    misdirected_request: bool = False
    limits: HttpLimits = field(default_factory=HttpLimits)
