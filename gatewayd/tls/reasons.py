"""Why a handshake failed, in Envoy's words where it has some (semantics 10.9, 16.3).

Envoy prints BoringSSL's error queue: ``TLS_error:|<code>:SSL routines:OPENSSL_internal:<REASON>:TLS_error_end``.
OpenSSL's reasons have the same names; the codes of those that occur in handshakes are below.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
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
    "TLSV1_UNRECOGNIZED_NAME": _ALERT + 112,
    "TLSV1_CERTIFICATE_REQUIRED": _ALERT + 116,
}


#: How much of a certificate's names is shown.
_MAX_NAMES: Final = 20
_MAX_NAME: Final = 100
_UNPRINTABLE: Final = re.compile(r"[^!-~]")


def text(reason: str, details: str = "") -> str:
    """Envoy's line for one error of the library."""
    code = _CODES.get(reason)
    number = f"{_LIBRARY + code}:" if code is not None else ""
    more = f":{details}" if details else ""
    return f"TLS_error:|{number}SSL routines:OPENSSL_internal:{reason}{more}:TLS_error_end"


def unverified(what: str) -> str:
    """The line for a certificate that was not believed; ``what`` says why not."""
    return text("CERTIFICATE_VERIFY_FAILED", f"verify cert failed: {what}")


def no_name_set(names: Sequence[str]) -> str:
    """The line for a certificate with none of the names that were asked for (semantics 10.3)."""
    return unverified(f"SAN matcher, certificate SANs are [{_listed(names)}]")


def not_for(host: str, names: Sequence[str]) -> str:
    """The line for a certificate that is not for ``host`` (semantics 10.3)."""
    return unverified(
        f"verify SAN list, expected SANs: [{_listed([host])}], certificate SANs: [{_listed(names)}]"
    )


def _listed(names: Sequence[str]) -> str:
    """Names of a stranger's certificate, fit for a log: few, and nothing that could end a line."""
    return ", ".join(_UNPRINTABLE.sub("?", name[:_MAX_NAME]) for name in names[:_MAX_NAMES])


def of(error: ssl.SSLError) -> str:
    """The line for an exception of the ssl module."""
    if isinstance(error, ssl.SSLEOFError):
        return CLOSED
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message
        return unverified(f"X509_verify_cert: certificate verification error at depth 0: {said}")
    return text(error.reason) if error.reason else f"TLS_error: {error.strerror or error}"


def of_os(error: BaseException) -> str:
    """The line for a connection that broke."""
    return f"{CLOSED}: {getattr(error, 'strerror', None) or error}"
