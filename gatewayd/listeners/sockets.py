"""Listening sockets: bound one by one, with an error that names the address and the flag that helps.

All sockets of a process are opened, listening included, before the first of them is served, so a port in
use is found while nothing has begun. The file of a UNIX socket belongs to the process that made it, and to no copy of
that process: whoever closes the socket there removes the file.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Iterable, Sequence
from typing import Final

_log = logging.getLogger("gatewayd.listeners")

#: Connections the kernel keeps while we are busy (hardening section 8).
LISTEN_BACKLOG: Final = 1024
_UNIX: Final = "unix:"
#: Errors of the wildcard "::" that only say: this host has no IPv6.
NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})
_SAME_PORT_TRIES: Final = 8

#: (host, port), or ("unix:/path", 0)
Address = tuple[str, int]

#: files of UNIX sockets and the process each belongs to
_files: dict[str, int] = {}


class BindError(Exception):
    """An address could not be bound; exit code 77.

    ``address`` is printable (``127.0.0.1:80``), ``reason`` the system's text, ``advice`` what to do.
    """

    def __init__(self, address: str, reason: str, advice: str, code: int = 0) -> None:
        super().__init__(f"cannot bind {address}: {reason}" + (f": {advice}" if advice else ""))
        self.address = address
        self.reason = reason
        self.advice = advice
        self.errno = code


def printable(host: str, port: int) -> str:
    """``127.0.0.1:80``, ``[::1]:80`` or ``unix:/path``."""
    if host.startswith(_UNIX):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def socket_address(sock: socket.socket) -> Address:
    """What ``sock`` is bound to, in the form of ``ListenerSpec.bind``."""
    if sock.family == socket.AF_UNIX:
        name = sock.getsockname()
        text = "@" + name[1:].decode() if isinstance(name, bytes) else str(name)
        return _UNIX + text, 0
    host, port = sock.getsockname()[:2]
    return str(host), int(port)


def open_sockets(
    bind: Sequence[Address],
    gateway_port: int = 0,
    *,
    advice: str = "",
    reuse_port: bool = False,
    listen: bool = True,
) -> list[socket.socket]:
    """Open and listen on every address of ``bind``, or on none: raises :class:`BindError`.

    ``gateway_port`` is the number the Gateway writes, for the advice; ``advice`` replaces it where another
    flag helps. Port 0 lets the kernel choose one number, the same for all addresses. ``::`` is left out
    where the host has no IPv6 and another address is open.
    """
    for attempt in range(_SAME_PORT_TRIES):
        try:
            return _open_all(bind, gateway_port, advice, reuse_port, listen)
        except BindError as error:
            chosen_by_kernel = len(bind) > 1 and any(port == 0 for _, port in bind)
            if not chosen_by_kernel or error.errno != errno.EADDRINUSE or attempt == _SAME_PORT_TRIES - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _open_all(
    bind: Sequence[Address], gateway_port: int, advice: str, reuse_port: bool, listen: bool
) -> list[socket.socket]:
    opened: list[socket.socket] = []
    chosen = 0
    skipped: BindError | None = None
    try:
        for host, wanted in bind:
            try:
                sock = open_socket(
                    host,
                    wanted or chosen,
                    gateway_port,
                    advice=advice,
                    reuse_port=reuse_port,
                    listen=listen,
                )
            except BindError as error:
                if host != "::" or error.errno not in NO_IPV6 or len(bind) == 1:
                    raise
                skipped = error
                _log.info("%s is left out: this host has no IPv6 (%s)", error.address, error.reason)
                continue
            opened.append(sock)
            if not wanted and sock.family != socket.AF_UNIX:
                chosen = chosen or socket_address(sock)[1]
        if not opened and skipped is not None:
            raise skipped
    except BindError:
        close_sockets(opened)
        raise
    return opened


def by_address(bind: Sequence[Address], sockets: Sequence[socket.socket]) -> dict[Address, socket.socket]:
    """The ``sockets`` that :func:`open_sockets` opened for ``bind``, by what they were asked to be."""
    if len(sockets) < len(bind):
        bind = [address for address in bind if address[0] != "::"]
    return dict(zip(bind, sockets, strict=True))


def open_socket(
    host: str,
    port: int,
    gateway_port: int = 0,
    *,
    advice: str = "",
    reuse_port: bool = False,
    listen: bool = True,
) -> socket.socket:
    """Open one non-blocking listening socket; raises :class:`BindError`."""
    address = printable(host, port)
    if host.startswith(_UNIX):
        return _open_unix(host[len(_UNIX) :], address)
    try:
        family, kind, protocol, _, sockaddr = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise BindError(address, f"{host!r} is not an IP address", "") from None
    sock: socket.socket | None = None
    try:
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
        if listen:
            sock.listen(LISTEN_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise BindError(
            address, _reason(error), advice or _advice(error, host, port, gateway_port), error.errno or 0
        ) from None
    return sock


def _open_unix(path: str, address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.startswith("@"):
            sock.bind("\0" + path[1:])
        else:
            _remove_stale(path, address)
            sock.bind(path)
            _files[path] = os.getpid()
        sock.listen(LISTEN_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        advice = "make its folder writable, or choose another path" if error.errno == errno.EACCES else ""
        raise BindError(address, _reason(error), advice, error.errno or 0) from None
    except BindError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str, address: str) -> None:
    """Remove the socket a dead process left at ``path``; anything else there is somebody's."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BindError(address, "the path exists and is not a socket", "remove it", errno.EEXIST)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except BlockingIOError:
            pass  # a full queue: somebody lives there
        raise BindError(address, "another process listens there", "stop it first", errno.EADDRINUSE)


def close_sockets(sockets: Iterable[socket.socket]) -> None:
    """Close listening sockets and remove the files of UNIX ones that are this process's own."""
    for sock in sockets:
        remove_file(sock)
        sock.close()


def remove_file(sock: socket.socket) -> None:
    """Remove the file of a UNIX socket, if it is this process's own."""
    path = _file_of(sock)
    if path and _files.get(path) == os.getpid():
        del _files[path]
        with contextlib.suppress(OSError):
            os.unlink(path)


def own_files(sockets: Iterable[socket.socket]) -> None:
    """The files of ``sockets``, which another process opened, are this one's from now on."""
    _files.update((path, os.getpid()) for sock in sockets if (path := _file_of(sock)))


def disown_files() -> None:
    """Another process goes on with our sockets: their files are its own."""
    _files.clear()


def _file_of(sock: socket.socket) -> str:
    if sock.family != socket.AF_UNIX or sock.fileno() < 0:
        return ""
    name = sock.getsockname()
    return name if isinstance(name, str) else ""


def _reason(error: OSError) -> str:
    if error.errno == errno.EACCES:
        return "permission denied"
    if error.errno == errno.EADDRINUSE:
        return "address already in use"
    return (error.strerror or str(error)).lower()


def _advice(error: OSError, host: str, port: int, gateway_port: int) -> str:
    number = gateway_port or port
    free = number + 8000 if number < 1024 else number + 10_000 if number < 50_000 else number - 10_000
    elsewhere = f"--port-map {number}={free} or --port-offset N binds another port"
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges (CAP_NET_BIND_SERVICE); {elsewhere}"
    if error.errno == errno.EADDRINUSE:
        return f"stop what listens there, or {elsewhere}"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface of this host has that address; --bind ADDR chooses another"
    if error.errno == errno.EAFNOSUPPORT:
        return "this host lacks that address family; --bind ADDR chooses another"
    return elsewhere
