"""What becomes of mirrored copies, which nobody waits for (semantics 6.9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest

from gatewayd.policies.fault import MILLION
from gatewayd.proxy.mirrored_exchange import MirroredExchange
from gatewayd.proxy.policy_exchange import PolicyExchange
from gatewayd.routing.route import Mirror, RoutePolicies
from gatewayd.upstream.balancers import BalancerOptions, LoadOptions
from tests.support.bare_sockets import Net, Peer, answer
from tests.support.bulk import Reader
from tests.support.in_process import InProcess, cluster_spec, forward, request

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
#: A route with mirrors alone is served by an exchange of its own; with a timeout by the general one.
ROUTES = pytest.mark.parametrize("timeout_s", [0.0, 300.0], ids=["mirrors alone", "with a timeout"])


class Mirrored(InProcess):
    """A proxy whose requests are copied to a second upstream."""

    def __init__(
        self, port: int, mirror_port: int, timeout_s: float, millionths: int = MILLION, **fields: Any
    ) -> None:
        """``fields``: further ones of the mirror's ClusterSpec."""

        def route(cluster: Any) -> Any:
            spec = replace(cluster_spec([mirror_port], **fields), name="outbound|80||mirror.test")
            self.mirror = self.registry.adopt(spec)
            policies = RoutePolicies(mirrors=(Mirror(self.mirror, millionths),))
            return forward(cluster, policies=policies, timeout_s=timeout_s)

        super().__init__([port], route=route)


@asynccontextmanager
async def mirrored(
    timeout_s: float, millionths: int = MILLION, **fields: Any
) -> AsyncIterator[tuple[Net, Net, Mirrored]]:
    """The upstream, the mirror and the proxy; afterwards nothing is counted as under way any more."""
    with Net() as net, Net() as mirror:
        async with Mirrored(net.port, mirror.port, timeout_s, millionths, **fields) as proxy:
            yield net, mirror, proxy
            await proxy.until(lambda: proxy.mirror.active == 0)
            assert [endpoint.active for endpoint in proxy.mirror.endpoints] == [0]


async def served(net: Net, client: Peer, upstream: Peer | None = None) -> Peer:
    """The request under way is answered with 200 and "ok"; the upstream's connection."""
    upstream = upstream or await net.accept()
    await upstream.receive(b"\r\n\r\n")
    upstream.send(answer())
    assert (await client.receive(b"ok")).startswith(b"HTTP/1.1 200 ")
    return upstream


@BOTH_LOOPS
@ROUTES
async def test_copies_say_the_same_and_share_a_connection(timeout_s: float) -> None:
    async with mirrored(timeout_s) as (net, mirror, proxy):
        client = await net.connect(proxy.port)
        upstream = shadow = None
        for path in ("/one", "/two", "/three"):
            client.send(request(path=path))
            upstream = await served(net, client, upstream)
            shadow = shadow or await mirror.accept()
            copy = await shadow.receive(b"\r\n\r\n")
            assert copy.startswith(b"GET %b HTTP/1.1\r\nhost: a.test\r\n" % path.encode())
            assert b"x-forwarded-for: 127.0.0.1,127.0.0.1\r\n" in copy
            assert copy.endswith(b"x-envoy-internal: true\r\n\r\n")
            shadow.send(answer(b"nobody reads this"))
            await proxy.until(lambda: proxy.mirror.active == 0)
        assert mirror.nothing_waits(), "one connection is enough"
        assert proxy.mirror.total == 3
        kind = PolicyExchange if timeout_s else MirroredExchange
        assert {type(record) for record in await proxy.logged(3)} == {kind}


@BOTH_LOOPS
@ROUTES
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_copy_waits_for_the_whole_body(timeout_s: float, chunked: bool) -> None:
    """Semantics 6.9.2."""
    async with mirrored(timeout_s) as (net, mirror, proxy):
        client = await net.connect(proxy.port)
        client.send(
            request("POST", headers=["transfer-encoding: chunked" if chunked else "content-length: 8"])
        )
        pieces = (b"4\r\nhalf\r\n", b"4\r\nmore\r\n0\r\n\r\n") if chunked else (b"half", b"more")
        client.send(pieces[0])
        upstream = await net.accept()
        await upstream.receive(b"half")
        assert mirror.nothing_waits()
        client.send(pieces[1])
        await upstream.receive(b"more")
        shadow = await mirror.accept()
        body = b"\r\n\r\n8\r\nhalfmore\r\n0\r\n\r\n" if chunked else b"\r\n\r\nhalfmore"
        await shadow.receive(body)
        upstream.send(answer())
        await client.receive(b"ok")
        shadow.send(answer())


@BOTH_LOOPS
@ROUTES
async def test_a_body_too_large_to_keep_is_not_copied(timeout_s: float) -> None:
    size = 1 << 20
    async with mirrored(timeout_s) as (net, mirror, proxy):
        client = await net.connect(proxy.port)
        client.send(request("POST", headers=[f"content-length: {size}"]))
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(client.socket, bytes(size)))
        below = Reader(await net.accept())
        await below.head()
        await below.body(size)
        await sending
        below.peer.send(answer())
        await client.receive(b"ok")
        assert mirror.nothing_waits()


@BOTH_LOOPS
@ROUTES
@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 100000\r\n\r\n" + bytes(100_000), True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok", False),
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", False),
        (b"HTTP/9 nonsense\r\n\r\n", False),
    ],
    ids=["chunked", "no body", "long", "closing", "switching", "nonsense"],
)
async def test_whatever_a_mirror_answers_the_client_never_hears(
    timeout_s: float, said: bytes, kept: bool
) -> None:
    async with mirrored(timeout_s) as (net, mirror, proxy):
        client = await net.connect(proxy.port)
        client.send(request())
        shadow = await mirror.accept()
        await shadow.receive(b"\r\n\r\n")
        await asyncio.get_running_loop().sock_sendall(shadow.socket, said)
        await proxy.until(lambda: proxy.mirror.active == 0)
        upstream = await served(net, client)
        client.send(request())
        await served(net, client, upstream)
        again = shadow if kept else await mirror.accept()
        await again.receive(b"\r\n\r\n")
        again.send(answer())
        assert {record.status for record in await proxy.logged(2)} == {200}


@BOTH_LOOPS
@ROUTES
@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_mirror_that_goes_away_is_no_loss(timeout_s: float, way: str) -> None:
    async with mirrored(timeout_s) as (net, mirror, proxy):
        client = await net.connect(proxy.port)
        client.send(request())
        shadow = await mirror.accept()
        await shadow.receive(b"\r\n\r\n")
        getattr(shadow, way)()
        await served(net, client)
        (record,) = await proxy.logged(1)
        assert (record.status, record.flags, record.attempts) == (200, "", 1)


@BOTH_LOOPS
@ROUTES
async def test_a_mirror_that_cannot_be_reached_is_no_loss(timeout_s: float) -> None:
    with Net() as net, Net() as gone:
        port = gone.port
        gone.__exit__()
        async with Mirrored(net.port, port, timeout_s) as proxy:
            client = await net.connect(proxy.port)
            client.send(request())
            await served(net, client)
            await proxy.until(lambda: proxy.mirror.active == 0)


@BOTH_LOOPS
async def test_a_copy_takes_no_longer_than_the_route_allows() -> None:
    async with mirrored(300.0) as (net, mirror, proxy):
        client = await net.connect(proxy.port)
        client.send(request())
        shadow = await mirror.accept()
        await shadow.receive(b"\r\n\r\n")
        await served(net, client)
        assert proxy.mirror.active == 1
        wheel = proxy.proxy.wheel
        wheel._clock = lambda: monotonic() + 301
        wheel.sweep()
        assert proxy.mirror.active == 0
        assert await shadow.rest() == b""


@BOTH_LOOPS
@ROUTES
async def test_a_share_of_none_copies_nothing(timeout_s: float) -> None:
    async with mirrored(timeout_s, 0) as (net, mirror, proxy):
        client = await net.connect(proxy.port)
        client.send(request())
        await served(net, client)
        assert mirror.nothing_waits()
        assert proxy.mirror.total == 0


@ROUTES
async def test_9_20_what_a_mirror_says_of_its_load_counts(timeout_s: float) -> None:
    options = BalancerOptions("LOAD", load=LoadOptions())
    async with mirrored(timeout_s, balancer=options) as (net, mirror, proxy):
        client = await net.connect(proxy.port)
        upstream = shadow = None
        for weight in (20, 40):
            client.send(request())
            upstream = await served(net, client, upstream)
            shadow = shadow or await mirror.accept()
            await shadow.receive(b"\r\n\r\n")
            report = f"endpoint-load-metrics: TEXT cpu_utilization:0.5,rps_fractional:{weight / 2}"
            shadow.send(answer(b"x", report))
            await proxy.until(lambda: proxy.mirror.active == 0)
            assert proxy.mirror.endpoints[0].load.weight == weight
