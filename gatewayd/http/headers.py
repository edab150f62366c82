"""HOT: which field names mean something to a proxy, in literal tables (semantics 14.3, 14.7).

Every name is lower-case bytes. The head parsers look each received name up once and remember the answer.
"""

from __future__ import annotations

from typing import Final

#: Hop-by-hop fields, never forwarded (semantics 14.3.1; ``te: trailers`` is put back by the parser).
HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"te", b"upgrade"}
)

#: Fields of a client that the edge removes before routing (semantics 14.3.1, 14.3.2, 3.18).
REMOVED_AT_EDGE: Final = frozenset(
    {
        b"x-envoy-attempt-count",
        b"x-envoy-decorator-operation",
        b"x-envoy-downstream-service-cluster",
        b"x-envoy-downstream-service-node",
        b"x-envoy-expected-rq-timeout-ms",
        b"x-envoy-external-address",
        b"x-envoy-force-trace",
        b"x-envoy-hedge-on-per-try-timeout",
        b"x-envoy-internal",
        b"x-envoy-ip-tags",
        b"x-envoy-max-retries",
        b"x-envoy-original-host",
        b"x-envoy-original-path",
        b"x-envoy-original-url",
        b"x-envoy-retriable-header-names",
        b"x-envoy-retriable-status-codes",
        b"x-envoy-retry-grpc-on",
        b"x-envoy-retry-on",
        b"x-envoy-upstream-alt-stat-name",
        b"x-envoy-upstream-rq-per-try-timeout-ms",
        b"x-envoy-upstream-rq-timeout-alt-response",
        b"x-envoy-upstream-rq-timeout-ms",
        b"x-forwarded-client-cert",
    }
)

#: What a ``Connection`` field may never nominate for removal (hardening section 4).
NOT_NOMINABLE: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"te", b"x-request-id", b"close", b"keep-alive"}
)

#: Names the proxy frames with or sets itself: their ``_`` look-alikes are dropped (hardening section 2).
OWN_NAMES: Final = (
    HOP_BY_HOP
    | REMOVED_AT_EDGE
    | frozenset(
        {
            b"content-length",
            b"host",
            b"x-forwarded-for",
            b"x-forwarded-host",
            b"x-forwarded-port",
            b"x-forwarded-proto",
            b"x-request-id",
        }
    )
)

#: Request fields whose repeated lines are one value joined with "," (semantics 5.8, golden 14).
JOINED_IN_REQUESTS: Final = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"access-control-request-headers",
        b"access-control-request-method",
        b"authorization",
        b"cache-control",
        b"content-type",
        b"expect",
        b"grpc-timeout",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"origin",
        b"pragma",
        b"referer",
        b"user-agent",
        b"via",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-request-id",
    }
)


def joined_lines(line: bytes, value: bytes) -> bytes:
    """A field line (``name: value CR LF``) with the ``value CR LF`` of another joined to it, as Envoy does it:
    an empty one adds nothing, not even the comma.
    """
    if value == b"\r\n":
        return line
    before = line[:-2]
    return before + value if before.endswith(b": ") else b"%b,%b" % (before, value)


#: Response fields whose repeated lines are joined with "," (semantics 14.7.2).
JOINED_IN_RESPONSES: Final = frozenset(
    {
        b"access-control-allow-credentials",
        b"access-control-allow-headers",
        b"access-control-allow-methods",
        b"access-control-allow-origin",
        b"access-control-expose-headers",
        b"access-control-max-age",
        b"age",
        b"cache-control",
        b"content-encoding",
        b"content-type",
        b"etag",
        b"expires",
        b"last-modified",
        b"location",
        b"vary",
        b"via",
    }
)

#: Hop-by-hop fields of a response; what its ``Connection`` nominates stays (semantics 14.3.1).
RESPONSE_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)

#: Trailer fields that frame, route or authenticate are dropped (hardening section 2).
FORBIDDEN_TRAILERS: Final = frozenset(
    {
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"host",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

#: Bytes a field name may hold (RFC 9110 5.6.2).
TOKEN_BYTES: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

#: Bytes a field value may hold, line ends included (RFC 9110 5.5: HTAB, SP, VCHAR, obs-text).
FIELD_BYTES: Final = bytes(b for b in range(256) if b in (9, 10, 13) or (b >= 32 and b != 127))

#: The same without line ends.
VALUE_BYTES: Final = bytes(b for b in FIELD_BYTES if b not in (10, 13))
