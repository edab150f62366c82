"""Large bodies: CPU time per GiB down and up, and memory while the upstream reads slowly."""

import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.macro.bench import Bench, Subject
from benchmarks.macro.load import LoadResult, curl_download, curl_upload, upload_command
from benchmarks.macro.processes import spawn, stop
from benchmarks.macro.proxies import Running
from benchmarks.macro.sink import PROGRESS
from benchmarks.macro.site import plain_site
from benchmarks.macro.traffic import Traffic

DOWNLOAD = "1 GiB download"
UPLOAD = "1 GiB upload"
SLOW_UPLOAD = "1 GiB upload, upstream reads 1 MiB/s"
BULK_UNIT = "CPU s/GiB"
GROWTH_UNIT = "MiB of RSS growth"
GIB = 1 << 30
SLOW_RATE_BYTES_S = 1 << 20
BIG_TARGET = "/static/files/big.bin"
NO_TRAFFIC = Traffic("none", (), 0)


def download(bench: Bench) -> None:
    """One client, a sparse file of the upstream nginx, curl to /dev/null; a smaller file is scaled up."""
    rest, size = bench.options.pinning.rest, bench.options.big_bytes
    with bench.proxies(plain_site(bench.origin_port())) as running:
        measure_bulk(bench, DOWNLOAD, running, lambda port: curl_download(port, rest, BIG_TARGET, size))


def upload(bench: Bench) -> None:
    """One client, curl with `content-length`, to an upstream that reads as fast as it can."""
    rest = bench.options.pinning.rest
    source = big_file(bench, bench.options.big_bytes)
    with bench.sink(0) as sink, bench.proxies(plain_site(sink.port)) as running:
        measure_bulk(bench, UPLOAD, running, lambda port: curl_upload(port, rest, source))


def measure_bulk(
    bench: Bench, row: str, running: Sequence[Running], send: Callable[[int], LoadResult]
) -> None:
    """Once to warm up, then in rounds: CPU s per GiB of one transfer at a time."""
    for proxy in running:
        send(proxy.port)
    for _ in range(bench.options.rounds):
        for proxy in running:
            subject = Subject(row, proxy, NO_TRAFFIC)
            bench.measure(subject, partial(send, proxy.port), BULK_UNIT, 1e9 * bench.options.big_bytes / GIB)


def slow_upload(bench: Bench) -> None:
    """Growth of resident memory while a 1 GiB upload waits for its upstream; all proxies at the same time."""
    seconds = bench.options.slow_upload_s
    source = big_file(bench, GIB)
    with bench.sink(SLOW_RATE_BYTES_S) as sink, bench.proxies(plain_site(sink.port)) as running:
        before = {proxy.name: proxy.memory().rss_kib for proxy in running}
        highest = dict(before)
        clients = {proxy.name: start_upload(bench, proxy, source) for proxy in running}
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                time.sleep(0.25)
                for proxy in running:
                    highest[proxy.name] = max(highest[proxy.name], proxy.memory().rss_kib)
            ended = {name: client.poll() for name, client in clients.items()}
            invalid = judge_slow(amounts_read(sink.output.read_text()), len(running), seconds)
        finally:
            for client in clients.values():
                stop(client)
        for proxy in running:
            early = f"curl ended with status {ended[proxy.name]}" if ended[proxy.name] is not None else None
            growth_kib = highest[proxy.name] - before[proxy.name]
            bench.add(SLOW_UPLOAD, GROWTH_UNIT, proxy.name, growth_kib / 1024, early or invalid)


def amounts_read(output: str) -> list[int]:
    """Bytes read so far of each body, from the sink's output."""
    lines = [line.split() for line in output.splitlines() if line.startswith(PROGRESS)]
    return list({connection: int(count) for _, connection, count in lines}.values())


def judge_slow(amounts: list[int], uploads: int, seconds: float) -> str | None:
    """Why the growth says nothing: an upload that the proxy did not keep moving at the upstream's pace."""
    wanted = 0.6 * SLOW_RATE_BYTES_S * seconds
    if len(amounts) != uploads or min(amounts) < wanted:
        return f"the upstream read {amounts} bytes, not {wanted:.0f} or more of each of {uploads} uploads"
    return None


def start_upload(bench: Bench, proxy: Running, source: Path) -> subprocess.Popen[bytes]:
    """Begin an upload and leave it running."""
    output = bench.folder(f"curl-{proxy.name}")
    return spawn(upload_command(proxy.port, source), core=bench.options.pinning.rest, output=output)


def big_file(bench: Bench, size_bytes: int) -> Path:
    """A sparse file to send."""
    path = bench.folder("upload.bin")
    with path.open("wb") as stream:
        stream.truncate(size_bytes)
    return path
