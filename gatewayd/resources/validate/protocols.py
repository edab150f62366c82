"""Protocol names (semantics 2.4.1), upper case; comparisons ignore the case."""

PROTOCOLS: tuple[str, ...] = (
    "HTTP",
    "HTTPS",
    "HTTP2",
    "GRPC",
    "GRPC-WEB",
    "TCP",
    "TLS",
    "MONGO",
    "REDIS",
    "MYSQL",
    "UDP",
    "HTTP_PROXY",
)
HTTP_LIKE = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"})
TLS_LIKE = frozenset({"HTTPS", "TLS"})
