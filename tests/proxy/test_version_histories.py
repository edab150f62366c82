"""Exchanges between both versions under random events: nothing leaks, nothing is told twice, answers do not cross.

``GATEWAYD_STATE_RUNS`` sets how many random histories are played (each some 100 events).
"""

from __future__ import annotations

import os
import random

import pytest

from gatewayd.proxy import worker
from tests.proxy.place import Place
from tests.proxy.speakers import HTTP2, Asked, Http2Client, Http2Upstream
from tests.proxy.test_versions import every_pair
from tests.proxy.world import WatchedExchange
from tests.support import h2_wire as wire

RUNS = int(os.environ.get("GATEWAYD_STATE_RUNS", "180")) // 24 + 1

RULES = {
    "plain": "\n  - route: [{destination: {host: a.test}}]\n    retries: {attempts: 0}",
    "retries": "\n  - route: [{destination: {host: a.test}}]\n    timeout: 20s\n"
    "    retries: {attempts: 2, retryOn: '5xx,reset,refused-stream', perTryTimeout: 3s}",
    "policies": "\n  - route: [{destination: {host: a.test}}]\n    mirrors: [{destination: {host: b.test}}]\n"
    "    corsPolicy: {allowOrigins: [{exact: x}]}",
}

#: How often each event happens. What ends things is rare, so that much happens before.
EVENTS = {
    "ask": 25, "more": 15, "answer": 40, "go on": 25, "give up": 3, "break off": 3, "refuse": 3, "goaway": 1,
    "client window": 10, "upstream window": 10, "streams": 2, "stick": 1, "unstick": 6, "time": 4, "long time": 1,
    "upstream ends": 1, "drain": 0.3, "bad frame": 0.5, "connections refused": 1,
}  # fmt: skip


class Player:
    """Plays one random history."""

    def __init__(self, place: Place, rng: random.Random) -> None:
        self.place = place
        self.rng = rng
        self.history: list[str] = []
        #: whose body is still to come
        self.open: list[int] = []
        self.paths: dict[int, str] = {}
        #: what was answered, by upstream and stream: True, if whole
        self.answered: dict[tuple[object, int], bool] = {}

    def asked(self) -> list[Asked]:
        """What may be answered, or is being."""
        found = [asked for up in self.place.upstreams if not up.transport.closing for asked in up.asked()]
        return [
            asked
            for asked in found
            if asked.reset is None and not self.answered.get((asked.upstream, asked.stream), False)
        ]

    async def step(self) -> None:
        """One random event."""
        place, rng = self.place, self.rng
        event = rng.choices(list(EVENTS), list(EVENTS.values()))[0]
        self.history.append(event)
        client = place.client
        match event:
            case "ask":
                if isinstance(client, Http2Client) and client.transport.closing:
                    place.client = client = place.new_client(window=rng.choice([100, 70_000]))
                    self.open, self.paths = [], {}
                end = rng.random() < 0.6
                body = rng.choice([None, b"", b"body", b"x" * 30_000]) if end else b"begun"
                path = f"/{len(place.records)}-{len(self.history)}"
                trailers = [("x-t", "1")] if end and body and rng.random() < 0.3 else None
                number = client.ask(
                    rng.choice(["GET", "POST", "HEAD"]) if body is None else "POST",
                    path,
                    body=body,
                    end=end,
                    trailers=trailers,
                )
                self.paths[number] = path
                if not end:
                    self.open.append(number)
            case "more" if self.open:
                number = rng.choice(self.open)
                end = rng.random() < 0.5
                if client.got(number).reset is None:
                    client.more(number, b"y" * rng.choice([0, 10, 5000]) or b"z", end=end)
                if end:
                    self.open.remove(number)
            case "answer" | "go on" | "break off" | "refuse" if found := self.asked():
                self.answer(event, rng.choice(found))
            case "give up" if self.paths:
                number = rng.choice(list(self.paths))
                if client.got(number).reset is None and not client.got(number).whole:
                    client.give_up(number)
                    self.paths.pop(number)
                    if number in self.open:
                        self.open.remove(number)
            case _:
                await self.something_else(event)

    def answer(self, event: str, asked: Asked) -> None:
        """What an upstream does."""
        rng = self.rng
        key = (asked.upstream, asked.stream)
        begun = key in self.answered
        if event == "break off":
            asked.break_off()
            self.answered[key] = True
        elif event == "refuse" and isinstance(asked.upstream, Http2Upstream):
            asked.upstream.transport.deliver(wire.rst(asked.stream, wire.REFUSED_STREAM))
            self.answered[key] = True
        elif begun:
            end = rng.random() < 0.5
            trailers = [("grpc-status", "0")] if end and rng.random() < 0.4 else None
            asked.more(b"m" * rng.choice([1, 3000]), end=end, trailers=trailers)
            self.answered[key] = end
        elif asked.method != "HEAD" and (asked.whole or rng.random() < 0.3):
            if rng.random() < 0.1:
                asked.interim(103, [("link", "x")])
            end = rng.random() < 0.5
            status = rng.choice([200, 200, 200, 503])
            trailers = [("grpc-status", "14")] if end and rng.random() < 0.3 else None
            asked.answer(
                status, b"to " + asked.path.encode(), [("x-for", asked.path)], end=end, trailers=trailers
            )
            self.answered[key] = end
        elif asked.whole:
            asked.answer(200, b"", [("x-for", asked.path)])
            self.answered[key] = True

    async def something_else(self, event: str) -> None:
        """What befalls a whole connection, and time."""
        place, rng = self.place, self.rng
        ups = [up for up in place.upstreams if not up.transport.closing]
        client = place.client if isinstance(place.client, Http2Client) else None
        match event:
            case "goaway" if ups and isinstance(up := rng.choice(ups), Http2Upstream):
                last = rng.choice([0, *(asked.stream for asked in up.asked())])
                up.transport.deliver(wire.goaway(last))
                for asked in up.asked():
                    if asked.stream > last:
                        self.answered[(up, asked.stream)] = True
            case "client window" if client:
                number = rng.choice([0, *(one for one in self.paths if client.got(one).reset is None)])
                client.transport.deliver(wire.window_update(number, rng.choice([10, 5000, 100_000])))
            case "upstream window" if ups and isinstance(up := rng.choice(ups), Http2Upstream):
                number = rng.choice([0, *(asked.stream for asked in up.asked())])
                up.transport.deliver(wire.window_update(number, rng.choice([10, 5000, 100_000])))
            case "streams" if ups and isinstance(up := rng.choice(ups), Http2Upstream):
                up.transport.deliver(
                    wire.settings(
                        (wire.MAX_CONCURRENT_STREAMS, rng.choice([0, 1, 3, 100])),
                        (wire.INITIAL_WINDOW_SIZE, rng.choice([10, 70_000])),
                    )
                )
            case "stick":
                for transport in rng.sample(place.transports, min(2, len(place.transports))):
                    transport.stuck = True
            case "unstick":
                for transport in place.transports:
                    transport.drain()
            case "time":
                await place.advance(rng.choice([0.01, 0.2, 1.0]))
            case "long time":
                await place.advance(rng.choice([3.0, 21.0, 301.0]))
            case "upstream ends" if ups:
                rng.choice(ups).transport.end()
            case "drain":
                place.port.drain()
            case "bad frame":
                parties = [up for up in ups if isinstance(up, Http2Upstream)]
                party = rng.choice([*parties, *([client] if client else [])] or [None])
                if party is not None:
                    party.transport.deliver(wire.window_update(0, 0))
            case "connections refused":
                place.refusing = set() if place.refusing else {"10.0.0.1"}

    def check(self) -> None:
        """What holds between any two events."""
        client = self.place.client
        for number, path in self.paths.items():
            answered = client.got(number)
            owner = answered.get("x-for")
            assert owner in (None, path), f"the answer for {owner} reached {path}"
            if answered.status == 200 and answered.body:
                assert answered.body.startswith(b"to " + path.encode()[: len(answered.body) - 3])


@every_pair
@pytest.mark.parametrize("rules", RULES)
async def test_random_histories(
    client: str, upstream: str, rules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "Exchange", WatchedExchange)
    for run in range(RUNS):
        seed = f"{client}-{upstream}-{rules}-{run}"
        WatchedExchange.all = []
        rng = random.Random(seed)
        place = Place(client, upstream, RULES[rules])
        if upstream == HTTP2:
            place.settings = rng.choice([[], [(wire.MAX_CONCURRENT_STREAMS, 3)]])
            place.window = rng.choice([100, 1 << 20])
        player = Player(place, rng)
        try:
            async with place:
                for _ in range(100):
                    await player.step()
                    if rng.random() < 0.7:
                        await place.settle()
                    player.check()
                for _ in range(2):  # or copies would still wait for their answers
                    await place.settle()
                    for up in place.upstreams:
                        up.transport.reset()
            moves = [(each.path, each.bad_moves) for each in WatchedExchange.all if each.bad_moves]
            assert not moves
        except BaseException as error:
            error.add_note(f"seed {seed!r}: {', '.join(player.history)}")
            raise
