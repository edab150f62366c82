"""Change one document again and again and see when it is in force: a process of its own, beside the load.

    python -m benchmarks.macro.editor PORT FILE HOST TIMES

`/version-N` of HOST becomes `/version-N+1` in FILE, which is put in place by a rename. Each line of the output has the
times of the change and of the first answer that knows of it, on the monotonic clock.
"""

import os
import re
import socket
import sys
import time
from pathlib import Path

STEP_S = 0.002
GIVE_UP_S = 20.0
PAUSE_S = 2.5
"""Longer than what follows a reload: files that were new are read once more a second later."""

_VERSION = re.compile(r"/version-(\d+)")


def change(file: Path) -> int:
    """Write the next version; its number."""
    text = file.read_text()
    found = _VERSION.search(text)
    assert found is not None
    number = int(found[1]) + 1
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_text(f"{text[: found.start()]}/version-{number}{text[found.end() :]}")
    os.replace(fresh, file)
    return number


def is_served(client: socket.socket, host: str, number: int) -> bool:
    """Whether a request for that version meets a route."""
    client.sendall(f"GET /version-{number} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    rest = int(length[1]) - len(body) if length else 0
    while rest > 0:
        rest -= len(client.recv(65536))
    return head.startswith(b"HTTP/1.1 200")


def main(port: int, file: Path, host: str, times: int) -> None:
    """Print a line for each change."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        for _ in range(times):
            time.sleep(PAUSE_S)
            number = change(file)
            began = time.monotonic()
            while not is_served(client, host, number):
                if time.monotonic() > began + GIVE_UP_S:
                    raise SystemExit(f"version {number} was not in force after {GIVE_UP_S:g} s")
                time.sleep(STEP_S)
            print(began, time.monotonic(), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
