"""The request heads of the whole-process benchmarks as bytes, and new ones at will."""

import random

from benchmarks.macro import traffic
from benchmarks.macro.origin import SMALL_BYTES, small_body

RESPONSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 20 Nov 2026 16:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n"
)
KINDS = ("repeated", "varied", "new")


def repeated() -> list[bytes]:
    """One head."""
    return [traffic.repeated(SMALL_BYTES).requests[0].encode()]


def varied() -> list[bytes]:
    """Heads as in life."""
    return [each.encode() for each in traffic.varied(SMALL_BYTES).requests]


def fresh(run: int, count: int) -> list[bytes]:
    """`count` heads that share no path, cookie or trace header with any other, of this run or another."""
    rng = random.Random(run)
    template = traffic.fresh(SMALL_BYTES).requests[0]
    return [
        (template % (f"{run}-{index}", rng.randbytes(16).hex(), rng.randbytes(16).hex())).encode()
        for index in range(count)
    ]


def response(request: bytes) -> bytes:
    """The upstream's answer to a request: an etag made of the path, 1 KiB of body."""
    path = request.split(b" ", 2)[1].partition(b"?")[0]
    etag = b'ETag: "%b"\r\n\r\n' % path
    return RESPONSE_HEAD % SMALL_BYTES + etag + small_body().encode()
