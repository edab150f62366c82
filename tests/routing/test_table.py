"""From request to route: semantics 2.6, 4.10, 4.11."""

from __future__ import annotations

import pytest

from gatewayd.routing.index import Rule
from gatewayd.routing.route import FORWARD, REDIRECT, Route
from gatewayd.routing.table import HTTPS_REDIRECT, RouteTable, VirtualHost
from tests.routing.support import request, rule, uri


def table() -> RouteTable:
    return RouteTable(
        [
            VirtualHost("a", ["a.shop.test"], [rule("exact", uri("exact", "/exact"))]),
            VirtualHost("wide", ["*.shop.test"], [rule("wide")]),
            VirtualHost("secure", ["secure.test"], [rule("secure", uri("prefix", "/s"))], require_tls=True),
            VirtualHost("six", ["[2001:db8::1]"], [rule("six")]),
            VirtualHost("rest", ["*"], [rule("rest")]),
        ]
    )


@pytest.mark.parametrize(
    ("host", "target", "route"),
    [
        (b"a.shop.test", b"/exact", "exact"),
        (b"A.Shop.TEST", b"/exact", "exact"),
        (b"a.shop.test:24001", b"/exact", "exact"),
        (b"a.shop.test:9", b"/exact", "exact"),  # the port does not matter
        (b"a.shop.test", b"/other", None),  # no fall-through to the wildcard (4.11)
        (b"b.shop.test", b"/other", "wide"),
        (b"a.shop.test.", b"/exact", "rest"),  # a final dot is another host, as recorded
        (b"a.shop.test.:80", b"/exact", "rest"),
        (b"[2001:DB8::1]:80", b"/", "six"),
        (b"", b"/", "rest"),
        (b"shop.test", b"/", "rest"),
    ],
)
def test_most_specific_host_decides_alone(host: bytes, target: bytes, route: str | None) -> None:
    found_host, found = table().lookup(request(target, host=host))
    assert found_host is not None
    assert (None if found is None else found.name) == route


def test_unknown_host_has_neither_virtual_host_nor_route() -> None:
    only = RouteTable([VirtualHost("a", ["a.test"], [rule("all")])])
    assert only.lookup(request(host=b"b.test")) == (None, None)
    assert only.find_virtual_host(b"b.test") is None
    found = only.find_virtual_host(b"a.test")
    assert found is not None
    assert repr(found) == "VirtualHost('a', 1 rules)"


@pytest.mark.parametrize("target", [b"/s", b"/unknown"])
def test_https_redirect_comes_before_the_rules(target: bytes) -> None:
    host, route = table().lookup(request(target, host=b"secure.test:80"))
    assert host is not None
    assert host.require_tls
    assert route is HTTPS_REDIRECT
    assert route.action == REDIRECT
    assert route.response_ops is None  # 6.2.8


def test_https_redirect_leaves_https_alone() -> None:
    _, route = table().lookup(request(b"/s", host=b"secure.test", scheme=b"https"))
    assert route is not None
    assert route.name == "secure"


def test_a_table_with_other_hosts_shares_those_that_stay() -> None:
    before = table()
    fresh = VirtualHost("wide", ["*.shop.test"], [rule("wider")])
    added = VirtualHost("new", ["new.test"], [rule("new")])
    after = before.changed(["a", "gone"], [fresh, added])

    def met(routes: RouteTable, host: bytes) -> str | None:
        found = routes.lookup(request(b"/other", host=host))[1]
        return None if found is None else found.name

    assert [met(before, host) for host in (b"a.shop.test", b"b.shop.test", b"new.test")] == [
        None,
        "wide",
        "rest",
    ]
    assert [met(after, host) for host in (b"a.shop.test", b"b.shop.test", b"new.test")] == [
        "wider",
        "wider",
        "new",
    ]
    assert before.by_name.keys() == {"a", "wide", "secure", "six", "rest"}
    assert after.by_name.keys() == {"wide", "secure", "six", "rest", "new"}
    assert after.by_name["rest"] is before.by_name["rest"]
    assert after.virtual_hosts == tuple(after.by_name.values())


def test_a_table_with_other_hosts_knows_whether_any_route_is_counted() -> None:
    before = table()
    counted = Rule((), Route("counted", FORWARD, statistics="vhost.new.test:80.route.a"))
    after = before.changed([], [VirtualHost("new", ["new.test"], [counted])])
    assert (before.counted, after.counted) == (False, True)
    assert after.changed(["rest"], [VirtualHost("other", ["other.test"], [rule("other")])]).counted
    assert not after.changed([], [VirtualHost("new", ["new.test"], [rule("new")])]).counted
    assert not after.changed(["new"], []).counted
