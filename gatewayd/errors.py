"""The ways an exchange can fail, as values: no exception is raised on the data path.

One literal table gives, for each :class:`FailureKind`, the status, the response flag, the
``response_code_details`` and the body of the local reply (semantics section 16), and whether the
default retry policy may try again (semantics 6.7.1, 15.2). ``proxy/local_reply.py`` is the only
author of such replies.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_CONNECT_PREFIX: Final = b"upstream connect error or disconnect/reset before headers. reset reason: "
#: Body after at least one retry of the same exchange (semantics 16, golden 06_07_retry).
_RETRIED_PREFIX: Final = (
    b"upstream connect error or disconnect/reset before headers. retried and the latest reset reason: "
)


class Failure(NamedTuple):
    """One way to fail. ``status`` 0 means: nothing can be answered any more."""

    name: str
    status: int
    flag: str
    details: str
    body: bytes
    #: the reset reason in words, for failures of an upstream attempt; else empty
    reset_reason: bytes
    #: the framing is in doubt: answer with ``connection: close`` and close
    close: bool


def _upstream(name: str, status: int, flag: str, reason: bytes) -> Failure:
    words = reason.decode().replace(" ", "_")
    detail = f"upstream_reset_before_response_started{{{words}}}"
    return Failure(name, status, flag, detail, _CONNECT_PREFIX + reason, reason, False)


def _request(name: str, status: int, flag: str, details: str, body: bytes = b"") -> Failure:
    return Failure(name, status, flag, details, body, b"", True)


# Routing (semantics 2.5, 6.1, 16)
NO_ROUTE: Final = Failure("no_route", 404, "NR", "route_not_found", b"", b"", False)
NO_CLUSTER: Final = Failure("no_cluster", 503, "NC", "cluster_not_found", b"", b"", False)
NO_HEALTHY_UPSTREAM: Final = Failure(
    "no_healthy_upstream", 503, "UH", "no_healthy_upstream", b"no healthy upstream", b"", False
)
# Names that requests give (semantics 11.3); the reason stands in braces behind the details
DNS_FAILURE: Final = Failure(
    "dns_failure", 503, "DF", "dns_resolution_failure", b"DNS resolution failure", b"", False
)
DNS_OVERFLOW: Final = Failure(
    "dns_overflow", 503, "-", "dns_cache_overflow", b"DNS cache overflow", b"", False
)

# Upstream, before a response (semantics 16)
CONNECT_REFUSED: Final = _upstream("connect_refused", 503, "UF", b"remote connection failure")
CONNECT_LOCAL: Final = _upstream("connect_local", 503, "UF", b"local connection failure")
CONNECT_TIMEOUT: Final = _upstream("connect_timeout", 503, "UF", b"connection timeout")
UPSTREAM_CLOSED: Final = _upstream("upstream_closed", 503, "UC", b"connection termination")
UPSTREAM_RESET: Final = _upstream("upstream_reset", 503, "UR", b"remote reset")
UPSTREAM_REFUSED: Final = _upstream("upstream_refused", 503, "UR", b"remote refused stream reset")
UPSTREAM_CONNECT_ERROR: Final = _upstream(
    "upstream_connect_error", 503, "UR", b"remote error with CONNECT request"
)
UPSTREAM_PROTOCOL: Final = _upstream("upstream_protocol", 502, "UPE", b"protocol error")
OVERFLOW: Final = _upstream("overflow", 503, "UO", b"overflow")
ROUTE_TIMEOUT: Final = Failure(
    "route_timeout", 504, "UT", "response_timeout", b"upstream request timeout", b"", False
)
PER_TRY_TIMEOUT: Final = Failure(
    "per_try_timeout", 504, "UT", "upstream_per_try_timeout", b"upstream request timeout", b"", False
)

#: The worker has too much to do, or too little memory (hardening 9.13); the words are Envoy's overload manager's.
OVERLOADED: Final = Failure("overloaded", 503, "-", "overload", b"envoy overloaded", b"", False)

# Downstream requests (semantics 14, hardening section 2)
BAD_REQUEST: Final = _request("bad_request", 400, "DPE", "http1.codec_error", b"Bad Request")
INVALID_CHARACTERS: Final = _request(
    "invalid_characters", 400, "DPE", "http1.invalid_characters", b"Bad Request"
)
LENGTH_AND_CHUNKED: Final = _request(
    "length_and_chunked", 400, "DPE", "http1.content_length_and_chunked_not_allowed", b"Bad Request"
)
UNKNOWN_TRANSFER_CODING: Final = _request(
    "unknown_transfer_coding", 501, "DPE", "http1.invalid_transfer_encoding", b"Not Implemented"
)
HEAD_TOO_LARGE: Final = _request(
    "head_too_large", 431, "DPE", "http1.headers_too_large", b"Request Header Fields Too Large"
)
TOO_MANY_FIELDS: Final = _request(
    "too_many_fields", 431, "DPE", "http1.too_many_headers", b"Request Header Fields Too Large"
)
LOW_VERSION: Final = _request("low_version", 426, "DPE", "low_version", b"Upgrade Required")
MISSING_HOST: Final = _request("missing_host", 400, "-", "missing_host_header")
BAD_HOST: Final = _request("bad_host", 400, "DPE", "http.invalid_authority", b"Bad Request")
BAD_PATH: Final = _request("bad_path", 400, "-", "path_normalization_failed")
INVALID_URL: Final = _request("invalid_url", 400, "DPE", "http1.invalid_url", b"Bad Request")
INVALID_SCHEME: Final = _request("invalid_scheme", 400, "DPE", "http1.invalid_scheme", b"Bad Request")
ABSOLUTE_PATH: Final = Failure("absolute_path", 404, "-", "absolute_path_rejected", b"", b"", False)
#: CONNECT: no route matches it (semantics 14.6.3); what follows is never tunnelled
CONNECT_UNROUTED: Final = _request("connect_unrouted", 404, "NR", "route_not_found")
HTTPS_ON_PLAINTEXT: Final = _request(
    "https_on_plaintext", 403, "DPE", "http1.https_url_on_plaintext_connection", b"Forbidden"
)
UPGRADE_FAILED: Final = _request("upgrade_failed", 403, "-", "upgrade_failed")
QUERY_WITHOUT_TYPE: Final = _request("query_without_type", 400, "-", "query_missing_content_type")
#: gRPC-Web in text that is no base64 (:mod:`gatewayd.http.grpc_messages`)
WEB_TEXT: Final = Failure(
    "web_text",
    400,
    "-",
    "grpc_base_64_decode_failed",
    b"Bad gRPC-web request, invalid base64 data.",
    b"",
    True,
)
WEB_TEXT_LENGTH: Final = WEB_TEXT._replace(
    name="web_text_length", details="grpc_base_64_decode_failed_bad_size"
)
#: asked on a connection that a server with other hosts accepted; where Istio answers 404 (semantics 2.5.6)
MISDIRECTED: Final = Failure("misdirected", 421, "NR", "misdirected_request", b"", b"", False)
HEAD_TIMEOUT: Final = _request("head_timeout", 408, "DT", "request_header_timeout", b"request header timeout")
IDLE_TIMEOUT: Final = _request("idle_timeout", 408, "SI", "stream_idle_timeout", b"stream timeout")

# HTTP/2 requests that get no answer but the end of their stream or connection; Envoy's words (14.5.2, 14.6.4)
H2_FIELD: Final = _request("h2_field", 0, "DPE", "http2.invalid.header.field")
H2_MESSAGE: Final = _request("h2_message", 0, "DPE", "http2.violation.of.messaging.rule")
H2_TOO_LARGE: Final = _request("h2_too_large", 0, "DR", "http2.header_list_size_too_large")
H2_TOO_MANY: Final = _request("h2_too_many", 0, "DR", "http2.too_many_headers")

#: Every row, for tests and documents.
FAILURES: Final[tuple[Failure, ...]] = tuple(v for v in list(globals().values()) if isinstance(v, Failure))


def body_after_retry(failure: Failure) -> bytes:
    """The body of ``failure`` once an earlier attempt of the exchange has failed (semantics 16)."""
    return _RETRIED_PREFIX + failure.reset_reason if failure.reset_reason else failure.body
