"""PROXY protocol headers towards upstreams (semantics 10.11): what is written is what a strict reader reads."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.listeners.proxy_protocol import Announced, read_header
from gatewayd.upstream.proxy_header import V1, V2, proxy_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def test_version_1_is_a_line() -> None:
    """Golden 10_upstream_misc upstream-proxy-protocol-v1."""
    header = proxy_header(V1, "127.0.0.1:40000", "127.0.0.1:24010")
    assert header == b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 24010\r\n"
    header = proxy_header(V1, "[2001:db8::1]:40000", "[::1]:443")
    assert header == b"PROXY TCP6 2001:db8::1 ::1 40000 443\r\n"


def test_version_2_is_binary() -> None:
    header = proxy_header(V2, "127.0.0.1:40274", "127.0.0.2:44279")
    assert header == SIGNATURE + bytes.fromhex("2111000c7f0000017f0000029d52acf7")
    header = proxy_header(V2, "[::1]:1", "[::2]:2")
    assert (
        header == SIGNATURE + b"\x21\x21\x00\x24" + bytes(15) + b"\x01" + bytes(15) + b"\x02\x00\x01\x00\x02"
    )


@pytest.mark.parametrize(
    ("remote", "local"),
    [("", ""), ("-", "-"), ("127.0.0.1:1", "-"), ("-", "[::1]:1"), ("a.test:1", "b.test:2")],
)
def test_without_addresses_it_says_so(remote: str, local: str) -> None:
    """UNIX sockets, and connections of our own."""
    assert proxy_header(V1, remote, local) == b"PROXY UNKNOWN\r\n"
    assert proxy_header(V2, remote, local) == SIGNATURE + b"\x20\x00\x00\x00"


def test_two_families_become_one() -> None:
    length, announced = read_header(proxy_header(V1, "10.0.0.1:1", "[2001:db8::1]:2"))
    assert length > 0
    assert announced is not None
    assert announced.local == ("2001:db8::1", 2, 0, 0)
    assert announced.remote is not None
    assert IPv6Address(announced.remote[0]) == IPv6Address("::ffff:10.0.0.1")


def test_a_zone_is_not_told() -> None:
    assert proxy_header(V1, "[fe80::1%eth0]:1", "[fe80::2]:2") == b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"


PORTS = st.integers(0, 65535)


@given(st.data(), st.ip_addresses(), PORTS, PORTS, st.sampled_from([V1, V2]))
def test_what_is_written_is_read(data: Any, remote: Any, port: int, local_port: int, version: str) -> None:
    local = data.draw(st.ip_addresses(v=remote.version))
    form, tail = ("%s:%d", ()) if remote.version == 4 else ("[%s]:%d", (0, 0))
    header = proxy_header(version, form % (remote, port), form % (local, local_port))
    expected = Announced((str(remote), port, *tail), (str(local), local_port, *tail))
    assert read_header(header) == (len(header), expected)
