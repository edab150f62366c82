"""Certificates of a serving process: where they are found, and how new ones come into use (semantics 3.9 to 3.13)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gatewayd.cli import main
from gatewayd.tls.authority import Issued
from tests.runtime.running import LIMIT_S, Running, running
from tests.tls.material import authority, leaf, write, write_pair

A, B = leaf("shop.test", 1), leaf("shop.test", 2)

GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - port: {number: 443, name: shop, protocol: HTTPS}
    hosts: ["shop.test"]
    tls: {mode: SIMPLE, credentialName: shop}
  - port: {number: 443, name: files, protocol: HTTPS}
    hosts: ["files.test"]
    tls: {mode: SIMPLE, serverCertificate: FOLDER/tls.crt, privateKey: FOLDER/tls.key}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http: [{directResponse: {status: 200, body: {string: hello}}}]
"""


class Site:
    """A folder of configuration, one of secrets, one of files, all in use by one process."""

    def __init__(self, folder: Path) -> None:
        self.config, self.secrets, self.files = folder / "config", folder / "secrets", folder / "files"
        for made in (self.config, self.secrets, self.files):
            made.mkdir()
        (self.config / "gw.yaml").write_text(GATEWAY.replace("FOLDER", str(self.files)))
        self.process: Running

    @asynccontextmanager
    async def serving(self, *words: str) -> AsyncIterator[int]:
        """The port of the TLS listener."""
        flags = ["--port-map", "443=0", "--status", "off", "--bind", "127.0.0.1", "--access-log", "off"]
        async with running("run", self.config, "--secrets", self.secrets, *flags, *words) as self.process:
            found = await self.process.until_said(r"listener\s+\w+://[\d.]+:(\d+)")
            yield int(found[1])

    async def until_serves(self, port: int, issued: Issued, name: str = "shop.test") -> None:
        deadline = asyncio.get_running_loop().time() + LIMIT_S
        while (answer := await shown(port, name)) != der(issued):
            words = (
                f"it shows {'nothing' if answer is None else 'another one'}; it said:\n{self.process.said}"
            )
            assert asyncio.get_running_loop().time() < deadline, words
            await asyncio.sleep(0.02)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def der(issued: Issued) -> bytes:
    return ssl.PEM_cert_to_DER_cert(issued.certificate.decode())


def trusting(*, check: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority().certificate.decode())
    context.check_hostname = check
    return context


async def shown(port: int, name: str = "shop.test") -> bytes | None:
    """The certificate a server shows, None when it closes instead."""
    try:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusting(check=False), server_hostname=name
        )
    except OSError:
        return None
    answer: bytes = writer.get_extra_info("ssl_object").getpeercert(True)
    writer.close()
    return answer


async def get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n")
    async with asyncio.timeout(LIMIT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        return await reader.readexactly(5)


def secret(issued: Issued, key: bytes | None = None) -> str:
    values = {"tls.crt": issued.certificate, "tls.key": issued.private_key if key is None else key}
    data = {name: base64.b64encode(value).decode() for name, value in values.items()}
    metadata = {"name": "shop", "namespace": "istio-system"}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})


def mount(folder: Path, issued: Issued, version: str) -> None:
    """Swap the certificate as Kubernetes does: a new folder, then one link in the place of another."""
    write_pair(folder / f"..{version}", issued)
    (folder / "..data_tmp").symlink_to(f"..{version}")
    os.replace(folder / "..data_tmp", folder / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")


async def test_a_missing_certificate_hurts_only_its_server_until_it_appears(site: Site) -> None:
    write_pair(site.files, B)
    async with site.serving() as port:
        assert "does not exist" in site.process.said
        assert await shown(port) is None
        assert await shown(port, "files.test") == der(B)
        site.process.signal(signal.SIGQUIT)
        await site.process.until_said(r"Gateway istio-system/edge servers\[0\]: credential .* does not exist")
        (site.secrets / "shop").mkdir()
        mount(site.secrets / "shop", A, "one")
        await site.until_serves(port, A)


async def test_a_kubernetes_mount_is_swapped_without_a_lost_connection(site: Site) -> None:
    (site.secrets / "shop").mkdir()
    mount(site.secrets / "shop", A, "one")
    async with site.serving() as port:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusting(), server_hostname="shop.test"
        )
        assert await get(reader, writer) == b"hello"
        mount(site.secrets / "shop", B, "two")
        await site.until_serves(port, B)
        assert await get(reader, writer) == b"hello", "the connection of before goes on"
        writer.close()


async def test_files_that_a_gateway_names_are_watched(site: Site) -> None:
    write_pair(site.files, A)
    async with site.serving() as port:
        assert await shown(port, "files.test") == der(A)
        write_pair(site.files, B)
        await site.until_serves(port, B, "files.test")


async def test_a_secret_document_outranks_folders_and_is_watched(site: Site) -> None:
    write_pair(site.secrets / "shop", A)
    (site.config / "secret.yaml").write_text(secret(B))
    async with site.serving() as port:
        assert await shown(port) == der(B)
        (site.config / "secret.yaml").unlink()
        await site.until_serves(port, A)
        (site.config / "later.yaml").write_text(secret(B))
        await site.until_serves(port, B)


async def test_a_broken_pair_is_told_and_the_old_one_stays(site: Site) -> None:
    write_pair(site.secrets / "shop", A)
    async with site.serving() as port:
        write(site.secrets / "shop", tls_crt=B.certificate)
        await site.process.until_said("not used: .*the key does not fit the certificate")
        assert await shown(port) == der(A)
        write(site.secrets / "shop", tls_key=B.private_key)
        await site.until_serves(port, B)
        assert "PRIVATE" not in site.process.said


async def test_without_watching_nothing_changes(site: Site) -> None:
    write_pair(site.secrets / "shop", A)
    async with site.serving("--no-watch") as port:
        write_pair(site.secrets / "shop", B)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await site.until_serves(port, B)
        assert await shown(port) == der(A)


async def test_no_request_fails_over_two_hundred_swaps(site: Site) -> None:
    """Handshakes and requests go on while the certificate changes all the time, by mount and by file."""
    (site.secrets / "shop").mkdir()
    mount(site.secrets / "shop", A, "0")
    async with site.serving() as port:
        done = False
        served: set[bytes] = set()

        async def ask() -> int:
            requests = 0
            while not done:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=trusting(), server_hostname="shop.test"
                )
                served.add(writer.get_extra_info("ssl_object").getpeercert(True))
                for _ in range(3):
                    assert await get(reader, writer) == b"hello"
                    requests += 1
                writer.close()
                await asyncio.sleep(0.005)  # the thread that looks for changes needs a core as well
            return requests

        asking = [asyncio.ensure_future(ask()) for _ in range(2)]
        for number in range(1, 201):
            mount(site.secrets / "shop", (A, B)[number % 2], str(number))
            await asyncio.sleep(0.01)
            if number in (51, 101, 151):  # whatever else is missed, these are noticed
                await site.until_serves(port, B)
        await site.until_serves(port, A)
        done = True
        requests = [await one for one in asking]
        assert min(requests) > 3
        assert served == {der(A), der(B)}


async def test_a_process_with_a_watch_ends_cleanly(site: Site) -> None:
    write_pair(site.secrets / "shop", A)
    async with site.serving():
        site.process.signal(signal.SIGTERM)
        assert await site.process.ended() == 0
    assert "Traceback" not in site.process.said


def test_validate_reports_what_is_missing_broken_or_ends(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    write(site.files, tls_crt=A.certificate, tls_key=leaf("other.test").private_key)
    main(["validate", str(site.config), "--secrets", str(site.secrets), "-o", "json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    places = {(one["code"], one["line"], one["path"]) for one in findings}
    assert ("IST0101", 8, "spec.servers[0].tls.credentialName") in places
    assert ("GWD0106", 11, "spec.servers[1].tls.serverCertificate") in places

    write_pair(site.files, leaf("soon.test", days=5))
    write_pair(site.secrets / "shop", leaf("old.test", days=-5))
    code = main(["validate", str(site.config), "--secrets", str(site.secrets), "-o", "json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert code == 79, "an expired certificate is an error"
    assert {(one["code"], one["level"], one["line"]) for one in findings if one["code"] == "GWD0107"} == {
        ("GWD0107", "error", 8), ("GWD0107", "warning", 11),
    }  # fmt: skip


async def test_an_expired_certificate_is_served_all_the_same(site: Site) -> None:
    old = leaf("shop.test", days=-5)
    write_pair(site.secrets / "shop", old)
    async with site.serving() as port:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="shop.test")
        assert writer.get_extra_info("ssl_object").getpeercert(True) == der(old)
        writer.close()
        assert "has expired" in site.process.said
