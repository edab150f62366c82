"""A finished exchange to read variables from."""

from __future__ import annotations

from collections.abc import Iterable

from gatewayd.http.message import Fields, Pair, RequestHead
from gatewayd.observe.stream_info import ConnectionInfo, StreamInfo


def info_of(fields: Iterable[Pair] = (), target: bytes = b"/x?q=1") -> StreamInfo:
    info = StreamInfo()
    info.connection = ConnectionInfo("10.0.0.7", "10.0.0.7:41000", "10.0.0.1:8080")
    info.request = RequestHead(b"GET", target, b"Shop.test:99", b"http", Fields(tuple(fields)))
    info.method = b"GET"
    info.path = target
    info.protocol = b"HTTP/1.1"
    info.status = 200
    info.flags = ""
    info.details = "via_upstream"
    info.termination_details = ""
    info.bytes_received = 3
    info.bytes_sent = 5
    info.started_wall = 1795192888.682564
    info.started_at = 100.0
    info.responded_at = 100.0078125
    info.finished_at = 100.015625
    info.upstream_host = "10.0.1.1:80"
    info.upstream_cluster = "outbound|80||alpha.test"
    info.upstream_local_address = "10.0.0.1:50000"
    info.transport_failure = ""
    info.route = None
    info.request_id = b"744ff5e6-32ef-4f7d-855f-db214529c88f"
    info.x_forwarded_for = b"10.0.0.7"
    info.trusted_address = b"10.0.0.7"
    info.attempts = 1
    info.response_pairs = None
    info.request_pairs = None
    return info
