"""Handshakes without a network: one of our contexts against a plain ``ssl`` peer, byte for byte in memory."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from gatewayd.tls.authority import Issued
from gatewayd.tls.engine import WANTED, Connection
from gatewayd.tls.material import KeyPair, Material
from gatewayd.tls.openssl import in_memory
from gatewayd.tls.peer import PeerTls
from tests.tls.material import authority


@dataclass
class Shaken:
    """How a handshake ended on both sides, and one exchange of bytes after it."""

    #: why we refused, "" = we did not
    reason: str
    peer: PeerTls | None
    #: what the other side raised, in the ``ssl`` module's words; "" = nothing
    error: str
    #: the other side's object, for what was negotiated
    other: Any
    connection: Connection


def client(
    *,
    certificate: Issued | None = None,
    alpn: tuple[str, ...] = (),
    maximum: str = "TLSv1_3",
    minimum: str = "TLSv1_2",
    ciphers: str = "",
    trust: Issued | None = None,
    curve: str = "",
) -> ssl.SSLContext:
    """A client of a server of ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=(trust or authority()).certificate.decode())
    context.minimum_version = ssl.TLSVersion[minimum]
    context.maximum_version = ssl.TLSVersion[maximum]
    if ciphers:
        context.set_ciphers(ciphers)
    if curve:
        context.set_ecdh_curve(curve)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if certificate is not None:
        _load(context, certificate)
    return context


def upstream(
    certificate: Issued, *, wants: Issued | None = None, maximum: str = "TLSv1_3", tickets: int = 2
) -> ssl.SSLContext:
    """A server for a client of ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion[maximum]
    context.num_tickets = tickets
    _load(context, certificate)
    if wants is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=wants.certificate.decode())
    return context


def material(*pairs: Issued, ca: Issued | None = None, crl: bytes = b"", staple: bytes = b"") -> Material:
    """As credentials give it."""
    return Material(
        tuple(KeyPair(pair.certificate, pair.private_key, staple) for pair in pairs),
        ca=ca.certificate if ca is not None else b"",
        crl=crl,
    )


def shake(
    context: Any,
    other: ssl.SSLContext,
    server_name: str = "a.test",
    session: ssl.SSLSession | None = None,
    said: str | None = "a.test",
) -> Shaken:
    """Both handshakes to their ends, then "ping" and "pong" if there is a connection."""
    connection = context.open(server_name, older=other.maximum_version == ssl.TLSVersion.TLSv1_2)
    theirs_in, theirs_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    if context.speaks_first:
        theirs = other.wrap_bio(theirs_in, theirs_out, server_side=True)
    else:
        theirs = other.wrap_bio(theirs_in, theirs_out, server_hostname=said, session=session)
    reason = error = ""
    ours_done = theirs_done = False
    for _ in range(6):
        if not theirs_done and not error:
            try:
                theirs.do_handshake()
                theirs_done = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as failure:
                error = failure.reason or str(failure)
        connection.feed(theirs_out.read())
        if not ours_done and not reason:
            met = connection.shake()
            ours_done = met is None
            if met is not None and met is not WANTED:
                reason = context.reason_of(met)
        theirs_in.write(connection.take())
    peer = None
    if ours_done:
        peer, reason = context.accept(connection, server_name)
    if ours_done and not reason:
        connection.write(b"pong")
        theirs_in.write(connection.take())
    if theirs_done and not error:
        try:
            if ours_done and not reason:
                assert theirs.read(16) == b"pong"
                theirs.write(b"ping")
                connection.feed(theirs_out.read())
                assert connection.read(16) == b"ping"
            else:
                theirs.read(16)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as failure:
            error = failure.reason or str(failure)
    return Shaken(reason, peer, error, theirs, connection)


def _load(context: ssl.SSLContext, issued: Issued) -> None:
    with in_memory(issued.private_key, issued.certificate) as path:
        context.load_cert_chain(path)
