"""A client that opens streams of one HTTP/2 connection and resets each at once, until it is cut off.

python -m benchmarks.macro.h2_resets PORT STREAMS BATCH    prints {streams, cut, seconds} as a line of JSON

After each batch it waits for the answer to a PING, so that `streams` is known to one batch.
"""

import json
import socket
import struct
import sys
import time

from benchmarks.macro.h2_frames import (
    ACK,
    AUTHORITY,
    CANCEL,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    METHOD_GET,
    PATH,
    PING,
    PREFACE,
    RST_STREAM,
    SCHEME_HTTP,
    Reader,
    frame,
    literal,
)
from benchmarks.macro.site import BENCH_HOST

_HEAD = METHOD_GET + SCHEME_HTTP + literal(AUTHORITY, BENCH_HOST) + literal(PATH, "/api/items?page=2")
_LIMIT_S = 60.0
_READ_BYTES = 65_536
_PING = b"in order"
_NO_ERROR = bytes(4)


def batch(first: int, count: int) -> bytes:
    """`count` streams from stream `first` on, each opened and reset, and a PING."""
    parts = []
    for stream in range(first, first + 2 * count, 2):
        parts.append(frame(HEADERS, END_HEADERS | END_STREAM, stream, _HEAD))
        parts.append(frame(RST_STREAM, 0, stream, struct.pack("!I", CANCEL)))
    return b"".join(parts) + frame(PING, 0, 0, _PING)


def is_open(client: socket.socket, reader: Reader) -> bool:
    """Read to the answer of a PING. False: the peer went away, or said with an error that it goes."""
    while data := client.recv(_READ_BYTES):
        for kind, flags, _, payload in reader.feed(data):
            if kind == PING and flags & ACK:
                return True
            if kind == GOAWAY and payload[4:8] != _NO_ERROR:
                return False
    return False


def attack(port: int, streams: int, size: int) -> dict[str, float | bool]:
    """Open and reset `streams` streams, `size` at a time; how many went out before the end."""
    began, sent, cut, reader = time.monotonic(), 0, False, Reader()
    with socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S) as client:
        client.sendall(PREFACE)
        while sent < streams and not cut:
            try:
                client.sendall(batch(2 * sent + 1, size))
                sent += size
                cut = not is_open(client, reader)
            except ConnectionError:
                cut = True
    return {"streams": sent, "cut": cut, "seconds": time.monotonic() - began}


if __name__ == "__main__":
    print(json.dumps(attack(*map(int, sys.argv[1:]))))
