"""TCP routes: short messages to and fro, with and without a name in a ClientHello, and bulk."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.macro.bench import CONNECTIONS, Bench, Subject
from benchmarks.macro.load import LoadResult, judge_client
from benchmarks.macro.processes import free_port, run, spawn, stop, until
from benchmarks.macro.proxies import Running
from benchmarks.macro.scenarios.bulk import BULK_UNIT, GIB, NO_TRAFFIC
from benchmarks.macro.tcp_proxies import SERVER_NAME, TCP_PROXIES, accepts, start_tcp
from benchmarks.macro.tools import find_tool

PING_PONG = "TCP ping-pong, 64 bytes, 50 connections"
SNI_PING_PONG = "the same, TLS passed through by SNI"
TCP_BULK = "TCP, 1 GiB"
ROUND_TRIP_UNIT = "CPU us/round trip"
_PEERS = (sys.executable, "-m", "benchmarks.macro.tcp_peers")


@contextlib.contextmanager
def peer(bench: Bench, *arguments: object) -> Iterator[int]:
    """The upstream, in the part that ``arguments`` name; its port."""
    port = free_port()
    part, *rest = arguments
    output = bench.folder("tcp-peer")
    process = spawn(
        [*_PEERS, str(part), str(port), *map(str, rest)], core=bench.options.pinning.rest, output=output
    )
    try:
        if not until(lambda: accepts(port), 10):
            raise RuntimeError(f"the TCP upstream did not start\n{output.read_text()[-2000:]}")
        yield port
    finally:
        stop(process)


@contextlib.contextmanager
def proxies(bench: Bench, upstream_port: int, server_name: str = "") -> Iterator[list[Running]]:
    """The chosen proxies, and HAProxy where it is installed."""
    wanted = [
        name
        for name in TCP_PROXIES
        if name in bench.options.proxies or (name == "haproxy" and find_tool("haproxy"))
    ]
    with contextlib.ExitStack() as stack:
        running = []
        for name in wanted:
            proxy = start_tcp(
                name, bench.folder(f"tcp-{name}"), bench.options.pinning.proxy, upstream_port, server_name
            )
            stack.callback(proxy.stop)
            running.append(proxy)
        yield running


def load(bench: Bench, timeout_s: float, *arguments: object) -> LoadResult:
    """Play the client of ``arguments`` and judge what it says."""
    done = run([*_PEERS, *map(str, arguments)], core=bench.options.pinning.rest, timeout_s=timeout_s)
    return judge_client(done)


def in_rounds(
    bench: Bench,
    row: str,
    running: list[Running],
    send: Callable[[Running], LoadResult],
    unit: str,
    per: float,
) -> None:
    """Once to warm up, then one proxy after the other in each round."""
    for proxy in running:
        send(proxy)
    for _ in range(bench.options.rounds):
        for proxy in running:
            bench.measure(Subject(row, proxy, NO_TRAFFIC), partial(send, proxy), unit, per)


def ping_pong(bench: Bench) -> None:
    """Plain, then by SNI; the upstream echoes."""
    seconds = bench.options.seconds
    with peer(bench, "echo") as upstream_port:
        for row, name in ((PING_PONG, ""), (SNI_PING_PONG, SERVER_NAME)):
            with proxies(bench, upstream_port, name) as running:
                extra = (name,) if name else ()

                def send(proxy: Running, extra: tuple[str, ...] = extra) -> LoadResult:
                    return load(bench, seconds + 20, "pingpong", proxy.port, CONNECTIONS, seconds, *extra)

                in_rounds(bench, row, running, send, ROUND_TRIP_UNIT, 1e3)


def tcp_bulk(bench: Bench) -> None:
    """One connection; the upstream sends a sparse file as fast as it goes."""
    size = bench.options.big_bytes
    with peer(bench, "send", size) as upstream_port, proxies(bench, upstream_port) as running:

        def send(proxy: Running) -> LoadResult:
            return load(bench, 120, "take", proxy.port, size)

        in_rounds(bench, TCP_BULK, running, send, BULK_UNIT, 1e9 * size / GIB)
