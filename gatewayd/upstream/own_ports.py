"""Ports of this process that are no place to send traffic: admin, status, metrics.

A route that leads there, by mistake or by a name whose DNS answer somebody else writes, would hand the admin port to
whoever can send requests. So no upstream connection is opened to them (hardening section 1, admin port).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

_UNIX: Final = "unix:"
_Ip = IPv4Address | IPv6Address


class OwnPorts:
    """Addresses, each ``(host, port)`` or ``("unix:/path", 0)``; port 0 of a host is none."""

    __slots__ = ("_by_port", "_paths")

    def __init__(self, addresses: Iterable[tuple[str, int]] = ()) -> None:
        self._by_port: dict[int, list[_Ip]] = {}
        self._paths: list[str] = []
        self.use(addresses)

    def use(self, addresses: Iterable[tuple[str, int]]) -> None:
        """These and no others from now on."""
        self._by_port, self._paths = {}, []
        for host, port in addresses:
            if host.startswith(_UNIX):
                self._paths.append(host.removeprefix(_UNIX))
            elif port:
                self._by_port.setdefault(port, []).append(ip_address(host))

    def leads_here(self, address: str, port: int) -> bool:
        """Whether a connection to ``address``, an IP or ``unix:/path``, would come to one of them."""
        if address.startswith(_UNIX):
            return any(_same_file(address.removeprefix(_UNIX), path) for path in self._paths)
        hosts = self._by_port.get(port)
        if hosts is None:  # as good as always
            return False
        try:
            target = _plain(ip_address(address.partition("%")[0]))
        except ValueError:
            return False
        return any(_reaches(target, _plain(host)) for host in hosts)


#: Of this process. Whoever opens them says so.
OWN_PORTS: Final = OwnPorts()


def _plain(address: _Ip) -> _Ip:
    """An IPv4 address that is written as an IPv6 one is the same place."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _reaches(target: _Ip, host: _Ip) -> bool:
    """Whether connecting to ``target`` comes to a socket that is bound to ``host``."""
    if host.is_unspecified:
        return target.is_unspecified or target.is_loopback or _is_of_this_machine(target)
    if target.is_unspecified:  # which means the machine itself
        return host.is_loopback
    return target == host


def _is_of_this_machine(address: _Ip) -> bool:
    """Only an own address can be bound; that sends nothing."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _same_file(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False
