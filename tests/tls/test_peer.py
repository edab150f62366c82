"""What is told of the client's certificate (semantics 3.18), and which names cover which hosts."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.tls.authority import make_leaf
from gatewayd.tls.peer import PeerTls, is_covered, peer_certificate
from tests.tls.material import authority


def der_of(*names: str) -> bytes:
    pem = make_leaf(list(names), 90, authority()).certificate.decode()
    return ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + 25] + "\n")


def test_the_element_has_its_parts_in_envoys_order() -> None:
    der = der_of("client.test", "spiffe://td/ns/x/sa/y", "b.test")
    value = PeerTls("a.test", "TLSv1.3", "x", "", der, "spiffe://td/ns/g/sa/gw").forwarded.decode()
    parts = value.split(";")
    assert parts[0] == "By=spiffe://td/ns/g/sa/gw"
    assert parts[1] == f"Hash={hashlib.sha256(der).hexdigest()}"
    assert parts[2].startswith('Cert="-----BEGIN%20CERTIFICATE-----%0A')
    assert parts[2].endswith('%0A-----END%20CERTIFICATE-----%0A"')
    assert ssl.PEM_cert_to_DER_cert(unquote(parts[2][6:-1])) == der
    assert parts[3:] == [
        'Subject="CN=client.test"',
        "URI=spiffe://td/ns/x/sa/y",
        "DNS=client.test",
        "DNS=b.test",
    ]


def test_by_is_left_out_without_a_uri_and_uri_is_written_even_when_empty() -> None:
    value = PeerTls("", "TLSv1.3", "x", "", der_of("client.test")).forwarded
    assert value.startswith(b"Hash=")
    assert b";URI=;DNS=client.test" in value


def test_nothing_is_told_of_a_client_without_a_certificate() -> None:
    assert PeerTls("", "TLSv1.3", "x", "").forwarded == b""


def test_certificates_are_read_once() -> None:
    der = der_of("client.test")
    assert peer_certificate(der) is peer_certificate(bytes(der))


def test_a_certificate_that_cannot_be_read_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        peer_certificate(b"\x30\x03\x02\x01\x01")


@pytest.mark.parametrize(
    "attributes",
    [
        [("CN", "plain")],
        [("C", "DE"), ("O", 'Müller & Söhne, "quoted" GmbH'), ("CN", "a+b;c<d>")],
        [("CN", " leading and trailing "), ("OU", "#hash"), ("emailAddress", "x@y.test")],
        [("CN", "tab\there"), ("serialNumber", "12"), ("title", "Dr"), ("street", "Way 1"), ("DC", "test")],
        [("GN", "Ada"), ("SN", "Lovelace"), ("CN", "x\\y=z"), ("UID", "ada")],
    ],
)
def test_subjects_are_written_as_openssl_writes_them(
    attributes: list[tuple[str, str]], tmp_path: Path
) -> None:
    oids = {
        "CN": x509.NameOID.COMMON_NAME, "C": x509.NameOID.COUNTRY_NAME, "O": x509.NameOID.ORGANIZATION_NAME,
        "OU": x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "emailAddress": x509.NameOID.EMAIL_ADDRESS,
        "serialNumber": x509.NameOID.SERIAL_NUMBER, "title": x509.NameOID.TITLE,
        "street": x509.NameOID.STREET_ADDRESS, "DC": x509.NameOID.DOMAIN_COMPONENT,
        "GN": x509.NameOID.GIVEN_NAME, "SN": x509.NameOID.SURNAME, "UID": x509.NameOID.USER_ID,
    }  # fmt: skip
    name = x509.Name([x509.NameAttribute(oids[kind], text) for kind, text in attributes])
    parent = x509.load_pem_x509_certificate(authority().certificate)
    signer = serialization.load_pem_private_key(authority().private_key, None)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    made = x509.CertificateBuilder(
        parent.subject, name, key, 7, parent.not_valid_before_utc, parent.not_valid_after_utc
    ).sign(signer, hashes.SHA256())  # type: ignore[arg-type]
    path = tmp_path / "c.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    command = ["openssl", "x509", "-in", str(path), "-noout", "-subject", "-nameopt", "RFC2253"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    der = made.public_bytes(serialization.Encoding.DER)
    assert peer_certificate(der).subject == printed.rstrip("\n").removeprefix("subject=")


LABEL = st.text("ab-", min_size=1, max_size=4)


@given(LABEL, LABEL, LABEL)
def test_a_wildcard_covers_exactly_one_label(label: str, name: str, more: str) -> None:
    assert is_covered(f"{label}.{name}.test", f"*.{name}.test")
    assert not is_covered(f"{more}.{label}.{name}.test", f"*.{name}.test")
    assert not is_covered(f"{name}.test", f"*.{name}.test") or name == f"*.{name}"
    assert is_covered(f"{label}.{name}.test".upper(), f"{label}.{name}.test")


@pytest.mark.parametrize("name", ["*", "*.*.test", "a.*.test", "xn--*.b.test", "**.b.test", "*b*.b.test"])
def test_other_wildcards_cover_nothing(name: str) -> None:
    assert not is_covered("a.b.test", name)
    assert not is_covered("xn--a.b.test", name)


@pytest.mark.parametrize(("host", "fits"), [("shop.a.test", True), ("sp.a.test", True), ("s.a.test", False)])
def test_a_wildcard_may_stand_for_a_part_of_the_label(host: str, fits: bool) -> None:
    assert is_covered(host, "s*p.a.test") is fits
