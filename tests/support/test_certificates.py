"""Certificates are what was wished for, and recorder and client meet over TLS with them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    wishes = {
        "up": CertificateWish("up", sans=["a.test", "URI:spiffe://x/y", "IP:127.0.0.1"], ca="ca"),
        "ca": CertificateWish("ca", ca="ca", is_ca=True),
        "old": CertificateWish("old", days=-1, key="ec"),
        "cli": CertificateWish("cli", ca="ca", key="ec"),
    }
    return CertificateFolder(tmp_path_factory.mktemp("certs"), wishes)


def test_names_and_validity(folder: CertificateFolder) -> None:
    decode = ssl._ssl._test_decode_cert  # type: ignore[attr-defined]
    up = decode(str(folder.certificate("up")))
    assert up["subjectAltName"] == (("DNS", "a.test"), ("URI", "spiffe://x/y"), ("IP Address", "127.0.0.1"))
    assert up["issuer"] == ((("commonName", "ca"),),)
    old = decode(str(folder.certificate("old")))
    assert ssl.cert_time_to_seconds(old["notAfter"]) < Path(folder.certificate("old")).stat().st_mtime


async def test_tls_is_spoken_and_noted(folder: CertificateFolder) -> None:
    recorder = Recorder("up", "https", folder.server_context("up", alpn=["x-own"], client_ca="ca"))
    async with recorder:
        context = folder.client_context(client_cert="cli", trust="ca", alpn=["x-own"])
        outcome = await RawClient(recorder.port, tls=context, sni="a.test").http(b"GET / HTTP/1.1\r\n\r\n")
        assert outcome.response.body == b"up"
        assert outcome.tls is not None
        assert (outcome.tls["version"], outcome.tls["alpn"]) == ("TLSv1.3", "x-own")
        noted = recorder.seen[0].tls
        assert noted is not None
        assert (noted["sni"], noted["alpn"]) == ("a.test", "x-own")
        distrust = folder.client_context(client_cert="cli", trust="old")
        refused = await RawClient(recorder.port, tls=distrust, sni="a.test").http(b"GET / HTTP/1.1\r\n\r\n")
        assert refused.outcome == "tls_error"
