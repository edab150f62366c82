"""Certificates are swapped under load, 200 times, and no request fails (semantics 3.13).

One credential is swapped as certbot and people do it, files renamed over files, one after the other; the other as
Kubernetes does it, a link exchanged that points to the folder of the day. Clients make a connection and a handshake
for every request and trust nobody but the authority of the certificates.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatewayd.tls.authority import Issued, make_authority, make_leaf
from tests.support.gateway_process import GatewayProcess

SWAPS = 200
SEEN_EVERY = 20  # how often the swapping waits until the newest certificate is served
CLIENTS = 2  # for each credential
HOSTS = ("files.test", "links.test")
CONFIG = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 443, name: a, protocol: HTTPS}, hosts: [files.test], tls: {mode: SIMPLE, credentialName: files}}
  - {port: {number: 443, name: b, protocol: HTTPS}, hosts: [links.test], tls: {mode: SIMPLE, credentialName: links}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: site, namespace: istio-system}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - directResponse: {status: 200, body: {string: "hello"}}
"""


def by_rename(folder: Path, number: int, leaf: Issued) -> None:
    """First one file, then the other: in between they do not fit together."""
    folder.mkdir(exist_ok=True)
    for name, pem in (("tls.key", leaf.private_key), ("tls.crt", leaf.certificate)):
        (folder / f".{name}.new").write_bytes(pem)
        os.replace(folder / f".{name}.new", folder / name)


def by_link(folder: Path, number: int, leaf: Issued) -> None:
    """A folder of the day, and ``..data`` exchanged to point to it."""
    day = folder / f"..{number}"
    day.mkdir(parents=True)
    (day / "tls.crt").write_bytes(leaf.certificate)
    (day / "tls.key").write_bytes(leaf.private_key)
    before = folder / "..data"
    old = os.readlink(before) if before.is_symlink() else ""
    (folder / "..data_tmp").symlink_to(day.name)
    os.replace(folder / "..data_tmp", before)
    for name in ("tls.crt", "tls.key"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    if old:
        for name in ("tls.crt", "tls.key"):
            (folder / old / name).unlink()
        (folder / old).rmdir()


SWAP: dict[str, Callable[[Path, int, Issued], None]] = {"files.test": by_rename, "links.test": by_link}


class Crowd:
    """Clients that ask until they are told to stop."""

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        self.port = port
        self.trust = trust
        self.asked: Counter[str] = Counter()
        self.shown: dict[str, set[bytes]] = {host: set() for host in HOSTS}
        self.newest: dict[str, bytes] = {}
        self.failures: list[str] = []
        self.stopped = False

    async def keep_asking(self, host: str) -> None:
        while not self.stopped:
            try:
                self.newest[host] = certificate = await self.ask(host)
            except (OSError, EOFError, AssertionError, TimeoutError) as error:
                self.failures.append(f"{host}: {error!r}")
                return
            self.shown[host].add(certificate)
            self.asked[host] += 1

    async def ask(self, host: str) -> bytes:
        """One request over one new connection; the server's certificate."""
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=self.trust, server_hostname=host
            )
            try:
                writer.write(b"GET / HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n" % host.encode())
                answer = await reader.read()
            finally:
                certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer
        assert answer.endswith(b"\r\n\r\nhello"), answer
        return certificate

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not condition():
                assert not self.failures, self.failures
                await asyncio.sleep(0.002)


def der(leaf: Issued) -> bytes:
    return x509.load_pem_x509_certificate(leaf.certificate).public_bytes(Encoding.DER)


async def test_200_swaps_fail_no_request_and_the_last_certificate_is_served(tmp_path: Path) -> None:
    authority = make_authority("swaps", 1)
    leaves = {host: make_leaf([host], 1, authority) for host in HOSTS}
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for host in HOSTS:
        SWAP[host](secrets / host.partition(".")[0], 0, leaves[host])
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "edge.yaml").write_text(CONFIG)
    trust = ssl.create_default_context(cadata=authority.certificate.decode())
    flags = ["--secrets", str(secrets), "--watch"]
    async with GatewayProcess([tmp_path / "config"], listen=[443], flags=flags) as gateway:
        crowd = Crowd(gateway.port(443), trust)
        asking = [asyncio.create_task(crowd.keep_asking(host)) for host in HOSTS for _ in range(CLIENTS)]
        for number in range(1, SWAPS + 1):
            host = HOSTS[number % 2]
            leaves[host] = make_leaf([host], 1, authority)
            SWAP[host](secrets / host.partition(".")[0], number, leaves[host])
            asked = crowd.asked[host]
            await crowd.until(lambda host=host, asked=asked: crowd.asked[host] > asked)  # type: ignore[misc]
            if number % SEEN_EVERY == 0:
                await crowd.until(
                    lambda: all(crowd.newest.get(each) == der(leaf) for each, leaf in leaves.items())
                )
        crowd.stopped = True
        await asyncio.gather(*asking)
        assert crowd.failures == []
        for host in HOSTS:
            assert await crowd.ask(host) == der(leaves[host]), "the last certificate is the one served"
            assert len(crowd.shown[host]) >= SWAPS / SEEN_EVERY, "swaps were seen, not only the last"
        log = gateway.stderr_text()
    assert "Traceback" not in log
    assert "PRIVATE KEY" not in log
