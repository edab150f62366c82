"""Servers that ask for what the standard library's ``ssl`` cannot do, by pyOpenSSL.

These are: names and fingerprints that a client certificate must have, judged within the handshake so that a refusal
is an alert (semantics 3.14, 3.15); certificates that chain to nothing known (3.16); OCSP staples (3.12); several
curves. A connection costs some more than the standard library's. What is here behaves like ``ssl.SSLObject`` and
``ssl.MemoryBIO`` to :mod:`gatewayd.tls.layer`.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Callable
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from OpenSSL import SSL, crypto
from OpenSSL._util import lib  # for curves, which the public part lacks

from gatewayd.tls import reasons
from gatewayd.tls.material import KeyPair, Material, MaterialError
from gatewayd.tls.modes import MODES
from gatewayd.tls.peer import peer_certificate
from gatewayd.tls.spec import ServerTlsSpec
from gatewayd.tls.standard import VERSIONS, cipher_list, in_memory

_OPTIONS: Final = (
    SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_SINGLE_ECDH_USE
)
_READ_BYTES: Final = 65_536
_CRL: Final = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\n?", re.DOTALL)


class ExtendedServer:
    """The context of one such server."""

    __slots__ = ("_context", "_spec")

    def __init__(self, spec: ServerTlsSpec, material: Material) -> None:
        """Raises MaterialError."""
        self._spec = spec
        context = self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_options(_OPTIONS)
        context.set_min_proto_version(VERSIONS[spec.min_version])
        context.set_max_proto_version(VERSIONS[spec.max_version])
        context.set_session_id(b"gatewayd")
        try:
            context.set_cipher_list(cipher_list(spec).encode())
            for pair in material.pairs:
                _load_pair(context, pair)
            if spec.ecdh_curves and not lib.SSL_CTX_set1_curves_list(
                context._context, ":".join(spec.ecdh_curves).encode()
            ):
                raise MaterialError(f"none of these curves is to be had: {', '.join(spec.ecdh_curves)}")
            if MODES[spec.mode].client_certificate != "none":
                self._ask_for_certificate(material)
        except SSL.Error as error:
            raise MaterialError(f"certificate and key cannot be used: {_reason(error)}") from None
        if spec.alpn:
            context.set_alpn_select_callback(_chooser(spec.alpn))
        staple = next((pair.ocsp_staple for pair in material.pairs if pair.ocsp_staple), b"")
        if staple:
            context.set_ocsp_server_callback(lambda _connection, _data: staple)

    def open(self) -> tuple[Any, Any, Any]:
        """A connection that waits for a ClientHello, and its buffers."""
        made = SSL.Connection(self._context, None)
        made.set_accept_state()
        connection = ExtendedConnection(made)
        return connection, connection.incoming, connection.outgoing

    def _ask_for_certificate(self, material: Material) -> None:
        context = self._context
        flags = SSL.VERIFY_PEER
        if MODES[self._spec.mode].client_certificate == "required":
            flags |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        context.set_verify(flags, self._verify)
        store = context.get_cert_store()
        assert store is not None
        if material.ca:
            with in_memory(material.ca) as path:
                context.load_verify_locations(path)
            store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        if material.crl:
            for one in _CRL.findall(material.crl):
                store.add_crl(x509.load_pem_x509_crl(one))
            store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)

    def _verify(
        self, made: SSL.Connection, certificate: crypto.X509, error: int, depth: int, good: int
    ) -> bool:
        """OpenSSL's question about each certificate of the chain, the client's own last."""
        spec = self._spec
        if spec.accept_untrusted:
            return True
        if not good:
            made.get_app_data().refused = reasons.verification(error, depth)
            return False
        if depth:
            return True
        refused = self._refusal(certificate.to_cryptography())
        made.get_app_data().refused = refused
        return not refused

    def _refusal(self, leaf: x509.Certificate) -> str:
        """Why a client certificate that chains well is not taken all the same, "" if it is."""
        spec = self._spec
        try:
            certificate = peer_certificate(leaf.public_bytes(Encoding.DER))
        except ValueError:
            return "the certificate cannot be read"
        if spec.subject_alt_names and not certificate.carries_any(spec.subject_alt_names):
            return reasons.wrong_names(certificate.names)
        if (spec.spki_hashes or spec.certificate_hashes) and not (
            certificate.spki_hash in spec.spki_hashes or certificate.hash in spec.certificate_hashes
        ):
            return "cert hash and spki"
        return ""


def _load_pair(context: SSL.Context, pair: KeyPair) -> None:
    with in_memory(pair.certificate) as path:
        context.use_certificate_chain_file(path)
    context.use_privatekey(load_pem_private_key(pair.private_key, None))  # type: ignore[arg-type]
    context.check_privatekey()


def _chooser(offered: tuple[str, ...]) -> Callable[[SSL.Connection, list[bytes]], Any]:
    """The first of ours that the client has too."""
    ours = [name.encode() for name in offered]

    def choose(_made: SSL.Connection, theirs: list[bytes]) -> Any:
        return next((name for name in ours if name in theirs), SSL.NO_OVERLAPPING_PROTOCOLS)

    return choose


class ExtendedConnection:
    """A connection with the surface of ``ssl.SSLObject``; its errors are those of ``ssl``."""

    __slots__ = ("_made", "incoming", "outgoing", "refused")

    def __init__(self, made: SSL.Connection) -> None:
        self._made = made
        made.set_app_data(self)
        self.incoming = _Incoming(made)
        self.outgoing = _Outgoing(made)
        #: why the client's certificate was refused
        self.refused = ""

    def do_handshake(self) -> None:
        """Go on; raises SSLWantReadError until it is done."""
        try:
            self._made.do_handshake()
        except SSL.Error as error:
            raise self._translated(error) from None

    def read(self, size: int) -> bytes:
        """Decrypted bytes of one record; b"" after close_notify."""
        try:
            return self._made.recv(size)
        except SSL.ZeroReturnError:
            return b""
        except SSL.Error as error:
            raise self._translated(error) from None

    def write(self, data: Any) -> None:
        """Encrypt."""
        try:
            self._made.sendall(data)
        except SSL.Error as error:
            raise self._translated(error) from None

    def unwrap(self) -> None:
        """Say close_notify."""
        try:
            self._made.shutdown()
        except SSL.Error as error:
            raise self._translated(error) from None

    def getpeercert(self, _binary: bool) -> bytes:
        """The client's certificate in DER, b"" without one."""
        certificate = self._made.get_peer_certificate(as_cryptography=True)
        return certificate.public_bytes(Encoding.DER) if certificate is not None else b""

    def version(self) -> str:
        """``TLSv1.3``."""
        return self._made.get_protocol_version_name()

    def cipher(self) -> tuple[str, str, int]:
        """Name, version, secret bits."""
        return self._made.get_cipher_name() or "", self.version(), self._made.get_cipher_bits() or 0

    def selected_alpn_protocol(self) -> str:
        """ "" = none."""
        return self._made.get_alpn_proto_negotiated().decode("latin-1")

    def _translated(self, error: SSL.Error) -> ssl.SSLError:
        if isinstance(error, SSL.WantReadError):
            self.incoming.pending = 0
            return ssl.SSLWantReadError()
        if isinstance(error, SSL.ZeroReturnError):
            return ssl.SSLZeroReturnError()
        if isinstance(error, SSL.SysCallError):
            return ssl.SSLEOFError()
        if self.refused:
            refused = ssl.SSLCertVerificationError()
            refused.verify_message = self.refused
            refused.verify_code = 0
            return refused
        translated = ssl.SSLError(ssl.SSL_ERROR_SSL, _reason(error))
        translated.reason = _reason(error)
        return translated


class _Incoming:
    """The buffer for what arrives."""

    __slots__ = ("_write", "pending")

    def __init__(self, made: SSL.Connection) -> None:
        self._write = made.bio_write
        #: pyOpenSSL does not say how much waits: more than none, until a read has met its end
        self.pending = 0

    def write(self, data: Any) -> None:
        """Take encrypted bytes."""
        self.pending = 1
        self._write(bytes(data))


class _Outgoing:
    """The buffer of what shall leave."""

    __slots__ = ("_read", "_taken")

    def __init__(self, made: SSL.Connection) -> None:
        self._read = made.bio_read
        self._taken = b""

    @property
    def pending(self) -> int:
        """How many bytes wait."""
        self._taken = self.read()
        return len(self._taken)

    def read(self) -> bytes:
        """All of them."""
        parts = [self._taken]
        self._taken = b""
        with contextlib.suppress(SSL.Error):
            while True:
                parts.append(self._read(_READ_BYTES))
        return b"".join(parts)


def _reason(error: SSL.Error) -> str:
    """OpenSSL's words in the form of ``ssl.SSLError.reason``."""
    queue = error.args[0] if error.args else ()
    if isinstance(queue, (list, tuple)) and queue:
        return str(queue[0][-1]).upper().replace(" ", "_")
    return "UNKNOWN"
