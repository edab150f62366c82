"""HTTP/2: many streams on few connections, gRPC calls, bulk on one stream, a storm of resets."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.macro import origin, traffic
from benchmarks.macro.bench import WARM_UP_S, Bench, Subject
from benchmarks.macro.certificates import over_tls
from benchmarks.macro.load import LoadResult, curl_download, h2load, judge_client
from benchmarks.macro.origin import GRPC_MESSAGE, SMALL_BYTES
from benchmarks.macro.processes import run
from benchmarks.macro.proxies import Running
from benchmarks.macro.scenarios.bulk import BIG_TARGET, NO_TRAFFIC, measure_bulk
from benchmarks.macro.site import BENCH_HOST, Site, plain_site

REPEATED = "HTTP/2 over TLS: GET 1 KiB, 10 x 10 streams"
VARIED = "the same, paths that vary as in life"
NEW = "the same, every head new, streams ten by ten"
GRPC = "gRPC unary, h2c both sides, 10 x 10 streams"
DOWNLOAD = "HTTP/2: 1 GiB over one stream"
RESETS = "HTTP/2: 20,000 rapid resets on one connection"
RESETS_CUT = f"{RESETS}: until cut off"
STREAMS_UNIT = "streams"
RESETS_UNIT = "CPU ms in all"
CONNECTIONS, STREAMS = 10, 10
RESET_STREAMS, RESET_BATCH = 20_000, 50


def http2(site: Site, *, upstream: bool = False) -> Site:
    """The same site for clients of HTTP/2, and before an upstream of it."""
    return replace(site, http2=True, upstream_http2=upstream)


def paths_file(bench: Bench, name: str, paths: list[str]) -> Path:
    """The paths as h2load reads them."""
    path = bench.folder(f"{name}.paths")
    path.write_text("".join(f"{each}\n" for each in paths))
    return path


def requests(bench: Bench) -> None:
    """Over TLS to an HTTP/1.1 upstream: by h2load the same path and 4,000 under Zipf's law, by our client all new."""
    kinds = {
        REPEATED: paths_file(bench, "repeated", ["/api/items?page=2"]),
        VARIED: paths_file(bench, "varied", traffic.varied_paths()),
    }
    (_, host), *others = traffic.nine_headers()
    headers = [(":authority", host), *((name.lower(), value) for name, value in others)]
    site = http2(over_tls(plain_site(bench.origin_port()), bench.folder("certificates")))

    def send(proxy: Running, paths: Path, seconds: float) -> LoadResult:
        return h2load(
            paths,
            proxy.port,
            bench.options.pinning.rest,
            connections=CONNECTIONS,
            streams=STREAMS,
            seconds=seconds,
            body_bytes=SMALL_BYTES,
            tls=True,
            headers=headers,
        )

    def send_new(proxy: Running) -> LoadResult:
        wanted = (proxy.port, CONNECTIONS, STREAMS, bench.options.seconds, SMALL_BYTES)
        argv = [sys.executable, "-m", "benchmarks.macro.h2_load", *map(str, wanted)]
        return judge_client(run(argv, core=bench.options.pinning.rest, timeout_s=bench.options.seconds + 40))

    with bench.proxies(site) as running:
        for proxy in running:
            send(proxy, kinds[REPEATED], WARM_UP_S)
        for number in range(1, bench.options.rounds + 1):
            bench.say(f"  round {number}")
            for row, paths in kinds.items():
                for proxy in running:
                    subject = Subject(row, proxy, NO_TRAFFIC)
                    bench.measure(subject, partial(send, proxy, paths, bench.options.seconds))
            for proxy in running:
                bench.measure(Subject(NEW, proxy, NO_TRAFFIC), partial(send_new, proxy))
        bench.check_logs(running)


def grpc_unary(bench: Bench) -> None:
    """h2load with a message in its frame, to an nghttpd that answers with one and with trailers."""
    paths = paths_file(bench, "grpc", [origin.GRPC_PATH])
    data = bench.folder("message")
    data.write_bytes(GRPC_MESSAGE)
    headers = [(":authority", BENCH_HOST), ("content-type", "application/grpc"), ("te", "trailers")]
    upstream = origin.start_grpc(bench.folder("grpc"), bench.options.pinning.rest)

    def send(proxy: Running, seconds: float) -> LoadResult:
        return h2load(
            paths,
            proxy.port,
            bench.options.pinning.rest,
            connections=CONNECTIONS,
            streams=STREAMS,
            seconds=seconds,
            body_bytes=len(GRPC_MESSAGE),
            headers=headers,
            data=data,
        )

    try:
        site = http2(plain_site(upstream.port), upstream=True)
        with bench.proxies(site) as running:
            for proxy in running:
                send(proxy, WARM_UP_S)
            for _ in range(bench.options.rounds):
                for proxy in running:
                    bench.measure(
                        Subject(GRPC, proxy, NO_TRAFFIC), partial(send, proxy, bench.options.seconds)
                    )
            bench.check_logs(running)
    finally:
        upstream.stop()


def download(bench: Bench) -> None:
    """One client, curl to /dev/null, plain text, an HTTP/1.1 upstream."""
    rest, size = bench.options.pinning.rest, bench.options.big_bytes
    with bench.proxies(http2(plain_site(bench.origin_port()))) as running:

        def send(port: int) -> LoadResult:
            return curl_download(port, rest, BIG_TARGET, size, version="--http2-prior-knowledge")

        measure_bulk(bench, DOWNLOAD, running, send)


def rapid_resets(bench: Bench) -> None:
    """Each stream is opened and reset at once; how many until the proxy has had enough, and what they cost it."""
    with bench.proxies(http2(plain_site(bench.origin_port()))) as running:
        for _ in range(bench.options.rounds):
            for proxy in running:
                before = proxy.cpu_ns()
                done = run(
                    [
                        *(sys.executable, "-m", "benchmarks.macro.h2_resets"),
                        *map(str, (proxy.port, RESET_STREAMS, RESET_BATCH)),
                    ],
                    core=bench.options.pinning.rest,
                    timeout_s=90,
                )
                spent_ms = (proxy.cpu_ns() - before) / 1e6
                told = json.loads(done.stdout) if done.returncode == 0 else {"streams": 0, "cut": False}
                invalid = None if done.returncode == 0 else done.stderr[-300:]
                bench.add(RESETS_CUT, STREAMS_UNIT, proxy.name, told["streams"], invalid)
                bench.add(RESETS, RESETS_UNIT, proxy.name, spent_ms, invalid)
