"""The Gateway with five servers loads as it is written, and with its certificates in place each server serves.

HTTP with httpsRedirect, HTTPS with files, HTTPS with credentialName and hosts of one namespace, HTTP, MySQL.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import Outcome, RawClient
from tests.support.recorder import Recorder

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ingress-gateway"
PORTS = (80, 443, 9080, 9443, 3306, 15443)
SITE = "zackzhangkai.github.io"
WITH_COOKIE = "GET /get HTTP/1.1\r\nhost: {host}\r\ncookie: user=dev-123\r\n\r\n"


def test_as_written_it_has_no_error_and_each_server_without_a_certificate_is_named() -> None:
    program = subprocess.run(
        [sys.executable, "-m", "gatewayd", "validate", EXAMPLE / "rules"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert program.returncode == 0, program
    text = program.stdout + program.stderr
    assert "3 files, 6 resources, 0 errors" in text
    assert "/etc/certs/servercert.pem" in text
    assert "istio-system/bookinfo-secret" in text
    assert "not served yet" not in text


class Served:
    """The gateway with its certificates, and what it routes to."""

    def __init__(self, gateway: GatewayProcess, certificates: CertificateFolder) -> None:
        self.gateway = gateway
        self.certificates = certificates

    async def https(self, port: int, host: str) -> Outcome:
        trust = self.certificates.client_context(trust="ca")
        client = RawClient(self.gateway.port(port), tls=trust, sni=host)
        return await client.http(WITH_COOKIE.format(host=host).encode())


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    wishes = {
        "ca": CertificateWish("example.com", is_ca=True, key="ec"),
        "servercert": CertificateWish(SITE, [SITE], ca="ca", key="ec"),
        "bookinfo": CertificateWish("*.bookinfo.com", ["*.bookinfo.com"], ca="ca", key="ec"),
        "mysql": CertificateWish("mysql", ["mysql.test"], key="ec"),
    }
    certificates = CertificateFolder(folder / "certificates", wishes)
    secret = folder / "secrets" / "bookinfo-secret"
    secret.mkdir(parents=True)
    shutil.copy(certificates.certificate("bookinfo"), secret / "tls.crt")
    shutil.copy(certificates.key("bookinfo"), secret / "tls.key")
    shutil.copytree(EXAMPLE / "rules", folder / "config")
    shutil.copytree(EXAMPLE / "more", folder / "config" / "more")
    gateway_file = folder / "config" / "gateway.yaml"
    text = gateway_file.read_text()
    for written, ours in (
        ("servercert.pem", certificates.certificate("servercert")),
        ("privatekey.pem", certificates.key("servercert")),
    ):
        assert f"/etc/certs/{written}" in text
        text = text.replace(f"/etc/certs/{written}", str(ours))
    gateway_file.write_text(text)
    async with (
        Recorder("httpbin") as httpbin,
        Recorder("mysql", "https", certificates.server_context("mysql")) as mysql,
        GatewayProcess(
            [folder / "config"],
            listen=PORTS,
            flags=[
                *("--secrets", str(secret.parent), "--labels", "istio=ingressgateway"),
                *("--endpoint", f"httpbin.test-gateway=127.0.0.1:{httpbin.port}"),
                *("--endpoint", f"mysql.test=127.0.0.1:{mysql.port}"),
            ],
        ) as gateway,
    ):
        yield Served(gateway, certificates)


async def test_each_server_does_what_it_says(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        port = place.gateway.port
        plain = await RawClient(port(80)).http(WITH_COOKIE.format(host=SITE).encode())
        assert plain.response.status == 301
        assert plain.response.values("location") == [f"https://{SITE}/get"]

        files = await place.https(443, SITE)
        assert files.response.body == b"httpbin"

        wildcard = await RawClient(port(9080)).http(WITH_COOKIE.format(host=SITE).encode())
        assert wildcard.response.body == b"httpbin"

        named = await place.https(9443, "shop.bookinfo.com")
        assert named.response.body == b"httpbin"
        assert (await place.https(9443, "cart.bookinfo.com")).response.status == 404, "of another namespace"


async def test_names_no_server_has_are_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as place:
        refused = await asyncio.gather(
            place.https(443, "shop.bookinfo.com"), place.https(9443, SITE), place.https(9443, "bookinfo.com")
        )
        assert {outcome.outcome for outcome in refused} <= {"reset", "closed"}


@pytest.mark.parametrize("port", [3306, 15443])
async def test_mysql_and_the_port_between_clusters_pass_bytes_through(tmp_path: Path, port: int) -> None:
    async with served(tmp_path) as place:
        sni = "outbound_.3306_._.mysql.test.svc.cluster.local"
        trust = place.certificates.client_context(trust="mysql", alpn=["istio"])
        outcome = await RawClient(place.gateway.port(port), tls=trust, sni=sni).http(
            b"GET / HTTP/1.1\r\n\r\n"
        )
        assert outcome.response.body == b"mysql"
