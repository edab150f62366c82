"""Ask for all metrics again and again: a process of its own, beside the load.

    python -m benchmarks.macro.scraper PORT TIMES

Each line of the output has the times of the question and of the end of the answer, on the monotonic clock, and the
bytes of the answer.
"""

import socket
import sys
import time

PAUSE_S = 1.5
_QUESTION = b"GET /stats/prometheus HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


def scrape(port: int) -> int:
    """The bytes of an answer, all of which were read."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(_QUESTION)
        start = client.recv(65536)
        if not start.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"no metrics: {start[:100]!r}")
        size = len(start)
        while data := client.recv(1 << 18):
            size += len(data)
        return size


def main(port: int, times: int) -> None:
    """Print a line for each scrape."""
    for _ in range(times):
        time.sleep(PAUSE_S)
        began = time.monotonic()
        size = scrape(port)
        print(began, time.monotonic(), size, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
