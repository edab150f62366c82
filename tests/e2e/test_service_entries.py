"""Endpoints of ServiceEntries on real sockets: Unix sockets, names with several addresses (semantics 11.3, 11.6)."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from gatewayd.upstream.dns_lookup import Answer
from gatewayd.upstream.spec import DNS, DNS_ROUND_ROBIN, EndpointSpec
from tests.support.bare_sockets import Net, answer
from tests.support.in_process import InProcess, request
from tests.support.names import Names
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder
from tests.support.tcp_in_process import TcpInProcess

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])


async def _serve_once(sock: socket.socket) -> bytes:
    """Answer one request on a listening socket; its head."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    there, _ = await loop.sock_accept(sock)
    with there:
        there.setblocking(False)
        head = await loop.sock_recv(there, 65536)
        await loop.sock_sendall(there, answer(b"local"))
    return head


def _listening(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    return sock


@BOTH_LOOPS
@pytest.mark.parametrize("abstract", [False, True])
async def test_11_6_requests_go_to_a_unix_socket(tmp_path: Path, abstract: bool) -> None:
    """``unix:///path`` and ``unix://@name``; the log prints what a connection would be opened to."""
    name = f"gatewayd-test-{os.getpid()}-{id(tmp_path)}"
    path = "\0" + name if abstract else str(tmp_path / "socket")
    address = f"unix:@{name}" if abstract else f"unix:{path}"
    with _listening(path) as sock:
        async with InProcess([], endpoints=(EndpointSpec(address, 0),)) as proxy:
            serving = asyncio.ensure_future(_serve_once(sock))
            response = (await RawClient(proxy.port).http(request())).response
            assert (response.status, response.body) == (200, b"local")
            assert (await serving).startswith(b"GET / HTTP/1.1\r\nhost: a.test\r\n")
            (record,) = await proxy.logged(1)
            assert record.upstream_host == address


@BOTH_LOOPS
@pytest.mark.parametrize("address", ["unix:/nonexistent/socket", "unix:@gatewayd-test-nobody"])
async def test_a_unix_socket_nobody_listens_on_is_503_uf(address: str) -> None:
    async with InProcess([], endpoints=(EndpointSpec(address, 0),)) as proxy:
        response = (await RawClient(proxy.port).http(request())).response
        assert response.status == 503
        (record,) = await proxy.logged(1)
        assert "UF" in record.flags


@BOTH_LOOPS
async def test_11_6_bytes_go_to_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with _listening(path) as sock, Net() as net:
        async with TcpInProcess([], endpoints=(EndpointSpec(f"unix:{path}", 0),)) as proxy:
            serving = asyncio.ensure_future(_serve_once(sock))
            client = await net.connect(proxy.port)
            client.send(b"bytes")
            assert await serving == b"bytes"
            assert (await client.rest()).endswith(b"local")
            client.close()
            record = await proxy.logged()
            assert record.upstream_host == f"unix:{path}"


class _Two(Names):
    """Every name has two addresses."""

    def answer(self, name: str) -> None:
        self._open.pop(name)(Answer(("127.0.0.1", "127.0.0.2"), 60.0))


@pytest.mark.parametrize(
    ("discovery", "used"), [(DNS, {"127.0.0.1", "127.0.0.2"}), (DNS_ROUND_ROBIN, {"127.0.0.1"})]
)
async def test_11_3_all_addresses_of_a_name_or_the_first(discovery: str, used: set[str]) -> None:
    async with Recorder("alpha") as alpha:
        endpoint = EndpointSpec("two.test", alpha.port)
        async with InProcess([], endpoints=(endpoint,), discovery=discovery) as proxy:
            proxy.registry.resolver._lookup = _Two()
            assert await proxy.registry.warm(20.0) == []
            assert {endpoint.address for endpoint in proxy.cluster.endpoints} == used
            for _ in range(20):
                await RawClient(proxy.port).http(request(), observe_s=0.0)
            assert {endpoint.address for endpoint in proxy.cluster.endpoints if endpoint.total} == used
