"""Opens one connection to an endpoint: TCP, then a PROXY header, then TLS, as the cluster's spec says.

All of it has one connect timeout (semantics 8.3.2). What a library raises ends here: a failure is a value.
Whoever dials (the HTTP pools, the TCP proxy) gives a factory of protocols and hears nothing of TLS.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple

from gatewayd import errors
from gatewayd.errors import Failure
from gatewayd.tls.reasons import CLOSED, unverified
from gatewayd.upstream.own_ports import OWN_PORTS
from gatewayd.upstream.proxy_header import proxy_header
from gatewayd.upstream.server_names import can_be_said
from gatewayd.upstream.spec import ClusterSpec, KeepAlive

_log = logging.getLogger("gatewayd.upstream")

#: errno -> Envoy's words in the log (golden 07_tls_tcp); others use the system's.
_CONNECT_ERRORS: Final = {
    errno.ECONNREFUSED: "Connection refused",
    errno.ECONNRESET: "Connection reset by peer",
    errno.EHOSTUNREACH: "No route to host",
    errno.ENETUNREACH: "Network is unreachable",
}

#: The kernel refused before a packet left.
_LOCAL_ERRORS: Final = frozenset(
    {errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE}
)

#: Envoy's words for a reset in the handshake.
_RESET: Final = "TLS_error:|33554536:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end"
_NO_NAME: Final = unverified("verify SAN list, expected SANs: []").replace(" ", "_")
#: Our words for an endpoint that is one of our own ports.
OWN_PORT: Final = "a_port_of_this_proxy_itself"
#: Envoy's words for a credential that is not there (semantics 3.13).
NO_SECRET: Final = "TLS_error:_Secret_is_not_supplied_by_SDS"


class Hints(NamedTuple):
    """What of the downstream side a connection may depend on."""

    #: the name in the Host as it goes upstream, for the SNI (semantics 10.2); None: there is no Host
    host: str | None = None
    #: addresses of the downstream connection, ``ip:port`` as the log prints them, for a PROXY header
    remote: str = ""
    local: str = ""
    #: for an HTTP/2 connection of a cluster that has both kinds
    http2: bool = False


NO_HINTS: Final = Hints()

_LARGEST_OPTION: Final = (1 << 31) - 1

Factory = Callable[[], asyncio.Protocol]


async def dial(
    loop: asyncio.AbstractEventLoop,
    spec: ClusterSpec,
    address: str,
    port: int,
    factory: Factory,
    hints: Hints = NO_HINTS,
) -> tuple[Failure | None, str]:
    """Open a connection to ``address`` (an IP, ``unix:/path`` or ``unix:@abstract``) and give it to ``factory()``.

    Returns (None, "") once its ``connection_made`` was called, else the failure and the transport's words
    for the log ("" = none). Only cancellation is raised.
    """
    failure, words = errors.CONNECT_REFUSED, ""
    if OWN_PORTS.leads_here(address, port):
        _say_own_port(spec.name, address, port)
        return errors.CONNECT_LOCAL, OWN_PORT
    try:
        async with asyncio.timeout(spec.connect_timeout_s or None):
            if spec.tls is None:
                await _connect(loop, spec, address, port, factory, hints)
                return None, ""
            return await _connect_tls(loop, spec, address, port, factory, hints)
    except TimeoutError:
        failure = errors.CONNECT_TIMEOUT
    except OSError as error:
        number = error.errno or 0
        words = "delayed_connect_error:_" + _CONNECT_ERRORS.get(number, error.strerror or "").replace(
            " ", "_"
        )
        if number in _LOCAL_ERRORS:
            failure = errors.CONNECT_LOCAL
    except (ValueError, OverflowError, UnicodeError):  # not an address at all: the request must not hang
        failure = errors.CONNECT_LOCAL
    return failure, words


@lru_cache(maxsize=256)  # once for each; it would be said for every request
def _say_own_port(cluster: str, address: str, port: int) -> None:
    place = address if address.startswith("unix:") else f"{address} port {port}"
    _log.error("cluster %s leads to %s, a port of this proxy itself: nothing is sent there", cluster, place)


async def _connect(
    loop: asyncio.AbstractEventLoop,
    spec: ClusterSpec,
    address: str,
    port: int,
    factory: Factory,
    hints: Hints,
) -> None:
    """TCP, and the PROXY header if there is one. Raises what the loop raises."""
    if spec.proxy_protocol:
        header = proxy_header(spec.proxy_protocol, hints.remote, hints.local)
        made = factory
        factory = lambda: _Greeter(header, made())  # noqa: E731
    if address.startswith("unix:@"):
        await loop.create_unix_connection(factory, sock=await _abstract(loop, address[6:]))
        return
    if address.startswith("unix:"):
        await loop.create_unix_connection(factory, address[5:])
        return
    opened = await loop.create_connection(factory, address, port)
    if spec.keepalive is not None:
        _keep_alive(opened[0].get_extra_info("socket"), spec.keepalive)


def _keep_alive(sock: Any, wanted: KeepAlive) -> None:
    """Have the kernel look after a silent connection (semantics 8.3.9)."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    options += [
        (socket.IPPROTO_TCP, option, value)
        for option, value in (
            (socket.TCP_KEEPCNT, wanted.probes),
            (socket.TCP_KEEPIDLE, wanted.time_s),
            (socket.TCP_KEEPINTVL, wanted.interval_s),
        )
        if value
    ]
    for level, option, value in options:
        with suppress(OSError):  # it is closed again, or the value is more than the kernel takes
            sock.setsockopt(level, option, min(value, _LARGEST_OPTION))


async def _abstract(loop: asyncio.AbstractEventLoop, name: str) -> socket.socket:
    """A connection to an abstract socket, which has no path; uvloop takes none without one."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await loop.sock_connect(sock, "\0" + name)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect_tls(
    loop: asyncio.AbstractEventLoop,
    spec: ClusterSpec,
    address: str,
    port: int,
    factory: Factory,
    hints: Hints,
) -> tuple[Failure | None, str]:
    """:func:`_connect`, then the handshake; the outcome as :func:`dial` tells it."""
    holder = spec.tls_http2 if hints.http2 and spec.tls_http2 is not None else spec.tls
    context = holder.context
    if context is None:
        return errors.CONNECT_REFUSED, NO_SECRET
    from gatewayd.tls.layer import TlsLayer  # see gatewayd/tls/__init__.py

    shaken: asyncio.Future[str] = loop.create_future()

    def tell(_: Any, reason: str) -> None:
        if not shaken.done():
            shaken.set_result(reason)

    settings = spec.tls_spec
    name = (settings.sni if settings is not None else "") or hints.host or ""
    if not can_be_said(name):
        if hints.host is not None and settings is not None and settings.verify_host:
            return errors.CONNECT_REFUSED, _NO_NAME  # a Host that names nobody: no certificate is for it
        name = ""
    layer = TlsLayer(context, factory(), tell, server_name=name)
    await _connect(loop, spec, address, port, lambda: layer, hints)
    try:
        reason = await shaken
    except asyncio.CancelledError:  # the time is up, or the process ends
        layer.abort()
        raise
    if reason:
        layer.abort()  # its alert has left; an upstream that sent its flight has nothing that could reset us
        return errors.CONNECT_REFUSED, _tls_words(reason)
    return None, ""


def _tls_words(reason: str) -> str:
    """What the log says of a handshake that failed; of one the upstream just ended Envoy says nothing."""
    if reason.startswith(CLOSED):
        reason = _RESET if reason.endswith(_CONNECT_ERRORS[errno.ECONNRESET]) else ""
    return reason.replace(" ", "_")


class _Greeter(asyncio.Protocol):
    """Sends the PROXY header as the first thing on a connection, and is gone."""

    def __init__(self, header: bytes, taker: asyncio.Protocol) -> None:
        self._header = header
        self._taker = taker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The header leaves before anything the taker writes."""
        transport.write(self._header)  # type: ignore[attr-defined]
        transport.set_protocol(self._taker)
        self._taker.connection_made(transport)
