"""What a connection costs on which nothing happens (hardening 9.6): at most 24 KiB, with TLS 80 KiB."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.gateway_process import GatewayProcess

CONFIG = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: site}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes, namespace: istio-system}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - directResponse: {status: 200, body: {string: here}}
"""
GET = b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"
#: Before anything is measured, so that what is made once is there.
WARM = 30


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def ask(stack: contextlib.ExitStack, port: int, tls: ssl.SSLContext | None, count: int) -> None:
    """So many connections, each with an answered request, open until the stack is left."""
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port), timeout=30.0)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            client = tls.wrap_socket(client, server_hostname="a.test")
        stack.enter_context(client)
        client.sendall(GET)
        said = b""
        while not said.endswith(b"here"):
            piece = client.recv(65536)
            assert piece
            said += piece


async def test_an_idle_connection_is_cheap_with_tls_and_without(tmp_path: Path) -> None:
    certificates = CertificateFolder(
        tmp_path / "certificates", {"site": CertificateWish("site", ["a.test"], is_ca=True, key="ec")}
    )
    secret = tmp_path / "secrets" / "site"
    secret.mkdir(parents=True)
    (secret / "tls.crt").write_bytes(certificates.certificate("site").read_bytes())
    (secret / "tls.key").write_bytes(certificates.key("site").read_bytes())
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "edge.yaml").write_text(CONFIG)
    flags = ["--secrets", str(secret.parent), "--access-log", "off"]
    trust = certificates.client_context(trust="site")
    async with GatewayProcess([tmp_path / "config"], listen=[80, 443], flags=flags) as gateway:
        with contextlib.ExitStack() as stack:
            for number, tls, count, most in ((80, None, 300, 24 * 1024), (443, trust, 150, 80 * 1024)):
                port = gateway.port(number)
                await asyncio.to_thread(ask, stack, port, tls, WARM)
                before = resident(gateway.pid)
                await asyncio.to_thread(ask, stack, port, tls, count)
                assert resident(gateway.pid) - before < count * most
