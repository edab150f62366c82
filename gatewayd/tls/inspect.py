"""What stands in a certificate: names, dates, fingerprints. For messages, pages and ``gatewayd cert``."""

from __future__ import annotations

import base64
import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtensionOID

from gatewayd.tls.dates import DAY_S

# Old certificates break rules (serial numbers below zero, and so on): no news for whoever serves them.
warnings.filterwarnings("ignore", category=CryptographyDeprecationWarning)

#: What a PEM file with a certificate has in it.
BEGIN_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
#: OpenSSL's short names of what stands in a subject, where they differ from RFC 4514's.
_NAMES: Final = {x509.NameOID.EMAIL_ADDRESS: "emailAddress", x509.NameOID.SERIAL_NUMBER: "serialNumber"}
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """One certificate in words. Names of issuer and subject are as RFC 4514 writes them, dates are UTC."""

    subject: str
    issuer: str
    #: "DNS:a.test", "IP:10.0.0.1", "URI:spiffe://...", "email:x@a.test"
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    serial: str  # hex, as openssl prints it
    key: str  # "ECDSA P-256", "RSA 2048", "Ed25519"
    is_ca: bool
    self_signed: bool
    sha256: str  # of the whole certificate, lower-case hex (``verifyCertificateHash``, semantics 3.15)
    spki: str  # SHA-256 of the key, base64 (``verifyCertificateSpki``, semantics 3.15)

    @property
    def title(self) -> str:
        """A short name for messages: the first DNS name, else the subject."""
        dns = next((name[4:] for name in self.names if name.startswith("DNS:")), "")
        return dns or self.subject or f"serial {self.serial}"

    def days_left(self, now_s: float) -> float:
        """Days until it expires; negative when it has. ``now_s``: seconds since 1970."""
        return (self.not_after.timestamp() - now_s) / DAY_S

    def as_json(self) -> dict[str, Any]:
        """The facts for ``-o json``; dates in ISO 8601."""
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "names": list(self.names),
            "notBefore": self.not_before.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "notAfter": self.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "serial": self.serial,
            "key": self.key,
            "ca": self.is_ca,
            "selfSigned": self.self_signed,
            "sha256": self.sha256,
            "spkiSha256": self.spki,
        }


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate in use, kept small: 10,000 servers may have one each. Times are seconds since 1970."""

    der: bytes
    not_before_s: float
    not_after_s: float

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Leaf:
        """Of a certificate that has been read."""
        return cls(
            certificate.public_bytes(serialization.Encoding.DER),
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
        )

    @property
    def facts(self) -> CertificateFacts:
        """What stands in it, read anew."""
        return facts_of(x509.load_der_x509_certificate(self.der))


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM text, in order. Raises ValueError, in words, when there is none or one is broken."""
    count = pem.count(BEGIN_CERTIFICATE)
    if not count:
        raise ValueError("no certificate inside (expected PEM, -----BEGIN CERTIFICATE-----)")
    try:
        certificates = x509.load_pem_x509_certificates(pem)
        if len(certificates) != count:  # one is cut off
            raise ValueError
        return certificates
    except ValueError:
        what = "the certificate" if count == 1 else "one of the certificates"
        raise ValueError(f"{what} inside cannot be read") from None


def facts_of(certificate: x509.Certificate) -> CertificateFacts:
    """Read ``certificate``; parts that cannot be read are empty."""
    return CertificateFacts(
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        names=_alternative_names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=_serial(certificate.serial_number),
        key=describe_key(certificate),
        is_ca=_is_ca(certificate),
        self_signed=certificate.subject == certificate.issuer,
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        spki=_spki(certificate),
    )


def describe_key(certificate: x509.Certificate) -> str:
    """The kind of a certificate's key: "ECDSA P-256", "RSA 2048"."""
    try:
        key = certificate.public_key()
    except Exception:  # an algorithm the library does not know has no class of its own
        return "unknown"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {_CURVES.get(key.curve.name, key.curve.name)}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA {key.key_size}"
    return type(key).__name__.lstrip("_").removesuffix("PublicKey")


def _name(name: x509.Name) -> str:
    try:
        return name.rfc4514_string(_NAMES)
    except ValueError:
        return ""


def _serial(number: int) -> str:
    digits = f"{abs(number):X}"
    return ("-" if number < 0 else "") + ("0" if len(digits) % 2 else "") + digits


def _alternative_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    except (x509.ExtensionNotFound, ValueError):
        return ()
    prefixes: dict[type[x509.GeneralName], str] = {
        x509.DNSName: "DNS",
        x509.IPAddress: "IP",
        x509.UniformResourceIdentifier: "URI",
        x509.RFC822Name: "email",
    }
    assert isinstance(extension.value, x509.SubjectAlternativeName)
    return tuple(f"{prefixes[type(name)]}:{name.value}" for name in extension.value if type(name) in prefixes)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.BASIC_CONSTRAINTS)
    except (x509.ExtensionNotFound, ValueError):
        return False
    assert isinstance(extension.value, x509.BasicConstraints)
    return extension.value.ca


def _spki(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except Exception:  # as in describe_key
        return ""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key)
    return base64.b64encode(digest.finalize()).decode()
