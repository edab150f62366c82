"""Limits on what a stranger can send; each is a setting with a safe default (hardening section 8)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Sizes in bytes, times in seconds; 0 switches a timeout off."""

    max_request_head_bytes: int = 60 * 1024  # 431 (semantics 14.6.4)
    max_request_fields: int = 100  # 431
    max_response_head_bytes: int = 64 * 1024  # 502; a 62,000 byte field must pass (14.6.4)
    max_response_fields: int = 100  # 502
    max_trailer_bytes: int = 8 * 1024
    max_trailer_fields: int = 32
    max_chunk_ext_bytes: int = 4 * 1024  # per message
    max_interim_responses: int = 32
    max_empty_lines: int = 2
    retry_buffer_bytes: int = 64 * 1024
    request_head_timeout_s: float = 10.0
    stream_idle_timeout_s: float = 300.0
    idle_timeout_s: float = 300.0
    #: a refused request's remaining bytes are read so long and thrown away: the client shall see the answer
    linger_s: float = 1.0
    linger_bytes: int = 64 * 1024
    max_connections: int = 10_000

    # HTTP/2 (hardening sections 3 and 8)
    h2_max_concurrent_streams: int = 1024  # REFUSED_STREAM; Envoy's number
    #: what a peer may send of one stream before we have passed it on
    h2_stream_window_bytes: int = 64 * 1024
    #: the same of all streams of a client's connection
    h2_connection_window_bytes: int = 1024 * 1024
    #: what waits for one client to take it: beyond this, nothing is read for any of its streams
    h2_queued_bytes: int = 2 * 1024 * 1024
    h2_max_continuations: int = 64
    #: streams that ended in a reset before they were answered, by the client or because of it; so many at once, so
    #: many in a second
    h2_resets: int = 200
    h2_resets_per_s: float = 20.0
    #: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown frames and frames on closed streams, of each kind
    h2_control_frames: int = 1000
    h2_control_frames_per_s: float = 200.0
    h2_empty_frames: int = 100  # DATA without a byte, in all; never two in a row
    h2_settings_timeout_s: float = 10.0
