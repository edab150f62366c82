"""The proxy's own ports are no place to send traffic (product.md section 4)."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from gatewayd import errors
from gatewayd.upstream.dialer import OWN_PORT, dial
from gatewayd.upstream.own_ports import OWN_PORTS, OwnPorts
from gatewayd.upstream.spec import ClusterSpec


@pytest.mark.parametrize(
    ("bound", "target"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("127.0.0.1", "::ffff:0.0.0.0"),
        ("::1", "::1"),
        ("::1", "::"),
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "127.8.8.8"),
        ("0.0.0.0", "0.0.0.0"),
        ("::", "::1"),
        ("::", "127.0.0.1"),
    ],
)
def test_every_way_to_write_an_own_address_leads_here(bound: str, target: str) -> None:
    assert OwnPorts([(bound, 15000)]).leads_here(target, 15000)


@pytest.mark.parametrize(
    ("bound", "target", "port"),
    [
        ("127.0.0.1", "127.0.0.1", 15001),
        ("127.0.0.1", "127.0.0.2", 15000),
        ("127.0.0.1", "192.0.2.1", 15000),
        ("0.0.0.0", "192.0.2.1", 15000),
        ("127.0.0.1", "not an address", 15000),
        ("127.0.0.1", "unix:/run/x", 0),
        ("127.0.0.1", "unix:@x", 0),
    ],
)
def test_anything_else_does_not(bound: str, target: str, port: int) -> None:
    assert not OwnPorts([(bound, 15000)]).leads_here(target, port)


def test_an_address_of_this_machine_is_known_as_one() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its loopback")
        own = probe.getsockname()[0]
    assert OwnPorts([("0.0.0.0", 15000)]).leads_here(own, 15000)
    assert not OwnPorts([("127.0.0.1", 15000)]).leads_here(own, 15000)


def test_a_unix_socket_is_known_by_any_of_its_names(tmp_path: Path) -> None:
    path = tmp_path / "admin"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        (tmp_path / "link").symlink_to(path)
        own = OwnPorts([(f"unix:{path}", 0)])
        for name in ("admin", "link", "../" + tmp_path.name + "/admin"):
            assert own.leads_here(f"unix:{tmp_path}/{name}", 0)
        assert not own.leads_here(f"unix:{tmp_path}/other", 0)


async def test_no_connection_is_opened_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accepted = asyncio.Event()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        writer.close()

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    spec = ClusterSpec("outbound|80||loop.test", "loop.test", 80)
    OWN_PORTS.use([("127.0.0.1", port)])
    try:
        for _ in range(3):
            result = await dial(loop, spec, "127.0.0.1", port, asyncio.Protocol)
            assert result == (errors.CONNECT_LOCAL, OWN_PORT)
    finally:
        OWN_PORTS.use([])
        server.close()
        await server.wait_closed()
    assert not accepted.is_set()
    assert caplog.text.count("a port of this proxy itself") == 1
