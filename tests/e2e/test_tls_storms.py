"""Clients and upstreams that leave at the worst moment, over HTTPS, TLS-terminated TCP, passthrough and TCP.

The process serves what each leaves behind, and afterwards it holds no descriptor more than before and everything
still works: nothing leaks, nothing is stuck.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import Outcome, RawClient
from tests.support.recorder import Recorder

ROUNDS = 12
WIDTH = 16
HTTPS, TLS_TCP, PASSTHROUGH, TCP = 443, 6380, 8443, 3306
PATIENCE_S = 0.2  # of a client that waits for what may never come
_RST = struct.pack("ii", 1, 0)
GET = b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100000\r\n\r\nxyz"
CONFIG = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: site}}
  - {port: {number: 6380, name: tls-tcp, protocol: TLS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: site}}
  - {port: {number: 8443, name: tls, protocol: TLS}, hosts: ["*"], tls: {mode: PASSTHROUGH}}
  - {port: {number: 3306, name: mysql, protocol: MYSQL}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes, namespace: istio-system}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - route: [{destination: {host: web.test}}]
  tls:
  - match: [{port: 8443, sniHosts: ["a.test"]}]
    route: [{destination: {host: sec.test}}]
  tcp:
  - match: [{port: 6380}, {port: 3306}]
    route: [{destination: {host: lines.test}}]
---
{entries}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: istio-system}}
spec:
  hosts: [{name}.test]
  location: MESH_EXTERNAL
  ports: [{{number: {number}, name: p, protocol: {protocol}}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{p: {port}}}}}]
"""
UPSTREAMS = {"web": ("HTTP", "http"), "sec": ("TLS", "https"), "lines": ("TCP", "tcp")}


class Storm:
    """A gateway with its upstreams, and clients that misbehave."""

    def __init__(
        self, gateway: GatewayProcess, recorders: dict[str, Recorder], trust: ssl.SSLContext
    ) -> None:
        self.gateway = gateway
        self.recorders = recorders
        self.trust = trust

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.gateway.pid}/fd"))

    async def works(self) -> None:
        """One good conversation of each kind."""
        web = await RawClient(self.gateway.port(HTTPS), tls=self.trust, sni="a.test").http(GET)
        sec = await RawClient(self.gateway.port(PASSTHROUGH), tls=self.trust, sni="a.test").http(GET)
        tls_tcp = await RawClient(self.gateway.port(TLS_TCP), tls=self.trust, sni="a.test").tcp(b"x")
        tcp = await RawClient(self.gateway.port(TCP)).tcp(b"x")
        assert (said(web), said(sec), tls_tcp.data, tcp.data) == (b"web", b"sec", b"lines:x", b"lines:x")

    async def settled(self, before: int) -> None:
        """Wait until no more descriptors are held than ``before``."""
        deadline = time.monotonic() + 150  # pooled upstream connections go after a minute
        while (held := self.descriptors()) > before:
            assert time.monotonic() < deadline, f"{held} descriptors, {before} before"
            await asyncio.sleep(0.05)


def said(outcome: Outcome) -> bytes:
    return (
        outcome.responses[0].body if outcome.responses else outcome.error.encode() or outcome.outcome.encode()
    )


@asynccontextmanager
async def storming(folder: Path) -> AsyncIterator[Storm]:
    wishes = {"site": CertificateWish("site", ["a.test"], is_ca=True, key="ec")}
    certificates = CertificateFolder(folder / "certificates", wishes)
    secret = folder / "secrets" / "site"
    secret.mkdir(parents=True)
    (secret / "tls.crt").write_bytes(certificates.certificate("site").read_bytes())
    (secret / "tls.key").write_bytes(certificates.key("site").read_bytes())
    recorders: dict[str, Recorder] = {}
    entries = []
    for number, (name, (protocol, kind)) in enumerate(UPSTREAMS.items(), start=9000):
        context = certificates.server_context("site") if kind == "https" else None
        recorders[name] = recorder = Recorder(name, kind, context)  # type: ignore[arg-type]
        await recorder.start()
        entries.append(ENTRY.format(name=name, number=number, protocol=protocol, port=recorder.port))
    (folder / "config").mkdir()
    (folder / "config" / "edge.yaml").write_text(CONFIG.replace("{entries}", "---".join(entries)))
    try:
        async with GatewayProcess(
            [folder / "config"],
            listen=[HTTPS, TLS_TCP, PASSTHROUGH, TCP],
            flags=["--secrets", str(secret.parent), "--access-log", "off"],
        ) as gateway:
            yield Storm(gateway, recorders, certificates.client_context(trust="site"))
    finally:
        for recorder in recorders.values():
            await recorder.close()


def reset(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    sock.close()


def half_close(sock: socket.socket) -> None:
    """FIN, a little silence, and only then the end: whoever waits for the other half must not wait for ever."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(PATIENCE_S)
        while sock.recv(65536):
            pass
    sock.close()


ENDS: list[Callable[[socket.socket], None]] = [reset, half_close, socket.socket.close]


def hello(trust: ssl.SSLContext) -> bytes:
    """The first bytes a TLS client sends."""
    outgoing = ssl.MemoryBIO()
    client = trust.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.test")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def misbehave(port: int, secure: bool, trust: ssl.SSLContext, seed: int) -> None:
    """One connection that ends at some moment in some way; runs in a thread, with sockets as they are."""
    rng = random.Random(seed)
    end = rng.choice(ENDS)
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    moment = rng.randrange(6)
    try:
        if moment == 0:
            pass  # without a word
        elif moment == 1:
            first = hello(trust) if secure else GET
            sock.sendall(first[: rng.randrange(1, len(first))])
        elif moment == 2:
            sock.sendall(hello(trust) if secure else b"\0" * 100)  # and never the rest of the handshake
        else:
            if secure:
                sock = trust.wrap_socket(sock, server_hostname="a.test", suppress_ragged_eofs=False)
            sock.settimeout(PATIENCE_S)
            sock.sendall(rng.choice([GET, POST, GET * 3]))
            if moment == 3:
                sock.recv(rng.choice([1, 65536]))
            if moment == 4 and isinstance(sock, ssl.SSLSocket):
                sock = sock.unwrap()
    except OSError:  # the other side was quicker
        pass
    end(sock)


@pytest.mark.parametrize(
    ("port", "secure"),
    [(HTTPS, True), (TLS_TCP, True), (PASSTHROUGH, True), (TCP, False)],
    ids=["https", "tls-to-tcp", "passthrough", "tcp"],
)
async def test_clients_that_leave_leave_nothing_behind(tmp_path: Path, port: int, secure: bool) -> None:
    async with storming(tmp_path) as storm:
        await storm.works()
        before = storm.descriptors()
        where = storm.gateway.port(port)
        for turn in range(ROUNDS):
            await asyncio.gather(
                *(
                    asyncio.to_thread(misbehave, where, secure, storm.trust, turn * WIDTH + number)
                    for number in range(WIDTH)
                )
            )
        await storm.settled(before)
        await storm.works()
        assert storm.gateway.exit_code is None
        assert "Traceback" not in storm.gateway.stderr_text()


@pytest.mark.parametrize(
    "behaviour", [{"reset": "before_headers"}, {"close": "mid_body"}, {"reset": "accept"}]
)
async def test_upstreams_that_leave_leave_no_client_hanging(
    tmp_path: Path, behaviour: dict[str, object]
) -> None:
    async with storming(tmp_path) as storm:
        await storm.works()
        before = storm.descriptors()
        for name in ("web", "lines"):
            storm.recorders[name].play(behaviour)
        for _ in range(ROUNDS // 4):
            await asyncio.gather(*(one(storm, number) for number in range(WIDTH)))
        for recorder in storm.recorders.values():
            recorder.play({})
        await storm.settled(before)
        await storm.works()


async def one(storm: Storm, number: int) -> None:
    """A client of some kind that gets an answer or an end."""
    port = (HTTPS, TLS_TCP, TCP)[number % 3]
    client = RawClient(
        storm.gateway.port(port), tls=None if port == TCP else storm.trust, sni="a.test", timeout_s=60
    )
    outcome = await (client.http(GET) if port == HTTPS else client.tcp(b"hello"))
    assert outcome.outcome != "timeout", f"port {port} hangs"
