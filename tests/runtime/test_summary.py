"""What a starting worker says of its listeners."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.summary import serving
from tests.compiler.support import SERVICES, compile_yaml, gateway, server, to, virtual_service

ROUTES = "---".join(
    [
        virtual_service(f"- {to('alpha.test')}", name="web", hosts="[t.test]"),
        virtual_service(
            f"- match: [{{sniHosts: [p.test, q.test]}}]\n  {to('beta.test')}", name="pass", block="tls"
        ),
        virtual_service(f"- {to('gamma.test')}", name="raw", block="tcp"),
    ]
)
SIMPLE = "mode: SIMPLE, credentialName: c"


def said(*servers: str, addresses: tuple[str, ...] = ("127.0.0.1:1",)) -> list[str]:
    snapshot = compile_yaml("---".join([gateway("edge", *servers), SERVICES, ROUTES])).snapshot
    listeners: Any = [SimpleNamespace(spec=spec, addresses=addresses) for spec in snapshot.listeners]
    configuration: Any = SimpleNamespace(snapshot=snapshot, files=1, elapsed_s=0.0, set_aside=(), findings=())
    options = RunOptions(paths=())
    return [line.strip() for line in serving(configuration, listeners, {}, options).split("\n")[1:]]


@pytest.mark.parametrize(
    ("one", "lines"),
    [
        (server(80, "HTTP"), ["listener  http://127.0.0.1:1", "hosts: t.test"]),
        (server(443, "HTTPS", tls=SIMPLE), ["listener  https://127.0.0.1:1", "hosts: t.test"]),
        (
            server(443, "TLS", tls="mode: PASSTHROUGH"),
            ["listener  tls://127.0.0.1:1", "SNI p.test, q.test -> outbound|80||beta.test"],
        ),
        (
            server(443, "TLS", "[p.test]", SIMPLE),
            ["listener  tls://127.0.0.1:1", "SNI p.test -> outbound|80||gamma.test"],
        ),
        (server(443, "TLS", tls=SIMPLE), ["listener  tls://127.0.0.1:1", "SNI * -> outbound|80||gamma.test"]),
        (server(3306, "MYSQL"), ["listener  tcp://127.0.0.1:1", "-> outbound|80||gamma.test"]),
    ],
)
def test_a_listener_is_said_by_what_it_speaks_and_where_it_leads(one: str, lines: list[str]) -> None:
    found = said(one)
    assert [found[0], *found[2:]] == lines
    assert found[1].endswith("of istio-system/edge")


def test_a_gateway_with_two_servers_on_a_port_is_named_once() -> None:
    found = said(
        server(443, "HTTPS", "[t.test]", SIMPLE, "a"),
        server(443, "TLS", "[p.test]", "mode: PASSTHROUGH", "b"),
    )
    assert found == [
        "listener  https://127.0.0.1:1",
        "Gateway port 443 of istio-system/edge",
        "hosts: t.test",
        "SNI p.test, q.test -> outbound|80||beta.test",
    ]


def test_every_address_is_named() -> None:
    found = said(server(443, "HTTPS", tls=SIMPLE), addresses=("127.0.0.1:1", "[::1]:1", "unix:/run/a"))
    assert found[0] == "listener  https://127.0.0.1:1  https://[::1]:1  unix:/run/a"
