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
