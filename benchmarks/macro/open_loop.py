"""Requests at a fixed rate, sent when they are due whether or not earlier ones were answered.

Generators that keep a rate per connection fire all connections at once; here the gaps are drawn from an
exponential law, so that requests come one by one, as from many independent clients. Latency counts from the
moment a request was due: a proxy that stalls is not excused from the requests it kept waiting.
"""

import itertools
import random
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.macro.load import LoadResult

DRAIN_S = 2.0


def schedule(rate_per_s: int, seconds: float, seed: int) -> list[float]:
    """Times in s from the start at which requests are due; exponential gaps with the mean 1/rate."""
    rng = random.Random(seed)
    times = []
    now = rng.expovariate(rate_per_s)
    while now < seconds:
        times.append(now)
        now += rng.expovariate(rate_per_s)
    return times


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `values` lie; nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(eq=False)
class Client:
    """One keep-alive connection and the request it waits for."""

    socket: socket.socket
    due: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def fileno(self) -> int:
        """For select()."""
        return self.socket.fileno()


def response_length(received: bytes | bytearray) -> int | None:
    """Length of the response at the beginning of `received`; None while its head is not whole.

    Raises ValueError for what is not a 200 with `content-length`.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    if not head.startswith(b"http/1.1 200"):
        raise ValueError(f"answered {head[:40]!r}")
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if not found:
        raise ValueError("a response without content-length")
    return end + 4 + int(rest.partition(b"\r\n")[0])


@dataclass
class Run:
    """The state of one run over a fixed set of connections."""

    requests: Iterator[bytes]
    body_bytes: int
    idle: deque[Client]
    busy: set[Client] = field(default_factory=set)
    answers: list[tuple[float, float]] = field(default_factory=list)
    """Of each request when it was due, in s on the monotonic clock, and its latency in us."""

    def send(self, due: float) -> None:
        """Send one request on the connection that has been idle longest."""
        client = self.idle.popleft()
        client.due = due
        client.socket.sendall(next(self.requests))
        self.busy.add(client)

    def receive(self, client: Client) -> None:
        """Read what is there; a whole response is counted and frees its connection.

        Raises ValueError for a wrong response or a closed connection.
        """
        data = client.socket.recv(65536)
        if not data:
            raise ValueError("a connection was closed")
        client.received += data
        length = response_length(client.received)
        if length is None or len(client.received) < length:
            return
        if length != len(client.received):
            raise ValueError(f"{len(client.received)} bytes where the response has {length}")
        if length - client.received.find(b"\r\n\r\n") - 4 != self.body_bytes:
            raise ValueError(f"a response of {length} bytes whose body is not {self.body_bytes}")
        self.answers.append((client.due, (time.monotonic() - client.due) * 1e6))
        client.received.clear()
        self.busy.discard(client)
        self.idle.append(client)


def open_loop(
    port: int,
    request: bytes,
    body_bytes: int,
    *,
    rate_per_s: int,
    seconds: float,
    connections: int,
    seed: int,
) -> LoadResult:
    """Load `port` from this very process, on the core it runs on."""
    began = time.monotonic()
    answers, invalid = timed_loop(
        port,
        [request],
        body_bytes,
        rate_per_s=rate_per_s,
        seconds=seconds,
        connections=connections,
        seed=seed,
    )
    latencies = [latency for _, latency in answers]
    p50, p99 = (percentile(latencies, share) if latencies else None for share in (0.5, 0.99))
    return LoadResult(len(latencies), time.monotonic() - began, p50, p99, invalid)


def timed_loop(
    port: int,
    requests: Sequence[bytes],
    body_bytes: int,
    *,
    rate_per_s: int,
    seconds: float,
    connections: int,
    seed: int,
) -> tuple[list[tuple[float, float]], str | None]:
    """As `open_loop`, with `requests` in turn: when each was due and its latency in us, and why none of it counts."""
    clients = [Client(socket.create_connection(("127.0.0.1", port), timeout=5)) for _ in range(connections)]
    run = Run(itertools.cycle(requests), body_bytes, deque(clients))
    waiting = deque(schedule(rate_per_s, seconds, seed))
    expected = len(waiting)
    began = time.monotonic()
    invalid = None
    try:
        while (waiting or run.busy) and time.monotonic() < began + seconds + DRAIN_S:
            step(run, waiting, began)
    except (ValueError, OSError) as error:
        invalid = str(error)
    finally:
        for client in clients:
            client.socket.close()
    if invalid is None and len(run.answers) < expected:
        invalid = f"{len(run.answers)} of {expected} requests were answered"
    return run.answers, invalid


def step(run: Run, waiting: deque[float], began: float) -> None:
    """Send what is due and has a free connection, then wait for an answer or the next due time."""
    now = time.monotonic() - began
    while waiting and run.idle and waiting[0] <= now:
        run.send(began + waiting.popleft())
    # select() because epoll's timeout counts whole milliseconds.
    pause_s = max(0.0, waiting[0] - now) if waiting and run.idle else 0.5
    ready, _, _ = select.select(run.busy, (), (), pause_s)
    for client in ready:
        run.receive(client)
