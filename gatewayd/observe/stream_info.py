"""HOT: what befell one exchange; the access log, header variables and metrics read it.

The exchange itself extends this class (one object per request), so writing a fact down is one attribute
and nothing is copied for the log: finished exchanges are appended to the log's pending list as they are.
"""

from __future__ import annotations

from typing import Any

from gatewayd.http.message import RequestHead, Trailers


class ConnectionInfo:
    """Facts of one downstream connection, as the log prints them (``ip:port``)."""

    __slots__ = (
        "chain", "local_address", "remote_address", "remote_ip", "requested_server_name", "scheme", "shown",
    )  # fmt: skip

    def __init__(self, remote_ip: str, remote_address: str, local_address: str) -> None:
        self.remote_ip = remote_ip
        self.remote_address = remote_address
        self.local_address = local_address
        #: name of the filter chain it chose, for whoever counts
        self.chain = ""
        self.requested_server_name = ""  # SNI
        self.scheme = b"http"
        #: belongs to the access log: route and trusted address of the last line, its end, and what of that is the
        #: connection's
        self.shown: tuple[Any, bytes, bytes, bytes] | None = None


class StreamInfo:
    """Facts of one request and its response. Times are seconds; ``*_at`` monotonic, ``started_wall`` UTC."""

    __slots__ = (
        "attempts",
        "bytes_received",
        "bytes_sent",
        "connection",
        "details",
        "finished_at",
        "flags",
        "grpc_status",
        "method",
        "path",
        "protocol",
        "request",
        "request_id",
        "request_messages",
        "request_pairs",
        "responded_at",
        "response_messages",
        "response_pairs",
        "response_trailers",
        "route",
        "started_at",
        "started_wall",
        "status",
        "termination_details",
        "transport_failure",
        "trusted_address",
        "upstream_cluster",
        "upstream_host",
        "upstream_local_address",
        "x_forwarded_for",
    )

    #: what of the downstream connection is known
    connection: ConnectionInfo
    #: None when the request could not be parsed; then method, path are b"" (printed "-")
    request: RequestHead | None
    method: bytes
    #: path?query after normalisation and before any rewrite (semantics 17.3)
    path: bytes
    protocol: bytes  # b"HTTP/1.1"
    status: int  # 0: nothing was answered
    flags: str  # response flags joined with ",", "" = none (semantics 16.1)
    details: str  # response_code_details, "" = none (semantics 16.3)
    termination_details: str
    bytes_received: int  # request body bytes
    bytes_sent: int  # response body bytes
    started_wall: float
    started_at: float
    #: first byte of the upstream's answer arrived; 0.0 when there was none
    responded_at: float
    finished_at: float
    upstream_host: str  # "ip:port", "" = none
    upstream_cluster: str  # "outbound|80||host", "" = none
    upstream_local_address: str
    transport_failure: str
    route: Any  # gatewayd.routing.route.Route or None
    request_id: bytes
    #: x-forwarded-for as sent upstream / as known at the end
    x_forwarded_for: bytes
    trusted_address: bytes  # the trusted client address (semantics 14.1.1)
    attempts: int
    #: response fields sent downstream, kept only when somebody needs them; else None
    response_pairs: list[tuple[bytes, bytes]] | None
    #: what ended the response's body; not set where there was none
    response_trailers: Trailers
    #: ``grpc-status`` of the response's head, also of one made here; not set where there was none
    grpc_status: bytes
    #: of gRPC, where they are counted: counters with a ``count``, or None; else not set
    request_messages: Any
    response_messages: Any
    #: request fields as sent upstream, kept only when somebody needs them (header variables); else None
    request_pairs: list[tuple[bytes, bytes]] | None
