"""An upstream for uploads: reads request bodies, at a given rate or at once, and answers with their length.

python -m benchmarks.macro.sink PORT BYTES_PER_SECOND
"""

import socket
import sys
import threading
import time

READ_BYTES = 1024 * 1024
SLOW_BUFFER_BYTES = 128 * 1024
SLOW_STEPS_PER_S = 16
PROGRESS = "progress"
"""Begins the lines a slow sink writes about each body, every MiB: connection and bytes read so far."""


def content_length(head: bytes) -> int:
    """Value of `content-length`, 0 without one.

    Raises ValueError for a chunked body: no proxy has a reason to re-frame a body of known length.
    """
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"transfer-encoding":
            raise ValueError("chunked request body")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def swallow(client: socket.socket, remaining: int, rate_bytes_s: int) -> int:
    """Read up to `remaining` bytes and return how many came."""
    buffer = bytearray(READ_BYTES if not rate_bytes_s else rate_bytes_s // SLOW_STEPS_PER_S)
    wanted = remaining
    told = 0
    while remaining:
        count = client.recv_into(buffer, min(remaining, len(buffer)))
        if not count:
            break
        remaining -= count
        if rate_bytes_s:
            time.sleep(count / rate_bytes_s)
            if wanted - remaining >= told + READ_BYTES:
                told = wanted - remaining
                print(PROGRESS, client.fileno(), told, flush=True)
    return wanted - remaining


def serve(client: socket.socket, rate_bytes_s: int) -> None:
    """Answer the requests of one connection until it ends."""
    pending = b""
    with client:
        while True:
            while b"\r\n\r\n" not in pending:
                data = client.recv(65536)
                if not data:
                    return
                pending += data
            head, _, pending = pending.partition(b"\r\n\r\n")
            length = content_length(head)
            early, pending = pending[:length], pending[length:]
            count = len(early) + swallow(client, length - len(early), rate_bytes_s)
            body = b"%d" % count
            client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


def serve_quietly(client: socket.socket, rate_bytes_s: int) -> None:
    """`serve`, where a peer that goes away is no event."""
    try:
        serve(client, rate_bytes_s)
    except OSError:
        client.close()


def main(port: int, rate_bytes_s: int) -> None:
    """Accept for ever, a thread for each connection."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rate_bytes_s:
            # A small window, so that what is not read stays with the proxy and not in this kernel.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve_quietly, args=(client, rate_bytes_s), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
