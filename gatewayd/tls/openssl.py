"""Contexts of OpenSSL: versions, ciphers, certificates, trust (semantics 3.5 to 3.16, 10.4, 10.7).

A server that asks no client for a certificate shares its context with all that differ in nothing but the certificate,
which each connection is given by itself: a certificate and its key take 7 KiB and 50 us at their first use, a context
would take 21 KiB and 130 us more. So 10,000 servers cost little. What can be wrong with a credential is found
before, in :mod:`gatewayd.tls.pem`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import weakref
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from cryptography import x509
from OpenSSL import SSL, crypto

from gatewayd.tls.callbacks import choose_protocol, judge_certificates, judged_by, staple
from gatewayd.tls.engine import Connection, ffi, lib, said
from gatewayd.tls.material import KeyPair, Material, MaterialError
from gatewayd.tls.modes import MODES
from gatewayd.tls.spec import ClientTlsSpec, ServerTlsSpec
from gatewayd.tls.verification import Verifier, client_certificates

_VERSIONS: Final = {
    "TLSV1_0": SSL.TLS1_VERSION,
    "TLSV1_1": SSL.TLS1_1_VERSION,
    "TLSV1_2": SSL.TLS1_2_VERSION,
    "TLSV1_3": SSL.TLS1_3_VERSION,
}
#: Forward secrecy and AEAD only, in Envoy's order (hardening: TLS). TLS 1.3 has its own.
DEFAULT_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256"
    ":ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
)
#: Envoy 1.40's for servers and for clients. The first is not known to every OpenSSL.
_GROUPS: Final = (b"X25519MLKEM768:X25519:P-256", b"X25519:P-256")
_CLIENT_GROUPS: Final = _GROUPS[1:]
_OPTIONS: Final = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_SINGLE_ECDH_USE
#: SSL_MODE_NO_AUTO_CHAIN of ssl.h: do not look for intermediates in a trust store, which is empty.
_NO_AUTO_CHAIN: Final = 0x8
_NO_PASSWORD: Final = ffi.new("char[]", b"")
_CERTIFICATES: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_CRLS: Final = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\n?", re.DOTALL)


class Context:
    """An SSL_CTX, with what must live as long as it does."""

    __slots__ = ("__weakref__", "_staple", "made", "pointer", "verifier")

    def __init__(self, method: int) -> None:
        made = self.made = SSL.Context(method)
        #: for functions of :mod:`gatewayd.tls.engine`
        self.pointer: Any = made._context
        self.verifier: Verifier | None = None
        self._staple: Any = None
        # Writes go to memory: they are never cut short.
        made.clear_mode(lib.SSL_MODE_ENABLE_PARTIAL_WRITE)
        # Buffers of records go back to the allocator: an idle connection holds none, and the next finds it warm.
        made.set_mode(lib.SSL_MODE_RELEASE_BUFFERS)
        made.set_options(_OPTIONS)
        made.set_min_proto_version(SSL.TLS1_2_VERSION)

    def open(self, *, accepts: bool) -> Connection:
        """A connection; ``accepts``: the other side speaks first."""
        connection = Connection(self.pointer, accepts=accepts)
        if self.verifier is not None:
            judged_by(connection, self.verifier)
        return connection

    def staple(self, der: bytes) -> None:
        """Give ``der``, an OCSP response, to those that ask for one."""
        self._staple = staple(self.pointer, der)

    def set_groups(self, *choices: bytes) -> None:
        """Use the first of these lists of curves that is to be had. Raises MaterialError."""
        for groups in choices:
            if lib.SSL_CTX_set1_curves_list(self.pointer, groups) == 1:
                return
            said()
        raise MaterialError(f"none of these curves is to be had: {choices[0].decode().replace(':', ', ')}")

    def ask_for_certificates(self, verifier: Verifier, flags: int) -> None:
        """Let ``verifier`` judge the other side's certificates."""
        self.verifier = verifier
        judge_certificates(self.pointer, flags)


class Servers:
    """What makes the connections of one terminating server."""

    __slots__ = ("_certificate", "_context", "_key")

    def __init__(self, context: Context, certificate: Any = None, key: Any = None) -> None:
        """``certificate`` and ``key``: pointers, for a context that has none of its own."""
        self._context = context
        self._certificate = certificate
        self._key = key

    @property
    def verifier(self) -> Verifier | None:
        """Who judges clients' certificates."""
        return self._context.verifier

    def open(self) -> Connection:
        """A connection that waits for a ClientHello. Raises MaterialError."""
        connection = self._context.open(accepts=True)
        if self._certificate is not None:
            handle = connection.handle
            if not (
                lib.SSL_use_certificate(handle, self._certificate) == 1
                and lib.SSL_use_PrivateKey(handle, self._key) == 1
            ):
                raise _unusable(said())
        return connection


def servers(spec: ServerTlsSpec, material: Material) -> Servers:
    """For a terminating server. Raises MaterialError."""
    try:
        if (
            len(material.pairs) == 1
            and not material.pairs[0].ocsp_staple
            and MODES[spec.mode].client_certificate == "none"
        ):
            return _shared(spec, material.pairs[0])
        return Servers(_own(spec, material))
    except SSL.Error as error:
        raise _unusable(_reason(error)) from None


#: So many shared contexts keep their sessions themselves.
_KEEPING_SESSIONS: Final = 8
#: Settings and intermediates -> the context that all servers with them share.
_common: Final = weakref.WeakValueDictionary[tuple[Any, ...], Context]()


def _shared(spec: ServerTlsSpec, pair: KeyPair) -> Servers:
    chain = _CERTIFICATES.findall(pair.certificate)
    above = tuple(chain[1:])
    key = (spec.min_version, spec.max_version, spec.cipher_suites, spec.ecdh_curves, spec.alpn, above)
    context = _common.get(key)
    if context is None:
        context = _server_context(spec)
        if len(_common) < _KEEPING_SESSIONS:
            # Here, not by the clients in tickets, which cost more to make. OpenSSL keeps 20,480 of some 1.2 KiB each.
            context.made.set_options(SSL.OP_NO_TICKET)
        context.made.set_mode(_NO_AUTO_CHAIN)
        for one in above:
            context.made.add_extra_chain_cert(x509.load_pem_x509_certificate(one))
        _common[key] = context
    return Servers(context, _leaf(pair.certificate), _key(pair.private_key))


def _own(spec: ServerTlsSpec, material: Material) -> Context:
    context = _server_context(spec)
    for pair in material.pairs:
        _load_pair(context, pair)
    asked = MODES[spec.mode].client_certificate
    if asked != "none":
        flags = lib.SSL_VERIFY_PEER
        if asked == "required":
            flags |= lib.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        context.ask_for_certificates(client_certificates(spec), flags)
        if material.ca:
            _load_trust(context, material)
            with in_memory(material.ca) as path:
                context.made.load_client_ca(path.encode())
    else:
        context.made.set_mode(_NO_AUTO_CHAIN)
    if response := next((pair.ocsp_staple for pair in material.pairs if pair.ocsp_staple), b""):
        context.staple(response)
    return context


def _server_context(spec: ServerTlsSpec) -> Context:
    context = Context(SSL.TLS_SERVER_METHOD)
    made = context.made
    made.set_min_proto_version(_VERSIONS[spec.min_version])
    made.set_max_proto_version(_VERSIONS[spec.max_version])
    ciphers = ":".join(spec.cipher_suites) or DEFAULT_CIPHERS
    # TLS 1.0 and 1.1 sign with SHA-1, which OpenSSL allows only at level 0.
    level = "@SECLEVEL=0" if spec.min_version in ("TLSV1_0", "TLSV1_1") else ""
    try:
        made.set_cipher_list((ciphers + level).encode())
    except SSL.Error:
        raise MaterialError(f"none of these ciphers is to be had: {', '.join(spec.cipher_suites)}") from None
    context.set_groups(*([":".join(spec.ecdh_curves).encode()] if spec.ecdh_curves else _GROUPS))
    # A session is resumed where it began, and nowhere else.
    made.set_session_id(hashlib.sha256(repr(spec).encode()).digest())
    if spec.alpn:
        choose_protocol(context.pointer, spec.alpn)
    return context


def client_context(spec: ClientTlsSpec, material: Material) -> Context:
    """Towards upstreams. Raises MaterialError."""
    context = Context(SSL.TLS_CLIENT_METHOD)
    try:
        context.set_groups(*_CLIENT_GROUPS)
        if spec.alpn:
            context.made.set_alpn_protos([name.encode() for name in spec.alpn])
        for pair in material.pairs:
            _load_pair(context, pair)
        if not spec.insecure_skip_verify:
            context.ask_for_certificates(Verifier(), lib.SSL_VERIFY_PEER)
            if material.ca:
                _load_trust(context, material)
            else:
                _believe_the_system(context)
    except SSL.Error as error:
        raise _unusable(_reason(error)) from None
    return context


def _load_pair(context: Context, pair: KeyPair) -> None:
    with in_memory(pair.certificate) as path:
        context.made.use_certificate_chain_file(path)
    if lib.SSL_CTX_use_PrivateKey(context.pointer, _key(pair.private_key)) != 1:
        raise _unusable(said())


def _leaf(pem: bytes) -> Any:
    """The first certificate of ``pem``: an X509, freed with what is returned."""
    with _readable(pem) as buffer:
        found = lib.PEM_read_bio_X509(buffer, ffi.NULL, ffi.NULL, ffi.NULL)
    if found == ffi.NULL:
        raise _unusable(said())
    return ffi.gc(found, lib.X509_free)


def _key(pem: bytes) -> Any:
    """An EVP_PKEY, freed with what is returned."""
    with _readable(pem) as buffer:
        # A password, which none needs that comes this far: without one OpenSSL would ask the terminal.
        found = lib.PEM_read_bio_PrivateKey(buffer, ffi.NULL, ffi.NULL, _NO_PASSWORD)
    if found == ffi.NULL:
        raise _unusable(said())
    return ffi.gc(found, lib.EVP_PKEY_free)


@contextlib.contextmanager
def _readable(data: bytes) -> Iterator[Any]:
    buffer = lib.BIO_new_mem_buf(data, len(data))
    try:
        yield buffer
    finally:
        lib.BIO_free(buffer)


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


def _load_trust(context: Context, material: Material) -> None:
    with in_memory(material.ca) as path:
        context.made.load_verify_locations(path)
    store = context.made.get_cert_store()
    assert store is not None
    # As in Envoy an authority need not be a root.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    if material.crl:
        for one in _CRLS.findall(material.crl):
            store.add_crl(x509.load_pem_x509_crl(one))
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)


def _believe_the_system(context: Context) -> None:
    store = lib.SSL_CTX_get_cert_store(_system().pointer)
    lib.X509_STORE_up_ref(store)
    lib.SSL_CTX_set_cert_store(context.pointer, store)


@lru_cache(maxsize=1)
def _system() -> Context:
    """With the system's own authorities: 25 ms and 0.8 MiB, so clusters share them."""
    context = Context(SSL.TLS_CLIENT_METHOD)
    context.made.set_default_verify_paths()
    return context


def _unusable(reason: str) -> MaterialError:
    words = reason.lower().replace("_", " ") or "they cannot be read"
    return MaterialError(f"certificate and key cannot be used: {words}")


def _reason(error: SSL.Error) -> str:
    """The last entry of OpenSSL's queue, which pyOpenSSL has taken."""
    queue = error.args[0] if error.args else ()
    return str(queue[-1][-1]) if isinstance(queue, (list, tuple)) and queue else ""
