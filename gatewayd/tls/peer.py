"""What is known of the other side of a TLS connection once its handshake is over (semantics 3.14, 3.15, 3.18).

Certificates are parsed when somebody asks, and once: clients come back with the same one.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtensionOID, NameOID

_NO_NAMES: Final[tuple[str, ...]] = ()
#: What OpenSSL calls a type of name where RFC 4514 has another word, or none.
_TYPES: Final = {NameOID.EMAIL_ADDRESS: "emailAddress", NameOID.SERIAL_NUMBER: "serialNumber"}


class PeerCertificate:
    """One certificate that was presented, in the words of the checks and of x-forwarded-client-cert."""

    __slots__ = (
        "dns_names",
        "email_names",
        "hash",
        "ip_names",
        "not_after_s",
        "not_before_s",
        "spki_hash",
        "subject",
        "uri_names",
    )

    def __init__(self, der: bytes) -> None:
        certificate = x509.load_der_x509_certificate(der)
        #: SHA-256, lower-case hex
        self.hash = hashlib.sha256(der).hexdigest()
        self.subject = certificate.subject.rfc4514_string(_TYPES)
        self.not_before_s = certificate.not_valid_before_utc.timestamp()
        self.not_after_s = certificate.not_valid_after_utc.timestamp()
        key = certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        #: SHA-256 of the key, base64
        self.spki_hash = base64.b64encode(hashlib.sha256(key).digest()).decode()
        self.dns_names = self.uri_names = self.ip_names = self.email_names = _NO_NAMES
        try:
            extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
        except (x509.ExtensionNotFound, ValueError):
            return
        names: Any = extension.value
        self.dns_names = tuple(names.get_values_for_type(x509.DNSName))
        self.uri_names = tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
        self.ip_names = tuple(str(ip) for ip in names.get_values_for_type(x509.IPAddress))
        self.email_names = tuple(names.get_values_for_type(x509.RFC822Name))

    def names(self) -> tuple[str, ...]:
        """All subject alternative names."""
        return (*self.dns_names, *self.uri_names, *self.ip_names, *self.email_names)

    def carries_any(self, wanted: tuple[str, ...]) -> bool:
        """Whether a subject alternative name equals one of ``wanted`` (semantics 3.14)."""
        return any(name in wanted for name in self.names())

    def is_for(self, host: str) -> bool:
        """Whether it was issued for ``host``, a DNS name or an address; wildcards stand for one label."""
        host = host.lower().rstrip(".")
        if host in self.ip_names:
            return True
        rest = host.partition(".")[2]
        return any(
            name == host or (name[:2] == "*." and rest != "" and name[2:] == rest)
            for name in map(str.lower, self.dns_names)
        )


@lru_cache(maxsize=1024)
def peer_certificate(der: bytes) -> PeerCertificate:
    """Parse a certificate; raises ValueError when that is impossible."""
    return PeerCertificate(der)


@lru_cache(maxsize=1024)
def forwarded_element(der: bytes, own_uri: str) -> bytes:
    """The element of x-forwarded-client-cert for one client certificate (semantics 3.18)."""
    certificate = peer_certificate(der)
    pem = ssl.DER_cert_to_PEM_cert(der)
    parts = [f"By={own_uri}"] if own_uri else []
    parts += [
        f"Hash={certificate.hash}",
        f'Cert="{quote(pem, safe="")}"',
        f'Subject="{_escaped(certificate.subject)}"',
    ]
    parts += [f"URI={uri}" for uri in certificate.uri_names or ("",)]
    parts += [f"DNS={name}" for name in certificate.dns_names]
    return ";".join(parts).encode("latin-1", "replace")


def _escaped(text: str) -> str:
    return text.replace('"', '\\"')


class PeerTls:
    """A finished handshake, as ``transport.get_extra_info("tls")`` gives it."""

    __slots__ = ("_own_uri", "alpn", "certificate_der", "cipher", "server_name", "version")

    def __init__(
        self,
        server_name: str,
        version: str,
        cipher: str,
        alpn: str,
        certificate_der: bytes = b"",
        own_uri: str = "",
    ) -> None:
        #: the SNI, lower case, "" = none
        self.server_name = server_name
        self.version = version  # "TLSv1.3"
        self.cipher = cipher
        self.alpn = alpn  # "" = none
        #: the peer's certificate, empty when it presented none
        self.certificate_der = certificate_der
        self._own_uri = own_uri

    @property
    def certificate(self) -> PeerCertificate | None:
        """The peer's certificate, read."""
        return peer_certificate(self.certificate_der) if self.certificate_der else None

    @property
    def forwarded(self) -> bytes:
        """The value of x-forwarded-client-cert that tells of this peer, b"" without a certificate."""
        return forwarded_element(self.certificate_der, self._own_uri) if self.certificate_der else b""
