"""A tiny UDP DNS server on loopback: what it answers is set by the test, and it counts what it is asked."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections import Counter

A, AAAA = 1, 28
REFUSED, NXDOMAIN, SERVFAIL = 5, 3, 2


class DnsServer(asyncio.DatagramProtocol):
    """``records``: (name, type) to (addresses, ttl in seconds); anything else is NXDOMAIN or ``silent``."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], tuple[list[str], int]] = {}
        self.asked: Counter[tuple[str, int]] = Counter()
        self.rcode = NXDOMAIN
        self.silent = False
        self.transport: asyncio.DatagramTransport | None = None
        self.address = ""

    @classmethod
    async def start(cls) -> DnsServer:
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(cls, local_addr=("127.0.0.1", 0))
        server.transport = transport
        server.address = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
        return server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, kind, question = _question(data)
        self.asked[name, kind] += 1
        if self.silent:
            return
        known = self.records.get((name, kind))
        exists = any(name == other for other, _ in self.records)
        rcode = 0 if exists else self.rcode
        addresses, ttl = known or ([], 0)
        answers = [_record(address, ttl) for address in addresses]
        flags = 0x8180 | rcode
        head = data[:2] + struct.pack(">HHHHH", flags, 1, len(answers), 0, 0)
        assert self.transport is not None
        self.transport.sendto(head + question + b"".join(answers), addr)

    def close(self) -> None:
        assert self.transport is not None
        self.transport.close()


def _question(data: bytes) -> tuple[str, int, bytes]:
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("ascii"))
        at += 1 + data[at]
    kind = struct.unpack(">H", data[at + 1 : at + 3])[0]
    return ".".join(labels).lower(), kind, data[12 : at + 5]


def _record(address: str, ttl: int) -> bytes:
    packed = ipaddress.ip_address(address).packed
    kind = A if len(packed) == 4 else AAAA
    return struct.pack(">HHHIH", 0xC00C, kind, 1, ttl, len(packed)) + packed
