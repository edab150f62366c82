"""One connection: TCP, PROXY header, TLS, all within one timeout, and every failure a value (semantics 8.3.2, 10.9)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from gatewayd import errors
from gatewayd.tls.contexts import ClientContext
from gatewayd.tls.material import Material
from gatewayd.tls.spec import ClientTlsSpec
from gatewayd.upstream.dialer import NO_SECRET, Hints, dial
from gatewayd.upstream.spec import ClusterSpec, KeepAlive
from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.recorder import note_sni

TIMEOUT_S = 20.0  # only ever reached by a test that fails
CLIENT = Hints(remote="192.0.2.7:5555", local="198.51.100.1:443")


class Talker(asyncio.Protocol):
    """Says hello as soon as it can."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(b"hello")

    def connection_lost(self, _: Exception | None) -> None:
        self.lost.set()


class Peer:
    """What a server heard on its one connection."""

    def __init__(self) -> None:
        self.heard = b""
        self.spoken = asyncio.Event()
        self.ended = asyncio.Event()
        self.server_names: list[str | None] = []


@asynccontextmanager
async def listening(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, Peer]]:
    peer = Peer()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = writer.get_extra_info("ssl_object")
        peer.server_names.append(getattr(session, "noted_sni", None))
        try:
            while data := await reader.read(65536):
                peer.heard += data
                peer.spoken.set()
        except ConnectionError:
            pass
        peer.ended.set()
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1]), peer
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    folder = tmp_path_factory.mktemp("certificates")
    return CertificateFolder(folder, {"up": CertificateWish("up", ["a.test"], is_ca=True, key="ec")})


def tls(certificates: CertificateFolder, **fields: Any) -> dict[str, Any]:
    spec = ClientTlsSpec("DestinationRule default/up", "SIMPLE", **fields)
    context = ClientContext(spec, Material(ca=certificates.certificate("up").read_bytes()))
    return {"tls_spec": spec, "tls": SimpleNamespace(context=context, problem="")}


async def dialled(port: int, hints: Hints = CLIENT, **spec: Any) -> tuple[Talker, Any, str]:
    """Dial a port of the loopback: the protocol that was made, and what came of it."""
    talker = Talker()
    cluster = ClusterSpec("c", "h", 80, **spec)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(TIMEOUT_S):
        return talker, *await dial(loop, cluster, "127.0.0.1", port, lambda: talker, hints)


async def hang_up(talker: Talker, peer: Peer) -> bytes:
    """Close, and what the server heard in all."""
    talker.transport.close()
    async with asyncio.timeout(TIMEOUT_S):
        await peer.ended.wait()
        await talker.lost.wait()
    return peer.heard


async def test_a_plain_connection_is_just_that() -> None:
    async with listening() as (port, peer):
        talker, failure, words = await dialled(port)
        assert (failure, words) == (None, "")
        assert await hang_up(talker, peer) == b"hello"


@pytest.mark.parametrize(
    ("version", "header"),
    [
        ("V1", b"PROXY TCP4 192.0.2.7 198.51.100.1 5555 443\r\n"),
        (
            "V2",
            b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\x15\xb3\x01\xbb",
        ),
    ],
)
async def test_10_11_the_proxy_header_is_the_first_thing_said(version: str, header: bytes) -> None:
    async with listening() as (port, peer):
        talker, failure, _ = await dialled(port, proxy_protocol=version)
        assert failure is None
        assert await hang_up(talker, peer) == header + b"hello"


async def test_10_11_without_a_client_the_header_says_so() -> None:
    async with listening() as (port, peer):
        talker, _, _ = await dialled(port, Hints(), proxy_protocol="V1")
        assert await hang_up(talker, peer) == b"PROXY UNKNOWN\r\nhello"


@pytest.mark.parametrize(
    ("fields", "host", "said"),
    [
        ({"sni": "set.test"}, "a.test", "set.test"),
        ({"verify_host": True}, "a.test", "a.test"),
        ({"subject_alt_names": ("a.test",)}, "other.test", "other.test"),
        ({}, None, None),
        ({"subject_alt_names": ("a.test",)}, "a" * 64, None),  # cannot be said, and need not
        ({"verify_host": True}, None, None),  # a TCP route: only the chain can be verified
    ],
)
async def test_10_2_10_3_which_name_is_said(
    certificates: CertificateFolder, fields: dict[str, Any], host: str | None, said: str | None
) -> None:
    context = certificates.server_context("up")
    note_sni(context)
    async with listening(context) as (port, peer):
        talker, failure, words = await dialled(port, Hints(host), **tls(certificates, **fields))
        assert (failure, words) == (None, "")
        assert talker.transport.get_extra_info("tls").version == "TLSv1.3"
        assert await hang_up(talker, peer) == b"hello"
        assert peer.server_names == [said]


@pytest.mark.parametrize("host", ["", "a..test", "a" * 64 + ".test"])
async def test_10_3_a_host_that_names_nobody_is_never_believed(
    certificates: CertificateFolder, host: str
) -> None:
    async with listening(certificates.server_context("up")) as (port, peer):
        talker, failure, words = await dialled(port, Hints(host), **tls(certificates, verify_host=True))
        assert failure is errors.CONNECT_REFUSED
        assert "CERTIFICATE_VERIFY_FAILED" in words
        assert talker.transport is None
        assert not peer.server_names, "nothing was dialled"


async def test_3_13_nothing_is_dialled_without_a_context() -> None:
    async with listening() as (port, peer):
        spec: dict[str, Any] = {"tls": SimpleNamespace(context=None, problem="gone")}
        _, failure, words = await dialled(port, **spec)
        assert (failure, words) == (errors.CONNECT_REFUSED, NO_SECRET)
        assert not peer.server_names


async def test_a_protocol_whose_handshake_fails_never_hears_of_it(certificates: CertificateFolder) -> None:
    async with listening() as (port, peer):
        working = asyncio.ensure_future(dialled(port, **tls(certificates)))
        async with asyncio.timeout(TIMEOUT_S):
            await peer.spoken.wait()
        assert peer.heard.startswith(b"\x16\x03\x01"), "a ClientHello, and no hello"
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        async with asyncio.timeout(TIMEOUT_S):
            await peer.ended.wait()


async def test_a_handshake_within_the_connect_timeout_or_not_at_all(certificates: CertificateFolder) -> None:
    """8.3.2."""
    async with listening() as (port, peer):
        talker, failure, words = await dialled(port, connect_timeout_s=0.05, **tls(certificates))
        assert (failure, words) == (errors.CONNECT_TIMEOUT, "")
        assert talker.transport is None
        async with asyncio.timeout(TIMEOUT_S):
            await peer.ended.wait()


async def test_the_server_is_told_why_it_was_not_believed(certificates: CertificateFolder) -> None:
    """An alert leaves before the connection goes."""
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def shake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = certificates.server_context("up").wrap_bio(incoming, outgoing, server_side=True)
        try:
            while True:
                try:
                    session.do_handshake()
                    session.read(1)
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(65536))
        except ssl.SSLError as error:
            said.set_result(error.reason or "")
        writer.close()

    server = await asyncio.start_server(shake, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    spec = ClientTlsSpec("DestinationRule default/up", "SIMPLE")
    holder = SimpleNamespace(context=ClientContext(spec, Material()), problem="")  # the system's roots
    _, failure, _ = await dialled(port, tls_spec=spec, tls=holder)
    assert failure is errors.CONNECT_REFUSED
    async with asyncio.timeout(TIMEOUT_S):
        assert await said in (
            "TLSV1_ALERT_UNKNOWN_CA",
            "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
            "SSLV3_ALERT_BAD_CERTIFICATE",
        )
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("wanted", "options"),
    [
        (None, [0, None, None, None]),
        (KeepAlive(), [1, None, None, None]),
        (KeepAlive(3, 40, 5), [1, 3, 40, 5]),
        (KeepAlive(3, 1 << 40, 5), [1, 3, None, 5]),
    ],
)
async def test_8_3_9_keep_alive_is_a_matter_of_the_socket(
    wanted: KeepAlive | None, options: list[int | None]
) -> None:
    fields = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    ]
    with socket.socket() as untouched:
        defaults = [untouched.getsockopt(*field) for field in fields]
    async with listening() as (port, _):
        talker = Talker()
        spec = ClusterSpec("c", "a.test", port, keepalive=wanted)
        assert await dial(asyncio.get_running_loop(), spec, "127.0.0.1", port, lambda: talker) == (None, "")
        sock = talker.transport.get_extra_info("socket")
        found = [sock.getsockopt(*field) for field in fields]
        talker.transport.close()
        await asyncio.wait_for(talker.lost.wait(), TIMEOUT_S)
    assert found == [
        default if option is None else option for option, default in zip(options, defaults, strict=True)
    ]
