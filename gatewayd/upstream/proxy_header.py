"""The PROXY protocol header a connection to an upstream begins with (semantics 10.11).

It tells of the downstream connection whose request or bytes are carried. Where there is none to tell of (a
UNIX socket, a connection of our own) it is UNKNOWN in version 1 and LOCAL in version 2.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

#: ``ClusterSpec.proxy_protocol``
V1: Final = "V1"
V2: Final = "V2"

_V2_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_LOCAL: Final = _V2_SIGNATURE + b"\x20\x00\x00\x00"

_Address = tuple[IPv4Address | IPv6Address, int]


def proxy_header(version: str, remote: str, local: str) -> bytes:
    """The header for a client at ``remote`` that connected to ``local``, both ``ip:port`` or ``[ip]:port``."""
    source, destination = _parse(remote), _parse(local)
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n" if version == V1 else _V2_LOCAL
    if source[0].version != destination[0].version:  # one family for both: IPv4 as part of IPv6
        source, destination = _mapped(source), _mapped(destination)
    family = source[0].version
    if version == V1:
        text = f"PROXY TCP{family} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n"
        return text.encode("ascii")
    body = source[0].packed + destination[0].packed + struct.pack("!HH", source[1], destination[1])
    return _V2_SIGNATURE + struct.pack("!BBH", 0x21, 0x11 if family == 4 else 0x21, len(body)) + body


def _parse(text: str) -> _Address | None:
    host, _, port = text.rpartition(":")
    host = host.strip("[]").partition("%")[0]
    try:
        address, number = ip_address(host), int(port)
    except ValueError:
        return None
    return address, number


def _mapped(address: _Address) -> _Address:
    host, port = address
    return (IPv6Address(f"::ffff:{host}") if host.version == 4 else host), port
