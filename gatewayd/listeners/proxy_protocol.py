"""The PROXY protocol header at the beginning of a connection, versions 1 and 2 (semantics 10.12).

A proxy in front says with it who the client is. Reading is strict and bounded: what the specification does not
allow is refused, and nobody can make us keep more than :data:`MAX_V1_BYTES` or :data:`MAX_V2_BYTES`.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, NamedTuple

#: ``read_header``: more bytes are needed / this is no header that could be believed
MORE: Final = 0
INVALID: Final = -1

#: A line of version 1, CRLF included, as the specification bounds it.
MAX_V1_BYTES: Final = 107
#: A header of version 2 with its extensions; the format itself would allow 64 KiB.
MAX_V2_BYTES: Final = 16384

_V1: Final = b"PROXY "
_V1_KINDS: Final[dict[str, type[IPv4Address | IPv6Address]]] = {"TCP4": IPv4Address, "TCP6": IPv6Address}
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED: Final = 16
#: Signature, version and command, family and transport, length of what follows.
_V2_HEAD: Final = struct.Struct("!12xBBH")
#: Family and transport that can be told of: IPv4 and IPv6, stream and datagram -> bytes of an address.
_V2_KINDS: Final = {0x11: 4, 0x12: 4, 0x21: 16, 0x22: 16}
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")


class Announced(NamedTuple):
    """Who the client is and where it meant to go, as socket addresses.

    Both None: the header says nothing of it (LOCAL, UNKNOWN), so the connection's own addresses stand.
    """

    remote: tuple[Any, ...] | None
    local: tuple[Any, ...] | None


_NOTHING: Final = Announced(None, None)


def read_header(data: bytes) -> tuple[int, Announced | None]:
    """The header at the beginning of ``data``: its length in bytes and what it announces.

    :data:`MORE` or :data:`INVALID` instead of a length come with None. ``data`` may go on after the header.
    """
    if data[0:1] == b"P":
        return _read_v1(data)
    return _read_v2(data)


def _read_v1(data: bytes) -> tuple[int, Announced | None]:
    if data[: len(_V1)] != _V1[: len(data)]:
        return INVALID, None
    line = data[:MAX_V1_BYTES]
    end = line.find(b"\n")
    if end < 0:
        return (INVALID if len(line) == MAX_V1_BYTES else MORE), None
    if line[end - 1] != 0x0D:
        return INVALID, None
    try:
        words = line[: end - 1].decode("ascii").split(" ")
    except UnicodeDecodeError:
        return INVALID, None
    if words[1] == "UNKNOWN":  # whatever follows means nothing
        return end + 1, _NOTHING
    kind = _V1_KINDS.get(words[1])
    if kind is None or len(words) != 6:
        return INVALID, None
    remote = _v1_address(kind, words[2], words[4])
    local = _v1_address(kind, words[3], words[5])
    if remote is None or local is None:
        return INVALID, None
    return end + 1, Announced(remote, local)


def _v1_address(kind: type[IPv4Address | IPv6Address], address: str, port: str) -> tuple[Any, ...] | None:
    if "%" in address or not _PORT.fullmatch(port) or int(port) > 65535:
        return None
    try:
        return _socket_address(kind(address), int(port))
    except ValueError:
        return None


def _read_v2(data: bytes) -> tuple[int, Announced | None]:
    if data[: len(_V2)] != _V2[: len(data)]:
        return INVALID, None
    if len(data) < _V2_FIXED:
        return MORE, None
    command, kind, length = _V2_HEAD.unpack_from(data)
    end = _V2_FIXED + length
    if command not in (_LOCAL, _PROXY) or end > MAX_V2_BYTES:
        return INVALID, None
    if command == _LOCAL:  # the proxy's own business, a health check
        return (end, _NOTHING) if len(data) >= end else (MORE, None)
    size = _V2_KINDS.get(kind)  # Envoy takes no other either
    if size is None:
        return INVALID, None
    extensions = _V2_FIXED + 2 * size + 4
    if extensions > end:
        return INVALID, None
    if len(data) < end:
        return MORE, None
    if not _whole_extensions(data, extensions, end):
        return INVALID, None
    ports = struct.unpack_from("!HH", data, extensions - 4)
    remote = ip_address(data[_V2_FIXED : _V2_FIXED + size])
    local = ip_address(data[_V2_FIXED + size : _V2_FIXED + 2 * size])
    return end, Announced(_socket_address(remote, ports[0]), _socket_address(local, ports[1]))


def _whole_extensions(data: bytes, at: int, end: int) -> bool:
    """Whether type-length-value triples, which are not looked at, fill the header up to ``end``."""
    while at + 3 <= end:
        at += 3 + (data[at + 1] << 8 | data[at + 2])
    return at == end


def _socket_address(address: IPv4Address | IPv6Address, port: int) -> tuple[Any, ...]:
    return (str(address), port) if address.version == 4 else (str(address), port, 0, 0)
