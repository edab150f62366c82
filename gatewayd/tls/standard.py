"""Contexts of the standard library's ``ssl``, which serve nearly all servers and all upstreams.

They cost 0.3 ms and 20 KiB each, and reading a key costs OpenSSL 3.0 another 2 ms: so they are made when the first
handshake comes, not for 10,000 servers at start. What can be wrong with a credential is found before, in
:mod:`gatewayd.tls.pem`.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from gatewayd.tls.material import KeyPair, Material, MaterialError
from gatewayd.tls.modes import MODES
from gatewayd.tls.spec import ClientTlsSpec, ServerTlsSpec

VERSIONS: Final = {
    "TLSV1_0": ssl.TLSVersion.TLSv1,
    "TLSV1_1": ssl.TLSVersion.TLSv1_1,
    "TLSV1_2": ssl.TLSVersion.TLSv1_2,
    "TLSV1_3": ssl.TLSVersion.TLSv1_3,
}
#: Forward secrecy and AEAD only, in Envoy's order (hardening: TLS). TLS 1.3 has its own.
DEFAULT_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256"
    ":ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
)
#: OpenSSL's names of the curves Istio knows.
CURVES: Final = {"P-224": "secp224r1", "P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}
_OPTIONS: Final = (
    ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_SINGLE_ECDH_USE
)
#: Each costs 30 us of a handshake, and clients come back with the same one.
_TICKETS: Final = 1


def cipher_list(spec: ServerTlsSpec) -> str:
    """The ciphers of TLS 1.2 and below, as OpenSSL reads them (semantics 3.7)."""
    ciphers = ":".join(spec.cipher_suites) or DEFAULT_CIPHERS
    # TLS 1.0 and 1.1 sign with SHA-1, which OpenSSL allows only at level 0.
    return ciphers + ("@SECLEVEL=0" if spec.min_version in ("TLSV1_0", "TLSV1_1") else "")


def server_context(spec: ServerTlsSpec, material: Material) -> ssl.SSLContext:
    """For a terminating server. Raises MaterialError."""
    context = _bare(ssl.PROTOCOL_TLS_SERVER)
    _set_versions(context, spec.min_version, spec.max_version)
    context.num_tickets = _TICKETS
    try:
        context.set_ciphers(cipher_list(spec))
    except ssl.SSLError:
        raise MaterialError(f"none of these ciphers is to be had: {', '.join(spec.cipher_suites)}") from None
    if spec.ecdh_curves:
        curve = spec.ecdh_curves[0]
        context.set_ecdh_curve(CURVES.get(curve, curve))
    if spec.alpn:
        context.set_alpn_protocols(list(spec.alpn))
    for pair in material.pairs:
        _load_pair(context, pair)
    asked = MODES[spec.mode].client_certificate
    if asked != "none":
        context.verify_mode = ssl.CERT_REQUIRED if asked == "required" else ssl.CERT_OPTIONAL
        _load_trust(context, material)
    return context


def client_context(spec: ClientTlsSpec, material: Material) -> ssl.SSLContext:
    """Towards upstreams (semantics 10.4, 10.7). Raises MaterialError."""
    if not material.pairs and not material.ca and not spec.insecure_skip_verify:
        return _believing_the_system(spec.alpn)
    context = _bare(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # names are looked at afterwards: lists, wildcards as in Envoy
    if spec.alpn:
        context.set_alpn_protocols(list(spec.alpn))
    for pair in material.pairs:
        _load_pair(context, pair)
    if spec.insecure_skip_verify:
        context.verify_mode = ssl.CERT_NONE
    elif material.ca:
        _load_trust(context, material)
    else:
        context.set_default_verify_paths()
    return context


@lru_cache(maxsize=8)
def _believing_the_system(alpn: tuple[str, ...]) -> ssl.SSLContext:
    """With the system's own authorities: 25 ms and 0.8 MiB, so clusters share it."""
    context = _bare(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(list(alpn))
    context.set_default_verify_paths()
    return context


def _bare(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.options |= _OPTIONS
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _set_versions(context: ssl.SSLContext, minimum: str, maximum: str) -> None:
    with warnings.catch_warnings(action="ignore"):  # TLS 1.0 and 1.1 are old: whoever wrote them knows
        context.minimum_version = VERSIONS[minimum]
        context.maximum_version = VERSIONS[maximum]


@contextlib.contextmanager
def in_memory(*parts: bytes) -> Iterator[str]:
    """A path that OpenSSL can open and no disk ever sees."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(b"\n".join(parts))
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def refuse_password(*_: object) -> bytes:
    """For a key that turns out to be encrypted; without this OpenSSL would ask the terminal."""
    raise MaterialError("key: it is encrypted; only keys without a password can be used")


def _load_pair(context: ssl.SSLContext, pair: KeyPair) -> None:
    with in_memory(pair.private_key, pair.certificate) as path:
        try:
            context.load_cert_chain(path, password=refuse_password)
        except ssl.SSLError as error:
            raise MaterialError(f"certificate and key cannot be used: {_words(error)}") from None


def _load_trust(context: ssl.SSLContext, material: Material) -> None:
    # As in Envoy an authority need not be a root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with in_memory(material.ca, material.crl) as path:
        try:
            context.load_verify_locations(cafile=path)
        except ssl.SSLError as error:
            raise MaterialError(f"certificate authorities: {_words(error)}") from None
    if material.crl:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "they cannot be read").lower().replace("_", " ")
