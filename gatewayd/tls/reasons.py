"""Why a handshake failed, in Envoy's words where it has some (semantics 10.9, 16.3).

Envoy prints BoringSSL's error queue: ``TLS_error:|<code>:SSL routines:OPENSSL_internal:<REASON>:TLS_error_end``.
OpenSSL's reasons have the same names; the codes of those that occur in handshakes are below.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from typing import Final

CLOSED: Final = "connection closed during the TLS handshake"
TIMEOUT: Final = "TLS handshake timeout"

#: BoringSSL packs the library (16, SSL) above the reason.
_LIBRARY: Final = 16 << 24
_ALERT: Final = 1000

_CODES: Final = {
    "BAD_DECRYPT": 101,
    "CERTIFICATE_VERIFY_FAILED": 125,
    "DECODE_ERROR": 137,
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": 139,
    "HTTPS_PROXY_REQUEST": 155,
    "HTTP_REQUEST": 156,
    "NO_SHARED_CIPHER": 184,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": 192,
    "UNSUPPORTED_PROTOCOL": 240,
    "WRONG_VERSION_NUMBER": 247,
    "NO_COMMON_SIGNATURE_ALGORITHMS": 253,
    "NO_SHARED_GROUP": 266,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _ALERT + 40,
    "SSLV3_ALERT_BAD_CERTIFICATE": _ALERT + 42,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _ALERT + 43,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _ALERT + 44,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _ALERT + 45,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _ALERT + 46,
    "SSLV3_ALERT_ILLEGAL_PARAMETER": _ALERT + 47,
    "TLSV1_ALERT_UNKNOWN_CA": _ALERT + 48,
    "TLSV1_ALERT_ACCESS_DENIED": _ALERT + 49,
    "TLSV1_ALERT_DECODE_ERROR": _ALERT + 50,
    "TLSV1_ALERT_DECRYPT_ERROR": _ALERT + 51,
    "TLSV1_ALERT_PROTOCOL_VERSION": _ALERT + 70,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": _ALERT + 71,
    "TLSV1_ALERT_INTERNAL_ERROR": _ALERT + 80,
    "TLSV1_ALERT_UNRECOGNIZED_NAME": _ALERT + 112,
    "TLSV1_ALERT_CERTIFICATE_REQUIRED": _ALERT + 116,
}
#: OpenSSL's names where BoringSSL has others.
_NAMES: Final = {
    "TLSV1_UNRECOGNIZED_NAME": "TLSV1_ALERT_UNRECOGNIZED_NAME",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "TLSV1_ALERT_CERTIFICATE_REQUIRED",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "NO_COMMON_SIGNATURE_ALGORITHMS",
    "NO_SUITABLE_KEY_SHARE": "NO_SHARED_GROUP",
    "NO_SUITABLE_GROUPS": "NO_SHARED_GROUP",
}


#: How much of a certificate's names is shown.
_MAX_NAMES: Final = 20
_MAX_NAME: Final = 100
_UNPRINTABLE: Final = re.compile(r"[^!-~]")

EXPIRED: Final = "X509_verify_cert: certificate verification error at depth 0: certificate has expired"
#: BoringSSL's words for what OpenSSL counts.
_VERIFICATION: Final = {
    3: "unable to get certificate CRL",
    7: "certificate signature failure",
    9: "certificate is not yet valid",
    10: "certificate has expired",
    12: "CRL has expired",
    18: "self signed certificate",
    19: "self signed certificate in certificate chain",
    20: "unable to get local issuer certificate",
    21: "unable to verify the first certificate",
    22: "certificate chain too long",
    23: "certificate revoked",
    24: "invalid CA certificate",
    26: "unsupported certificate purpose",
}


def text(reason: str, details: str = "") -> str:
    """Envoy's line for one error of the library."""
    # Newer OpenSSLs say SSL/TLS where it was SSLV3.
    reason = _NAMES.get(reason, reason).replace("SSL/TLS_ALERT_", "SSLV3_ALERT_")
    code = _CODES.get(reason)
    number = f"{_LIBRARY + code}:" if code is not None else ""
    more = f":{details}" if details else ""
    return f"TLS_error:|{number}SSL routines:OPENSSL_internal:{reason}{more}:TLS_error_end"


def unverified(what: str) -> str:
    """The line for a certificate that was not believed; ``what`` says why not."""
    return text("CERTIFICATE_VERIFY_FAILED", f"verify cert failed: {what}")


def verification(number: int, depth: int, said: str = "") -> str:
    """What X509_verify_cert found wrong at ``depth`` of a chain; ``said``: OpenSSL's words, for rare errors."""
    words = _VERIFICATION.get(number) or said or f"error {number}"
    return f"X509_verify_cert: certificate verification error at depth {depth}: {words}"


def wrong_names(names: Iterable[str]) -> str:
    """No name of a certificate is among those asked for (semantics 3.14, 10.3)."""
    return f"SAN matcher, certificate SANs are [{', '.join(names)}]"


def wrong_host(host: str, names: Iterable[str]) -> str:
    """A certificate is not for the host that was asked for (semantics 10.3)."""
    return f"verify SAN list, expected SANs: [{host}], certificate SANs: [{', '.join(names)}]"


def of(error: ssl.SSLError, refused: str = "") -> str:
    """The line for an error of :mod:`gatewayd.tls.engine`; ``refused``: what was wrong with a certificate."""
    if isinstance(error, ssl.SSLEOFError):
        return CLOSED
    if isinstance(error, ssl.SSLCertVerificationError):
        return unverified(refused)
    return text(error.reason) if error.reason else f"TLS_error: {error.strerror or error}"


def of_os(error: BaseException) -> str:
    """The line for a connection that broke."""
    return f"{CLOSED}: {getattr(error, 'strerror', None) or error}"
