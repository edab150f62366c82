"""A stand-in for ``gatewayd`` in tests of the tools themselves: a small relay with the same command line.

``python -m tests.support.relay_gateway run DIR --port-map ... --status ...``. Every mapped port relays one
HTTP/1 request per connection to the first endpoint found in DIR, and logs it as JSON.
The environment variable RELAY breaks it: "exit77", "exit78" and "exit3" end it at start, "once77" the first
time only; "deaf" never gets ready; "crash" ends it at the first request, "traceback" prints one then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

from tests.support.h1_text import Body, read_head, read_sized
from tests.support.wire import Wire

MODE = os.environ.get("RELAY", "")
CLOSED_PORT = 24009  # a port without a listener


async def _relay(client: Wire, upstream: tuple[str, int], log: Path) -> None:
    head = await read_head(client)
    if head is None:
        client.close()
        return
    if MODE == "crash":
        os._exit(5)
    if MODE == "traceback":
        print("Traceback (most recent call last)", file=sys.stderr, flush=True)
    body = Body()
    await read_sized(client, body, head.content_length or 0)
    _, server = await asyncio.get_running_loop().create_connection(Wire, *upstream)
    await server.send(head.raw.lower().replace(b" http/", b" HTTP/").replace(b"get ", b"GET ") + body.data)
    answer = await read_head(server)
    assert answer is not None
    got = Body()
    await read_sized(server, got, answer.content_length or 0)
    method, path, protocol = head.start_line.split(" ")
    line = {
        "method": method,
        "path": path,
        "protocol": protocol,
        "authority": head.values("host")[0],
        "response_code": int(answer.start_line.split(" ")[1]),
        "response_flags": "-",
        "response_code_details": "via_upstream",
        "upstream_host": f"{upstream[0]}:{upstream[1]}",
        "upstream_cluster": None,
        "bytes_received": len(body.data),
        "bytes_sent": len(got.data),
    }
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")
    await client.send(answer.raw + got.data)
    client.close()
    server.close()


class _Accepting(Wire):
    def __init__(self, upstream: tuple[str, int], log: Path, tasks: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._work = (upstream, log, tasks)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        upstream, log, tasks = self._work
        tasks.add(asyncio.get_running_loop().create_task(_relay(self, upstream, log)))


class _Status(Wire):
    def data_received(self, data: bytes) -> None:
        status = b"503 No" if MODE == "deaf" else b"200 OK"
        self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()


def _options() -> tuple[argparse.Namespace, tuple[str, int]]:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="+")
    for flag in ("--port-map", "--status", "--access-log"):
        parser.add_argument(flag, default="")
    options, _ = parser.parse_known_args()
    if MODE in ("exit77", "exit78", "exit3"):
        print("cannot go on", file=sys.stderr)
        sys.exit(int(MODE.removeprefix("exit")))
    marker = Path(options.words[1], "tried")
    if MODE == "once77" and not marker.exists():
        marker.touch()
        sys.exit(77)
    text = "".join(path.read_text() for path in Path(options.words[1]).glob("*.yaml"))
    found = re.search(r"ports: \{http: (\d+)\}", text)
    upstream = ("127.0.0.1", int(found[1]) if found else 9)
    return options, upstream


async def _main(options: argparse.Namespace, upstream: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, done.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: None)
    tasks: set[asyncio.Task[None]] = set()
    for pair in filter(None, options.port_map.split(",")):
        number, port = map(int, pair.split("="))
        if number == CLOSED_PORT:
            continue
        await loop.create_server(
            lambda: _Accepting(upstream, Path(options.access_log), tasks), "127.0.0.1", port
        )
    await loop.create_server(_Status, "127.0.0.1", int(options.status.split(":")[1]))
    await done.wait()


if __name__ == "__main__":
    asyncio.run(_main(*_options()))
