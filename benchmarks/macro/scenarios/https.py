"""HTTPS in front of a plaintext upstream: keep-alive, a full handshake per request, bulk, thousands of certificates."""

import contextlib
import sys
from functools import partial
from pathlib import Path

from benchmarks.macro import traffic
from benchmarks.macro.bench import Bench, Subject
from benchmarks.macro.certificates import over_tls
from benchmarks.macro.load import LoadResult, curl_download, curl_upload, judge_client
from benchmarks.macro.origin import SMALL_BYTES
from benchmarks.macro.processes import run
from benchmarks.macro.proxies import Running
from benchmarks.macro.scenarios.bulk import BIG_TARGET, NO_TRAFFIC, big_file, measure_bulk
from benchmarks.macro.scenarios.scale import LOAD_CPU_UNIT, LOAD_UNIT, RSS_UNIT
from benchmarks.macro.site import many_hosts_site, plain_site
from benchmarks.macro.tls_client import ONCE_WITHIN_S

KEEP_ALIVE = "HTTPS: keep-alive GET 1 KiB"
HANDSHAKE = "HTTPS: full TLS 1.3 handshake and one request"
DOWNLOAD = "HTTPS: 1 GiB download"
UPLOAD = "HTTPS: 1 GiB upload"
HANDSHAKE_UNIT = "CPU us/connection"
FEW_CERTIFICATES = 10
MOST_CERTIFICATES = 10_000
_CLIENTS = 16


def certificates_row(count: int) -> str:
    """Row of `count` HTTPS servers, each with its certificate."""
    return f"HTTPS: {count:,} certificates, handshake by random SNI"


def keepalive_and_handshakes(bench: Bench) -> None:
    """wrk on 50 connections: kept, then each closed after its response. wrk never resumes a session."""
    site = over_tls(plain_site(bench.origin_port()), bench.folder("certificates"))
    kinds = {KEEP_ALIVE: traffic.repeated(SMALL_BYTES), HANDSHAKE: traffic.closing(SMALL_BYTES)}
    with bench.proxies(site) as running:
        bench.interleave([Subject(row, proxy, kind) for row, kind in kinds.items() for proxy in running])
        bench.check_logs(running)


def tls_download(bench: Bench) -> None:
    """One client, curl to /dev/null."""
    rest, size = bench.options.pinning.rest, bench.options.big_bytes
    site = over_tls(plain_site(bench.origin_port()), bench.folder("certificates"))
    with bench.proxies(site) as running:
        measure_bulk(
            bench, DOWNLOAD, running, lambda port: curl_download(port, rest, BIG_TARGET, size, tls=True)
        )


def tls_upload(bench: Bench) -> None:
    """One client, curl with `content-length`, to an upstream that reads as fast as it can."""
    rest = bench.options.pinning.rest
    source = big_file(bench, bench.options.big_bytes)
    with bench.sink(0) as sink:
        site = over_tls(plain_site(sink.port), bench.folder("certificates"))
        with bench.proxies(site) as running:
            measure_bulk(bench, UPLOAD, running, lambda port: curl_upload(port, rest, source, tls=True))


def handshakes(bench: Bench, proxy: Running, names: Path, seconds: float) -> LoadResult:
    """Let the client of many names make connections, 0 s: one for each, and judge what it says."""
    done = run(
        [
            *(sys.executable, "-m", "benchmarks.macro.tls_client"),
            *map(str, (proxy.port, _CLIENTS, seconds, names)),
        ],
        core=bench.options.pinning.rest,
        timeout_s=(seconds or ONCE_WITHIN_S) + 30,
    )
    return judge_client(done)


def many_certificates(bench: Bench) -> None:
    """10 and 10,000 HTTPS servers on one port, both running in the same rounds.

    Every certificate is used once before anything else: what that takes is a row of its own. A second pass lets
    proxies remember what they remember of a host, so that the rounds show what the choice costs. Memory is looked at
    after the start and when all certificates have been used.
    """
    subjects: list[tuple[Subject, Path]] = []
    with contextlib.ExitStack() as stack:
        for count in (FEW_CERTIFICATES, MOST_CERTIFICATES):
            bench.say(f"  starting with {count:,} certificates")
            site = over_tls(many_hosts_site(count, bench.origin_port()), bench.folder("certificates"))
            names = bench.folder("names")
            names.write_text("\n".join(host.host for host in site.hosts))
            row = certificates_row(count)
            for proxy in stack.enter_context(bench.proxies(site, ("gatewayd", "nginx"))):
                bench.add(f"{row}: load", LOAD_UNIT, proxy.name, proxy.load_s)
                bench.add(f"{row}: load, CPU time", LOAD_CPU_UNIT, proxy.name, proxy.load_cpu_s)
                bench.add(f"{row}: memory after start", RSS_UNIT, proxy.name, proxy.memory().rss_kib / 1024)
                subjects.append((Subject(row, proxy, NO_TRAFFIC), names))
        for subject, names in subjects:
            first = Subject(f"{subject.row}: first use", subject.proxy, NO_TRAFFIC)
            each_once = partial(handshakes, bench, subject.proxy, names, 0.0)
            bench.measure(first, each_once, HANDSHAKE_UNIT)
            each_once()
            memory_kib = subject.proxy.memory().rss_kib
            bench.add(f"{subject.row}: memory, all used", RSS_UNIT, subject.proxy.name, memory_kib / 1024)
        for number in range(1, bench.options.rounds + 1):
            bench.say(f"  round {number}")
            for subject, names in subjects:
                send = partial(handshakes, bench, subject.proxy, names, bench.options.seconds)
                bench.measure(subject, send, HANDSHAKE_UNIT)
