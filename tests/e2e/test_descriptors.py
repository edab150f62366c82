"""No descriptor is left behind, however exchanges end (hardening 1, property 3)."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from gatewayd.routing.route import RetryPolicy
from tests.support.bare_sockets import Net, Peer, answer
from tests.support.in_process import InProcess, forward, request

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
WIDTH = 24
ROUNDS = 12


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def _client(net: Net, port: int, rng: random.Random) -> None:
    """Does something and leaves, in one of the ways there are to leave."""
    peer = await net.connect(port)
    kind = rng.randrange(6)
    if kind == 0:
        peer.send(b"GET / HT")
    elif kind == 1:
        peer.send(request("POST", headers=["content-length: 100"]) + b"abc")
    elif kind == 2:
        peer.send(request(headers=["Connection: Upgrade", "Upgrade: websocket"]) + b"early")
    elif kind == 3:
        peer.send(b"nonsense\r\n\r\n")
    else:
        peer.send(request() * rng.randrange(1, 4))
    await asyncio.sleep(rng.random() * 0.01)
    rng.choice([peer.close, peer.reset, peer.reset])()


async def _upstream(net: Net, rng: random.Random) -> None:
    async def serve(peer: Peer) -> None:
        try:
            await peer.receive(b"\r\n\r\n")
            await asyncio.sleep(rng.random() * 0.005)
            if rng.random() < 0.5:
                peer.send(rng.choice([answer(), answer()[:-1], b"HTTP/1.1 200 OK\r\n\r\nx", b"junk\r\n\r\n"]))
                await peer.rest()
        except (OSError, AssertionError):
            pass
        finally:
            rng.choice([peer.close, peer.reset])()

    serving: set[asyncio.Task[None]] = set()
    try:
        while True:
            task = asyncio.ensure_future(serve(await net.accept()))
            serving.add(task)
            task.add_done_callback(serving.discard)
    except TimeoutError:
        pass
    finally:
        for task in serving:
            task.cancel()


@BOTH_LOOPS
async def test_storms_of_resets_leave_no_descriptor() -> None:
    rng = random.Random("storm")
    retry = RetryPolicy(attempts=2, retry_on=frozenset({"reset", "5xx"}), base_interval_s=0.001)
    with Net() as net:
        async with InProcess([net.port], route=lambda c: forward(c, retry=retry, timeout_s=0.2)) as proxy:
            before = descriptors()
            accepting = asyncio.ensure_future(_upstream(net, rng))
            for _ in range(ROUNDS):
                await asyncio.gather(*(_client(net, proxy.port, rng) for _ in range(WIDTH)))
            await proxy.until(lambda: not proxy.connections and not proxy.cluster.active)
            proxy.endpoint.sweep(1e12)
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
            await proxy.until(lambda: descriptors() <= before)
            assert len(proxy.records) > ROUNDS * WIDTH / 3
