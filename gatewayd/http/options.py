"""Settings of the HTTP connection manager, per listener (semantics 14; MeshConfig and ProxyConfig)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gatewayd.http.limits import HttpLimits

#: Values of ``client_certificate`` with which a received field may go upstream.
KEEPS_RECEIVED: Final = frozenset({"FORWARD_ONLY", "APPEND_FORWARD", "ALWAYS_FORWARD_ONLY"})


#: ``TraceOptions.propagation``
W3C: Final = "W3C"
B3: Final = "B3"
B3_W3C: Final = "B3_W3C"


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """Whether requests are traced, and how a trace is told of in their fields (docs/tracing.md)."""

    #: of ten thousand requests so many are sampled by chance
    sampling: int = 100
    #: W3C, B3 or B3_W3C: fields of every request; "": none, what a client sent goes on as it is
    propagation: str = ""
    #: traces that begin here have ids of 64 bits (B3 alone)
    short_ids: bool = False
    #: of a path a span says so many characters
    max_path_length: int = 256
    #: (name, "literal", "environment", "header" or "format", text or name, default) of further attributes of spans
    tags: tuple[tuple[str, str, str, str], ...] = ()


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
    #: requests in gRPC-Web are translated (semantics 2.4.4)
    grpc_web: bool = False
    #: the messages of gRPC are counted (18.1)
    counts_messages: bool = False
    #: None: not traced, and no request id says anything about it
    tracing: TraceOptions | None = TraceOptions()
    #: the fields of answers are kept for the access log
    keep_response: bool = False
    limits: HttpLimits = field(default_factory=HttpLimits)
