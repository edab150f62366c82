"""What testssl.sh finds in a default HTTPS server: nothing above LOW that a default Envoy would not have.

The checks are those of protocols, ciphers, forward secrecy, the server's picks and defaults, headers and all
vulnerabilities (``-p -s -f -P -S -h -U``): every one that testssl.sh has but client simulation, which says whom a
server takes and not how well. In one run they share what they learn of the server, so leaving some out saves little.
No name is looked up and no other machine asked.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.gateway_process import GatewayProcess

CHECKS = ("-p", "-s", "-f", "-P", "-S", "-h", "-U")
HARMLESS = ("OK", "INFO", "LOW", "DEBUG")
# Found above LOW in Envoy 1.40 too, with a listener as Istio configures it (TLS 1.2 to 1.3, ALPN h2 and
# http/1.1, its default ciphers) and a certificate like the one here.
ENVOY_HAS_IT_TOO = {
    "cert_revocation": "the certificate names no CRL and no OCSP responder: the authority's choice",
    "security_headers": "such headers are the application's to set; a proxy adds none by itself",
}
# Level WARN: a look that testssl.sh could not take.
NOT_LOOKED = {
    "engine_problem": "of the openssl program testssl.sh calls, not of the server",
    "sessionresumption_ticket": "openssl s_client left before the ticket, which follows the handshake, came",
    "sessionresumption_ID": "the same; tests of TLS show that sessions are resumed",
}
# What must have been looked at, or an empty report would do: one id of each check.
LOOKED_AT = {
    *(
        "TLS1",
        "TLS1_2",
        "TLS1_3",
        "cipherlist_NULL",
        "FS",
        "cipher_order",
        "protocol_negotiated",
        "cert_trust",
    ),
    *(
        "HTTP_status_code",
        "heartbleed",
        "ROBOT",
        "secure_renego",
        "secure_client_renego",
        "CRIME_TLS",
        "BREACH",
    ),
    *("POODLE_SSL", "fallback_SCSV", "SWEET32", "FREAK", "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4", "CCS"),
}
CONFIG = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls: {mode: SIMPLE, credentialName: site}
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


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one run found. The key is RSA: with it there is more that could be wrong than with ECDSA."""
    return asyncio.run(_findings(tmp_path_factory.mktemp("testssl")))


async def _findings(folder: Path) -> list[dict[str, Any]]:
    wishes = {
        "ca": CertificateWish("Example CA", is_ca=True, days=90),
        "site": CertificateWish("localhost", ["localhost"], ca="ca", days=90),
    }
    certificates = CertificateFolder(folder / "certificates", wishes)
    secret = folder / "secrets" / "site"
    secret.mkdir(parents=True)
    (secret / "tls.crt").write_bytes(certificates.certificate("site").read_bytes())
    (secret / "tls.key").write_bytes(certificates.key("site").read_bytes())
    (folder / "config").mkdir()
    (folder / "config" / "edge.yaml").write_text(CONFIG)
    async with GatewayProcess(
        [folder / "config"], listen=[443], flags=["--secrets", str(secret.parent)]
    ) as gateway:
        return await _tested(folder, gateway.port(443), certificates.certificate("ca"))


async def _tested(folder: Path, port: int, authority: Path) -> list[dict[str, Any]]:
    report = folder / "report.json"
    process = await asyncio.create_subprocess_exec(
        *("testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1"),
        *("--add-ca", authority, "--jsonfile", report, *CHECKS, f"https://localhost:{port}"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
    )
    try:
        async with asyncio.timeout(900):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert report.exists(), output.decode(errors="replace")
    found: list[dict[str, Any]] = json.loads(report.read_text())
    for finding in found:
        # "BEAST_CBC_TLS1" and the like stay; a certificate's number goes, and version 3.0 says PFS for FS.
        finding["id"] = finding["id"].split(" ")[0].replace("PFS", "FS")
    return found


def _told(finding: Mapping[str, Any]) -> str:
    return f"{finding['severity']} {finding['id']}: {finding['finding']}"


def test_nothing_above_low_that_envoy_would_not_have(findings: list[dict[str, Any]]) -> None:
    above = [finding for finding in findings if finding["severity"] not in HARMLESS]
    new = [finding for finding in above if finding["id"] not in ENVOY_HAS_IT_TOO]
    assert [_told(f) for f in new if not (f["severity"] == "WARN" and f["id"] in NOT_LOOKED)] == []


def test_every_check_was_made(findings: list[dict[str, Any]]) -> None:
    assert LOOKED_AT - {finding["id"] for finding in findings} == set()


def test_what_a_server_of_today_should_offer_is_offered(findings: list[dict[str, Any]]) -> None:
    by_id = {finding["id"]: finding["finding"] for finding in findings}
    assert by_id["TLS1_3"].startswith("offered")
    assert by_id["TLS1_2"].startswith("offered")
    assert by_id["TLS1_1"].startswith("not offered")
    assert by_id["TLS1"].startswith("not offered")
    assert by_id["FS"].startswith("offered")
