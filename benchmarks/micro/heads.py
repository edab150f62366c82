"""The request heads of the whole-process benchmarks as bytes, made a few at a time and without end."""

import itertools
import random
from collections.abc import Callable, Iterator

from benchmarks.macro import traffic
from benchmarks.macro.origin import SMALL_BYTES, small_body

_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 20 Nov 2026 16:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n"
) % SMALL_BYTES
_BODY = small_body().encode()

Source = Callable[[int], list[bytes]]


def in_turn(requests: tuple[str, ...]) -> Source:
    """These heads in turn; a copy each time, since bytes from a socket are never the same object."""
    endless = itertools.cycle(requests)
    return lambda count: [each.encode() for each in itertools.islice(endless, count)]


def fresh() -> Source:
    """Heads that share no path, cookie or trace header with any before."""
    rng = random.Random(traffic.SEED)
    numbers = itertools.count()
    template = traffic.fresh(SMALL_BYTES).requests[0]

    def one() -> bytes:
        return (template % (next(numbers), rng.randbytes(16).hex(), rng.randbytes(16).hex())).encode()

    return lambda count: [one() for _ in range(count)]


def kinds() -> Iterator[tuple[str, Source]]:
    """The three kinds of traffic by name."""
    yield "repeated", in_turn(traffic.repeated(SMALL_BYTES).requests)
    yield "varied", in_turn(traffic.varied(SMALL_BYTES).requests)
    yield "new", fresh()


def response_head(request: bytes) -> bytes:
    """The head of the upstream's answer to a request, with an etag made of the path, and its empty line."""
    path = request.split(b" ", 2)[1].partition(b"?")[0]
    return b'%bETag: "%b"\r\n\r\n' % (_RESPONSE, path)


def response(request: bytes) -> bytes:
    """The upstream's whole answer: 1 KiB of body."""
    return response_head(request) + _BODY
