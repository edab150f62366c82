"""What gatewayd itself never makes: RSA certificates, lists of revoked ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

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


@cache
def chain(name: str) -> tuple[Issued, Issued, Issued]:
    """A root, an intermediate that it signed, and a leaf for ``name`` that the intermediate signed."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    names = ["root of a chain", "between", name]
    now = datetime.now(UTC)
    made = []
    for at, key in enumerate(keys):
        above = max(0, at - 1)
        builder = x509.CertificateBuilder(
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[above])]),
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[at])]),
            key.public_key(),
            x509.random_serial_number(),
            now - timedelta(hours=1),
            now + timedelta(days=90),
        ).add_extension(x509.BasicConstraints(ca=at < 2, path_length=None), critical=True)
        if at == 2:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        pem = serialization.Encoding.PEM
        made.append(
            Issued(
                builder.sign(keys[above], hashes.SHA256()).public_bytes(pem),
                key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
            )
        )
    return made[0], made[1], made[2]


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
