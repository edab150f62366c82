"""Cipher suites and curves by name (semantics 3.7)."""

import ssl

import pytest

from gatewayd.resources.tls_names import CIPHER_SUITES, is_cipher_suite, is_curve, sort_out


def test_3_7_the_suites_are_those_istio_knows() -> None:
    ecdhe = {
        f"ECDHE-{key}-{rest}"
        for key in ("ECDSA", "RSA")
        for rest in (
            "AES128-GCM-SHA256",
            "AES256-GCM-SHA384",
            "CHACHA20-POLY1305",
            "AES128-SHA",
            "AES256-SHA",
        )
    }
    plain = {"AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA", "DES-CBC3-SHA"}
    assert ecdhe | plain == CIPHER_SUITES


def test_openssl_takes_every_suite_but_the_one_it_has_dropped() -> None:
    for name in sorted(CIPHER_SUITES - {"DES-CBC3-SHA"}):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(name)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("AES128-SHA", True),
        ("ALL", True),
        ("-AES128-SHA", True),
        ("!AES128-SHA", True),
        ("+AES128-SHA", True),
        ("aes128-sha", False),
        ("RC4-MD5", False),
        ("@SECLEVEL=0", False),
        ("ALL:COMPLEMENTOFALL", False),
        ("", False),
        ("-", False),
    ],
)
def test_a_suite_may_be_taken_away_or_put_last(name: str, known: bool) -> None:
    assert is_cipher_suite(name) is known


def test_curves() -> None:
    assert is_curve("X25519")
    assert is_curve("P-256")
    assert not is_curve("prime256v1")


def test_names_are_sorted_out_in_their_order() -> None:
    found = sort_out(["b", "x", "a", "b", "x", "y"], lambda name: name in ("a", "b"))
    assert found.valid == ("b", "a")
    assert found.unknown == ("x", "y")
    assert found.doubles == ("b",)
