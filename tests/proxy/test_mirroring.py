"""Which mirrors get a copy of a request, and what the copy says of the client (semantics 6.9.3, 6.9.4)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gatewayd.http.options import HttpOptions
from gatewayd.policies.fault import MILLION
from gatewayd.proxy.forwarding import Client
from gatewayd.proxy.mirroring import _copied_lines, draw
from gatewayd.routing.route import Mirror


def client(remote: str, local: str, lines: bytes = b"") -> Any:
    """A connection without TLS; ``lines`` stand before its own."""
    made = Client((remote, 4000), (local, 80), HttpOptions())
    return SimpleNamespace(lines=lines + made.lines, appended=made.appended, local_address=made.local_address)


@pytest.mark.parametrize("before", [b"", b"x-forwarded-client-cert: By=x-forwarded-for: 10.0.0.9\r\n"])
def test_a_copy_names_the_proxy_once_more(before: bytes) -> None:
    one = client("10.0.0.9", "10.0.0.1", before)
    assert _copied_lines(one.lines, one.appended, one.local_address) == before + (
        b"x-forwarded-for: 10.0.0.9,10.0.0.1\r\nx-forwarded-proto: http\r\n"
        b"x-envoy-external-address: 10.0.0.9\r\nx-request-id: "
    )


def test_an_ipv6_proxy_is_named_without_brackets() -> None:
    one = client("fd00::9", "fd00::1")
    copied = _copied_lines(one.lines, one.appended, one.local_address)
    assert copied.startswith(b"x-forwarded-for: fd00::9,fd00::1\r\n")


def test_mirrors_are_drawn_each_for_itself() -> None:
    """Semantics 6.9.3: always, never, and only those that ask for it."""
    assert draw([Mirror("a", MILLION), Mirror("b", 0), Mirror("c", MILLION)]) == ["a", "c"]
    assert draw([]) == []
