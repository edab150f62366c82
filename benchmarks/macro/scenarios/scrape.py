"""A scrape of the metrics of thousands of clusters that all have traffic: what other requests notice of it."""

import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.macro.bench import Bench
from benchmarks.macro.open_loop import timed_loop
from benchmarks.macro.origin import SMALL_BYTES
from benchmarks.macro.processes import spawn
from benchmarks.macro.proxies import Running
from benchmarks.macro.scenarios.reload import slowest_us
from benchmarks.macro.scraper import PAUSE_S
from benchmarks.macro.site import plain_site
from benchmarks.macro.traffic import SEED, head, nine_headers

MOST = 5_000
RATE_PER_S = 400
CONNECTIONS = 20
SCRAPES = 4
#: What a scrape takes at most, by a guess that only decides how long the load lasts.
_SCRAPE_S = 1.5
ASKED = 2_000
"""Hosts that get requests: as many rules, clusters and endpoints have numbers of their own."""

_DOCUMENTS = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: up-{index:05}, namespace: istio-system}}
spec:
  hosts: [up-{index:05}.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}]
  endpoints: [{{address: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: own-{index:05}, namespace: istio-system}}
spec:
  hosts: [{host}]
  gateways: [bench]
  http: [{{route: [{{destination: {{host: up-{index:05}.test, port: {{number: 80}}}}}}]}}]
"""


def own_name(index: int) -> str:
    """Name of the host whose rule leads to cluster number `index`."""
    return f"c{index:05}.bench.test"


def slowest_row(*, asked: bool) -> str:
    """Row of the slowest request of each scrape, or of as much time without one."""
    return f"metrics of many clusters: slowest request {'during a scrape' if asked else 'while nobody asks'}"


TOOK = "metrics of many clusters: a scrape"
SIZE = f"{TOOK}: size"


def asked_under_load(bench: Bench) -> None:
    """Scrapes while requests come at a fixed rate, for hosts drawn evenly."""
    count = min(MOST, max(bench.options.host_counts))
    port = bench.origin_port()
    more = [_DOCUMENTS.format(index=index, port=port, host=own_name(index)) for index in range(count)]
    site = replace(plain_site(port), istio=tuple(more), layout="each")
    bench.say(f"  starting with {count:,} clusters")
    with bench.proxies(site, ["gatewayd"]) as running:
        for proxy in running:
            for number in range(bench.options.rounds):
                bench.say(f"  round {number + 1}")
                _measure(bench, proxy, count, number)


def _measure(bench: Bench, proxy: Running, count: int, number: int) -> None:
    output = proxy.output.parent / f"scraper-{number}.log"
    words = [str(metrics_port(proxy.output)), str(SCRAPES)]
    scraper = spawn(
        [sys.executable, "-m", "benchmarks.macro.scraper", *words],
        core=bench.options.pinning.rest,
        output=output,
    )
    chosen = random.Random(SEED).sample(range(count), min(ASKED, count))
    answers, invalid = timed_loop(
        proxy.port,
        [head("/login", nine_headers(own_name(index))).encode() for index in chosen],
        SMALL_BYTES,
        rate_per_s=RATE_PER_S,
        seconds=SCRAPES * (PAUSE_S + _SCRAPE_S),
        connections=CONNECTIONS,
        seed=number,
    )
    scrapes = _read(scraper, output)
    if len(scrapes) < SCRAPES:
        invalid = invalid or f"{len(scrapes)} of {SCRAPES} scrapes: {output.read_text()[-500:]}"
    for began, ended, size in scrapes:
        length = ended - began
        name = proxy.name
        bench.add(slowest_row(asked=True), "ms", name, slowest_us(answers, began, length) / 1e3, invalid)
        quiet_us = slowest_us(answers, began - length, length)
        bench.add(slowest_row(asked=False), "ms", name, quiet_us / 1e3, invalid)
        bench.add(TOOK, "ms", name, length * 1e3, invalid)
        bench.add(SIZE, "MiB", name, size / 2**20, invalid)
    proxy.clear_log()


def metrics_port(output: Path) -> int:
    """Where a gatewayd says that its metrics are."""
    found = re.search(r"metrics\s+http://127\.0\.0\.1:(\d+)", output.read_text())
    if found is None:
        raise RuntimeError(f"no metrics port in {output}")
    return int(found[1])


def _read(scraper: subprocess.Popen[bytes], output: Path) -> list[tuple[float, float, int]]:
    """When each scrape began and ended, and its size, once all are over."""
    try:
        scraper.wait(60)
    finally:
        scraper.kill()
        scraper.wait()
    lines = [line.split() for line in output.read_text().splitlines()]
    return [(float(line[0]), float(line[1]), int(line[2])) for line in lines if len(line) == 3]
