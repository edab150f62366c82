"""A client that makes full TLS handshakes for many names, with one request on each connection.

python -m benchmarks.macro.tls_client PORT CONNECTIONS SECONDS NAMES    prints a line of JSON

NAMES is a file with a host name per line. wrk says one name only; here each connection has its own, drawn at random
for so many seconds, or, with 0, each name once in turn. No session is ever offered again. What it costs is not
counted: it runs beside the proxy, on the other core.
"""

import errno
import json
import os
import random
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

_READ_BYTES = 65_536
ONCE_WITHIN_S = 120.0
"""Every name must have had its turn after this long."""


def client_context() -> ssl.SSLContext:
    """TLS 1.3 only, believing everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class Visit:
    """One connection: connect, shake hands, ask once, read to the end."""

    def __init__(self, context: ssl.SSLContext, port: int, name: str) -> None:
        raw = socket.socket()
        raw.setblocking(False)
        number = raw.connect_ex(("127.0.0.1", port))
        if number not in (0, errno.EINPROGRESS):
            raw.close()
            raise OSError(number, os.strerror(number))
        self.socket = context.wrap_socket(raw, server_hostname=name, do_handshake_on_connect=False)
        self._request = f"GET /login HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
        self._shaken = False
        self._answer = b""

    def go_on(self) -> bool | None:
        """What can be done now. None: wait; else whether the answer was good."""
        try:
            if not self._shaken:
                self.socket.do_handshake()
                self._shaken = True
                if self.socket.session_reused:
                    return False
                self.socket.send(self._request)
            while data := self.socket.recv(_READ_BYTES):
                self._answer += data
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLEOFError:
            pass  # some close without close_notify
        except OSError:
            return False
        head, _, body = self._answer.partition(b"\r\n\r\n")
        return head.startswith(b"HTTP/1.1 200 ") and len(body) >= 1024


def endless(names: list[str], seed: float) -> Iterator[str]:
    """Names drawn at random."""
    draw = random.Random(seed)
    while True:
        yield draw.choice(names)


def visit(port: int, connections: int, seconds: float, names: Iterator[str]) -> dict[str, Any]:
    """Keep `connections` visits going for `seconds` and while there are names; how many ended well, how many not."""
    context = client_context()
    chooser = selectors.DefaultSelector()
    began = time.monotonic()
    count = errors = 0

    def begin(name: str) -> None:
        nonlocal errors
        try:
            one = Visit(context, port, name)
        except OSError:
            errors += 1
            return
        chooser.register(one.socket, selectors.EVENT_READ, one)
        advance(one)

    def advance(one: Visit) -> None:
        nonlocal count, errors
        good = one.go_on()
        if good is None:
            return
        chooser.unregister(one.socket)
        one.socket.close()
        count, errors = count + good, errors + (not good)

    while True:
        now = time.monotonic() - began
        wanted = list(islice(names, connections - len(chooser.get_map()))) if now < seconds else []
        for name in wanted:
            begin(name)
        running = len(chooser.get_map())
        if not (wanted or running) or now > seconds + 10:
            return {"count": count, "errors": errors + running, "seconds": now}
        for key, _ in chooser.select(1.0):
            advance(key.data)


def main() -> None:
    """See the module."""
    port, connections, text, path = sys.argv[1:]
    names, seconds = Path(path).read_text().split(), float(text)
    source = endless(names, time.time()) if seconds else iter(names)
    print(json.dumps(visit(int(port), int(connections), seconds or ONCE_WITHIN_S, source)))


if __name__ == "__main__":
    main()
