"""The TLS layer on real sockets, on both loops: what inner protocols and peers see of it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import pytest

from gatewayd.tls import layer as layer_module
from gatewayd.tls import reasons
from gatewayd.tls.contexts import ClientContext, ServerContext
from gatewayd.tls.engine import PLAIN_BYTES
from gatewayd.tls.layer import HANDSHAKE_TIMEOUT_S, TlsLayer
from gatewayd.tls.material import MaterialError
from gatewayd.tls.spec import ClientTlsSpec, ServerTlsSpec
from tests.support.fake_transport import FakeTransport
from tests.tls.handshakes import client, material
from tests.tls.material import authority, leaf
from tests.tls.tls_peers import LOOPS, Inner, Server, echo, on, plain_visitor, tool, visitor

SIMPLE = ServerTlsSpec("Gateway test/edge servers[0]", "SIMPLE", (), alpn=("http/1.1",))
#: It has a context of OpenSSL of its own, which a SIMPLE server shares.
OPTIONAL = ServerTlsSpec("Gateway test/edge servers[1]", "OPTIONAL_MUTUAL", ())
SPECS = [pytest.param(SIMPLE, id="shared"), pytest.param(OPTIONAL, id="own")]
BULK = os.urandom(1 << 20) * 6

pytestmark = pytest.mark.parametrize("loop", list(LOOPS))


def context(spec: ServerTlsSpec = SIMPLE) -> ServerContext:
    return ServerContext(spec, material(leaf(), ca=None if spec is SIMPLE else authority()))


def hello_world(inner: Inner, data: bytes) -> None:
    if inner.heard.endswith(b"\r\n\r\n"):
        inner.transport.writelines([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", b"hello"])


# --- programs everybody has


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_is_served(loop: str, spec: ServerTlsSpec, version: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority().certificate)

    async def test() -> None:
        async with Server(context(spec), hello_world) as server:
            code, printed = await tool(
                "curl", "-sS", "--cacert", str(tmp_path / "ca.pem"), "--tls-max", version,
                "--resolve", f"a.test:{server.port}:127.0.0.1", f"https://a.test:{server.port}/",
            )  # fmt: skip
            assert (code, printed) == (0, b"hello")
            inner = await server.connected()
            await inner.gone.wait()
            assert inner.calls == ["made", "data", "eof", "lost"]
            assert inner.error is None

    on(loop, test)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_resumes_its_session(loop: str, spec: ServerTlsSpec, version: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with Server(context(spec), hello_world) as server:
            base = [
                "openssl",
                "s_client",
                "-connect",
                f"127.0.0.1:{server.port}",
                "-servername",
                "a.test",
                version,
            ]
            kept = str(tmp_path / "session")
            request = b"GET / HTTP/1.1\r\n\r\n"
            assert b"\nNew, TLSv1." in await _talk([*base, "-sess_out", kept], request)
            assert b"\nReused, TLSv1." in await _talk([*base, "-sess_in", kept], request)

    on(loop, test)


async def _talk(command: list[str], request: bytes) -> bytes:
    """What s_client prints until the answer has come and its input is ended."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(request)
    printed = await process.stdout.readuntil(b"hello")
    process.stdin.close()
    printed += await process.stdout.read()
    await process.wait()
    return printed


# --- transport


def test_what_the_transport_tells(loop: str) -> None:
    async def test() -> None:
        async with Server(context(), echo) as server:

            def work(secure: ssl.SSLSocket) -> None:
                secure.sendall(b"x")
                assert secure.recv(1) == b"x"

            work_done = visitor(server.port, client(alpn=("http/1.1",)), work)
            waiting = asyncio.ensure_future(work_done)
            inner = await server.connected()
            transport = inner.transport
            tls = transport.get_extra_info("tls")
            assert (tls.server_name, tls.version, tls.alpn) == ("a.test", "TLSv1.3", "http/1.1")
            assert tls.cipher.startswith("TLS_")
            assert transport.get_extra_info("sockname") == ("127.0.0.1", server.port)
            assert transport.get_extra_info("nothing", 7) == 7
            assert transport.can_write_eof()
            assert not transport.is_closing()
            assert transport.get_write_buffer_size() == 0
            await waiting
            await inner.gone.wait()
            assert transport.is_closing()

    on(loop, test)


class _Careful(Inner):
    """Reads on when its answers leave again."""

    def resume_writing(self) -> None:
        super().resume_writing()
        self.transport.resume_reading()


@pytest.mark.parametrize("spec", SPECS)
def test_bulk_comes_back_whole_past_a_slow_reader(loop: str, spec: ServerTlsSpec) -> None:
    """Flow control both ways: the server stops reading while its answers do not leave."""

    async def test() -> None:
        def answer(inner: Inner, data: bytes) -> None:
            inner.transport.write(data)
            if inner.paused:
                inner.transport.pause_reading()

        async with Server(context(spec), answer, _Careful) as server:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=client(), server_hostname="a.test"
            )
            inner = await server.connected()
            writer.write(BULK)
            writer.write(BULK)
            await inner.until(lambda: "pause" in inner.calls)
            digest, got = hashlib.sha256(), 0
            while got < 2 * len(BULK):
                piece = await reader.read(65_536)
                assert piece
                digest.update(piece)
                got += len(piece)
            assert digest.digest() == hashlib.sha256(BULK + BULK).digest()
            writer.close()

    on(loop, test)


def test_a_paused_protocol_is_not_fed_and_the_peer_is_held_up(loop: str) -> None:
    async def test() -> None:
        async with Server(context(), lambda inner, _: inner.transport.pause_reading()) as server:
            sent = 0
            stuck = asyncio.Event()
            running = asyncio.get_running_loop()

            def work(secure: ssl.SSLSocket) -> int:
                nonlocal sent
                secure.sendall(b"begin")
                secure.settimeout(0.3)
                try:
                    while sent < len(BULK) * 4:
                        sent += secure.send(BULK[:16_384])
                except TimeoutError:
                    pass
                running.call_soon_threadsafe(stuck.set)
                return sent

            waiting = asyncio.ensure_future(visitor(server.port, client(), work))
            inner = await server.connected()
            await stuck.wait()
            assert sent < len(BULK) * 4  # the kernel's buffers are full
            assert len(inner.heard) <= 2 * PLAIN_BYTES
            held = len(inner.heard)
            inner.transport.resume_reading()
            await inner.until(lambda: len(inner.heard) > held)
            await waiting

    on(loop, test)


def test_writing_is_paused_for_a_reader_that_does_not_read(loop: str) -> None:
    async def test() -> None:
        async with Server(context()) as server:
            read_on = asyncio.Event()

            def work(secure: ssl.SSLSocket) -> int:
                asyncio.run_coroutine_threadsafe(read_on.wait(), running).result()
                got = 0
                while piece := secure.recv(65_536):
                    got += len(piece)
                return got

            running = asyncio.get_running_loop()
            waiting = asyncio.ensure_future(visitor(server.port, client(), work))
            inner = await server.connected()
            written = 0
            while not inner.paused:
                inner.transport.write(BULK[:100_000])
                written += 100_000
            assert inner.transport.get_write_buffer_size() > 0
            read_on.set()
            await inner.until(lambda: not inner.paused)
            inner.transport.close()
            assert await waiting == written

    on(loop, test)


# --- ends


@pytest.mark.parametrize("spec", SPECS)
def test_half_close_keeps_the_other_direction_open(loop: str, spec: ServerTlsSpec) -> None:
    """As Envoy: our end of stream is close_notify, and the peer may go on."""

    async def test() -> None:
        async with Server(context(spec)) as server:

            def work(plain: socket.socket) -> tuple[bytes, bool]:
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                secure = client().wrap_bio(incoming, outgoing, server_hostname="a.test")
                _pump(plain, secure, incoming, outgoing, secure.do_handshake)
                first = _pump(plain, secure, incoming, outgoing, lambda: secure.read(100))
                ended = _pump(plain, secure, incoming, outgoing, lambda: secure.read(100)) == b""
                secure.write(b"still here")
                plain.sendall(outgoing.read())
                return first, ended

            waiting = asyncio.ensure_future(plain_visitor(server.port, work))
            inner = await server.connected()
            inner.keeps_open = True
            inner.transport.write(b"first")
            inner.transport.write_eof()
            inner.transport.write(b"never sent")
            assert await waiting == (b"first", True)
            await inner.until(lambda: bytes(inner.heard) == b"still here")

    on(loop, test)


def _pump(plain: socket.socket, secure: Any, incoming: Any, outgoing: Any, step: Any) -> Any:
    """Do ``step`` of a TLS object, with as much of the network as it takes."""
    while True:
        try:
            result = step()
        except ssl.SSLWantReadError:
            if outgoing.pending:
                plain.sendall(outgoing.read())
            received = plain.recv(65_536)
            assert received
            incoming.write(received)
        else:
            if outgoing.pending:
                plain.sendall(outgoing.read())
            return result


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("polite", [True, False], ids=["close_notify", "bare FIN"])
def test_the_peers_end_is_an_end_of_stream_and_can_be_answered(
    loop: str, spec: ServerTlsSpec, polite: bool
) -> None:
    async def test() -> None:
        async with Server(context(spec)) as server:

            def work(plain: socket.socket) -> bytes:
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                secure = client().wrap_bio(incoming, outgoing, server_hostname="a.test")
                _pump(plain, secure, incoming, outgoing, secure.do_handshake)
                secure.write(b"question")
                if polite:
                    with pytest.raises(ssl.SSLWantReadError):
                        secure.unwrap()
                plain.sendall(outgoing.read())
                plain.shutdown(socket.SHUT_WR)
                if polite:
                    while plain.recv(1000):
                        pass
                    return b""
                return bytes(_pump(plain, secure, incoming, outgoing, lambda: secure.read(100)))

            waiting = asyncio.ensure_future(plain_visitor(server.port, work))
            inner = await server.connected()
            inner.keeps_open = True
            await inner.until(lambda: "eof" in inner.calls)
            assert bytes(inner.heard) == b"question"
            assert inner.calls.count("eof") == 1
            inner.transport.write(b"answer")
            inner.transport.close()
            assert await waiting == (b"" if polite else b"answer")
            await inner.gone.wait()
            assert inner.error is None

    on(loop, test)


def test_an_end_that_nobody_wants_to_answer_closes(loop: str) -> None:
    async def test() -> None:
        async with Server(context()) as server:
            await visitor(server.port, client(), lambda secure: secure.unwrap())
            inner = await server.connected()
            await inner.gone.wait()
            assert inner.calls == ["made", "eof", "lost"]

    on(loop, test)


def test_close_says_goodbye_after_the_last_byte(loop: str) -> None:
    async def test() -> None:
        def answer(inner: Inner, _: bytes) -> None:
            inner.transport.write(BULK)
            inner.transport.close()
            inner.transport.close()
            inner.transport.write(b"never sent")

        def work(secure: ssl.SSLSocket) -> int:
            secure.sendall(b"x")
            got = 0
            while piece := secure.recv(65_536):  # an end without close_notify would raise
                got += len(piece)
            return got

        async with Server(context(), answer) as server:
            assert await visitor(server.port, client(), work) == len(BULK)

    on(loop, test)


def test_a_record_that_was_tampered_with_ends_the_connection_with_an_error(loop: str) -> None:
    async def test() -> None:
        async with Server(context()) as server:

            def work(plain: socket.socket) -> str:
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                secure = client().wrap_bio(incoming, outgoing, server_hostname="a.test")
                _pump(plain, secure, incoming, outgoing, secure.do_handshake)
                secure.write(b"good")
                good = outgoing.read()
                secure.write(b"tampered")
                plain.sendall(good + outgoing.read()[:-1] + b"!")
                with pytest.raises(ssl.SSLError) as caught:
                    _pump(plain, secure, incoming, outgoing, lambda: secure.read(100))
                return str(caught.value.reason)

            alert = await plain_visitor(server.port, work)
            assert "BAD_RECORD_MAC" in alert
            inner = await server.connected()
            await inner.gone.wait()
            assert bytes(inner.heard) == b"good"
            assert isinstance(inner.error, ssl.SSLError)

    on(loop, test)


def test_a_reset_is_told_once(loop: str) -> None:
    async def test() -> None:
        async with Server(context(), echo) as server:

            def work(secure: ssl.SSLSocket) -> None:
                secure.sendall(b"x")
                secure.recv(1)
                secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

            await visitor(server.port, client(), work)
            inner = await server.connected()
            await inner.gone.wait()
            assert inner.calls[-1] == "lost"

    on(loop, test)


def test_nothing_is_delivered_after_abort(loop: str) -> None:
    async def test() -> None:
        def answer(inner: Inner, data: bytes) -> None:
            inner.transport.abort()
            inner.transport.write(b"never sent")

        async with Server(context(), answer) as server:

            def work(secure: ssl.SSLSocket) -> None:
                secure.sendall(BULK[:200_000])
                secure.recv(1)

            with pytest.raises(OSError):  # noqa: PT011  reset or broken pipe, as it comes
                await visitor(server.port, client(), work)
            inner = await server.connected()
            await inner.gone.wait()
            assert inner.calls == ["made", "data", "lost"]

    on(loop, test)


def test_a_storm_of_resets_leaves_nothing_open(loop: str) -> None:
    async def test() -> None:
        def storm(port: int) -> None:
            for number in range(60):
                plain = socket.create_connection(("127.0.0.1", port))
                if number % 3:
                    plain.sendall(b"\x16\x03\x01\x02\x00\x01" if number % 3 == 1 else b"garbage\r\n\r\n")
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                plain.close()

        async with Server(context(), echo) as server:
            await asyncio.to_thread(storm, server.port)
            for _ in range(60):
                assert await server.reasons.get() != ""
            await server.until(lambda: all(each._state == layer_module.LOST for each in server.layers))
            assert all(inner.calls == [] for inner in server.inners)

    on(loop, test)


# --- handshakes that fail


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "|268435612:SSL routines:OPENSSL_internal:HTTP_REQUEST:"),
        (b"\x16\x03\x01\x00\x05hello", "TLS_error:|"),
        (b"\x00" * 64, "TLS_error:|"),
    ],
    ids=["plain HTTP", "garbage in a record", "zeros"],
)
def test_what_is_not_tls_is_refused_with_a_reason(
    loop: str, spec: ServerTlsSpec, data: bytes, reason: str
) -> None:
    async def test() -> None:
        async with Server(context(spec)) as server:

            def work(plain: socket.socket) -> None:
                plain.sendall(data)
                while plain.recv(1000):
                    pass

            await plain_visitor(server.port, work)
            assert reason in await server.reasons.get()
            assert server.inners[0].calls == []

    on(loop, test)


def test_the_alert_reaches_a_client_that_goes_on_sending(loop: str) -> None:
    async def test() -> None:
        mutual = ServerContext(
            ServerTlsSpec("o", "MUTUAL", (), subject_alt_names=("other.test",)),
            material(leaf(), ca=authority()),
        )
        async with Server(mutual) as server:

            def work(secure: ssl.SSLSocket) -> None:
                secure.sendall(b"GET / HTTP/1.1\r\n\r\n")
                secure.recv(1)

            with pytest.raises(ssl.SSLError, match="ALERT"):
                await visitor(server.port, client(certificate=leaf("client.test")), work)
            assert "SAN matcher" in await server.reasons.get()
            assert server.inners[0].calls == []

    on(loop, test)


def test_a_handshake_has_fifteen_seconds(loop: str) -> None:
    async def test() -> None:
        async with Server(context()) as server:

            def work(plain: socket.socket) -> bytes:
                plain.sendall(b"\x16\x03\x01")
                try:
                    return plain.recv(1)
                except ConnectionResetError:  # it had not been read
                    return b""

            waiting = asyncio.ensure_future(plain_visitor(server.port, work))
            await server.until(lambda: bool(server.layers) and server.layers[0]._transport is not None)
            (layer,) = server.layers
            layer.tick(layer.idle_since + HANDSHAKE_TIMEOUT_S - 0.1)
            assert server.reasons.empty()
            layer.tick(layer.idle_since + HANDSHAKE_TIMEOUT_S)
            assert await server.reasons.get() == reasons.TIMEOUT
            assert await waiting == b""

    on(loop, test)


def test_a_connection_that_ends_inside_the_handshake_is_told_to_nobody_else(loop: str) -> None:
    async def test() -> None:
        async with Server(context()) as server:
            await plain_visitor(server.port, lambda plain: plain.sendall(b"\x16\x03\x01"))
            assert (await server.reasons.get()).startswith(reasons.CLOSED)
            assert server.inners[0].calls == []

    on(loop, test)


# --- the client role


def test_both_roles_meet(loop: str) -> None:
    async def test() -> None:
        async with Server(context(), echo) as server:
            told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            inner = Inner()
            trusting = ClientContext(ClientTlsSpec("o", "SIMPLE", verify_host=True), material(ca=authority()))
            layer = TlsLayer(trusting, inner, lambda _, reason: told.set_result(reason), server_name="a.test")
            await asyncio.get_running_loop().create_connection(lambda: layer, "127.0.0.1", server.port)
            assert await told == ""
            inner.transport.write(BULK)
            await inner.until(lambda: len(inner.heard) == len(BULK))
            assert bytes(inner.heard) == BULK
            inner.transport.close()
            await inner.gone.wait()
            theirs = await server.connected()
            await theirs.gone.wait()
            assert theirs.calls[-2:] == ["eof", "lost"]

    on(loop, test)


def test_a_client_that_does_not_believe_never_lets_the_server_think_so(loop: str) -> None:
    async def test() -> None:
        async with Server(context(), echo) as server:
            told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            inner = Inner()
            strict = ClientContext(ClientTlsSpec("o", "SIMPLE", verify_host=True), material(ca=authority()))
            layer = TlsLayer(strict, inner, lambda _, reason: told.set_result(reason), server_name="b.test")
            await asyncio.get_running_loop().create_connection(lambda: layer, "127.0.0.1", server.port)
            assert "verify SAN list, expected SANs: [b.test]" in await told
            assert await server.reasons.get() != ""
            assert inner.calls == []
            assert server.inners[0].calls == []

    on(loop, test)


def test_a_layer_given_up_before_it_stood_closes_at_once(loop: str) -> None:
    told: list[str] = []
    layer = TlsLayer(context(), Inner(), lambda _, reason: told.append(reason))
    layer.abort()
    transport = FakeTransport(layer)
    transport.settle()
    assert transport.closing
    assert told == [reasons.CLOSED]


def test_material_that_openssl_will_not_have_fails_the_connection_and_no_more(loop: str) -> None:
    class Broken:
        speaks_first = False

        def open(self, server_name: str, *, older: bool) -> Any:
            raise MaterialError("certificate and key cannot be used: ca md too weak")

    told: list[str] = []
    inner = Inner()
    transport = FakeTransport(TlsLayer(Broken(), inner, lambda _, reason: told.append(reason)))
    transport.settle()
    assert transport.closing
    assert told == ["certificate and key cannot be used: ca md too weak"]
    assert inner.calls == []
