"""HOT: the fields a proxy writes about the client (semantics 14.1 to 14.3).

What depends only on the connection is made once per connection; what an incoming ``x-forwarded-for``
changes is made per request.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from math import log
from random import getrandbits, randbytes, random
from sys import maxsize
from typing import Any, Final

from gatewayd.http.h2.encoder import encode_lines, integer, start
from gatewayd.http.message import Pair
from gatewayd.http.options import HttpOptions
from gatewayd.observe.stream_info import ConnectionInfo


class Client(ConnectionInfo):
    """A downstream connection's facts, and the lines they become."""

    __slots__ = ("_encoded", "address", "appended", "copied", "handling", "lines", "tls")

    def __init__(self, remote: Any, local: Any, options: HttpOptions, tls: Any = None) -> None:
        """``remote`` and ``local`` are socket addresses; ``tls``: a PeerTls, for a connection that has one."""
        remote_ip, remote_text = _printable(remote)
        local_ip, local_text = _shown_local(local)
        super().__init__(remote_ip, remote_text, local_text)
        #: the trusted client address when there is no trusted hop (14.1.1); what is appended to
        #: x-forwarded-for; the lines of a request that came without it, up to the request id's value
        self.address, self.appended, self.lines = _client_lines(
            remote_ip, local_ip, options.scheme, options.request_id
        )
        self._encoded: bytes | None = None
        #: the same lines as mirrored copies have them; made when first needed (:mod:`gatewayd.proxy.mirroring`)
        self.copied = b""
        self.tls = tls
        #: of x-forwarded-client-cert
        self.handling = options.client_certificate
        if tls is not None:
            self.requested_server_name = tls.server_name
            own = certificate_field(tls, None, options.client_certificate)
            if own:
                self.lines = b"x-forwarded-client-cert: %b\r\n%b" % (own, self.lines)

    @property
    def encoded(self) -> bytes:
        """``lines`` as HTTP/2 writes them; made when first asked for."""
        encoded = self._encoded
        if encoded is None:
            lines = self.lines.split(b"\r\n")
            begun = lines.pop()  # b"", or the name of the request id, whose value follows
            encoded = encode_lines(lines)
            if begun:
                encoded += start(b"x-request-id") + integer(REQUEST_ID_BYTES, 0x7F)
            self._encoded = encoded
        return encoded


@lru_cache(maxsize=4096)
def _client_lines(
    remote_ip: str, local_ip: str, scheme: bytes, request_id: bool
) -> tuple[bytes, bytes, bytes]:
    """Address, what is appended, and the lines: the same for all connections of a client."""
    address = remote_ip.encode()
    # A loopback peer is not worth telling: the proxy appends its own address (14.1.1, golden).
    loopback = remote_ip.startswith("127.") or remote_ip == "::1"
    appended = local_ip.encode() if loopback else address
    lines = b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-envoy-external-address: %b\r\n" % (
        appended,
        scheme,
        address,
    )
    return address, appended, lines + b"x-request-id: " if request_id else lines


def _printable(address: Any) -> tuple[str, str]:
    """IP and ``ip:port`` of a socket address; UNIX sockets have neither."""
    if not isinstance(address, tuple):
        return "", "-"
    host, port = address[:2]
    if ":" not in host:
        return host, f"{host}:{port}"
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
        return host, f"{host}:{port}"
    return host, f"[{host}]:{port}"


#: There are few local addresses.
_shown_local = lru_cache(maxsize=256)(_printable)


def trusted_address(forwarded_for: bytes, hops: int) -> bytes | None:
    """The ``hops``-th address from the right of an incoming x-forwarded-for, or None (14.1.1)."""
    parts = forwarded_for.split(b",")
    if hops > len(parts):
        return None
    candidate = parts[-hops].strip()
    try:
        ip_address(candidate.decode("latin-1"))
    except ValueError:
        return None
    return candidate


def certificate_field(tls: Any, received: bytes | None, handling: str) -> bytes | None:
    """x-forwarded-client-cert as sent upstream, None = not at all (semantics 3.18).

    ``tls``: the connection's PeerTls or None; ``received``: the field as it came, if ``handling``, one of
    HttpOptions.client_certificate, may send it on.
    """
    if handling == "ALWAYS_FORWARD_ONLY":
        return received
    if tls is None or not tls.certificate_der or handling == "SANITIZE":
        return None
    if handling == "FORWARD_ONLY":
        return received
    own: bytes = tls.forwarded
    return b"%b,%b" % (received, own) if received and handling == "APPEND_FORWARD" else own


def client_pairs(
    client: Client,
    forwarded_for: bytes | None,
    forwarded_proto: bytes,
    hops: int,
    received_certificate: bytes | None = None,
) -> tuple[bytes, bytes, list[Pair]]:
    """x-forwarded-for as sent, the trusted address, and the fields to send upstream."""
    trusted = client.address
    sent = client.appended
    if forwarded_for is not None:
        sent = b"%b,%b" % (forwarded_for, client.appended)
        if hops:
            trusted = trusted_address(forwarded_for, hops) or client.address
    pairs = [
        (b"x-forwarded-for", sent),
        (b"x-forwarded-proto", forwarded_proto),
        (b"x-envoy-external-address", trusted),
    ]
    if client.tls is not None or received_certificate is not None:
        certificate = certificate_field(client.tls, received_certificate, client.handling)
        if certificate is not None:
            pairs.append((b"x-forwarded-client-cert", certificate))
    return sent, trusted, pairs


#: How long a request id is.
REQUEST_ID_BYTES: Final = 36
#: Ids that share their first 80 bits, 74 of them random; the last 48 are random in each. They are made together,
#: since formatting numbers one by one costs ten times what cutting a text does.
_IDS_PER_PREFIX: Final = 256
_TAIL: Final = 13  # a hyphen and twelve digits
#: What the version of a UUID says of tracing (14.3.3): nothing, sampled by chance, asked for by the client.
NOT_SAMPLED: Final = b"4"
SAMPLED: Final = b"9"
CLIENT_ASKED: Final = b"b"
_VERSION_AT: Final = 14
_TEN_THOUSAND: Final = 10_000


def request_ids(sampling: int = 0) -> Callable[[], bytes]:
    """Make what makes fresh UUIDs version 4 (14.3.3), of which ``sampling`` of ten thousand are marked as sampled.

    The chance is drawn once for each run of ids that are not marked, so that an id costs nothing more for it.
    """
    plain = prefix = tails = b""
    at = end = 0
    before_mark = _run_length(sampling)

    def new_request_id() -> bytes:
        nonlocal at
        if at == end:
            begin_run()
        start = at
        at = start + _TAIL
        return prefix + tails[start:at]

    def begin_run() -> None:
        nonlocal plain, prefix, tails, at, end, before_mark
        if at == len(tails):
            plain = b"%08x-%04x-4%03x-%04x" % (
                getrandbits(32), getrandbits(16), getrandbits(12), getrandbits(14) | 0x8000,
            )  # fmt: skip
            tails = b"-" + randbytes(6 * _IDS_PER_PREFIX).hex("-", 6).encode()
            at = 0
        if before_mark:
            prefix = plain
            run = min(before_mark, (len(tails) - at) // _TAIL)
            before_mark -= run
        else:
            prefix = marked(plain, SAMPLED)
            run = 1
            before_mark = _run_length(sampling)
        end = at + run * _TAIL

    return new_request_id


def _run_length(sampling: int) -> int:
    """How many are not sampled before the next one that is."""
    if sampling >= _TEN_THOUSAND:
        return 0
    if sampling <= 0:
        return maxsize
    return int(log(1.0 - random()) / log(1.0 - sampling / _TEN_THOUSAND))


new_request_id = request_ids()


def marked(request_id: bytes, mark: bytes) -> bytes:
    """``request_id`` with what its version says of tracing."""
    return b"%b%b%b" % (request_id[:_VERSION_AT], mark, request_id[_VERSION_AT + 1 :])


def is_sampled_by_chance(request_id: bytes) -> bool:
    """Whether it is marked so."""
    return request_id[_VERSION_AT] == SAMPLED[0]
