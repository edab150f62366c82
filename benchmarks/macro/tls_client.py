"""A client that makes full TLS handshakes for names drawn at random, with one request on each connection.

python -m benchmarks.macro.tls_client PORT CONNECTIONS SECONDS NAMES    prints a line of JSON

NAMES is a file with a host name per line. wrk says one name only; here each connection has its own. No session is
ever offered again. What it costs is not counted: it runs beside the proxy, on the other core.
"""

import json
import random
import selectors
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any

_READ_BYTES = 65_536
_CONNECT_S = 10.0


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
        # Wrapped before it is connected: of a peer that is gone already the standard library leaves a socket open.
        self.socket = context.wrap_socket(
            socket.socket(), server_hostname=name, do_handshake_on_connect=False
        )
        self.socket.connect_ex(("127.0.0.1", port))
        self.socket.setblocking(False)
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


def visit(port: int, connections: int, seconds: float, names: list[str], seed: float) -> dict[str, Any]:
    """Keep `connections` visits going for `seconds`; how many ended well, how many did not."""
    context, draw = client_context(), random.Random(seed)
    chooser = selectors.DefaultSelector()
    began = time.monotonic()
    count = errors = 0

    def begin() -> None:
        nonlocal errors
        try:
            one = Visit(context, port, draw.choice(names))
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
        running = len(chooser.get_map())
        if now < seconds:
            for _ in range(connections - running):
                begin()
        elif not running or now > seconds + 10:
            return {"count": count, "errors": errors + running, "seconds": now}
        for key, _ in chooser.select(1.0):
            advance(key.data)


def main() -> None:
    """See the module."""
    port, connections, seconds, names = sys.argv[1:]
    hosts = Path(names).read_text().split()
    print(json.dumps(visit(int(port), int(connections), float(seconds), hosts, time.time())))


if __name__ == "__main__":
    main()
