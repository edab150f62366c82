"""A fixed rate instead of full load: CPU time when requests come one by one, and latency."""

from benchmarks.macro.bench import CONNECTIONS, Bench, Subject
from benchmarks.macro.load import LoadResult
from benchmarks.macro.open_loop import open_loop
from benchmarks.macro.origin import SMALL_BYTES
from benchmarks.macro.site import plain_site
from benchmarks.macro.traffic import repeated

RATES_PER_S = (400, 4000)


def rate_row(rate_per_s: int) -> str:
    """Row of CPU time at this rate; the rows of latency add `: p50` and `: p99`."""
    return f"{rate_per_s:,} requests/s, 50 connections"


def fixed_rate(bench: Bench) -> None:
    """400 and 4,000 requests a second over 50 connections, sent when due, answered or not."""
    with bench.proxies(plain_site(bench.origin_port())) as running:
        kind = repeated(SMALL_BYTES)
        folder = bench.write_traffic([kind])
        for proxy in running:
            bench.warm(proxy, kind, folder)
        for number in range(bench.options.rounds):
            for rate_per_s in RATES_PER_S:
                for proxy in running:
                    measure_rate(bench, Subject(rate_row(rate_per_s), proxy, kind), rate_per_s, number)


def measure_rate(bench: Bench, subject: Subject, rate_per_s: int, number: int) -> None:
    """One proxy at one rate; the same due times for all proxies of a round."""
    seen: list[LoadResult] = []

    def send() -> LoadResult:
        result = open_loop(
            subject.proxy.port,
            subject.traffic.requests[0].encode(),
            SMALL_BYTES,
            rate_per_s=rate_per_s,
            seconds=bench.options.seconds,
            connections=CONNECTIONS,
            seed=number,
        )
        seen.append(result)
        return result

    bench.measure(subject, send)
    result = seen[0]
    bench.add(f"{subject.row}: p50", "us", subject.proxy.name, result.p50_us or 0.0, result.invalid)
    bench.add(f"{subject.row}: p99", "us", subject.proxy.name, result.p99_us or 0.0, result.invalid)
