"""A client of HTTP/2 over TLS whose every head is new: path, cookie and trace differ in each request.

python -m benchmarks.macro.h2_load PORT CONNECTIONS STREAMS SECONDS BODY_BYTES    prints a line of JSON

h2load can vary paths only, and each of its connections asks for the same ones. Fields are literals that enter no
table, so that the bytes of a head repeat nothing but what is the same in all. Each connection sends its streams
together and waits for their ends. What it costs is not counted: it runs beside the proxy, on the other core.
"""

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator

from benchmarks.macro.h2_frames import (
    ACK,
    AUTHORITY,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    METHOD_GET,
    PATH,
    PING,
    PREFACE,
    RST_STREAM,
    SCHEME_HTTPS,
    SETTINGS,
    WINDOW_UPDATE,
    Reader,
    frame,
    literal,
)
from benchmarks.macro.tls_client import client_context
from benchmarks.macro.traffic import nine_headers

_LIMIT_S = 30.0
_WINDOW = (1 << 31) - 1 - 65_535
_READ_BYTES = 65_536
_VARY = ("cookie", "cache-control")


def new_heads(salt: str) -> Iterator[bytes]:
    """Header blocks, each of which is made once; `salt` is the caller's own."""
    (_, host), *others = ((name.lower(), value) for name, value in nine_headers())
    begin = METHOD_GET + SCHEME_HTTPS + literal(AUTHORITY, host)
    fixed = b"".join(literal(name, value) for name, value in others if name not in _VARY)
    number = 0
    while True:
        number += 1
        unique = f"{salt}{number:x}"
        trace = f"00-{unique:0>32.32}-00f067aa0ba902b7-01"
        yield (
            begin
            + literal(PATH, f"/api/items/{unique}")
            + fixed
            + literal("cookie", f"session={unique}")
            + literal("traceparent", trace)
        )


class Connection:
    """One connection. `count` answers had the right length, `errors` did not, or came not at all."""

    def __init__(self, port: int, body_bytes: int) -> None:
        context = client_context()
        context.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(raw)
        self._socket.sendall(PREFACE + frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", _WINDOW)))
        self._reader = Reader()
        self._heads = new_heads(os.urandom(6).hex())
        self._next = 1
        self._left: dict[int, int] = {}
        self._body_bytes = body_bytes
        self.count = self.errors = 0

    def run(self, streams: int, until: float) -> None:
        """Ask until the clock (monotonic) shows `until`."""
        try:
            while time.monotonic() < until:
                self._ask(streams)
                while self._left:
                    self._read()
        except (OSError, EOFError):
            self.errors += len(self._left) or 1
        finally:
            self._socket.close()

    def _ask(self, streams: int) -> None:
        asked = range(self._next, self._next + 2 * streams, 2)
        flags = END_HEADERS | END_STREAM
        self._left = dict.fromkeys(asked, self._body_bytes)
        self._next += 2 * streams
        self._socket.sendall(b"".join(frame(HEADERS, flags, stream, next(self._heads)) for stream in asked))

    def _read(self) -> None:
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise EOFError
        for kind, flags, stream, payload in self._reader.feed(data):
            if kind == DATA:
                self._left[stream] -= len(payload)
            elif kind in (SETTINGS, PING) and not flags & ACK:
                self._socket.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
            if kind == GOAWAY:
                raise EOFError
            if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
                good = kind != RST_STREAM and self._left.pop(stream) == 0
                self._left.pop(stream, None)
                self.count += good
                self.errors += not good


def main(arguments: list[str]) -> None:
    """The command line."""
    port, connections, streams, body_bytes = (int(arguments[index]) for index in (0, 1, 2, 4))
    clients = [Connection(port, body_bytes) for _ in range(connections)]
    began = time.monotonic()
    until = began + float(arguments[3])
    threads = [threading.Thread(target=client.run, args=(streams, until)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = {"count": sum(c.count for c in clients), "errors": sum(c.errors for c in clients)}
    print(json.dumps({**totals, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main(sys.argv[1:])
