"""Check PEM before it is used: pairs fit, authorities and revocation lists can be read.

Each check is made once per content: 10,000 servers may share a certificate, and all of them a CA bundle.
What fails raises :class:`MaterialError` with a reason that never holds key bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import ocsp

from gatewayd.tls.inspect import Leaf, read_certificates
from gatewayd.tls.material import MaterialError

_BEGIN_CRL: Final = b"-----BEGIN X509 CRL-----"
#: RSA keys below this are refused, as by Envoy.
_MIN_RSA_BITS: Final = 2048
_END_CRL: Final = b"-----END X509 CRL-----"
T = TypeVar("T")


class _Failure(str):
    """The answer "no", with the reason."""

    __slots__ = ()


class PemChecks:
    """Answers remembered by content. :meth:`forget_unused` lets go of those not asked for since it was last called."""

    def __init__(self) -> None:
        self._known: dict[bytes, object] = {}
        self._asked: set[bytes] = set()

    def pair(self, certificate: bytes, private_key: bytes) -> Leaf:
        """The leaf of the chain. Raises MaterialError when chain and key cannot be used together."""
        return self._once(b"pair", (certificate, private_key), lambda: _check_pair(certificate, private_key))

    def authorities(self, pem: bytes) -> int:
        """How many authorities are in a bundle. Raises MaterialError."""
        return self._once(b"ca", (pem,), lambda: _check_authorities(pem))

    def revocation_lists(self, pem: bytes) -> int:
        """How many lists are in ``pem``. Raises MaterialError."""
        return self._once(b"crl", (pem,), lambda: _check_revocation_lists(pem))

    def staple(self, der: bytes) -> bool:
        """Whether an OCSP response can be read. Raises MaterialError when it cannot."""
        return self._once(b"ocsp", (der,), lambda: _check_staple(der))

    def forget_unused(self) -> None:
        """Keep only what was asked for since the last call."""
        self._known = {key: value for key, value in self._known.items() if key in self._asked}
        self._asked = set()

    def _once(self, what: bytes, parts: tuple[bytes, ...], check: Callable[[], T]) -> T:
        digest = hashlib.sha256(what)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        key = digest.digest()
        self._asked.add(key)
        answer = self._known.get(key)
        if answer is None:
            try:
                answer = check()
            except MaterialError as error:
                # Not the exception itself: its frames hold the key.
                answer = _Failure(str(error))
            self._known[key] = answer
        if isinstance(answer, _Failure):
            raise MaterialError(answer)
        return answer  # type: ignore[return-value]


def _check_pair(certificate: bytes, private_key: bytes) -> Leaf:
    try:
        chain = read_certificates(certificate)
    except ValueError as error:
        raise MaterialError(f"certificate: {error}") from None
    if b"PRIVATE KEY-----" not in private_key:
        raise MaterialError("key: no private key inside (expected PEM, -----BEGIN PRIVATE KEY-----)")
    if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in private_key or b"Proc-Type: 4,ENCRYPTED" in private_key:
        raise MaterialError("key: it is encrypted; only keys without a password can be used")
    try:
        # Whether an RSA key is sound is the concern of who made it, and takes long to find out.
        key = load_pem_private_key(private_key, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MaterialError("key: it cannot be read") from None
    public = key.public_key()
    if _has_key(chain[0], public):
        if isinstance(public, rsa.RSAPublicKey) and public.key_size < _MIN_RSA_BITS:
            raise MaterialError(f"certificate: RSA keys need {_MIN_RSA_BITS} bits, not {public.key_size}")
        return Leaf.of(chain[0])
    if any(_has_key(one, public) for one in chain[1:]):
        raise MaterialError("certificate: the server's own certificate must be the first one of the file")
    raise MaterialError("the key does not fit the certificate")


def _has_key(certificate: x509.Certificate, public: object) -> bool:
    try:
        return bool(certificate.public_key() == public)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _check_authorities(pem: bytes) -> int:
    try:
        return len(read_certificates(pem))
    except ValueError as error:
        raise MaterialError(f"certificate authorities: {error}") from None


def _check_revocation_lists(pem: bytes) -> int:
    count = 0
    rest = pem
    while (begin := rest.find(_BEGIN_CRL)) >= 0:
        end = rest.find(_END_CRL, begin)
        try:
            if end < 0:
                raise ValueError
            x509.load_pem_x509_crl(rest[begin : end + len(_END_CRL)] + b"\n")
        except ValueError:
            raise MaterialError("revocation list: it cannot be read") from None
        rest = rest[end:]
        count += 1
    if not count:
        raise MaterialError("revocation list: none inside (expected PEM, -----BEGIN X509 CRL-----)")
    return count


def _check_staple(der: bytes) -> bool:
    try:
        ocsp.load_der_ocsp_response(der)
    except ValueError:
        raise MaterialError("OCSP staple: it cannot be read (expected DER)") from None
    return True
