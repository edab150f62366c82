"""Protocol words of Gateway servers and Service ports (semantics 2.4.1, 11.11, 12.2 to 12.4)."""

from __future__ import annotations

from typing import Final

HTTP: Final = "HTTP"
HTTP2: Final = "HTTP2"
HTTPS: Final = "HTTPS"
TCP: Final = "TCP"
UDP: Final = "UDP"
#: Not a word Istio knows: detected from the bytes by a sidecar, HTTP/1.1 towards a gateway's upstream.
UNSUPPORTED: Final = ""

#: Every accepted word, in capitals -> what kind of server it makes: ``http``, ``tcp``, ``tls`` or ``udp``.
PROTOCOLS: Final[dict[str, str]] = {
    "HTTP": "http",
    "HTTP2": "http",
    "GRPC": "http",
    "GRPC-WEB": "http",
    "HTTP_PROXY": "http",
    "HTTPS": "tls",
    "TLS": "tls",
    "TCP": "tcp",
    "MONGO": "tcp",
    "REDIS": "tcp",
    "MYSQL": "tcp",
    "UDP": "udp",
}

#: Upstreams that are spoken to in HTTP/2 (semantics 8.3.8, 12.4), and all that speak some HTTP.
HTTP2_UPSTREAM: Final = frozenset({"HTTP2", "GRPC", "GRPC-WEB"})
HTTP_UPSTREAM: Final = HTTP2_UPSTREAM | {"HTTP", "HTTP_PROXY"}

_WELL_KNOWN_TCP: Final = frozenset({25, 53, 3306, 27017})
_APP_PROTOCOLS: Final = {
    "kubernetes.io/h2c": HTTP2,
    "kubernetes.io/ws": HTTP,
    "kubernetes.io/wss": HTTPS,
}


def parse(word: str) -> str:
    """The word in capitals if Istio knows it, else :data:`UNSUPPORTED` (2.4.1)."""
    word = word.upper()
    return word if word in PROTOCOLS else UNSUPPORTED


def of_service_port(number: int, name: str, transport: str, app_protocol: str) -> str:
    """Protocol of a Kubernetes Service port (12.2, 12.3)."""
    if transport.upper() == UDP:
        return UDP
    written = app_protocol or name
    if app_protocol in _APP_PROTOCOLS:
        return _APP_PROTOCOLS[app_protocol]
    if written.lower().startswith("grpc-web"):
        return "GRPC-WEB"
    protocol = parse(written.partition("-")[0])
    if protocol == UNSUPPORTED and number in _WELL_KNOWN_TCP:
        return TCP
    return protocol
