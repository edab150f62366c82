"""Compares what TLS settled: on the client's side, on an upstream's, and what a client certificate became."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.cases.loading import Case
from tests.support.h1_text import Headers

Facts = Mapping[str, str] | None
# Words for the subject of the certificate the other side showed.
CLIENT_CERTIFICATE = ("client_cert", "peer_cert", "peer")
# What TLS makes of the bytes of a passthrough depends on certificates, library and session tickets.
TLS_BYTES_FACTOR = 2.5
_XFCC = re.compile(r'Hash=([0-9a-f]{64});Cert="([^"]*)";Subject="([^"]*)"')


def client_tls_differences(expect: Mapping[str, Any], offered: Mapping[str, Any], came: Facts) -> list[str]:
    """expect: {version, cipher, alpn, server_cert}. offered: the call's own words (sni, alpn, ciphers, ...).

    The cipher was the library's choice unless only one was offered (golden README).
    """
    facts = came or {}
    differences = []
    if _off(expect, "version", facts):
        differences.append(_expected("version", expect["version"], facts.get("version")))
    if expect.get("alpn") != facts.get("alpn"):
        differences.append(_expected("alpn", expect.get("alpn"), facts.get("alpn")))
    if "cipher" in expect and ":" not in str(offered.get("ciphers") or ":") and _off(expect, "cipher", facts):
        differences.append(_expected("cipher", expect["cipher"], facts.get("cipher")))
    if "server_cert" in expect and expect["server_cert"] != (shown := _subject(facts)):
        differences.append(_expected("server_cert", expect["server_cert"], shown))
    return differences


def upstream_tls_differences(expect: Mapping[str, Any] | None, came: Facts) -> list[str]:
    """expect: {sni, version, alpn, client_cert}, or None: no TLS. What it does not name was not there."""
    if expect is None or came is None:
        return [] if expect is came else [_expected("", expect, dict(came) if came is not None else None)]
    differences = [
        _expected(key, expect.get(key), came.get(key))
        for key in ("sni", "alpn")
        if expect.get(key) != came.get(key)
    ]
    if _off(expect, "version", came):
        differences.append(_expected("version", expect["version"], came.get("version")))
    for word in CLIENT_CERTIFICATE:
        if word in expect and expect[word] != (shown := _subject(came)):
            differences.append(_expected(word, expect[word], shown))
    return differences


def certificate_header_differences(headers: Headers) -> list[str]:
    """Whether each x-forwarded-client-cert element is of one certificate: its hash, itself and its subject."""
    differences = []
    for name, value in headers:
        if name.lower() != "x-forwarded-client-cert":
            continue
        for digest, text, subject in _XFCC.findall(value):
            pem = unquote(text)
            if "-----BEGIN CERTIFICATE-----" not in pem or pem.count("\n") < 3:
                continue  # an element of the client's own making, appended to
            certificate = x509.load_pem_x509_certificate(pem.encode())
            own = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
            if digest != own:
                differences.append(f"{name}: Hash={digest} but the certificate's is {own}")
            if subject != certificate.subject.rfc4514_string():
                differences.append(f"{name}: Subject={subject} is not the certificate's")
    return differences


def is_passthrough(case: Case, client: Mapping[str, Any]) -> bool:
    """Whether the certificate the client must be shown is an upstream's own."""
    shown = (client.get("tls") or {}).get("server_cert") if isinstance(client, Mapping) else None
    certificates = case.data.get("certs") or {}
    return shown is not None and any(
        shown == f"CN={certificates[upstream['cert']]['cn']}"
        for upstream in case.data.get("upstreams") or []
        if upstream.get("cert") in certificates
    )


def tls_bytes_alike(expected: str, came: str) -> bool:
    """Counts of encrypted bytes: none is none, else about as many."""
    if not came.isdigit() or "0" in (expected, came):
        return expected == came
    return int(expected) / TLS_BYTES_FACTOR <= int(came) <= int(expected) * TLS_BYTES_FACTOR


def _off(expect: Mapping[str, Any], key: str, facts: Mapping[str, str]) -> bool:
    return key in expect and str(expect[key]) != facts.get(key)


def _subject(facts: Mapping[str, str]) -> str | None:
    der = facts.get("peer_cert_der")
    return x509.load_der_x509_certificate(bytes.fromhex(der)).subject.rfc4514_string() if der else None


def _expected(what: str, wanted: object, came: object) -> str:
    return f"tls {what}: expected {wanted}, came {came}".replace("tls :", "tls:")
