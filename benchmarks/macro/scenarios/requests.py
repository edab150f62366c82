"""CPU time per request under load: three kinds of heads, 64 KiB responses, a connection for each request."""

from benchmarks.macro import traffic
from benchmarks.macro.bench import Bench, Subject
from benchmarks.macro.origin import MEDIUM_BYTES, SMALL_BYTES
from benchmarks.macro.site import plain_site

REPEATED = "keep-alive GET 1 KiB, repeated heads"
VARIED = "keep-alive GET 1 KiB, heads that vary as in life"
NEW = "keep-alive GET 1 KiB, every head new"
NEW_REQUESTS = "keep-alive GET 1 KiB, every request head new, responses repeat"
MEDIUM = "keep-alive GET 64 KiB"
NEW_CONNECTION = "new connection per request"


def keepalive(bench: Bench) -> None:
    """1 KiB, nine headers, 50 connections; every kind of head to the same processes, in turn."""
    kinds = {
        REPEATED: traffic.repeated(SMALL_BYTES),
        VARIED: traffic.varied(SMALL_BYTES),
        NEW_REQUESTS: traffic.fresh(SMALL_BYTES, same_responses=True),
        NEW: traffic.fresh(SMALL_BYTES),
    }
    with bench.proxies(plain_site(bench.origin_port())) as running:
        bench.interleave([Subject(row, proxy, kind) for row, kind in kinds.items() for proxy in running])
        bench.check_logs(running)


def medium_responses(bench: Bench) -> None:
    """64 KiB responses with a length."""
    with bench.proxies(plain_site(bench.origin_port())) as running:
        bench.interleave([Subject(MEDIUM, proxy, traffic.medium(MEDIUM_BYTES)) for proxy in running])


def new_connections(bench: Bench) -> None:
    """`connection: close` in each request; the upstream connection is kept."""
    with bench.proxies(plain_site(bench.origin_port())) as running:
        bench.interleave([Subject(NEW_CONNECTION, proxy, traffic.closing(SMALL_BYTES)) for proxy in running])
