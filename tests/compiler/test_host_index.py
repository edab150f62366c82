"""Which VirtualServices a server of a large Gateway looks at: never fewer than share a host (2.2.3)."""

from __future__ import annotations

import random

import pytest

from gatewayd.compiler.host_index import HostIndex
from gatewayd.compiler.names import overlap
from tests.compiler.support import SERVICES, compile_yaml, gateway, server, to, virtual_service

HOSTS = (
    "*",
    "*.test",
    "*.a.test",
    "*.b.a.test",
    "a.test",
    "b.a.test",
    "c.b.a.test",
    "test",
    "*-a.test",
    "x-a.test",
    "*a.test",
    "d.example",
    "*.example",
)


@pytest.mark.parametrize("host", HOSTS)
def test_whatever_overlaps_is_near(host: str) -> None:
    index = HostIndex([name] for name in HOSTS)
    near = index.near([host])
    assert near == sorted(near)
    assert {at for at, name in enumerate(HOSTS) if overlap(host, name)} <= set(near)


def test_lists_of_hosts_are_near_as_soon_as_one_of_them_is() -> None:
    rng = random.Random(7)
    lists = [rng.sample(HOSTS, rng.randint(1, 4)) for _ in range(60)]
    index = HostIndex(lists)
    for asked in lists:
        wanted = {at for at, names in enumerate(lists) if any(overlap(a, b) for a in asked for b in names)}
        assert wanted <= set(index.near(asked))


def test_what_is_far_is_left_out() -> None:
    index = HostIndex([["a.test"], ["b.test"], ["*.c.test"], ["d.example"]])
    assert index.near(["a.test"]) == [0]
    assert index.near(["x.c.test"]) == [2]
    assert index.near(["*.test"]) == [0, 1, 2]
    assert index.near(["*"]) == [0, 1, 2, 3]


def test_a_gateway_of_many_servers_binds_each_virtual_service_to_its_own() -> None:
    count = 12
    servers = [
        server(443, "HTTPS", f"[h{at}.test]", "mode: SIMPLE, credentialName: c", f"p{at}")
        for at in range(count)
    ]
    routes = [
        virtual_service(
            f"- {to('alpha.test' if at % 2 else 'beta.test')}", name=f"v{at}", hosts=f"[h{at}.test]"
        )
        for at in range(count)
    ]
    wide = virtual_service(f"- {to('gamma.test')}", name="wide", hosts='["*.test"]')
    compiled = compile_yaml("---".join([gateway("edge", *servers), SERVICES, *routes, wide]))
    for at in range(count):
        assert compiled.call(f"https://h{at}.test/") == ("alpha.test:80" if at % 2 else "beta.test:80")
    assert compiled.findings("IST0132") == []


def test_a_server_looks_at_its_own_virtual_service_however_many_there_are() -> None:
    names = [[f"h{at}.zone{at % 7}.test"] for at in range(8000)]
    index = HostIndex(names)
    assert all(index.near(name) == [at] for at, name in enumerate(names))
