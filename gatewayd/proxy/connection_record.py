"""What is written down about a connection that is not HTTP: one line in the access log (semantics 17.2).

A TCP session extends :class:`ConnectionRecord` as an exchange extends its ``StreamInfo``; a connection that was
refused before anything could begin is written down by :func:`log_refused`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time

from gatewayd.observe.stream_info import ConnectionInfo, StreamInfo


class ConnectionRecord(StreamInfo):
    """The facts of a connection; everything that belongs to requests is empty."""

    __slots__ = ()

    def __init__(self, connection: ConnectionInfo | None) -> None:
        if connection is not None:
            self.connection = connection
        self.request = None
        self.method = self.path = self.protocol = b""
        self.started_at = self.finished_at = monotonic()
        self.started_wall = time()
        self.status = 0
        self.flags = self.details = self.termination_details = self.transport_failure = ""
        self.bytes_received = self.bytes_sent = 0
        self.responded_at = 0.0
        self.upstream_host = self.upstream_cluster = self.upstream_local_address = ""
        self.route = None
        self.request_id = self.x_forwarded_for = self.trusted_address = b""
        self.attempts = 0
        self.response_pairs = self.request_pairs = None


def log_refused(
    log: Callable[[StreamInfo], None],
    connection: ConnectionInfo,
    *,
    flags: str = "",
    details: str = "",
    transport_failure: str = "",
) -> None:
    """Write down a connection that ended before it was anybody's."""
    record = ConnectionRecord(connection)
    record.flags = flags
    record.details = details
    record.transport_failure = transport_failure
    log(record)
