"""Failed handshakes are told in Envoy's words (semantics 10.9; golden 10_upstream_tls)."""

from __future__ import annotations

import ssl

import pytest

from gatewayd.tls import reasons


def error(reason: str) -> ssl.SSLError:
    made = ssl.SSLError(1, "text")
    made.reason = reason
    return made


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("WRONG_VERSION_NUMBER", "268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER"),
        ("HTTP_REQUEST", "268435612:SSL routines:OPENSSL_internal:HTTP_REQUEST"),
        ("TLSV1_ALERT_UNKNOWN_CA", "268436504:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA"),
        (
            "SSL/TLS_ALERT_HANDSHAKE_FAILURE",
            "268436496:SSL routines:OPENSSL_internal:SSLV3_ALERT_HANDSHAKE_FAILURE",
        ),
        (
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            "268436572:SSL routines:OPENSSL_internal:TLSV1_ALERT_CERTIFICATE_REQUIRED",
        ),
        ("SOMETHING_RARE", "SSL routines:OPENSSL_internal:SOMETHING_RARE"),
    ],
)
def test_errors_have_boringssls_names_and_codes(reason: str, line: str) -> None:
    assert reasons.of(error(reason)) == f"TLS_error:|{line}:TLS_error_end"


def test_a_certificate_that_is_not_believed_says_what_was_found() -> None:
    refused = ssl.SSLCertVerificationError()
    assert reasons.of(refused, reasons.verification(20, 0, "whatever OpenSSL calls it")) == (
        "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: "
        "X509_verify_cert: certificate verification error at depth 0: unable to get local issuer certificate"
        ":TLS_error_end"
    )
    assert "at depth 1: self signed certificate in certificate chain" in reasons.verification(19, 1)
    assert reasons.verification(999, 0, "whatever OpenSSL calls it").endswith(
        "depth 0: whatever OpenSSL calls it"
    )


def test_a_connection_that_broke_is_told_in_own_words() -> None:
    assert reasons.of(ssl.SSLEOFError()) == reasons.CLOSED
    assert reasons.of_os(ConnectionResetError(104, "Connection reset by peer")) == (
        f"{reasons.CLOSED}: Connection reset by peer"
    )
