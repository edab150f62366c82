"""What is known of the other side of a TLS connection once its handshake is over (semantics 3.14, 3.15, 3.18).

Certificates are parsed when somebody asks, and once: clients come back with the same one.
"""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

#: OpenSSL's short names of what stands in a subject, where RFC 4514 has none.
_TYPES: Final = {
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.STREET_ADDRESS: "street",
    NameOID.TITLE: "title",
    NameOID.GIVEN_NAME: "GN",
    NameOID.SURNAME: "SN",
    NameOID.INITIALS: "initials",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.POSTAL_CODE: "postalCode",
    NameOID.BUSINESS_CATEGORY: "businessCategory",
}
_UNPRINTABLE: Final = re.compile("[^ -~]")


class PeerCertificate:
    """One certificate that was presented, in the words of the checks and of x-forwarded-client-cert."""

    __slots__ = (
        "dns_names",
        "hash",
        "not_after_s",
        "not_before_s",
        "other_names",
        "spki_hash",
        "subject",
        "uri_names",
    )

    def __init__(self, der: bytes) -> None:
        """Raises ValueError when ``der`` cannot be read, whatever the library raises."""
        #: SHA-256, lower-case hex
        self.hash = hashlib.sha256(der).hexdigest()
        try:
            certificate = x509.load_der_x509_certificate(der)
            self.subject = _shown(certificate.subject)
            self.not_before_s = certificate.not_valid_before_utc.timestamp()
            self.not_after_s = certificate.not_valid_after_utc.timestamp()
            key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            #: SHA-256 of the key, base64
            self.spki_hash = base64.b64encode(hashlib.sha256(key).digest()).decode()
            names = _alternative_names(certificate)
        except Exception as error:  # the library has no common class; an unreadable certificate is refused
            raise ValueError(f"certificate cannot be read: {error}") from None
        self.dns_names = tuple(names.get_values_for_type(x509.DNSName))
        self.uri_names = tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
        #: addresses and e-mail addresses
        self.other_names = (
            *map(str, names.get_values_for_type(x509.IPAddress)),
            *names.get_values_for_type(x509.RFC822Name),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All subject alternative names."""
        return (*self.dns_names, *self.uri_names, *self.other_names)

    def carries_any(self, wanted: tuple[str, ...]) -> bool:
        """Whether one of ``wanted`` is among the names; DNS names may be wildcards (semantics 3.14, 10.3)."""
        if any(name in wanted for name in self.uri_names) or any(name in wanted for name in self.other_names):
            return True
        return any(is_covered(one, name) for name in self.dns_names for one in wanted)


def is_covered(host: str, name: str) -> bool:
    """Whether the DNS name of a certificate covers ``host``, as Envoy compares them.

    Case does not matter. A ``*`` stands for any part of the first label, which is not an A-label then.
    """
    host, name = host.lower(), name.lower()
    if host == name:
        return True
    label, _, rest = host.partition(".")
    pattern, _, covered = name.partition(".")
    if not rest or rest != covered or pattern.count("*") != 1 or pattern.startswith("xn--"):
        return False
    before, _, after = pattern.partition("*")
    return len(label) >= len(before) + len(after) and label.startswith(before) and label.endswith(after)


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])
    return found.value


def _shown(name: x509.Name) -> str:
    """A subject as OpenSSL prints it by RFC 2253: what is not printable ASCII as hexadecimal bytes."""
    return _UNPRINTABLE.sub(
        lambda match: "".join(f"\\{byte:02X}" for byte in match[0].encode()), name.rfc4514_string(_TYPES)
    )


@lru_cache(maxsize=1024)
def peer_certificate(der: bytes) -> PeerCertificate:
    """Parse a certificate; raises ValueError when that is impossible."""
    return PeerCertificate(der)


@lru_cache(maxsize=1024)
def forwarded_element(der: bytes, own_uri: str) -> bytes:
    """The element of x-forwarded-client-cert for one client certificate (semantics 3.18).

    ``own_uri``: the first URI among the names of the server's certificate, "" = none.
    """
    certificate = peer_certificate(der)
    pem = ssl.DER_cert_to_PEM_cert(der)
    parts = [f"By={own_uri}"] if own_uri else []
    parts += [
        f"Hash={certificate.hash}",
        f'Cert="{quote(pem, safe="")}"',
        f'Subject="{certificate.subject}"',
    ]
    parts += [f"URI={uri}" for uri in certificate.uri_names or ("",)]
    parts += [f"DNS={name}" for name in certificate.dns_names]
    return ";".join(parts).encode("latin-1", "replace")


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
