"""The Host of a request as the name of a TLS server (semantics 10.2)."""

from __future__ import annotations

import pytest

from gatewayd.upstream.server_names import can_be_said, host_name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"shop.test", "shop.test"),
        (b"Shop.TEST:8443", "shop.test"),
        (b"shop.test:", "shop.test"),
        (b"127.0.0.1:80", "127.0.0.1"),
        (b"[2001:DB8::1]:443", "2001:db8::1"),
        (b"[::1]", "::1"),
        (b"::1", "::1"),
        (b"", ""),
        (b":443", ""),
        ("schön.test".encode(), ""),
    ],
)
def test_the_name_is_without_port_and_case(host: bytes, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    "name", ["a", "shop.test", "a_b.test", "shop.test.", "127.0.0.1", "::1", "xn--schn-7qa.test"]
)
def test_names_that_can_be_said(name: str) -> None:
    assert can_be_said(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".test", "a..test", "a" * 64 + ".test", "a." * 200 + "x" * 70]
)
def test_names_that_cannot(name: str) -> None:
    assert not can_be_said(name)
