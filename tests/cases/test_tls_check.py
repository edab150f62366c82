"""What TLS settled is compared word by word: each wrong one is told, and so is one that was not expected."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.cases.loading import Call, Case
from tests.cases.tls_check import (
    certificate_header_differences,
    client_tls_differences,
    is_passthrough,
    tls_bytes_alike,
    upstream_tls_differences,
)
from tests.cases.vocabulary import unknown_words
from tests.support.certificates import CertificateFolder, CertificateWish


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> x509.Certificate:
    folder = CertificateFolder(tmp_path_factory.mktemp("certs"), {"srv": CertificateWish("srv", key="ec")})
    return x509.load_pem_x509_certificate(folder.certificate("srv").read_bytes())


@pytest.fixture(scope="module")
def shown(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.DER).hex()


RIGHT = {"version": "TLSv1.3", "alpn": "http/1.1", "cipher": "A"}


def test_what_was_expected_is_no_difference(shown: str) -> None:
    came = {**RIGHT, "peer_cert_der": shown}
    expect = {"version": "TLSv1.3", "alpn": "http/1.1", "server_cert": "CN=srv"}
    assert client_tls_differences(expect, {"alpn": ["http/1.1"]}, came) == []
    expect = {"version": "TLSv1.3", "alpn": "http/1.1", "sni": "a.test", "client_cert": "CN=srv"}
    assert upstream_tls_differences(expect, {**came, "sni": "a.test"}) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"version": "TLSv1.2"}, "version"),
        ({"alpn": "h2"}, "alpn"),
        ({"alpn": None}, "alpn"),
        ({"server_cert": "CN=other"}, "server_cert"),
    ],
)
def test_each_wrong_word_of_a_client_is_told(shown: str, change: dict[str, Any], word: str) -> None:
    expect = {"version": "TLSv1.3", "alpn": "http/1.1", "server_cert": "CN=srv", **change}
    (text,) = client_tls_differences(expect, {}, {**RIGHT, "peer_cert_der": shown})
    assert text.startswith(f"tls {word}: ")


@pytest.mark.parametrize(("offered", "told"), [("B", 1), ("A:B", 0), (None, 0)])
def test_a_cipher_counts_when_only_one_was_offered(offered: str | None, told: int) -> None:
    expect = {"version": "TLSv1.3", "alpn": "http/1.1", "cipher": "B"}
    assert len(client_tls_differences(expect, {"ciphers": offered}, RIGHT)) == told


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sni": "b.test"}, "sni"),
        ({"sni": None}, "sni"),
        ({"alpn": "h2"}, "alpn"),
        ({"alpn": None}, "alpn"),
        ({"version": "TLSv1.2"}, "version"),
        ({"client_cert": "CN=other"}, "client_cert"),
        ({"peer_cert": "CN=other"}, "peer_cert"),
    ],
)
def test_each_wrong_word_of_an_upstream_is_told(shown: str, change: dict[str, Any], word: str) -> None:
    expect = {"version": "TLSv1.3", "alpn": "http/1.1", "sni": "a.test", **change}
    (text,) = upstream_tls_differences(expect, {**RIGHT, "sni": "a.test", "peer_cert_der": shown})
    assert text.startswith(f"tls {word}: ")


def test_tls_where_none_was_expected_is_told_and_the_other_way_round() -> None:
    assert upstream_tls_differences(None, None) == []
    assert len(upstream_tls_differences(None, RIGHT)) == 1
    assert len(upstream_tls_differences({"version": "TLSv1.3"}, None)) == 1
    assert upstream_tls_differences({"client_cert": "CN=x"}, {}) == [
        "tls client_cert: expected CN=x, came None"
    ]


def _forwarded(certificate: x509.Certificate, **changes: str) -> list[tuple[str, str]]:
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    pem = quote(certificate.public_bytes(Encoding.PEM).decode(), safe="")
    parts = {"Hash": digest, "Cert": f'"{pem}"', "Subject": '"CN=srv"', "URI": ""} | changes
    return [("x-forwarded-client-cert", ";".join(f"{key}={value}" for key, value in parts.items()))]


@pytest.mark.parametrize(
    ("changes", "told"),
    [({}, 0), ({"Hash": "0" * 64}, 1), ({"Subject": '"CN=other"'}, 1), ({"Cert": '"y"', "Hash": "y"}, 0)],
)
def test_a_forwarded_certificate_is_one_with_its_hash_and_subject(
    certificate: x509.Certificate, changes: dict[str, str], told: int
) -> None:
    assert len(certificate_header_differences(_forwarded(certificate, **changes))) == told


CERTIFICATES = {"up": {"cn": "up"}, "srv": {"cn": "srv"}}


@pytest.mark.parametrize(
    ("client", "answer"),
    [
        ({"tls": {"server_cert": "CN=up"}}, True),
        ({"tls": {"server_cert": "CN=srv"}}, False),
        ({"tls": {"version": "TLSv1.3"}}, False),
        ({}, False),
    ],
)
def test_a_client_that_is_shown_the_upstreams_certificate_was_passed_through(
    client: Mapping[str, Any], answer: bool
) -> None:
    upstreams = [{"name": "a", "port": 1}, {"name": "b", "port": 2, "cert": "up"}]
    case = Case(Path("f.yaml"), "c", "golden", "", {"certs": CERTIFICATES, "upstreams": upstreams})
    assert is_passthrough(case, client) is answer


@pytest.mark.parametrize(
    ("expected", "came", "alike"),
    [
        ("1958", "2100", True),
        ("675", "517", True),
        ("675", "0", False),
        ("0", "0", True),
        ("0", "7", False),
        ("1958", "5", False),
        ("675", "20000", False),
        ("675", "-", False),
    ],
)
def test_encrypted_bytes_are_about_as_many(expected: str, came: str, alike: bool) -> None:
    assert tls_bytes_alike(expected, came) is alike


def test_words_about_tls_that_nobody_heeds_are_named() -> None:
    expect = {"client": {"tls": {"ticket": 1}}, "upstream": [{"upstream": "a", "tls": {"curve": "x"}}]}
    data = {"upstreams": [{"name": "a", "port": 1, "tickets": 2}], "secrets": [{"labels": {}}], "hosts": []}
    case = Case(Path("f.yaml"), "c", "golden", "", data, [Call("1", {"tls": {"psk": 1}, "expect": expect})])
    told = ["call.tls.psk", "case.hosts", "expect.client.tls.ticket", "expect.upstream.tls.curve"]
    assert unknown_words([case]) == [
        f"{word} (in c)" for word in [*told, "secrets.labels", "upstreams.tickets"]
    ]
