"""Finished exchanges made by hand."""

from __future__ import annotations

from typing import Any

from gatewayd.http.message import Fields, RequestHead
from gatewayd.observe.stream_info import ConnectionInfo, StreamInfo
from gatewayd.routing.route import FORWARD, Route


def exchange(**facts: Any) -> StreamInfo:
    """A GET that was routed and answered; ``facts`` replace single slots.

    ``headers`` are further request fields; ``server_name``, ``remote_ip`` those of the connection.
    """
    headers = facts.pop("headers", [(b"user-agent", b"curl/8.5")])
    authority = facts.pop("authority", b"shop.test")
    remote_ip = facts.pop("remote_ip", "10.0.0.99")
    connection = ConnectionInfo(remote_ip, f"{remote_ip}:50000", "10.0.0.1:8080")
    connection.requested_server_name = facts.pop("server_name", "")
    name = facts.pop("route_name", "default")
    info = StreamInfo()
    info.connection = connection
    info.method = b"GET"
    info.path = b"/items?x=1"
    info.protocol = b"HTTP/1.1"
    info.status = 200
    info.flags = ""
    info.details = "via_upstream"
    info.termination_details = ""
    info.bytes_received = 0
    info.bytes_sent = 1024
    info.started_wall = 1767323045.678901
    info.started_at = 100.0
    info.responded_at = 100.0021
    info.finished_at = 100.0035
    info.upstream_host = "10.0.0.7:8080"
    info.upstream_cluster = "outbound|8080|v2|shop.local"
    info.upstream_local_address = "10.0.0.1:40000"
    info.transport_failure = ""
    info.route = None if name is None else Route(name, FORWARD)
    info.request_id = b"5f0c7a9e-8a0e-4a1c-9c5b-0e4f2f6c9d11"
    info.x_forwarded_for = b"10.0.0.99"
    info.trusted_address = b"10.0.0.99"
    info.attempts = 1
    info.response_pairs = None
    method, path = facts.get("method", info.method), facts.get("path", info.path)
    info.request = RequestHead(method, b"" if path is None else path, authority, b"http", Fields(headers))
    for slot, value in facts.items():
        setattr(info, slot, value)
    return info


def unparsed(**facts: Any) -> StreamInfo:
    """A request that could not be read."""
    return exchange(
        request=None,
        method=b"",
        path=b"",
        status=400,
        flags="DPE",
        details="http1.codec_error",
        responded_at=0.0,
        upstream_host="",
        upstream_cluster="",
        upstream_local_address="",
        request_id=b"",
        x_forwarded_for=b"",
        route_name=None,
        **facts,
    )
