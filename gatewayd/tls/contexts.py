"""What OpenSSL is told of one Gateway server or one cluster, from its spec and its PEM (semantics 3, 10).

Each server has a context of its own, and with it ticket keys of its own: a session of one server means nothing to
another, so resuming never leads past a client certificate.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatewayd.tls import reasons
from gatewayd.tls.material import KeyPair, Material, MaterialError
from gatewayd.tls.modes import MODES
from gatewayd.tls.peer import PeerTls, peer_certificate
from gatewayd.tls.spec import ClientTlsSpec, ServerTlsSpec

#: (the connection, the buffer for what arrives, the buffer of what shall leave)
Opened = tuple[Any, Any, Any]

_VERSIONS: Final = {
    "TLSV1_0": ssl.TLSVersion.TLSv1,
    "TLSV1_1": ssl.TLSVersion.TLSv1_1,
    "TLSV1_2": ssl.TLSVersion.TLSv1_2,
    "TLSV1_3": ssl.TLSVersion.TLSv1_3,
}
#: Envoy's own list: forward secrecy and AEAD only (hardening: TLS).
DEFAULT_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256"
    ":ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
)
_OPTIONS: Final = (
    ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_SINGLE_ECDH_USE
)


class ServerContext:
    """Handshakes of a terminating server."""

    __slots__ = ("_context", "_own_uri", "_wants_certificate")

    #: the client does
    speaks_first: Final = False

    def __init__(self, spec: ServerTlsSpec, material: Material) -> None:
        """Raises MaterialError when the material cannot be used."""
        mode = MODES[spec.mode].client_certificate
        self._wants_certificate = mode != "none"
        context = self._context = _bare(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[spec.min_version]
        context.maximum_version = _VERSIONS[spec.max_version]
        context.set_ciphers(":".join(spec.cipher_suites) or DEFAULT_CIPHERS)
        if spec.alpn:
            context.set_alpn_protocols(list(spec.alpn))
        if not material.pairs:
            raise MaterialError("no certificate")
        for pair in material.pairs:
            _load_pair(context, pair)
        self._own_uri = _own_uri(material.pairs[0].certificate)
        if self._wants_certificate:
            context.verify_mode = ssl.CERT_REQUIRED if mode == "required" else ssl.CERT_OPTIONAL
            _load_trust(context, material)

    def open(self, server_name: str) -> Opened:
        """A connection that waits for a ClientHello."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        return self._context.wrap_bio(incoming, outgoing, server_side=True), incoming, outgoing

    def accept(self, connection: Any, server_name: str) -> tuple[PeerTls, str]:
        """What a finished handshake came to, and why it is refused ("" = it is not)."""
        der = connection.getpeercert(True) or b"" if self._wants_certificate else b""
        peer = _peer(connection, server_name, der, self._own_uri)
        if der and connection.session_reused:
            certificate = peer_certificate(der)  # it may have expired since the session began
            if not certificate.not_before_s <= time.time() <= certificate.not_after_s:
                return peer, reasons.unverified("certificate has expired")
        return peer, ""


class ClientContext:
    """Handshakes towards the endpoints of a cluster."""

    __slots__ = ("_context", "_names", "_skip", "_verify_host")

    speaks_first: Final = True

    def __init__(self, spec: ClientTlsSpec, material: Material) -> None:
        """Raises MaterialError when the material cannot be used."""
        context = self._context = _bare(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_3
        if spec.alpn:
            context.set_alpn_protocols(list(spec.alpn))
        for pair in material.pairs:
            _load_pair(context, pair)
        self._names = spec.subject_alt_names
        self._verify_host = spec.verify_host
        self._skip = spec.insecure_skip_verify
        if self._skip:
            context.verify_mode = ssl.CERT_NONE
        else:
            context.verify_mode = ssl.CERT_REQUIRED
            if material.ca:
                _load_trust(context, material)
            else:
                context.set_default_verify_paths()

    def open(self, server_name: str) -> Opened:
        """A connection that will say ``server_name`` ("" = nothing)."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        said = None if is_address(server_name) else server_name or None
        made = self._context.wrap_bio(incoming, outgoing, server_hostname=said)
        return made, incoming, outgoing

    def accept(self, connection: Any, server_name: str) -> tuple[PeerTls, str]:
        """What a finished handshake came to, and why it is refused ("" = it is not)."""
        der = connection.getpeercert(True) or b""
        peer = _peer(connection, server_name, der, "")
        if self._skip:
            return peer, ""
        certificate = peer_certificate(der)
        if self._names:
            good = certificate.carries_any(self._names)
        else:
            good = not (self._verify_host and server_name) or certificate.is_for(server_name)
        return peer, "" if good else reasons.unverified("verify SAN list")


def _bare(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.options |= _OPTIONS
    return context


def _peer(connection: Any, server_name: str, der: bytes, own_uri: str) -> PeerTls:
    cipher, _, _ = connection.cipher()
    return PeerTls(
        server_name, connection.version(), cipher, connection.selected_alpn_protocol() or "", der, own_uri
    )


def is_address(name: str) -> bool:
    """Whether ``name`` is an IP address, which is never said as SNI (semantics 10.2)."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _no_password() -> bytes:
    raise MaterialError("key: it is encrypted; only keys without a password can be used")


def _load_pair(context: ssl.SSLContext, pair: KeyPair) -> None:
    """Certificate and key from memory: load_cert_chain wants a path, so it gets one without a disk."""
    descriptor = os.memfd_create("pair", os.MFD_CLOEXEC)
    try:
        with contextlib.suppress(OSError), open(descriptor, "wb", closefd=False) as file:
            file.write(pair.private_key.rstrip() + b"\n" + pair.certificate)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise MaterialError("the key does not fit the certificate") from None
        raise MaterialError(f"certificate or key cannot be used: {error.reason or 'no PEM'}") from None
    finally:
        os.close(descriptor)


def _load_trust(context: ssl.SSLContext, material: Material) -> None:
    if not material.ca:
        raise MaterialError("no certificate authority")
    try:
        context.load_verify_locations(cadata=material.ca.decode("ascii", "replace"))
        if material.crl:
            context.load_verify_locations(cadata=material.crl.decode("ascii", "replace"))
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    except (ssl.SSLError, ValueError) as error:
        raise MaterialError(f"certificate authorities: {error}") from None


@lru_cache(maxsize=256)
def _own_uri(pem: bytes) -> str:
    """The first URI among a server certificate's names."""
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    return next(iter(peer_certificate(der).uri_names), "")
