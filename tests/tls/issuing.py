"""What gatewayd itself never makes: RSA certificates, lists of revoked ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gatewayd.tls.authority import Issued
from tests.tls.material import authority


@cache
def rsa_leaf(name: str, key: rsa.RSAPrivateKey | None = None) -> Issued:
    """A server's certificate by the test authority."""
    key = key or rsa.generate_private_key(65537, 2048)
    parent = x509.load_pem_x509_certificate(authority().certificate)
    signer = serialization.load_pem_private_key(authority().private_key, None)
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        parent.subject,
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]),
        key.public_key(),
        x509.random_serial_number(),
        now - timedelta(hours=1),
        now + timedelta(days=90),
    ).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    pem = serialization.Encoding.PEM
    return Issued(
        builder.sign(signer, hashes.SHA256()).public_bytes(pem),  # type: ignore[arg-type]
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def revoking(issuer: Issued, *revoked: Issued) -> bytes:
    """A revocation list, PEM."""
    parent = x509.load_pem_x509_certificate(issuer.certificate)
    signer = serialization.load_pem_private_key(issuer.private_key, None)
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(
        parent.subject, now - timedelta(hours=1), now + timedelta(days=1)
    )
    for one in revoked:
        number = x509.load_pem_x509_certificate(one.certificate).serial_number
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder(number, now - timedelta(hours=1)).build()
        )
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]
