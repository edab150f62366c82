"""Memory of an idle process and of each idle keep-alive connection."""

import contextlib
import socket
import time

from benchmarks.macro import traffic
from benchmarks.macro.bench import Bench
from benchmarks.macro.origin import SMALL_BYTES
from benchmarks.macro.processes import raise_file_limit
from benchmarks.macro.proxies import Running
from benchmarks.macro.scenarios.scale import add_memory
from benchmarks.macro.site import plain_site

IDLE = "idle process"
IDLE_CONNECTION = "idle keep-alive connection"
CONNECTION_UNIT = "KiB each"
SETTLE_S = 1.0


def idle_memory(bench: Bench) -> None:
    """Resident memory after the start; then growth by connections that made one request and stay open."""
    count = bench.options.idle_connections
    raise_file_limit(3 * count)
    kind = traffic.repeated(SMALL_BYTES)
    folder = bench.write_traffic([kind])
    with bench.proxies(plain_site(bench.origin_port())) as running:
        for proxy in running:
            add_memory(bench, IDLE, proxy.name, proxy.memory().rss_kib)
        for proxy in running:
            # What the first requests of all make a process allocate is not the price of a connection.
            bench.warm(proxy, kind, folder)
            time.sleep(SETTLE_S)
            before = proxy.memory().rss_kib
            with contextlib.ExitStack() as stack:
                answered = sum(
                    ask(stack.enter_context(connect(proxy)), kind.requests[0].encode(), SMALL_BYTES)
                    for _ in range(count)
                )
                time.sleep(SETTLE_S)
                growth_kib = proxy.memory().rss_kib - before
            invalid = None if answered == count else f"{answered} of {count} connections were answered"
            bench.add(IDLE_CONNECTION, CONNECTION_UNIT, proxy.name, growth_kib / count, invalid)


def connect(proxy: Running) -> socket.socket:
    """One client connection."""
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def ask(client: socket.socket, request: bytes, body_bytes: int) -> bool:
    """Send one request and read its response; False when it is not a 200 with a body of the right length."""
    client.sendall(request)
    received = b""
    while True:
        head, end, body = received.partition(b"\r\n\r\n")
        if end and len(body) >= body_bytes:
            return head.startswith(b"HTTP/1.1 200 ") and len(body) == body_bytes
        data = client.recv(65536)
        if not data:
            return False
        received += data
