"""Who the other side is, judged within the handshake, so that a refusal is an alert (semantics 3.14 to 3.16, 10.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gatewayd.tls import reasons
from gatewayd.tls.engine import der_of, ffi, lib
from gatewayd.tls.peer import peer_certificate
from gatewayd.tls.spec import ServerTlsSpec

#: Why a certificate in DER is refused although its chain is good, "" = it is not.
Judge = Callable[[bytes], str]


class Verifier:
    """What OpenSSL asks about each certificate of a chain, the other side's own last."""

    __slots__ = ("_judge", "_takes_all", "refused")

    def __init__(self, judge: Judge | None = None, *, takes_all: bool = False) -> None:
        self._judge = judge
        self._takes_all = takes_all
        #: why the handshake that failed last did: it is asked for at once, and there is one thread of handshakes
        self.refused = ""

    def verify(self, good: bool, chain: Any) -> bool:
        """Whether the certificate that ``chain``, an X509_STORE_CTX, is at will do; ``good``: OpenSSL thinks so."""
        if self._takes_all:
            lib.X509_STORE_CTX_set_error(chain, lib.X509_V_OK)
            return True
        depth = lib.X509_STORE_CTX_get_error_depth(chain)
        if not good:
            number = lib.X509_STORE_CTX_get_error(chain)
            words = ffi.string(lib.X509_verify_cert_error_string(number)).decode()
            self.refused = reasons.verification(number, depth, words)
            return False
        if depth or self._judge is None:
            return True
        self.refused = self._judge(der_of(lib.X509_STORE_CTX_get_current_cert(chain)))
        return not self.refused


def client_certificates(spec: ServerTlsSpec) -> Verifier:
    """For those that clients present to a server."""
    names, keys, hashes = spec.subject_alt_names, spec.spki_hashes, spec.certificate_hashes

    def judge(der: bytes) -> str:
        try:
            certificate = peer_certificate(der)
        except ValueError:
            return "the certificate cannot be read"
        if names and not certificate.carries_any(names):
            return reasons.wrong_names(certificate.names)
        if (keys or hashes) and not (certificate.spki_hash in keys or certificate.hash in hashes):
            return "cert hash and spki"
        return ""

    return Verifier(judge if names or keys or hashes else None, takes_all=spec.accept_untrusted)
