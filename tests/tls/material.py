"""Certificates and folders of secrets for the tests of ``gatewayd.tls``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from gatewayd.tls.authority import Issued, make_authority, make_leaf
from gatewayd.tls.spec import PairFiles, SecretName, ServerTlsSpec, Trust


@cache
def authority(name: str = "test root") -> Issued:
    return make_authority(name, 100)


@cache
def leaf(name: str = "a.test", number: int = 0, days: float = 90) -> Issued:
    """Equal arguments give the same certificate; ``number`` tells several for one name apart."""
    return make_leaf([name], days, authority())


def encrypted(key: bytes) -> bytes:
    loaded = serialization.load_pem_private_key(key, None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )


def _signer(issuer: Issued) -> tuple[x509.Certificate, object]:
    return (
        x509.load_pem_x509_certificate(issuer.certificate),
        serialization.load_pem_private_key(issuer.private_key, None),
    )


@cache
def revocation_list(issuer: Issued) -> bytes:
    certificate, key = _signer(issuer)
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(certificate.subject, now, now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


@cache
def staple(issued: Issued, issuer: Issued) -> bytes:
    certificate, key = _signer(issuer)
    now = datetime.now(UTC)
    builder = ocsp.OCSPResponseBuilder().add_response(
        x509.load_pem_x509_certificate(issued.certificate),
        certificate,
        hashes.SHA256(),
        ocsp.OCSPCertStatus.GOOD,
        now,
        now + timedelta(days=1),
        None,
        None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, certificate)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)  # type: ignore[arg-type]


def write(folder: Path, **values: bytes) -> Path:
    """Files of ``folder``; ``tls_crt`` is ``tls.crt``."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in values.items():
        (folder / key.replace("_", ".")).write_bytes(value)
    return folder


def write_pair(folder: Path, issued: Issued) -> Path:
    return write(folder, tls_crt=issued.certificate, tls_key=issued.private_key)


SHOP = SecretName("istio-system", "shop")
SHOP_CA = SecretName("istio-system", "shop-cacert")


def server_spec(
    *pairs: SecretName | PairFiles,
    mode: str = "SIMPLE",
    trust: Trust | None = None,
    owner: str = "Gateway istio-system/edge servers[0]",
) -> ServerTlsSpec:
    return ServerTlsSpec(owner=owner, mode=mode, pairs=pairs or (SHOP,), trust=trust or Trust())
