"""gRPC statuses: names by number, and what a local reply's HTTP status comes to for a gRPC client.

The mapping is Envoy's, which is that of the gRPC project's HTTP to gRPC document.
"""

from __future__ import annotations

import re
from typing import Final

#: By number.
GRPC_STATUSES: Final[tuple[str, ...]] = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)

_BY_HTTP_STATUS: Final = {
    400: 13,
    401: 16,
    403: 7,
    404: 12,
    429: 14,
    502: 14,
    503: 14,
    504: 14,
}


def of_http_status(status: int) -> int:
    """The gRPC status of an answer made here with HTTP ``status``; UNKNOWN for most."""
    return _BY_HTTP_STATUS.get(status, 2)


#: What gRPC statuses are to those who count HTTP statuses (passive health), as Envoy has it.
_TO_HTTP_STATUS: Final = {
    0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429,
    9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
}  # fmt: skip


def http_status_of(grpc_status: bytes) -> int:
    """The HTTP status that stands for a ``grpc-status`` field; 500 for what is none."""
    return _TO_HTTP_STATUS.get(number_of(grpc_status), 500)


#: Of what is no number.
INVALID: Final = -1
#: Digits of 64 bits, rounded down; who sends more means nothing by it.
_MAX_DIGITS: Final = 19


def number_of(grpc_status: bytes) -> int:
    """What a ``grpc-status`` field says; :data:`INVALID` for what is no number."""
    return int(grpc_status) if grpc_status.isdigit() and len(grpc_status) <= _MAX_DIGITS else INVALID


#: What a grpc-message carries as %XX.
_NOT_PLAIN: Final = re.compile(rb"[^ -$&-}]")


def encoded_message(text: bytes) -> bytes:
    """``text`` as the field ``grpc-message`` carries it."""
    return _NOT_PLAIN.sub(lambda found: b"%%%02X" % ord(found[0]), text)


def is_grpc(content_type: bytes | None) -> bool:
    """Whether a request of that ``content-type`` is gRPC: ``application/grpc``, alone or with ``+`` and more."""
    return content_type is not None and (
        content_type == b"application/grpc" or content_type.startswith(b"application/grpc+")
    )
