"""What scenarios work with: options, the running upstream and proxies, and rounds that interleave them."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.macro import origin
from benchmarks.macro.load import LoadResult, wrk
from benchmarks.macro.processes import Pinning
from benchmarks.macro.proxies import ProxyOptions, Running, start
from benchmarks.macro.results import Measurement, Results
from benchmarks.macro.site import Site
from benchmarks.macro.traffic import Traffic

CONNECTIONS = 50
WARM_UP_S = 1
CPU_UNIT = "CPU us/request"


@dataclass(frozen=True)
class Options:
    """One run's choices."""

    rounds: int
    seconds: float
    proxies: tuple[str, ...]
    pinning: Pinning
    folder: Path
    """Where configurations, logs and upstream files go; removed by the caller."""
    big_bytes: int
    host_counts: tuple[int, ...]
    rule_count: int
    idle_connections: int
    slow_upload_s: float
    proxy_options: ProxyOptions = field(default_factory=ProxyOptions)


@dataclass(frozen=True)
class Subject:
    """A running proxy under the name of the row its figures go to."""

    row: str
    proxy: Running
    traffic: Traffic


class Bench:
    """One run: starts things, ends them, measures in interleaved rounds."""

    def __init__(self, options: Options, results: Results, say: Callable[[str], None]) -> None:
        self.options = options
        self.results = results
        self.say = say
        self._stack = contextlib.ExitStack()
        self._origin: origin.Upstream | None = None
        self._folders = 0

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def folder(self, name: str) -> Path:
        """A new path below the run's folder (not created)."""
        self._folders += 1
        return self.options.folder / f"{self._folders:03}-{name}"

    def origin_port(self) -> int:
        """Port of the upstream for small responses and downloads, started at first use."""
        if self._origin is None:
            folder = self.folder("origin")
            self._origin = origin.start_origin(folder, self.options.pinning.rest, self.options.big_bytes)
            self._stack.callback(self._origin.stop)
        return self._origin.port

    @contextlib.contextmanager
    def sink(self, rate_bytes_s: int) -> Iterator[origin.Upstream]:
        """An upstream that swallows uploads (0: at full speed)."""
        upstream = origin.start_sink(self.folder("sink"), self.options.pinning.rest, rate_bytes_s)
        try:
            yield upstream
        finally:
            upstream.stop()

    @contextlib.contextmanager
    def proxies(
        self, site: Site, names: Sequence[str] | None = None, options: ProxyOptions | None = None
    ) -> Iterator[list[Running]]:
        """The chosen proxies (or `names`, as far as chosen), all running on `site`."""
        chosen = options or self.options.proxy_options
        core = self.options.pinning.proxy if chosen.pinned else None
        wanted = [name for name in self.options.proxies if names is None or name in names]
        with contextlib.ExitStack() as stack:
            running = []
            for name in wanted:
                proxy = start(name, site, self.folder(name), core, chosen)
                stack.callback(proxy.stop)
                running.append(proxy)
            yield running

    def add(
        self,
        row: str,
        unit: str,
        proxy: str,
        value: float,
        invalid: str | None = None,
        **detail: float | None,
    ) -> None:
        """Keep one figure."""
        if invalid is not None:
            self.say(f"  {row}: {proxy}: INVALID, {invalid}")
        self.results.add(Measurement(row, unit, proxy, value, invalid, detail))

    def measure(
        self, subject: Subject, send: Callable[[], LoadResult], unit: str = CPU_UNIT, per: float = 1e3
    ) -> None:
        """Weigh one proxy while `send` loads it: CPU ns divided by answers and by `per` is the figure."""
        proxy = subject.proxy
        before = proxy.cpu_ns()
        result = send()
        cpu_ns = proxy.cpu_ns() - before
        invalid = result.invalid
        if proxy.process.poll() is not None:
            invalid = f"the process ended with status {proxy.process.returncode}"
        self.add(
            subject.row,
            unit,
            proxy.name,
            cpu_ns / max(1, result.requests) / per,
            invalid,
            requests=result.requests,
            requests_per_s=result.requests / result.seconds,
            core_share=cpu_ns / 1e9 / result.seconds,
            p50_us=result.p50_us,
            p99_us=result.p99_us,
        )
        proxy.clear_log()

    def write_traffic(self, traffics: Sequence[Traffic]) -> Path:
        """Put the requests where the load generator reads them."""
        folder = self.folder("traffic")
        folder.mkdir(parents=True)
        for traffic in traffics:
            traffic.write(folder)
        return folder

    def interleave(self, subjects: Sequence[Subject]) -> None:
        """Load every subject once to warm it, then in rounds, one after the other: A B C A B C."""
        rest, seconds = self.options.pinning.rest, self.options.seconds
        folder = self.write_traffic([subject.traffic for subject in subjects])

        def send(subject: Subject) -> LoadResult:
            port = subject.proxy.port
            return wrk(
                subject.traffic,
                folder,
                port,
                rest,
                connections=CONNECTIONS,
                seconds=seconds,
                tls=subject.proxy.tls,
            )

        for subject in {id(subject.proxy): subject for subject in subjects}.values():
            self.warm(subject.proxy, subject.traffic, folder)
        for number in range(1, self.options.rounds + 1):
            self.say(f"  round {number}")
            for subject in subjects:
                self.measure(subject, partial(send, subject))

    def warm(self, proxy: Running, traffic: Traffic, folder: Path) -> None:
        """Load a proxy for a second, unmeasured."""
        rest = self.options.pinning.rest
        wrk(traffic, folder, proxy.port, rest, connections=CONNECTIONS, seconds=WARM_UP_S, tls=proxy.tls)

    def check_logs(self, running: Sequence[Running]) -> None:
        """Make sure that each proxy wrote its access log under load.

        Raises RuntimeError otherwise: figures without the log must not stand beside figures with it.
        """
        for proxy in running:
            if not proxy.logged_bytes:
                raise RuntimeError(f"{proxy.name} wrote no access log to {proxy.log}")
