"""How long a gRPC call may take: what its client says in ``grpc-timeout`` (semantics 6.6.3).

The form is that of the gRPC project's PROTOCOL-HTTP2 document: up to eight digits and a unit. Rounding and what is
made of a value that is none are Envoy's.
"""

from __future__ import annotations

import re
from typing import Final

#: As Envoy reads it: a sign or spaces do no harm, but there is nothing below zero.
_FORM: Final = re.compile(rb"[ \t]*(?:\+?([0-9]+)|-0+)[ \t]*([HMSmun])").fullmatch
_LARGEST: Final = 99_999_999
#: In nanoseconds.
_UNITS: Final = {
    b"H": 3_600_000_000_000,
    b"M": 60_000_000_000,
    b"S": 1_000_000_000,
    b"m": 1_000_000,
    b"u": 1_000,
    b"n": 1,
}


def read_ms(value: bytes | None) -> int:
    """Milliseconds that ``value`` says, rounded up; 0: it says none, or is no ``grpc-timeout`` at all."""
    found = _FORM(value) if value else None
    if found is None:
        return 0
    count = int(found[1] or b"0")
    return 0 if count > _LARGEST else -(-count * _UNITS[found[2]] // 1_000_000)


def written(timeout_ms: int) -> bytes:
    """``timeout_ms`` as the field says it, in the smallest unit that has room."""
    if timeout_ms <= _LARGEST:
        return b"%dm" % timeout_ms
    count = timeout_ms // 1000
    for unit in (b"S", b"M"):
        if count <= _LARGEST:
            return b"%d%b" % (count, unit)
        count //= 60
    return b"%dH" % min(count, _LARGEST)


def limited_s(asked: bytes | None, limit_s: float) -> float:
    """Seconds for a call whose client ``asked`` for so much, on a route with ``limit_s``; 0: no end, on either side."""
    asked_s = read_ms(asked) / 1000
    return min(asked_s, limit_s) if asked_s and limit_s else asked_s or limit_s
