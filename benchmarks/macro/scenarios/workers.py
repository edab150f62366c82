"""Two workers against one: what a request costs, how evenly they share the work, latency, memory.

Two cores that the generator and the upstream need as well cannot show twice the throughput. So both are loaded below
what they could do, the two with twice the rate of the one, and what limits a group is measured: the CPU time of its
busiest process. A group of which no process spends more than 1/1.8 of what the one spends for a request does 1.8
times the requests before it is as busy.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace

from benchmarks.macro import traffic
from benchmarks.macro.bench import CPU_UNIT, Bench, Subject
from benchmarks.macro.load import LoadResult
from benchmarks.macro.open_loop import open_loop
from benchmarks.macro.origin import SMALL_BYTES
from benchmarks.macro.processes import all_stats, descendants, private_kib, process_cpu_ns
from benchmarks.macro.proxies import Running
from benchmarks.macro.site import plain_site

#: Of one worker; two get twice of it. Both stay below half of a core for each worker.
RATE_PER_S = 2_500
#: Enough that the kernel deals them out evenly.
CONNECTIONS = 400

ONE = "1 worker"
TWO = "2 workers"
_BUSIEST = "{}: CPU of the busiest process"
_PRIVATE = f"{TWO}: private memory of the larger one"


def row(group: str) -> str:
    """Row of CPU time of the whole group; those of latency add `: p50` and `: p99`."""
    return f"{group}, {RATE_PER_S * int(group[0]):,} requests/s"


def busiest_row(group: str) -> str:
    """Row of CPU time per request (of all) of the process that spends most."""
    return _BUSIEST.format(group)


PRIVATE = _PRIVATE


@dataclass(frozen=True)
class Group:
    """A running service and how many workers it has."""

    name: str
    proxy: Running

    @property
    def rate_per_s(self) -> int:
        """What it is loaded with."""
        return RATE_PER_S * int(self.name[0])

    def cpu_ns(self) -> dict[int, int]:
        """CPU time of each process."""
        tree = descendants(self.proxy.process.pid, all_stats())
        return {stat.pid: process_cpu_ns(stat) for stat in tree}

    def workers(self) -> list[int]:
        """The processes that serve."""
        pids = list(self.cpu_ns())
        return pids[1:] or pids


def two_workers(bench: Bench) -> None:
    """The same site with one worker and with two, in turns."""
    site = plain_site(bench.origin_port())
    kind = traffic.repeated(SMALL_BYTES)
    folder = bench.write_traffic([kind])
    with ExitStack() as stack:
        groups = []
        for name in (ONE, TWO):
            options = replace(bench.options.proxy_options, workers=int(name[0]), pinned=False)
            for proxy in stack.enter_context(bench.proxies(site, ["gatewayd"], options)):
                groups.append(Group(name, proxy))
        for group in groups:
            bench.warm(group.proxy, kind, folder)
        for number in range(bench.options.rounds):
            for group in groups:
                _measure(bench, group, kind, number)
        for group in groups:
            if group.name == TWO:
                private = max(map(private_kib, group.workers()))
                bench.add(PRIVATE, "MiB", group.proxy.name, private / 1024)


def _measure(bench: Bench, group: Group, kind: traffic.Traffic, number: int) -> None:
    seen: list[LoadResult] = []

    def send() -> LoadResult:
        result = open_loop(
            group.proxy.port,
            kind.requests[0].encode(),
            SMALL_BYTES,
            rate_per_s=group.rate_per_s,
            seconds=bench.options.seconds,
            connections=CONNECTIONS,
            seed=number,
        )
        seen.append(result)
        return result

    before = group.cpu_ns()
    bench.measure(Subject(row(group.name), group.proxy, kind), send)
    after = group.cpu_ns()
    result = seen[0]
    most = max(after[pid] - before.get(pid, 0) for pid in after)
    name = group.proxy.name
    bench.add(busiest_row(group.name), CPU_UNIT, name, most / max(1, result.requests) / 1e3, result.invalid)
    bench.add(f"{row(group.name)}: p50", "us", name, result.p50_us or 0.0, result.invalid)
    bench.add(f"{row(group.name)}: p99", "us", name, result.p99_us or 0.0, result.invalid)
