"""Connections and exchanges under random events: every move is in the tables, nothing leaks, answers do not cross.

``GATEWAYD_STATE_RUNS`` sets how many random histories are played (each some 120 events).
"""

from __future__ import annotations

import os
import random
import re

import pytest

from gatewayd.http.options import W3C, TraceOptions
from gatewayd.routing.route import RetryPolicy
from tests.proxy.world import World, read_responses
from tests.support.fake_transport import FakeTransport

RUNS = int(os.environ.get("GATEWAYD_STATE_RUNS", "180"))
POLICIES = [
    None,
    RetryPolicy(),
    RetryPolicy(attempts=3, retry_on=frozenset({"5xx", "reset"}), per_try_timeout_s=2.0),
]

#: How often each event happens. What ends things is rare, so that much happens before.
EVENTS = {
    "send": 30, "rest": 15, "open": 15, "answer": 30, "connect": 4, "refuse": 2, "client end": 1, "client reset": 1,
    "upstream end": 2, "upstream reset": 2, "stick": 1, "stick upstream": 1, "drain": 6, "time": 4, "long time": 1,
    "drain connection": 1,
}  # fmt: skip
PATH = re.compile(rb"/[0-9]+").fullmatch
REQUESTS = [
    "get",
    "get",
    "get",
    "post",
    "chunked",
    "head",
    "upgrade",
    "upgrade",
    "here",
    "close",
    "bad",
    "big",
]


class Player:
    """Plays one random history."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.history: list[str] = []
        self.count = 0
        self.asked: dict[FakeTransport, list[tuple[bytes, bytes]]] = {}
        self.unsent: dict[FakeTransport, bytes] = {}

    def request(self) -> tuple[bytes, bytes, bytes]:
        """Method, path and bytes of a new request of some kind."""
        self.count += 1
        path = b"/%d" % self.count
        kind = self.rng.choice(
            [
                "get",
                "get",
                "get",
                "post",
                "chunked",
                "head",
                "upgrade",
                "upgrade",
                "here",
                "close",
                "bad",
                "big",
            ]
        )
        host = b"here.test" if kind == "here" else b"a.test"
        method = {"post": b"POST", "chunked": b"PUT", "head": b"HEAD", "big": b"POST"}.get(kind, b"GET")
        head = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, path, host)
        if kind == "post":
            return method, path, head + b"content-length: 5\r\n\r\nhello"
        if kind == "big":
            return method, path, head + b"content-length: 150000\r\n\r\n" + b"x" * 150000
        if kind == "chunked":
            return (
                method,
                path,
                head + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;e\r\nde\r\n0\r\nt: 1\r\n\r\n",
            )
        if kind == "upgrade":
            return method, path, head + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
        if kind == "close":
            return method, path, head + b"connection: close\r\n\r\n"
        if kind == "bad":
            return b"", path, head + b"content-length: x\r\n\r\n"
        return method, path, head + b"\r\n"

    def response(self, upstream: FakeTransport) -> bytes:
        """An answer of some kind to what ``upstream`` was asked last, whole or in part, good or bad."""
        path = self.world.asked(upstream)
        kind = self.rng.choice(
            ["sized"] * 12
            + ["chunked", "chunked", "chunked", "until close", "interim", "101", "500", "304", "garbage", "extra",
             "close", "grpc", "large", "bad chunk", "more"]
        )  # fmt: skip
        if (
            upstream.sent.rpartition(b"HTTP/1.1\r\n")[2].find(b"upgrade: websocket") > 0
            and self.rng.random() < 0.7
        ):
            kind = "101"
        x = b"x-for: %b\r\n" % path
        data = {
            "sized": b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (x, len(path), path),
            "chunked": b"HTTP/1.1 200 OK\r\n%btransfer-encoding: chunked\r\n\r\n" % x
            + b"%x\r\n%b\r\n0\r\n\r\n" % (len(path), path),
            "until close": b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (x, path),
            "interim": b"HTTP/1.1 103 H\r\nlink: x\r\n\r\n",
            "101": b"HTTP/1.1 101 S\r\n%bconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi" % x,
            "500": b"HTTP/1.1 503 U\r\n%bcontent-length: 0\r\n\r\n" % x,
            "304": b"HTTP/1.1 304 N\r\n%bcontent-length: 9\r\n\r\n" % x,
            "garbage": b"garbage\r\n\r\n",
            "extra": b"HTTP/1.1 200 OK\r\n%bcontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n" % x,
            "close": b"HTTP/1.1 200 OK\r\n%bconnection: close\r\ncontent-length: 0\r\n\r\n" % x,
            "grpc": b"HTTP/1.1 200 OK\r\n%bgrpc-status: 14\r\ncontent-length: 0\r\n\r\n" % x,
            "large": b"HTTP/1.1 200 OK\r\n%bcontent-length: 100000\r\n\r\n" % x + b"y" * 100000,
            "bad chunk": b"HTTP/1.1 200 OK\r\n%btransfer-encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n" % x,
            "more": b"more",
        }[kind]  # fmt: skip
        return data if self.rng.random() < 0.7 else data[: self.rng.randrange(1, len(data) + 1)]

    async def step(self) -> None:
        """One random event."""
        world, rng = self.world, self.rng
        clients = [client for client in world.clients if not client.closing]
        upstreams = [upstream for upstream in world.upstreams if not upstream.closing]
        event = rng.choices(list(EVENTS), list(EVENTS.values()))[0]
        self.history.append(event)
        if event == "connect" or not world.clients:
            world.connect()
        elif event == "send" and clients:
            client = rng.choice(clients)
            if not self.unsent.get(client):
                method, path, data = self.request()
                self.asked.setdefault(client, []).append((method, path))
                if rng.random() < 0.2:
                    more, path, extra = self.request()
                    self.asked[client].append((more, path))
                    data += extra
                self.unsent[client] = data
                self.send(client)
        elif event == "rest" and clients:
            self.send(rng.choice(clients))
        elif event == "open":
            await world.open()
        elif event == "refuse":
            await world.open(ConnectionRefusedError(111, "Connection refused"))
        elif event == "answer" and upstreams:
            upstream = rng.choice(upstreams)
            upstream.deliver(self.response(upstream))
        elif event == "client end" and clients:
            client = rng.choice(clients)
            if not self.unsent.get(client):
                client.end()
        elif event == "client reset" and clients:
            rng.choice(clients).reset()
        elif event == "upstream end" and upstreams:
            rng.choice(upstreams).end()
        elif event == "upstream reset" and upstreams:
            rng.choice(upstreams).reset()
        elif event == "stick" and clients:
            rng.choice(clients).stuck = True
        elif event == "stick upstream" and upstreams:
            rng.choice(upstreams).stuck = True
        elif event == "drain":
            for transport in [*clients, *upstreams]:
                transport.drain()
        elif event == "time":
            world.advance(rng.choice([0.01, 0.2, 1.0]))
        elif event == "long time":
            world.advance(rng.choice([3.0, 11.0, 301.0]))
        elif event == "drain connection" and clients:
            rng.choice(clients).protocol.drain()

    def send(self, client: FakeTransport) -> None:
        """Some of what ``client`` still has to send."""
        data = self.unsent.get(client, b"")
        if data:
            size = len(data) if self.rng.random() < 0.6 else self.rng.randrange(1, len(data) + 1)
            if client.deliver(data[:size]):
                self.unsent[client] = data[size:]

    def check_answers(self) -> None:
        """Each client got well-formed answers, in order, each to its own request."""
        for client, asked in self.asked.items():
            responses = read_responses(bytes(client.sent), [method for method, _ in asked])
            assert len(responses) <= len(asked)
            for (_, path), (_, fields, _, _) in zip(asked, responses, strict=False):
                owner = fields.get(b"x-for")
                if owner is None or PATH(owner) is None:
                    continue  # our own answer, or two pieces of an upstream's that make one line
                assert owner == path, f"the answer for {owner!r} reached {path!r}"


@pytest.mark.parametrize("policy", POLICIES, ids=["no retries", "default", "resets"])
@pytest.mark.parametrize("timeout_s", [0.0, 5.0])
@pytest.mark.parametrize("tracing", [None, TraceOptions(5000, W3C)], ids=["", "traced"])
async def test_random_histories(
    policy: RetryPolicy | None, timeout_s: float, tracing: TraceOptions | None
) -> None:
    for run in range(RUNS // 12 + 1):
        seed = f"{policy}-{timeout_s}-{tracing}-{run}"
        with pytest.MonkeyPatch.context() as patch:
            world = World(patch, retry=policy, timeout_s=timeout_s, tracing=tracing)
            player = Player(world, random.Random(seed))
            try:
                for _ in range(120):
                    await player.step()
                    await (world.turn() if player.rng.random() < 0.3 else world.settle())
                    world.check()
                player.check_answers()
                await world.finish()
                player.check_answers()
            except BaseException as error:
                error.add_note(f"seed {seed!r}: {', '.join(player.history)}")
                raise
