"""TCP routes (semantics 7.8 to 7.10) on real sockets: bytes, ends, resets, failures and timeouts."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections import Counter
from time import monotonic
from typing import Any

import pytest

from gatewayd.routing.l4 import TcpRoute
from gatewayd.routing.route import Destination
from gatewayd.routing.weights import WeightedPick
from gatewayd.upstream.balancers import BalancerOptions
from gatewayd.upstream.cluster import Cluster
from gatewayd.upstream.spec import Limits
from tests.support.bare_sockets import Net, Peer
from tests.support.in_process import cluster_spec
from tests.support.tcp_in_process import TcpInProcess, descriptors, tcp_route

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
BIG = random.Random("big").randbytes(3_000_000)


async def _send_all(peer: Peer, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(peer.socket, data)


async def _joined(net: Net, proxy: TcpInProcess, **how: Any) -> tuple[Peer, Peer]:
    client = await net.connect(proxy.port, **how)
    return client, await net.accept()


def _refusing_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# --- bytes


@BOTH_LOOPS
async def test_bytes_go_both_ways_and_are_counted() -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream = await _joined(net, proxy)
            client.send(b"ping")
            assert await upstream.receive(b"ping") == b"ping"
            upstream.send(b"pong!")
            assert await client.receive(b"pong!") == b"pong!"
            client.close()
            assert await upstream.rest() == b""
            upstream.close()
            record = await proxy.logged()
            assert (record.bytes_received, record.bytes_sent) == (4, 5)
            assert (record.status, record.flags, record.details) == (0, "", "")
            assert record.upstream_host == f"127.0.0.1:{net.port}"
            assert record.upstream_cluster == proxy.cluster.name
            assert record.upstream_local_address.startswith("127.0.0.1:")
            assert record.connection.local_address == f"127.0.0.1:{proxy.port}"


@BOTH_LOOPS
async def test_the_upstream_may_speak_first() -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream = await _joined(net, proxy)
            upstream.send(b"220 hello\r\n")
            assert await client.receive(b"\n") == b"220 hello\r\n"


@BOTH_LOOPS
async def test_what_comes_before_the_upstream_stands_waits_for_it() -> None:
    """With its end of stream, if that has come as well."""
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(b"early bird")
            client.half_close()
            upstream = await net.accept()
            assert await upstream.rest() == b"early bird"
            upstream.send(b"worm")
            upstream.close()
            assert await client.rest() == b"worm"
            record = await proxy.logged()
            assert (record.bytes_received, record.bytes_sent) == (10, 4)


@BOTH_LOOPS
async def test_large_streams_arrive_whole_in_both_directions_at_once() -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream = await _joined(net, proxy)

            async def send(peer: Peer, data: bytes) -> None:
                await _send_all(peer, data)
                peer.half_close()

            back = BIG[::-1]
            _, _, down, up = await asyncio.gather(
                send(client, BIG), send(upstream, back), client.rest(), upstream.rest()
            )
            assert up == BIG
            assert down == back
            record = await proxy.logged()
            assert (record.bytes_received, record.bytes_sent) == (len(BIG), len(BIG))


# --- ends


@BOTH_LOOPS
async def test_a_clients_half_close_leaves_the_answer_its_way() -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream = await _joined(net, proxy)
            client.send(b"question")
            client.half_close()
            assert await upstream.rest() == b"question"
            assert not proxy.records
            await _send_all(upstream, BIG[:500_000])
            upstream.close()
            assert await client.rest() == BIG[:500_000]
            assert (await proxy.logged()).flags == ""


@BOTH_LOOPS
async def test_an_upstreams_half_close_leaves_the_client_sending() -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream = await _joined(net, proxy)
            upstream.send(b"greeting")
            upstream.half_close()
            assert await client.rest() == b"greeting"
            assert not proxy.records
            await _send_all(client, b"still here")
            client.close()
            assert await upstream.rest() == b"still here"
            assert (await proxy.logged()).bytes_received == 10


# --- resets


@BOTH_LOOPS
async def test_a_clients_reset_is_the_upstreams_reset() -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream = await _joined(net, proxy)
            client.send(b"x")
            await upstream.receive(b"x")
            client.reset()
            with pytest.raises(ConnectionResetError):
                await upstream.rest()
            assert (await proxy.logged()).flags == ""


@BOTH_LOOPS
async def test_an_upstreams_reset_is_the_clients_reset_flagged_ur() -> None:
    """As Envoy 1.40 was seen to do and to log."""
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream = await _joined(net, proxy)
            upstream.send(b"x")
            await client.receive(b"x")
            upstream.reset()
            with pytest.raises(ConnectionResetError):
                await client.rest()
            assert (await proxy.logged()).flags == "UR"


@BOTH_LOOPS
@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_reset_after_a_half_close_is_noticed_with_the_next_tick(who: str) -> None:
    """No loop reads from a side that has ended, so none tells that it broke."""
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream = await _joined(net, proxy)
            leaver, stayer = (client, upstream) if who == "client" else (upstream, client)
            leaver.half_close()
            assert await stayer.rest() == b""
            leaver.reset()
            await proxy.until_ticking(lambda: bool(proxy.records))
            with pytest.raises(BrokenPipeError):  # a reset, to who has read the end of stream
                stayer.send(b"late")


# --- nobody there


@BOTH_LOOPS
@pytest.mark.parametrize("sends", [b"", b"hello"], ids=["silent", "talking"])
async def test_a_refused_connect_closes_the_client(sends: bytes) -> None:
    """7.10, golden tcp-weights-and-dead: one attempt, UF,URX, no byte counted."""
    dead = _refusing_port()
    with Net() as net:
        async with TcpInProcess([dead]) as proxy:
            client = await net.connect(proxy.port)
            if sends:
                client.send(sends)
            try:
                assert await client.rest() == b""
            except ConnectionResetError:
                assert sends, "who has sent nothing sees an end, not a reset"
            record = await proxy.logged()
            assert record.flags == "UF,URX"
            assert record.transport_failure == "delayed_connect_error:_Connection_refused"
            assert record.upstream_host == f"127.0.0.1:{dead}"
            assert record.upstream_cluster == proxy.cluster.name
            assert (record.bytes_received, record.bytes_sent) == (0, 0)
            assert proxy.cluster.total == 1


@BOTH_LOOPS
async def test_a_connect_that_takes_too_long_closes_the_client() -> None:
    """UF,URX without a transport's words, as Envoy 1.40 was seen to log it."""
    with Net(backlog=0) as full, Net() as net:
        await full.connect(full.port)  # the queue of one; what comes now is not answered at all
        async with TcpInProcess([full.port], connect_timeout_s=0.05) as proxy:
            client = await net.connect(proxy.port)
            assert await client.rest() == b""
            record = await proxy.logged()
            assert (record.flags, record.transport_failure) == ("UF,URX", "")


@BOTH_LOOPS
async def test_a_client_that_leaves_meanwhile_ends_the_attempt() -> None:
    with Net(backlog=0) as full, Net() as net:
        await full.connect(full.port)
        async with TcpInProcess([full.port], connect_timeout_s=60.0) as proxy:
            client = await net.connect(proxy.port)
            await proxy.until(lambda: proxy.cluster.active == 1)
            client.reset()
            await proxy.until_ticking(lambda: bool(proxy.records))
            assert proxy.cluster.active == 0


@BOTH_LOOPS
async def test_no_endpoint_closes_the_client_with_uh() -> None:
    """7.10: an end of stream, whatever the client has sent."""
    with Net() as net:
        async with TcpInProcess([]) as proxy:
            client = await net.connect(proxy.port)
            client.send(b"hello")
            assert await client.rest() == b""
            record = await proxy.logged()
            assert (record.flags, record.upstream_host) == ("UH", "")
            assert record.upstream_cluster == proxy.cluster.name
            assert record.bytes_received == 0


@BOTH_LOOPS
async def test_no_cluster_closes_the_client_with_nc() -> None:
    with Net() as net:
        async with TcpInProcess([net.port], route=lambda _: tcp_route(None)) as proxy:
            client = await net.connect(proxy.port)
            client.send(b"hello")
            assert await client.rest() == b""
            record = await proxy.logged()
            assert (record.flags, record.upstream_cluster) == ("NC", "")
            assert net.nothing_waits()


@BOTH_LOOPS
async def test_a_full_cluster_closes_the_client_with_uo() -> None:
    """8.3.2, golden tcp-max-connections; room that is given back can be taken again."""
    with Net() as net:
        async with TcpInProcess([net.port], limits=Limits(max_connections=1)) as proxy:
            first, upstream = await _joined(net, proxy)
            second = await net.connect(proxy.port)
            second.send(b"hello")
            assert await second.rest() == b""
            assert (await proxy.logged()).flags == "UO"
            first.close()
            await upstream.rest()
            upstream.close()
            await proxy.logged(2)
            third, upstream = await _joined(net, proxy)
            third.send(b"x")
            assert await upstream.receive(b"x") == b"x"


# --- destinations


async def test_weights_hold_per_connection() -> None:
    """7.8: drawn once; the bytes of a connection stay together."""
    with Net(backlog=256) as one, Net(backlog=256) as two:
        clusters: list[Cluster] = []

        def route(cluster: Any) -> TcpRoute:
            other = Cluster(asyncio.get_running_loop(), cluster._resolver, cluster_spec([two.port]))
            clusters.append(other)
            destinations = (Destination(cluster, "a", weight=20), Destination(other, "b", weight=80))
            return TcpRoute(destinations, WeightedPick(destinations, random.Random(7).random))

        async with TcpInProcess([one.port], route=route) as proxy:
            seen: Counter[int] = Counter()
            for _ in range(100):
                client = await one.connect(proxy.port)
                client.send(b"x")
                await proxy.until(lambda: not (one.nothing_waits() and two.nothing_waits()))
                client.reset()
            await proxy.logged(100)
            seen.update(int(record.upstream_host.rpartition(":")[2]) for record in proxy.records)
            assert 10 <= seen[one.port] <= 30
            assert seen[one.port] + seen[two.port] == 100
            assert clusters[0].active == 0


async def test_endpoints_are_balanced_and_counted() -> None:
    with Net() as one, Net() as two:
        async with TcpInProcess([one.port, two.port], balancer=BalancerOptions("ROUND_ROBIN")) as proxy:
            clients = [await one.connect(proxy.port) for _ in range(4)]
            for net in (one, one, two, two):
                await net.accept()
            assert [(e.active, e.total) for e in proxy.cluster.endpoints] == [(2, 2), (2, 2)]
            assert (proxy.cluster.active, proxy.cluster.total) == (4, 4)
            assert len(clients) == len(proxy.connections)


# --- slow readers


@BOTH_LOOPS
@pytest.mark.parametrize("slow", ["client", "upstream"])
async def test_a_slow_reader_holds_the_sender_up_and_loses_nothing(slow: str) -> None:
    with Net(receive_buffer=8192) as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream = await _joined(net, proxy, receive_buffer=8192)
            reader, writer = (client, upstream) if slow == "client" else (upstream, client)
            sent = 0
            stuck = 0
            while stuck < 20:  # nobody reads: it fills up, in the kernel and in the proxy
                try:
                    sent += writer.socket.send(bytes(65536))
                    stuck = 0
                except BlockingIOError:
                    stuck += 1
                    await asyncio.sleep(0.01)
            session = proxy.session
            assert session.client.unsent + session.upstream.unsent < 1 << 20
            assert sent < 32 << 20
            writer.half_close()
            received = 0
            while data := await asyncio.get_running_loop().sock_recv(reader.socket, 1 << 20):
                received += len(data)
            assert received == sent


# --- time (7.9)


def _turn_the_clock(proxy: TcpInProcess, seconds: float) -> None:
    for session in list(proxy.connections):
        session.tick(monotonic() + seconds)


@BOTH_LOOPS
async def test_a_silent_connection_ends_with_the_idle_timeout() -> None:
    """Both peers see an end; flags stay empty (golden tcp-idle-timeout)."""
    with Net() as net:
        async with TcpInProcess([net.port], route=lambda c: tcp_route(c, idle_timeout_s=3600.0)) as proxy:
            client, upstream = await _joined(net, proxy)
            client.send(b"x")
            await upstream.receive(b"x")
            _turn_the_clock(proxy, 0)
            _turn_the_clock(proxy, 3599)
            assert proxy.connections
            _turn_the_clock(proxy, 3601)
            assert await client.rest() == b""
            assert await upstream.rest() == b""
            record = await proxy.logged()
            assert (record.flags, record.bytes_received) == ("", 1)


@BOTH_LOOPS
@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_bytes_in_either_direction_put_the_idle_timeout_off(who: str) -> None:
    with Net() as net:
        async with TcpInProcess([net.port], route=lambda c: tcp_route(c, idle_timeout_s=3600.0)) as proxy:
            client, upstream = await _joined(net, proxy)
            _turn_the_clock(proxy, 0)
            talker, listener = (client, upstream) if who == "client" else (upstream, client)
            talker.send(b"x")
            await listener.receive(b"x")
            _turn_the_clock(proxy, 3590)
            _turn_the_clock(proxy, 3610)
            assert proxy.connections
            _turn_the_clock(proxy, 3590 + 3601)
            assert await client.rest() == b""


async def test_an_idle_timeout_of_zero_never_ends_anything() -> None:
    with Net() as net:
        async with TcpInProcess([net.port], route=lambda c: tcp_route(c, idle_timeout_s=0.0)) as proxy:
            client, upstream = await _joined(net, proxy)
            _turn_the_clock(proxy, 0)
            _turn_the_clock(proxy, 1e9)
            client.send(b"x")
            assert await upstream.receive(b"x") == b"x"


async def test_short_timeouts_need_no_tick() -> None:
    """Those that a look per second would make much longer (golden tcp-idle-timeout: 0.5 s)."""
    with Net() as net:
        async with TcpInProcess([net.port], route=lambda c: tcp_route(c, idle_timeout_s=0.9)) as proxy:
            client, upstream = await _joined(net, proxy)
            began = monotonic()
            client.send(b"x")
            await upstream.receive(b"x")
            assert await client.rest() == b""
            assert monotonic() - began >= 0.9
            await proxy.logged()
            assert proxy.proxy.wheel.armed <= 1


@BOTH_LOOPS
async def test_the_longest_duration_ends_a_busy_connection_with_dt() -> None:
    """As Envoy 1.40 was seen to log it."""
    with Net() as net:
        async with TcpInProcess([net.port], route=lambda c: tcp_route(c, max_duration_s=60.0)) as proxy:
            client, upstream = await _joined(net, proxy)
            for second in range(59):
                client.send(b"x")
                await upstream.receive(b"x")
                _turn_the_clock(proxy, second)
            assert proxy.connections
            _turn_the_clock(proxy, 61)
            assert await client.rest() == b""
            assert (await proxy.logged()).flags == "DT"


async def test_a_peer_that_reads_nothing_cannot_keep_a_closed_connection() -> None:
    with Net(receive_buffer=4096) as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream = await _joined(net, proxy)
            while not proxy.session.upstream.unsent:
                try:
                    client.socket.send(bytes(65536))
                except BlockingIOError:
                    await asyncio.sleep(0.005)
            proxy.session.close()
            with contextlib.suppress(ConnectionResetError):  # for what it sent and nobody read
                await client.rest()
            assert not proxy.records, "the upstream still has bytes to come"
            _turn_the_clock(proxy, 0)
            _turn_the_clock(proxy, 29)
            assert proxy.connections
            _turn_the_clock(proxy, 31)
            await proxy.logged()
            assert upstream


# --- what a listener asks


async def test_draining_leaves_connections_alone_and_ends_them_last() -> None:
    with Net() as net:
        async with TcpInProcess([net.port]) as proxy:
            client, upstream = await _joined(net, proxy)
            proxy.session.drain()
            client.send(b"x")
            assert await upstream.receive(b"x") == b"x"
            proxy.session.end_tunnel()
            assert await client.rest() == b""
            assert await upstream.rest() == b""
            await proxy.logged()


# --- many


@BOTH_LOOPS
async def test_a_thousand_short_connections_leave_no_descriptor() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=256)
    with Net() as net:
        async with TcpInProcess([server.sockets[0].getsockname()[1]]) as proxy:
            before = descriptors()
            for _ in range(50):

                async def one() -> None:
                    client = await net.connect(proxy.port)
                    client.send(b"hi")
                    assert await client.rest() == b"hi"
                    client.close()

                await asyncio.gather(*(one() for _ in range(20)))
            await proxy.until(lambda: len(proxy.records) == 1000 and descriptors() <= before)
    server.close()


@BOTH_LOOPS
async def test_storms_of_resets_and_half_closes_leave_nothing() -> None:
    rng = random.Random("storm")

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for _ in range(rng.randrange(3)):
                writer.write(await reader.read(rng.randrange(1, 70_000)))
            if rng.random() < 0.4:
                writer.write_eof()
                await reader.read()
            if rng.random() < 0.3:
                writer.transport.abort()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(upstream, "127.0.0.1", 0, backlog=256)
    with Net() as net:
        async with TcpInProcess([server.sockets[0].getsockname()[1]]) as proxy:
            before = descriptors()

            async def one() -> None:
                client = await net.connect(proxy.port)
                with contextlib.suppress(OSError):  # the upstream may have reset it by now
                    for _ in range(rng.randrange(3)):
                        client.socket.send(rng.randbytes(rng.randrange(1, 60_000)))
                        await asyncio.sleep(rng.random() * 0.003)
                    if rng.random() < 0.4:
                        client.half_close()
                        await asyncio.sleep(rng.random() * 0.003)
                rng.choice([client.close, client.reset])()

            for _ in range(15):
                await asyncio.gather(*(one() for _ in range(24)))
            await proxy.until_ticking(lambda: not proxy.connections)
            await proxy.until(lambda: descriptors() <= before)
            assert len(proxy.records) == 360
            proxy.failures.clear()  # of the upstream's own streams
    server.close()
