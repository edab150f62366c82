"""Make certificates for trying things out: an authority of one's own, and leaves it signs (ECDSA P-256)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: Clocks differ a little.
_BACKDATED: Final = timedelta(minutes=5)
_COMMON_NAME_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, both PEM; the key is not encrypted."""

    certificate: bytes
    private_key: bytes = field(repr=False)


def make_authority(name: str, days: float, now: datetime | None = None) -> Issued:
    """A certificate authority that may sign leaves and nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    builder = _builder(subject, subject, key.public_key(), days, now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    return _issued(builder, key, key)


def make_leaf(
    names: Sequence[str], days: float, authority: Issued | None = None, now: datetime | None = None
) -> Issued:
    """A certificate for ``names`` (host names, ``*.a.test``, IP addresses, ``spiffe://`` URIs).

    Signed by ``authority``, else by itself; good for servers and clients. The certificate holds the chain without
    the root. Raises ValueError for a name that cannot stand in a certificate.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(names[0])
    signer: ec.EllipticCurvePrivateKey = key
    issuer = subject
    if authority is not None:
        parent = x509.load_pem_x509_certificate(authority.certificate)
        issuer = parent.subject
        loaded = serialization.load_pem_private_key(authority.private_key, None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signer = loaded
    builder = _builder(subject, issuer, key.public_key(), days, now)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
    )
    return _issued(builder, key, signer)


def general_name(name: str) -> x509.GeneralName:
    """``name`` as a subject alternative name; raises ValueError."""
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    try:
        ascii_name = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        ascii_name = ""
    labels = ascii_name.removeprefix("*.").removesuffix(".").split(".")
    if not all(
        label and len(label) < 64 and label.replace("-", "").replace("_", "").isalnum() for label in labels
    ):
        raise ValueError(f"{name!r} is not a host name, an IP address or a URI")
    return x509.DNSName(ascii_name.removesuffix("."))


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_COMMON_NAME_MAX])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float, now: datetime | None
) -> x509.CertificateBuilder:
    end = (now or datetime.now(UTC)) + timedelta(days=days)
    start = min(now or datetime.now(UTC), end) - _BACKDATED
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _issued(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Issued:
    certificate = builder.sign(signer, hashes.SHA256())
    return Issued(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
