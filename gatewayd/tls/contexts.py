"""What handshakes of one Gateway server, or towards one cluster, are made with (semantics 3, 10).

Each server has a context of its own, and with it ticket keys of its own: a session of one server means nothing to
another, so resuming never leads past a client certificate.
"""

from __future__ import annotations

import re
import ssl
import time
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from gatewayd.tls import reasons
from gatewayd.tls.engine import Connection, Session
from gatewayd.tls.material import Material, MaterialError
from gatewayd.tls.modes import MODES
from gatewayd.tls.openssl import Context, Servers, client_context, servers
from gatewayd.tls.peer import PeerCertificate, PeerTls, peer_certificate
from gatewayd.tls.pem import PemChecks
from gatewayd.tls.spec import ClientTlsSpec, ServerTlsSpec
from gatewayd.tls.verification import Verifier

#: Sessions kept towards the endpoints of a cluster, one per server name.
_MAX_SESSIONS: Final = 256
_FIRST: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class ServerContext:
    """Handshakes of a terminating server."""

    __slots__ = ("_material", "_own_uri", "_servers", "_spec", "_wants_certificate")

    #: the client does
    speaks_first: Final = False

    def __init__(self, spec: ServerTlsSpec, material: Material) -> None:
        """Raises MaterialError when the material cannot be used."""
        asked = MODES[spec.mode].client_certificate
        self._wants_certificate = asked != "none"
        if not material.pairs:
            raise MaterialError("no certificate")
        _check(material)
        if self._wants_certificate and not material.ca and not spec.accept_untrusted:
            raise MaterialError("no certificate authority to check client certificates with")
        self._own_uri = ""
        self._spec = spec
        self._material: Material | None = material
        self._servers: Servers | None = None

    def open(self, server_name: str, *, older: bool = False) -> Connection:
        """A connection that waits for a ClientHello; ``older``: one without TLS 1.3.

        Raises MaterialError if OpenSSL will not have the material.
        """
        connection = (self._servers or self._make()).open()
        if older:
            connection.prefer_own_ciphers()
        return connection

    def _make(self) -> Servers:
        material = self._material
        assert material is not None
        if self._wants_certificate:
            self._own_uri = _first_uri(material.pairs[0].certificate)
        self._servers = servers(self._spec, material)
        self._material = None
        return self._servers

    def reason_of(self, error: ssl.SSLError) -> str:
        """Why the handshake that has just failed did."""
        assert self._servers is not None
        return _reason_of(error, self._servers.verifier)

    def accept(self, connection: Connection, server_name: str) -> tuple[PeerTls | None, str]:
        """What a finished handshake came to, and why it is refused ("" = it is not)."""
        if not self._wants_certificate:
            return _peer(connection, server_name), ""
        der = connection.certificate()
        peer = _peer(connection, server_name, der, self._own_uri)
        if not der:
            return peer, ""
        certificate = _readable(der)
        if certificate is None:
            return None, reasons.unverified("the certificate cannot be read")
        # In a resumed session nobody looked at the dates.
        if self._spec.accept_untrusted or certificate.not_before_s <= time.time() <= certificate.not_after_s:
            return peer, ""
        return None, reasons.unverified(reasons.EXPIRED)

    def ended(self, connection: Connection, server_name: str) -> None:
        """A connection is over; sessions are not its to keep."""


class ClientContext:
    """Handshakes towards the endpoints of a cluster."""

    __slots__ = ("_context", "_material", "_sessions", "_spec")

    speaks_first: Final = True

    def __init__(self, spec: ClientTlsSpec, material: Material) -> None:
        """Raises MaterialError when the material cannot be used."""
        if spec.mode == "MUTUAL" and not material.pairs:
            raise MaterialError("no client certificate")
        _check(material)
        self._spec = spec
        self._material: Material | None = material
        self._context: Context | None = None
        self._sessions: dict[str, Session] = {}

    def open(self, server_name: str, *, older: bool = False) -> Connection:
        """A connection that will say ``server_name`` ("" or an address: nothing); raises like a server's."""
        context = self._context
        if context is None:
            assert self._material is not None
            context = self._context = client_context(self._spec, self._material)
            self._material = None
        connection = context.open(accepts=False)
        if server_name and not is_address(server_name):
            connection.say(server_name)
        session = self._sessions.get(server_name)
        if session is not None:
            session.offer(connection)
        return connection

    def reason_of(self, error: ssl.SSLError) -> str:
        """Why the handshake that has just failed did."""
        assert self._context is not None
        return _reason_of(error, self._context.verifier)

    def accept(self, connection: Connection, server_name: str) -> tuple[PeerTls | None, str]:
        """What a finished handshake came to, and why it is refused ("" = it is not); semantics 10.3."""
        spec = self._spec
        der = connection.certificate()
        peer = _peer(connection, server_name, der)
        if spec.insecure_skip_verify:
            return peer, ""
        certificate = _readable(der)
        if certificate is None:
            return None, reasons.unverified("the certificate cannot be read")
        if spec.subject_alt_names:
            if not certificate.carries_any(spec.subject_alt_names):
                return None, reasons.unverified(reasons.wrong_names(certificate.names))
        elif spec.verify_host and server_name and not certificate.carries_any((server_name,)):
            return None, reasons.unverified(reasons.wrong_host(server_name, certificate.names))
        return peer, ""

    def ended(self, connection: Connection, server_name: str) -> None:
        """A connection is over: its session, if it may be resumed, saves the next one half of the work.

        The certificate was verified when the session began, and its names are looked at again; a session lives
        no longer than this context, so a new authority starts afresh.
        """
        if len(self._sessions) >= _MAX_SESSIONS and server_name not in self._sessions:
            self._sessions.pop(next(iter(self._sessions)))
        self._sessions[server_name] = Session(connection)


def is_address(name: str) -> bool:
    """Whether ``name`` is an IP address, which is never said as SNI (semantics 10.2)."""
    if ":" not in name and not name[-1:].isdigit():
        return False
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _peer(connection: Connection, server_name: str, der: bytes = b"", own_uri: str = "") -> PeerTls:
    return PeerTls(server_name, connection.version, connection.cipher, connection.alpn, der, own_uri)


def _reason_of(error: ssl.SSLError, verifier: Verifier | None) -> str:
    return reasons.of(error, verifier.refused if verifier is not None else "")


def _readable(der: bytes) -> PeerCertificate | None:
    try:
        return peer_certificate(der)
    except ValueError:
        return None


def _first_uri(pem: bytes) -> str:
    certificate = _readable(ssl.PEM_cert_to_DER_cert(_FIRST.search(pem)[0].decode()))  # type: ignore[index]
    return next(iter(certificate.uri_names), "") if certificate is not None else ""


def _check(material: Material) -> None:
    """Look at everything before a client does, unless somebody has. Raises MaterialError."""
    if material.checked:
        return
    checks = PemChecks()
    for pair in material.pairs:
        checks.pair(pair.certificate, pair.private_key)
        if pair.ocsp_staple:
            checks.staple(pair.ocsp_staple)
    _check_trust(material.ca, material.crl)


@lru_cache(maxsize=64)
def _check_trust(ca: bytes, crl: bytes) -> None:
    """Once for all servers that share it."""
    checks = PemChecks()
    if ca:
        checks.authorities(ca)
    if crl:
        checks.revocation_lists(crl)
